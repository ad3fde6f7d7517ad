package mqttcore

import (
	"fmt"
	"testing"

	"sluice/mqttcore/packet"
)

// TestMQTT3 goes through what MQTT 3.1.1 demands of a server.
func TestMQTT3(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	r.judge(t, mqtt3Formats, mqtt3Connect, mqtt3Will, mqtt3Connack, mqtt3Publish, mqtt3Retain,
		mqtt3Subscribe, mqtt3Disconnect, mqtt3Sessions, mqtt3Order, mqtt3Topics)
}

// sent3 gives a packet with this body for wire.
func sent3(first byte, body string) string {
	return fmt.Sprintf("% x", framed(first, []byte(body)))
}

// field is a string with its length before it.
func field(s string) string {
	return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s
}

// connect3 is a CONNECT of 3.1.1 with these flags and strings, for wire.
func connect3(flags byte, fields ...string) string {
	body := field("MQTT") + string([]byte{4, flags, 0, 0})
	for _, f := range fields {
		body += field(f)
	}
	return sent3(0x10, body)
}

// away makes a session of 3.1.1 that has these subscriptions and nobody
// connected.
func (r *rig) away(id string, qos byte, filters ...string) {
	r.t.Helper()
	c, _ := r.connect(packet.V311, id)
	c.leave(0) // whatever was there is gone
	c, _ = r.connect(packet.V311, id, keep)
	c.subscribe(qos, filters...)
	c.leave(0)
}

// back connects to a session of 3.1.1 that must be there.
func (r *rig) back(id string) *client {
	r.t.Helper()
	c, ack := r.connect(packet.V311, id, keep)
	if !ack.SessionPresent {
		r.t.Fatalf("the session of %s is gone", id)
	}
	return c
}

// mqtt3Formats are the statements of chapters 1 and 2.
var mqtt3Formats = []statement{
	{"MQTT-1.5.3-1", func(r *rig) {
		for _, text := range []string{"\xed\xa0\x80", "\xed\xbf\xbf", "\xc0\xaf", "a\xff", "\xf4\x90\x80\x80", "\xe2\x82"} {
			rejects(packet.V311,
				wrong{fmt.Sprintf("topic name %x", text), sent3(0x30, field(text)), 0},
				wrong{fmt.Sprintf("topic filter %x", text), sent3(0x82, "\x00\x01"+field(text)+"\x00"), 0},
				wrong{fmt.Sprintf("filter to leave %x", text), sent3(0xa2, "\x00\x01"+field(text)), 0},
			)(r)
			refuses(packet.V311, wrong{fmt.Sprintf("client identifier %x", text), connect3(0x02, text), 0})(r)
		}
	}},
	{"MQTT-1.5.3-2", func(r *rig) {
		rejects(packet.V311,
			wrong{"topic name", `30 05 0003 "a" 00 "b"`, 0},
			wrong{"topic filter", `82 08 0001 0003 "a" 00 "b" 00`, 0},
			wrong{"filter to leave", `a2 07 0001 0003 "a" 00 "b"`, 0},
		)(r)
		refuses(packet.V311, wrong{"client identifier", connect3(0x02, "a\x00b"), 0})(r)
	}},
	{"MQTT-1.5.3-3", func(r *rig) {
		c := r.watch(packet.V311, "\ufeffbom", "bom/\ufeff")
		r.publish("bom", "no", 0, false)
		r.publish("bom/", "no", 0, false)
		r.publish("\ufeffbom", "front", 0, false)
		r.publish("bom/\ufeff", "end", 0, false)
		if m := c.expectMessage("front"); string(m.Topic) != "\ufeffbom" {
			r.t.Errorf("topic %q", m.Topic)
		}
		if m := c.expectMessage("end"); string(m.Topic) != "bom/\ufeff" {
			r.t.Errorf("topic %q", m.Topic)
		}
	}},
	{"MQTT-2.2.2-1", func(r *rig) {
		c := r.dial(packet.V311)
		for _, step := range [][2]string{
			{connect3(0x02, "flags"), "20 02 00 00"},
			{`82 09 0003 0004 "self" 02`, "90 03 0003 02"},
			{`c0 00`, "d0 00"},
			{`32 07 0003 "off" 0004`, "40 02 0004"},
			{`34 08 0004 "self" 0005`, `34 08 0004 "self" 0001`},
			{`50 02 0001`, "50 02 0005"}, // of the step before
			{`62 02 0005`, "62 02 0001"}, // of the step before
			{`70 02 0001`, "70 02 0005"}, // of the step before
			{`a2 08 0006 0004 "self"`, "b0 02 0006"},
		} {
			c.write(wire(r.t, step[0]))
			c.expectFrame(step[1])
		}
	}},
	{"MQTT-2.2.2-2", func(r *rig) {
		rejects(packet.V311,
			wrong{"PUBACK", "41 02 0001", 0},
			wrong{"PUBREC", "52 02 0001", 0},
			wrong{"PUBREL", "60 02 0001", 0},
			wrong{"PUBCOMP", "78 02 0001", 0},
			wrong{"SUBSCRIBE", `80 06 0001 0001 "a" 00`, 0},
			wrong{"UNSUBSCRIBE", `a0 05 0001 0001 "a"`, 0},
			wrong{"PINGREQ", "c1 00", 0},
			wrong{"DISCONNECT", "e1 00", 0},
		)(r)
		refuses(packet.V311, wrong{"CONNECT", `11 0d 0004 "MQTT" 04 02 0000 0001 "f"`, 0})(r)
	}},
	{"MQTT-2.3.1-1", rejects(packet.V311,
		wrong{"PUBLISH of QoS 1", `32 05 0001 "a" 0000`, 0},
		wrong{"PUBLISH of QoS 2", `34 05 0001 "a" 0000`, 0},
		wrong{"PUBLISH of QoS 1 without", `32 03 0001 "a"`, 0},
		wrong{"SUBSCRIBE", `82 06 0000 0001 "a" 00`, 0},
		wrong{"UNSUBSCRIBE", `a2 05 0000 0001 "a"`, 0},
	)},
	{"MQTT-2.3.1-4", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.subscribe(2, "ids")
		open := map[uint16]bool{}
		for i := range 40 {
			qos := byte(1 + i%2)
			r.publish("ids", fmt.Sprint(i), qos, false)
			m := c.expectMessage(fmt.Sprint(i))
			if m.PacketID == 0 || open[m.PacketID] {
				r.t.Fatalf("message %d has identifier %d, in use: %v", i, m.PacketID, open)
			}
			open[m.PacketID] = true
			if i%3 == 0 && qos == 1 {
				c.send(answer(packet.PUBACK, m.PacketID))
				delete(open, m.PacketID)
			}
		}
	}},
	{"MQTT-2.3.1-5", func(r *rig) {
		c := r.watch(packet.V311, "noid")
		pub, _ := r.connect(packet.V311, "")
		pub.write(wire(r.t, `30 08 0004 "noid" 0007`)) // two bytes of payload
		c.expectFrame(`30 08 0004 "noid" 0007`)
	}},
	{"MQTT-2.3.1-6", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		for _, step := range [][2]string{
			{`32 06 0002 "id" 1234`, "40 02 1234"},
			{`34 06 0002 "id" ffff`, "50 02 ffff"},
			{`62 02 ffff`, "70 02 ffff"},
		} {
			c.write(wire(r.t, step[0]))
			c.expectFrame(step[1])
		}
		c.subscribe(2, "id")
		r.publish("id", "", 2, false)
		m := c.expectMessage("")
		c.send(answer(packet.PUBREC, m.PacketID))
		c.expectAck(packet.PUBREL, m.PacketID, 0)
	}},
	{"MQTT-2.3.1-7", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `82 06 abcd 0001 "a" 01  a2 05 ffff 0001 "a"`))
		c.expectFrame("90 03 abcd 01")
		c.expectFrame("b0 02 ffff")
	}},
}
