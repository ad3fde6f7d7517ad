package mqttcore

import (
	"fmt"
	"strings"

	"sluice/mqttcore/packet"
)

// mqtt3Sessions are the statements of stored state and of quality of service.
var mqtt3Sessions = []statement{
	{"MQTT-4.1.0-1", func(r *rig) {
		c, _ := r.connect(packet.V311, "") // all of it in a clean session
		c.subscribe(2, "state")
		r.publish("state", "open", 2, false)
		m := c.expectMessage("open")
		c.send(message("nowhere", "", 2, 40))
		c.expectAck(packet.PUBREC, 40, 0)
		c.unsubscribe("something else")
		c.silent()
		c.send(answer(packet.PUBREC, m.PacketID), message("state", "again", 2, 40), answer(packet.PUBREL, 40))
		c.expectAck(packet.PUBREL, m.PacketID, 0)
		c.expectAck(packet.PUBREC, 40, 0) // known: not published
		c.expectAck(packet.PUBCOMP, 40, 0)
		r.publish("state", "still subscribed", 0, false)
		c.expectMessage("still subscribed")
	}},
	{"MQTT-4.1.0-2", func(r *rig) {
		r = start(r.t, r.cfg)
		r.away("lasts", 1, "lasts")
		c := r.back("lasts")
		r.restart() // not even the broker's end ends it
		c.over("the broker stops", 0)
		c = r.back("lasts")
		r.publish("lasts", "x", 1, false)
		c.expectMessage("x")
	}},
	{"MQTT-4.3.1-1", func(r *rig) {
		c := r.watch(packet.V311, "qos0")
		r.publish("qos0", "x", 2, false)
		c.expectFrame(`30 07 0004 "qos0" "x"`)
	}},
	{"MQTT-4.3.2-1", func(r *rig) {
		r.away("qos1", 1, "qos1")
		c := r.back("qos1")
		r.publish("qos1", "a", 1, false)
		r.publish("qos1", "b", 1, false)
		c.expectFrame(`32 09 0004 "qos1" 0001 "a"`)
		c.expectFrame(`32 09 0004 "qos1" 0002 "b"`)
		c.send(answer(packet.PUBACK, 1))
		c.silent()
		c.close()
		c = r.back("qos1")
		c.expectFrame(`3a 09 0004 "qos1" 0002 "b"`)
		c.silent()
	}},
	{"MQTT-4.3.2-2", func(r *rig) {
		c := r.watch(packet.V311, "in1")
		for i, first := range []string{"32", "32", "3a"} { // DUP means nothing after PUBACK
			c.write(wire(r.t, first+` 08 0003 "in1" 0005 "x"`))
			c.expectMessage("x")
			c.expectAck(packet.PUBACK, 5, 0)
			if i == 2 {
				c.silent()
			}
		}
	}},
	{"MQTT-4.3.3-1", func(r *rig) {
		r.away("qos2", 2, "qos2")
		c := r.back("qos2")
		r.publish("qos2", "a", 2, false)
		r.publish("qos2", "b", 2, false)
		c.expectFrame(`34 09 0004 "qos2" 0001 "a"`)
		c.expectFrame(`34 09 0004 "qos2" 0002 "b"`)
		c.send(answer(packet.PUBREC, 1))
		c.expectFrame("62 02 0001")
		c.close()
		c = r.back("qos2") // the first is past its PUBREL, the second is not
		c.expectFrame("62 02 0001")
		c.expectFrame(`3c 09 0004 "qos2" 0002 "b"`)
		c.send(answer(packet.PUBCOMP, 1), answer(packet.PUBREC, 2))
		c.expectFrame("62 02 0002")
		c.send(answer(packet.PUBCOMP, 2))
		c.silent()
		c.close()
		r.back("qos2").silent()
	}},
	{"MQTT-4.3.3-2", func(r *rig) {
		r.away("twice", 1, "unrelated")
		w := r.watch(packet.V311, "in2")
		c := r.back("twice")
		c.write(wire(r.t, `34 08 0003 "in2" 0005 "x"  3c 08 0003 "in2" 0005 "x"`))
		c.expectAck(packet.PUBREC, 5, 0)
		c.expectAck(packet.PUBREC, 5, 0)
		w.expectMessage("x")
		c.close()
		c = r.back("twice")
		c.write(wire(r.t, `3c 08 0003 "in2" 0005 "x"  62 02 0005`))
		c.expectAck(packet.PUBREC, 5, 0)
		c.expectAck(packet.PUBCOMP, 5, 0)
		w.silent()
		c.write(wire(r.t, `62 02 0005  34 08 0003 "in2" 0005 "y"`)) // PUBREL is answered always
		c.expectAck(packet.PUBCOMP, 5, 0)
		c.expectAck(packet.PUBREC, 5, 0)
		w.expectMessage("y")
	}},
	{"MQTT-4.4.0-1", func(r *rig) {
		r.away("resend", 2, "resend")
		c := r.back("resend")
		for i, qos := range []byte{1, 2, 2, 1} {
			r.publish("resend", fmt.Sprint(i+1), qos, false)
			c.expectMessage(fmt.Sprint(i + 1))
		}
		c.send(answer(packet.PUBREC, 2), answer(packet.PUBACK, 1))
		c.expectAck(packet.PUBREL, 2, 0)
		c.silent() // nothing again while the connection lasts
		for range 2 {
			c.close()
			c = r.back("resend")
			c.expectAck(packet.PUBREL, 2, 0)
			for i, qos := range []byte{2, 1} {
				if m := c.expectMessage(fmt.Sprint(i + 3)); m.PacketID != uint16(i+3) || m.QoS != qos || !m.Dup {
					r.t.Errorf("sent again as %+v", m)
				}
			}
			c.silent()
		}
	}},
	{"MQTT-4.5.0-1", func(r *rig) {
		r = start(r.t, r.cfg)
		r.away("absent", 2, "all/+")
		var here []*client
		for i, f := range []string{"all/#", "+/x", "all/x", "#"} {
			c, _ := r.connect(packet.V311, "")
			c.subscribe(byte(i%3), f)
			here = append(here, c)
		}
		r.publish("all/x", "x", 2, false)
		for i, c := range append(here, r.back("absent")) {
			if m := c.expectMessage("x"); i < 4 && m.QoS != byte(i%3) || i == 4 && m.QoS != 2 {
				r.t.Errorf("subscriber %d: %+v", i, m)
			}
		}
	}},
}

// mqtt3Order are the statements of the order of messages.
var mqtt3Order = []statement{
	{"MQTT-4.6.0-1", func(r *rig) {
		r.away("order", 2, "order")
		c := r.back("order")
		const n = 30
		for i := range n {
			r.publish("order", fmt.Sprint(i), byte(1+i%2), false)
			c.expectMessage(fmt.Sprint(i))
		}
		c.send(answer(packet.PUBACK, 1), answer(packet.PUBACK, 11)) // messages 0 and 10
		c.silent()
		c.close()
		c = r.back("order")
		for i := 1; i < n; i++ {
			if i != 10 {
				c.expectMessage(fmt.Sprint(i))
			}
		}
		c.silent()
	}},
	{"MQTT-4.6.0-2", func(r *rig) { r.answersInOrder(1, packet.PUBACK) }},
	{"MQTT-4.6.0-3", func(r *rig) { r.answersInOrder(2, packet.PUBREC) }},
	{"MQTT-4.6.0-4", func(r *rig) {
		for _, mod := range []func(*packet.Connect){func(*packet.Connect) {}, keep} {
			c, _ := r.connect(packet.V311, "release", mod)
			c.subscribe(2, "release")
			const n = 9
			for range n {
				r.publish("release", "x", 2, false)
			}
			ids := make([]uint16, n)
			for i := range ids {
				ids[i] = c.expectMessage("x").PacketID
			}
			for i := range ids {
				c.send(answer(packet.PUBREC, ids[i*4%n])) // 0 4 8 3 7 …
			}
			for i := range ids {
				c.expectAck(packet.PUBREL, ids[i*4%n], 0)
			}
			c.leave(0)
		}
	}},
	{"MQTT-4.6.0-5", func(r *rig) {
		w := r.watch(packet.V311, "each/+/#")
		for i := range 20 {
			for _, name := range []string{"each/a", "each/b/c", "each/d"} {
				r.publish(name, fmt.Sprint(i), 0, false)
			}
		}
		next := map[string]int{}
		for range 60 {
			m := expect[*packet.Publish](w)
			if string(m.Payload) != fmt.Sprint(next[string(m.Topic)]) {
				r.t.Fatalf("%s: got %s, want %d", m.Topic, m.Payload, next[string(m.Topic)])
			}
			next[string(m.Topic)]++
		}
	}},
	{"MQTT-4.6.0-6", func(r *rig) {
		r.away("in order", 2, "in/order")
		plain, _ := r.connect(packet.V311, "")
		plain.subscribe(2, "in/order")
		durable := r.back("in order")
		pub, _ := r.connect(packet.V311, "")
		const n = 60
		for i := range n {
			pub.send(message("in/order", fmt.Sprint(i), byte(i%3), uint16(i+1)))
		}
		for _, c := range []*client{plain, durable} {
			next := [3]int{0, 1, 2}
			for range n {
				m := expect[*packet.Publish](c)
				if string(m.Payload) != fmt.Sprint(next[m.QoS]) {
					r.t.Fatalf("QoS %d: got %s, want %d", m.QoS, m.Payload, next[m.QoS])
				}
				next[m.QoS] += 3
			}
			c.silent()
		}
	}},
}

// answersInOrder publishes messages of which only every other has to wait for
// the disk.
func (r *rig) answersInOrder(qos byte, want packet.Type) {
	r.t.Helper()
	r.away("slow", 2, "slow")
	c, _ := r.connect(packet.V311, "")
	const n = 40
	for i := range n {
		topic := "fast"
		if i%2 == 0 {
			topic = "slow"
		}
		c.send(message(topic, "x", qos, uint16(1+i*7)))
	}
	for i := range n {
		c.expectAck(want, uint16(1+i*7), 0)
	}
}

// mqtt3Topics are the statements of topics, errors and conformance.
var mqtt3Topics = []statement{
	{"MQTT-4.7.1-1", func(r *rig) {
		w := r.watch(packet.V311, "no/#")
		rejects(packet.V311,
			wrong{"# at the end", `30 06 0004 "no/#"`, 0},
			wrong{"+ alone in its level", `30 08 0006 "no/+/x"`, 0},
			wrong{"# within", `30 07 0005 "no/a#"`, 0},
		)(r)
		w.silent()
	}},
	{"MQTT-4.7.1-2", func(r *rig) {
		r.filters([]string{"#", "a/#", "/#", "+/#"}, []string{"a#", "a/b#", "a/#/b", "#/", "##", "#a"})
	}},
	{"MQTT-4.7.1-3", func(r *rig) {
		r.filters([]string{"+", "+/a", "a/+", "a/+/b", "/+", "+/", "+/+"}, []string{"a+", "+a", "a/b+/c", "++", "a/+b"})
	}},
	{"MQTT-4.7.2-1", func(r *rig) {
		r = start(r.t, r.cfg)
		w := r.watch(packet.V311, "#", "+/x", "+/#")
		mine := r.watch(packet.V311, "$mine/#")
		r.publish("$mine/x", "x", 0, false)
		mine.expectMessage("x")
		w.silent()
		r.publish("$mine/x", "kept", 0, true)
		r.watch(packet.V311, "#", "+/x").silent()
		r.watch(packet.V311, "$mine/+").expectMessage("kept")
	}},
	{"MQTT-4.7.3-1", func(r *rig) {
		rejects(packet.V311,
			wrong{"name", "30 02 0000", 0},
			wrong{"filter", "82 05 0001 0000 00", 0},
			wrong{"filter to leave", "a2 04 0001 0000", 0},
		)(r)
		c := r.watch(packet.V311, "z", "/")
		r.publish("z", "one character", 0, false)
		r.publish("/", "two empty levels", 0, false)
		c.expectMessage("one character")
		c.expectMessage("two empty levels")
	}},
	{"MQTT-4.7.3-2", rejects(packet.V311,
		wrong{"name", `30 05 0003 "a" 00 "b"`, 0},
		wrong{"filter", `82 06 0001 0001 00 00`, 0},
		wrong{"filter to leave", `a2 05 0001 0001 00`, 0},
	)},
	{"MQTT-4.7.3-3", func(r *rig) {
		long := strings.Repeat("long", 16384)[:65535]
		c := r.watch(packet.V311, long)
		pub, _ := r.connect(packet.V311, "")
		pub.send(message(long, "x", 1, 1))
		pub.expectAck(packet.PUBACK, 1, 0)
		if m := c.expectMessage("x"); string(m.Topic) != long {
			r.t.Errorf("a topic of %d bytes comes with %d", len(long), len(m.Topic))
		}
		c.unsubscribe(long)
	}},
	{"MQTT-4.7.3-4", func(r *rig) {
		names := []string{"case/ACCOUNTS", "case/Accounts", "case/Accounts/", "/case/Accounts", "case//Accounts",
			"case/ Accounts", "case/caf\u00e9", "case/cafe\u0301", "case/\u212b", "case/\u00c5", "case/\U0001f600", "case/."}
		for i, name := range names {
			c := r.watch(packet.V311, name)
			for k, other := range names {
				r.publish(other, fmt.Sprint(k), 0, false)
			}
			if m := c.expectMessage(fmt.Sprint(i)); string(m.Topic) != name {
				r.t.Errorf("%q comes as %q", name, m.Topic)
			}
			c.silent()
			c.close()
		}
	}},
	{"MQTT-4.8.0-1", rejects(packet.V311,
		wrong{"type 0", "00 00", 0},
		wrong{"type 15", "f0 00", 0},
		wrong{"CONNACK", "20 02 00 00", 0},
		wrong{"SUBACK", "90 03 0001 00", 0},
		wrong{"UNSUBACK", "b0 02 0001", 0},
		wrong{"PINGRESP", "d0 00", 0},
		wrong{"a length of five bytes", "30 80 80 80 80 01", 0},
		wrong{"PUBACK without an identifier", "40 00", 0},
		wrong{"PUBACK with more", "40 03 0001 00", 0},
		wrong{"PINGREQ with a body", "c0 01 00", 0},
	)},
	{"MQTT-7.0.0-2", func(r *rig) {
		c := r.dial(packet.V311)
		for _, step := range [][2]string{ // nothing but the standard, byte for byte
			{`10 10 0004 "MQTT" 04 02 003c 0004 "bare"`, "20 02 00 00"},
			{`82 0b 0001 0006 "bare/+" 01`, "90 03 0001 01"},
			{`31 0c 0006 "bare/a" "body"`, `30 0c 0006 "bare/a" "body"`},
			{`31 08 0006 "bare/a"`, `30 08 0006 "bare/a"`},
			{"c0 00", "d0 00"},
		} {
			c.write(wire(r.t, step[0]))
			c.expectFrame(step[1])
		}
		c.leave(0)
	}},
	{"MQTT-7.1.1-1", func(r *rig) {
		c := r.dial(packet.V311)
		for _, b := range wire(r.t, connect3(0x02, "tcp")+` 82 08 0001 0003 "tcp" 00 30 06 0003 "tcp" "x" c0 00`) {
			c.write([]byte{b}) // a stream, however it is cut
		}
		c.expectFrame("20 02 00 00")
		c.expectFrame("90 03 0001 00")
		c.expectFrame(`30 06 0003 "tcp" "x"`)
		c.expectFrame("d0 00")
	}},
}

// filters wants these filters granted and those refused, by a broker in which
// nothing is retained.
func (r *rig) filters(good, bad []string) {
	r.t.Helper()
	c, _ := start(r.t, r.cfg).connect(packet.V311, "")
	for _, f := range good {
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(f)}}})
		c.expectFrame("90 03 0001 00")
		c.unsubscribe(f)
	}
	for _, f := range bad {
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(f)}}})
		c.expectFrame("90 03 0001 80")
	}
}
