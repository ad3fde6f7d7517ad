package bridge

import (
	"fmt"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
)

// appendPublish appends the PUBLISH packet of a delivery. In MQTT 5 the
// properties travel as they are; only the expiry is what remains of it. In
// 3.1.1 there are none.
//
// The packet is made here and not by paho, because paho's Publish tells
// either the order of messages or their outcome, and a cursor needs both.
func appendPublish(dst []byte, v packet.Version, prefix string, d *mqttcore.Delivery, id uint16, qos byte, dup, retain bool) []byte {
	out := outgoing(d, qos)
	out.PacketID, out.Dup, out.Retain = id, dup, retain
	var room [256]byte
	name := append(append(room[:0], prefix...), d.Topic...)
	return packet.AppendPublish(dst, v, name, d.Payload, &out)
}

func outgoing(d *mqttcore.Delivery, qos byte) packet.Outgoing {
	return packet.Outgoing{QoS: qos, HasExpiry: d.HasExpiry, Expiry: d.Expiry, Props: d.Props}
}

// publishLen returns the size of the whole packet, as the server's Maximum
// Packet Size counts it (MQTT 5.0, 3.2.2.3.6).
func publishLen(v packet.Version, prefix string, d *mqttcore.Delivery, qos byte) int {
	out := outgoing(d, qos)
	return packet.PublishSize(v, len(prefix)+len(d.Topic), len(d.Payload), &out)
}

// unsendable says why a message can never be sent on this connection, or "".
func unsendable(v packet.Version, prefix string, d *mqttcore.Delivery, qos byte, maxPacket int) string {
	if n := len(prefix) + len(d.Topic); n > 65535 {
		return fmt.Sprintf("topic has %d bytes with its prefix, and MQTT allows 65535", n)
	}
	if n := publishLen(v, prefix, d, qos); n > maxPacket {
		return fmt.Sprintf("packet has %d bytes, and the upstream allows %d", n, maxPacket)
	}
	return ""
}

// maxPacket is the largest packet that MQTT can express: a remaining length
// of four bytes (MQTT 5.0, 1.5.5) and the fixed header.
const maxPacket = packet.MaxRemaining + 5
