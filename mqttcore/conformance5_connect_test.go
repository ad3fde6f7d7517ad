package mqttcore

import "testing"

// TestMQTT5 goes through what chapters 1 to 3 of MQTT 5.0 demand of a server.
func TestMQTT5(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	r.judge(t)
}
