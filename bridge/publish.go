package bridge

import (
	"fmt"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// put appends a PUBLISH packet to what is written next. f.name is its remote
// topic. In MQTT 5 the properties travel as they are; only the expiry is what
// remains of it, and the topic may be an alias. In 3.1.1 there are none.
//
// The packet is made here and not by paho, because paho's Publish tells
// either the order of messages or their outcome, and a cursor needs both.
func (f *forwarder) put(payload []byte, out *packet.Outgoing) {
	room := f.lim.packet
	if f.lim.aliases > 0 {
		room -= packet.PublishSize(f.lim.version, len(f.name), len(payload), out)
	}
	name := f.aliases.name(f.name, out, room)
	before := len(f.out)
	f.out = packet.AppendPublish(f.out, f.lim.version, name, payload, out)
	f.l.pace.spend(len(f.out) - before)
}

// unsendable says why a message can never be sent on this connection, as the
// class of the reason and in words; "" where it can. It leaves the remote
// topic in f.name for put.
func (f *forwarder) unsendable(local, payload []byte, out *packet.Outgoing) (class, why string) {
	f.name = append(append(f.name[:0], f.l.cfg.Prefix...), local...)
	if n := len(f.name); n > topic.MaxLen {
		return "topic too long", fmt.Sprintf("topic has %d bytes with its prefix, and MQTT allows %d", n, topic.MaxLen)
	}
	p := &f.lim.profile
	if p.topic > 0 || p.slashes > 0 {
		if class, why = p.unfit(string(f.name)); why != "" {
			return class, why
		}
	}
	if n := len(payload); p.payload > 0 && n > p.payload {
		return tooLarge, fmt.Sprintf("payload has %d bytes, and the upstream allows %d", n, p.payload)
	}
	// An alias that may name the topic instead is not counted on: on another
	// connection there may be none.
	if n := packet.PublishSize(f.lim.version, len(f.name), len(payload), out); n > f.lim.packet {
		return tooLarge, fmt.Sprintf("packet has %d bytes, and the upstream allows %d", n, f.lim.packet)
	}
	return "", ""
}

const tooLarge = "too large for the upstream"

// appendBacklogMark appends the user property that marks the backlog.
func appendBacklogMark(dst []byte) []byte {
	dst = append(dst, byte(packet.PropUser), 0, byte(len(backlogProperty)))
	dst = append(dst, backlogProperty...)
	dst = append(dst, 0, byte(len(backlogValue)))
	return append(dst, backlogValue...)
}

// maxPacket is the largest packet that MQTT can express: a remaining length
// of four bytes (MQTT 5.0, 1.5.5) and the fixed header.
const maxPacket = packet.MaxRemaining + 5
