package mqttcore

import (
	"fmt"
	"testing"

	"sluice/mqttcore/packet"
)

// TestMQTT5 goes through what chapters 1 to 3 of MQTT 5.0 demand of a server.
func TestMQTT5(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	r.judge(t, structure5, connect5, will5, session5, connack5, retain5, publish5,
		delivery5, acks5, subscribe5, unsubscribe5, end5)
}

// structure5 is about what packets are made of (chapters 1 and 2).
var structure5 = []statement{
	{"MQTT-1.5.4-1", func(r *rig) {
		refuses(packet.V5,
			wrong{"surrogate in the client identifier", `10: 00 04 "MQTT" 05 02 00 00 00 00 03 ed a0 80`, packet.MalformedPacket},
			wrong{"overlong form in the client identifier", `10: 00 04 "MQTT" 05 02 00 00 00 00 02 c0 af`, packet.MalformedPacket},
		)(r)
		rejects(packet.V5,
			wrong{"surrogate in a topic", "@publish-5-topic-surrogate", packet.MalformedPacket},
			wrong{"lone byte in a content type", "@publish-5-content-type-not-utf8", packet.MalformedPacket},
			wrong{"overlong form in a topic", `30: 00 02 c0 80 00`, packet.MalformedPacket},
			wrong{"beyond U+10FFFF in a filter", `82: 00 01 00 00 04 f4 90 80 80 00`, packet.MalformedPacket},
			wrong{"cut character in UNSUBSCRIBE", `a2: 00 01 00 00 02 "a" c3`, packet.MalformedPacket},
		)(r)
	}},
	{"MQTT-1.5.4-2", func(r *rig) {
		refuses(packet.V5,
			wrong{"in the authentication method", "@connect-5-auth-method-nul", packet.MalformedPacket},
			wrong{"in the client identifier", `10: 00 04 "MQTT" 05 02 00 00 00 00 03 "a\x00b"`, packet.MalformedPacket},
		)(r)
		rejects(packet.V5,
			wrong{"in a topic", `30: 00 03 "a\x00b" 00`, packet.MalformedPacket},
			wrong{"in a filter", `82: 00 01 00 00 03 "a\x00b" 00`, packet.MalformedPacket},
			wrong{"in a response topic", `30: 00 01 "a" 06 08 00 03 "a\x00b"`, packet.MalformedPacket},
			wrong{"in a reason string", `e0: 00 06 1f 00 03 "a\x00b"`, packet.MalformedPacket},
		)(r)
	}},
	{"MQTT-1.5.4-3", func(r *rig) {
		with, without := "\ufeff"+r.name(), r.name()
		c := r.watch(packet.V5, with)
		r.publish(without, "without", 0, false)
		r.publish(with, "with", 0, false)
		if p := c.expectMessage("with"); string(p.Topic) != with {
			r.t.Errorf("topic %q, want %q", p.Topic, with)
		}
		c.silent()
	}},
	{"MQTT-1.5.5-1", func(r *rig) {
		refuses(packet.V5,
			wrong{"remaining length", "@connect-5-padded-length", packet.MalformedPacket},
			wrong{"property length", "@connect-5-padded-property-length", packet.MalformedPacket},
			wrong{"length of five bytes", "10 ff ff ff ff 01", 0},
		)(r)
		rejects(packet.V5,
			wrong{"remaining length", "@publish-5-padded-length", packet.MalformedPacket},
			wrong{"remaining length of PINGREQ", "c0 80 00", packet.MalformedPacket},
			wrong{"subscription identifier", `82: 00 01 03 0b 81 00 00 01 "a" 00`, packet.MalformedPacket},
			wrong{"property length", `30: 00 01 "a" 80 00`, packet.MalformedPacket},
		)(r)
	}},
	{"MQTT-1.5.7-1", func(r *rig) {
		refuses(packet.V5,
			wrong{"not UTF-8", "@connect-5-user-property-not-utf8", packet.MalformedPacket},
			wrong{"cut short", "@connect-5-user-property-cut", packet.MalformedPacket},
		)(r)
		rejects(packet.V5,
			wrong{"U+0000 in a name", `30: 00 01 "a" 07 26 00 01 00 00 01 "v"`, packet.MalformedPacket},
			wrong{"surrogate in a value", `30: 00 01 "a" 09 26 00 01 "k" 00 03 ed b0 80`, packet.MalformedPacket},
		)(r)
	}},
	{"MQTT-2.1.3-1", func(r *rig) {
		refuses(packet.V5, wrong{"CONNECT", "@connect-5-header-flags", packet.MalformedPacket})(r)
		rejects(packet.V5,
			wrong{"type 0", "@header-type-0", packet.MalformedPacket},
			wrong{"PUBACK", "@puback-5-flags", packet.MalformedPacket},
			wrong{"PUBREC", "@pubrec-5-flags", packet.MalformedPacket},
			wrong{"PUBREL", "@pubrel-5-flags", packet.MalformedPacket},
			wrong{"PUBCOMP", "@pubcomp-5-flags", packet.MalformedPacket},
			wrong{"SUBSCRIBE", "@subscribe-5-flags", packet.MalformedPacket},
			wrong{"UNSUBSCRIBE", `a0: 00 01 00 00 01 "a"`, packet.MalformedPacket},
			wrong{"PINGREQ", "@pingreq-flags", packet.MalformedPacket},
			wrong{"DISCONNECT", "@disconnect-5-flags", packet.MalformedPacket},
		)(r)
	}},
	{"MQTT-2.2.1-2", func(r *rig) {
		c := r.watch(packet.V5, "2.2.1-2")
		c.write(wire(r.t, `30: 00 07 "2.2.1-2" 00 00 01`))
		c.expectFrame(`30: 00 07 "2.2.1-2" 00 00 01`) // what looks like an identifier is payload
	}},
	{"MQTT-2.2.1-3", func(r *rig) {
		rejects(packet.V5,
			wrong{"PUBLISH", "@publish-5-id-0", packet.ProtocolError},
			wrong{"PUBLISH at QoS 2", `34: 00 01 "a" 00 00 00`, packet.ProtocolError},
			wrong{"SUBSCRIBE", `82: 00 00 00 00 01 "a" 00`, packet.ProtocolError},
			wrong{"UNSUBSCRIBE", "@unsubscribe-5-id-0", packet.ProtocolError},
			wrong{"PUBACK", "@puback-5-id-0", packet.ProtocolError},
		)(r)
	}},
	{"MQTT-2.2.1-4", func(r *rig) {
		for _, clean := range []bool{true, false} {
			c, _ := r.connect(packet.V5, r.name(), func(p *packet.Connect) {
				if !clean {
					keep(p)
				}
			})
			c.subscribe(1, r.name())
			open := map[uint16]bool{}
			first := uint16(0) // never acknowledged
			for i := range 300 {
				r.publish(r.name(), fmt.Sprint(i), 1, false)
				pid := c.expectMessage(fmt.Sprint(i)).PacketID
				if pid == 0 || open[pid] {
					r.t.Fatalf("packet identifier %d while %v are in use", pid, open)
				}
				open[pid] = true
				if first == 0 {
					first = pid
					continue
				}
				c.send(answer(packet.PUBACK, pid))
				delete(open, pid)
			}
			c.leave(packet.Success)
		}
	}},
	{"MQTT-2.2.1-5", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		for _, pid := range []uint16{1, 0xbeef, 0xffff} {
			c.send(message(r.name(), "x", 1, pid))
			c.expectAck(packet.PUBACK, pid, packet.NoMatchingSubscribers)
			c.send(message(r.name(), "x", 2, pid))
			c.expectAck(packet.PUBREC, pid, packet.NoMatchingSubscribers)
			c.send(answer(packet.PUBREL, pid))
			c.expectAck(packet.PUBCOMP, pid, packet.Success)
		}
		c.subscribe(2, r.name())
		c.send(message(r.name(), "x", 0, 0), message(r.name(), "y", 2, 7))
		c.expectMessage("x")
		var got *packet.Publish
		for got == nil {
			switch p := c.read().(type) {
			case *packet.Publish:
				got = p
			case *packet.Ack:
				c.send(answer(packet.PUBREL, p.PacketID))
			default:
				r.t.Fatalf("got %T", p)
			}
		}
		c.send(answer(packet.PUBREC, got.PacketID))
		for {
			if a := expect[*packet.Ack](c); a.Type == packet.PUBREL {
				if a.PacketID != got.PacketID {
					r.t.Errorf("PUBREL %d to PUBLISH %d", a.PacketID, got.PacketID)
				}
				break
			}
		}
	}},
	{"MQTT-2.2.1-6", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		for _, pid := range []uint16{1, 0xbeef, 0xffff} {
			c.send(&packet.Subscribe{PacketID: pid, Filters: []packet.Filter{{Topic: []byte(r.name())}}})
			if a := expect[*packet.Suback](c); a.PacketID != pid {
				r.t.Errorf("SUBACK %d to SUBSCRIBE %d", a.PacketID, pid)
			}
			c.send(&packet.Unsubscribe{PacketID: pid, Filters: [][]byte{[]byte(r.name())}})
			if a := expect[*packet.Unsuback](c); a.PacketID != pid {
				r.t.Errorf("UNSUBACK %d to UNSUBSCRIBE %d", a.PacketID, pid)
			}
		}
	}},
	{"MQTT-2.2.2-1", func(r *rig) {
		refuses(packet.V5, wrong{"CONNECT", "@connect-5-no-property-length", packet.MalformedPacket})(r)
		rejects(packet.V5,
			wrong{"PUBLISH", "@publish-5-no-properties", packet.MalformedPacket},
			wrong{"SUBSCRIBE", `82: 00 01`, packet.MalformedPacket},
			wrong{"UNSUBSCRIBE", `a2: 00 01`, packet.MalformedPacket},
		)(r)
		c := r.watch(packet.V5, "2.2.2-1")
		c.write(wire(r.t, `82: 00 02 00 00 01 "b" 00`))
		c.expectFrame(`90: 00 02 00 00`)
		c.write(wire(r.t, `a2: 00 03 00 00 01 "b"`))
		c.expectFrame(`b0: 00 03 00 00`)
		c.write(wire(r.t, `32: 00 07 "2.2.2-1" 00 09 00`))
		c.expectFrame(`30: 00 07 "2.2.2-1" 00`)
		c.expectFrame(`40: 00 09`)
	}},
}
