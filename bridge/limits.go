package bridge

import "github.com/eclipse/paho.golang/paho"

// limits are what the server said in CONNACK (MQTT 5.0, 3.2.2.3), brought
// together with the configuration.
type limits struct {
	window int  // messages in flight
	qos    byte // highest quality of service
	retain bool // retained messages are taken
	packet int  // largest packet in bytes
}

func limitsOf(cfg *Config, ca *paho.Connack) limits {
	lim := limits{window: cfg.Window, qos: cfg.QoS, retain: true, packet: maxPacket}
	p := ca.Properties
	if p == nil {
		return lim
	}
	if p.ReceiveMaximum != nil {
		lim.window = max(1, min(lim.window, int(*p.ReceiveMaximum)))
	}
	if p.MaximumQoS != nil {
		lim.qos = min(lim.qos, *p.MaximumQoS)
	}
	if p.MaximumPacketSize != nil && *p.MaximumPacketSize > 0 {
		lim.packet = int(min(maxPacket, *p.MaximumPacketSize))
	}
	lim.retain = p.RetainAvailable
	return lim
}
