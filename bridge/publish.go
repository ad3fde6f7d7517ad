package bridge

import (
	"encoding/binary"
	"fmt"

	"sluice/mqttcore"
)

// appendPublish appends the PUBLISH packet (MQTT 5.0, 3.3) of a delivery.
// The properties travel as they are; only the expiry is what remains of it.
//
// The packet is made here and not by paho, because paho's Publish tells
// either the order of messages or their outcome, and a cursor needs both.
func appendPublish(dst []byte, prefix string, d *mqttcore.Delivery, id uint16, qos byte, dup, retain bool) []byte {
	header := byte(3<<4) | qos<<1
	if dup {
		header |= 8
	}
	if retain {
		header |= 1
	}
	dst = append(dst, header)
	dst = appendVarint(dst, remaining(prefix, d, qos))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(prefix)+len(d.Topic)))
	dst = append(dst, prefix...)
	dst = append(dst, d.Topic...)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	dst = appendVarint(dst, propertiesLen(d))
	if d.HasExpiry {
		dst = append(dst, 0x02) // Message Expiry Interval, 3.3.2.3.3
		dst = binary.BigEndian.AppendUint32(dst, d.Expiry)
	}
	dst = append(dst, d.Props...)
	return append(dst, d.Payload...)
}

func propertiesLen(d *mqttcore.Delivery) int {
	n := len(d.Props)
	if d.HasExpiry {
		n += 5
	}
	return n
}

func remaining(prefix string, d *mqttcore.Delivery, qos byte) int {
	n := 2 + len(prefix) + len(d.Topic) + len(d.Payload)
	if qos > 0 {
		n += 2
	}
	p := propertiesLen(d)
	return n + varintLen(p) + p
}

// publishLen returns the size of the whole packet, as the server's Maximum
// Packet Size counts it (MQTT 5.0, 3.2.2.3.6).
func publishLen(prefix string, d *mqttcore.Delivery, qos byte) int {
	n := remaining(prefix, d, qos)
	return 1 + varintLen(n) + n
}

// unsendable says why a message can never be sent on this connection, or "".
func unsendable(prefix string, d *mqttcore.Delivery, qos byte, maxPacket int) string {
	if n := len(prefix) + len(d.Topic); n > 65535 {
		return fmt.Sprintf("topic has %d bytes with its prefix, and MQTT allows 65535", n)
	}
	if n := publishLen(prefix, d, qos); n > maxPacket {
		return fmt.Sprintf("packet has %d bytes, and the upstream allows %d", n, maxPacket)
	}
	return ""
}

// maxPacket is the largest packet that MQTT can express: a remaining length
// of four bytes (MQTT 5.0, 1.5.5) and the fixed header.
const maxPacket = 268_435_455 + 5

func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func varintLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	default:
		return 4
	}
}
