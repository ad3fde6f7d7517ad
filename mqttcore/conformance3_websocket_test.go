package mqttcore

import (
	"testing"

	"sluice/mqttcore/packet"
)

// TestMQTT3WebSocket goes through what chapter 6 of MQTT 3.1.1 demands.
func TestMQTT3WebSocket(t *testing.T) {
	startWeb(t).judge(t, []statement{
		{"MQTT-6.0.0-1", webFrames(packet.V311)},
		{"MQTT-6.0.0-2", webCuts(packet.V311)},
		{"MQTT-6.0.0-4", webName},
	})
}
