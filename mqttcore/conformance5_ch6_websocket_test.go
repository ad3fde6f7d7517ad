package mqttcore

import (
	"testing"

	"sluice/mqttcore/packet"
)

// TestMQTT5Ch6 goes through what chapter 6 of MQTT 5.0 demands of a server.
func TestMQTT5Ch6(t *testing.T) {
	startWeb(t).judge(t, []statement{
		{"MQTT-6.0.0-1", webFrames(packet.V5)},
		{"MQTT-6.0.0-2", webCuts(packet.V5)},
		{"MQTT-6.0.0-4", webName},
	})
}
