package bridge

import (
	"github.com/eclipse/paho.golang/paho"

	"sluice/mqttcore/packet"
)

// limits are what the server said in CONNACK (MQTT 5.0, 3.2.2.3), brought
// together with the configuration.
type limits struct {
	version packet.Version

	window int  // messages in flight
	qos    byte // highest quality of service
	birth  byte // quality of service of the birth message
	retain bool // retained messages are taken
	packet int  // largest packet in bytes
}

func limitsOf(cfg *Config, ca *paho.Connack) limits {
	lim := limits{version: packet.V5, window: cfg.Window, qos: cfg.QoS, birth: min(1, cfg.QoS), retain: true, packet: maxPacket}
	p := ca.Properties
	if p == nil {
		return lim
	}
	if p.MaximumQoS != nil {
		lim.qos = min(lim.qos, *p.MaximumQoS)
		lim.birth = min(lim.birth, *p.MaximumQoS)
	}
	if p.ReceiveMaximum != nil {
		// One place is the birth message's. It is published while all that a
		// resumed session holds may still be in flight, and mosquitto answers
		// one message too many with 0x97 and ends the connection.
		lim.window = max(1, min(lim.window, int(*p.ReceiveMaximum)-1))
		if *p.ReceiveMaximum == 1 {
			lim.birth = 0
		}
	}
	if p.MaximumPacketSize != nil && *p.MaximumPacketSize > 0 {
		lim.packet = int(min(maxPacket, *p.MaximumPacketSize))
	}
	lim.retain = p.RetainAvailable
	return lim
}

// limitsOf3 are those of a server of MQTT 3.1.1, which tells none.
func limitsOf3(cfg *Config) limits {
	return limits{version: packet.V311, window: cfg.Window, qos: cfg.QoS, birth: min(1, cfg.QoS), retain: true, packet: maxPacket}
}
