package mqttcore

import (
	"bytes"
	"fmt"

	"sluice/mqttcore/packet"
)

// unsubscribe takes filters back and waits for the answer.
func (c *client) unsubscribe(filters ...string) {
	c.t.Helper()
	p := &packet.Unsubscribe{PacketID: 77}
	for _, f := range filters {
		p.Filters = append(p.Filters, []byte(f))
	}
	c.send(p)
	if a := expect[*packet.Unsuback](c); a.PacketID != 77 {
		c.t.Fatalf("UNSUBACK of %d", a.PacketID)
	}
}

// mqtt3Subscribe are the statements of SUBSCRIBE, SUBACK, UNSUBSCRIBE and
// UNSUBACK.
var mqtt3Subscribe = []statement{
	{"MQTT-3.8.1-1", func(r *rig) {
		for _, first := range []string{"80", "81", "83", "86", "8a"} {
			rejects(packet.V311, wrong{"SUBSCRIBE as " + first, first + ` 06 0001 0001 "a" 00`, 0})(r)
		}
	}},
	{"MQTT-3.8.3-1", rejects(packet.V311,
		wrong{"not UTF-8", `82 07 0001 0002 c328 00`, 0},
		wrong{"cut short", `82 06 0001 0003 "ab"`, 0},
		wrong{"second of two", `82 0b 0001 0001 "a" 00 0002 eda0 00`, 0},
	)},
	{"MQTT-3.8.3-2", func(r *rig) {
		c := r.watch(packet.V311, "wild/+/b", "wild/c/#")
		for _, name := range []string{"wild/a/b", "wild/c", "wild/c/d/e", "wild/d"} {
			r.publish(name, name, 0, false)
		}
		c.expectMessage("wild/a/b")
		c.expectMessage("wild/c")
		c.expectMessage("wild/c/d/e")
		c.silent()
	}},
	{"MQTT-3.8.3-3", rejects(packet.V311,
		wrong{"no filter", "82 02 0001", 0},
		wrong{"filter without QoS", `82 05 0001 0001 "a"`, 0},
	)},
	{"MQTT-3.8.3-4", func(r *rig) {
		for _, options := range []string{"03", "04", "08", "10", "20", "40", "81"} {
			rejects(packet.V311, wrong{"options " + options, `82 06 0001 0001 "a" ` + options, 0})(r)
		}
	}},
	{"MQTT-3.8.4-1", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `82 06 0001 0001 "a" 00`))
		c.expectFrame("90 03 0001 00")
	}},
	{"MQTT-3.8.4-2", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `82 06 0102 0001 "a" 00  82 06 ff00 0001 "a" 01`))
		c.expectFrame("90 03 0102 00")
		c.expectFrame("90 03 ff00 01")
	}},
	{"MQTT-3.8.4-3", func(r *rig) {
		r.putRetained("again/r", "kept", 1)
		for _, mod := range []func(*packet.Connect){func(*packet.Connect) {}, keep} {
			c, _ := r.connect(packet.V311, "again", mod)
			c.subscribe(0, "again/+")
			if m := c.expectMessage("kept"); m.QoS != 0 || !m.Retain {
				r.t.Errorf("first: %+v", m)
			}
			pub, _ := r.connect(packet.V311, "")
			const n = 50
			for i := range n { // while the subscription is replaced
				pub.send(message("again/x", fmt.Sprint(i), 0, 0))
			}
			c.send(&packet.Subscribe{PacketID: 9, Filters: []packet.Filter{{Topic: []byte("again/+"), QoS: 2}}})
			pub.silent()
			suback, kept, next := 0, 0, 0
			for next < n || suback == 0 || kept == 0 {
				switch p := c.read().(type) {
				case *packet.Suback:
					suback++
				case *packet.Publish:
					if string(p.Payload) == "kept" && p.Retain && p.QoS == 1 {
						kept++
					} else if string(p.Payload) != fmt.Sprint(next) {
						r.t.Fatalf("got %q, want %d", p.Payload, next)
					} else {
						next++
					}
				default:
					r.t.Fatalf("got %T", p)
				}
			}
			c.silent()
			r.publish("again/x", "one copy", 2, false)
			if m := c.expectMessage("one copy"); m.QoS != 2 {
				r.t.Errorf("the new QoS is not in force: %+v", m)
			}
			c.silent()
			c.leave(0)
		}
	}},
	{"MQTT-3.8.4-4", func(r *rig) {
		r.putRetained("many/a", "a", 1)
		c, _ := r.connect(packet.V311, "")
		c.send(&packet.Subscribe{PacketID: 5, Filters: []packet.Filter{
			{Topic: []byte("many/a"), QoS: 1}, {Topic: []byte("many/+"), QoS: 0}, {Topic: []byte("many/a"), QoS: 2}}})
		if a := expect[*packet.Suback](c); !bytes.Equal(codes(a), []byte{1, 0, 2}) {
			r.t.Errorf("codes % x", codes(a))
		}
		for _, qos := range []byte{1, 0, 1} { // as three packets would have it
			if m := c.expectMessage("a"); m.QoS != qos || !m.Retain {
				r.t.Errorf("retained: %+v", m)
			}
		}
		c.silent()
		r.publish("many/a", "x", 2, false)
		if m := c.expectMessage("x"); m.QoS != 2 {
			r.t.Errorf("got %+v", m)
		}
		c.silent()
	}},
	{"MQTT-3.8.4-5", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `82 0e 0001 0001 "a" 02 0001 "b" 00 0001 "c" 01`))
		c.expectFrame("90 05 0001 02 00 01")
	}},
	{"MQTT-3.8.4-6", func(r *rig) {
		for granted := byte(0); granted <= 2; granted++ {
			c, _ := r.connect(packet.V311, "")
			c.subscribe(granted, "lower")
			for qos := byte(0); qos <= 2; qos++ {
				r.publish("lower", "x", qos, false)
				if m := c.expectMessage("x"); m.QoS != min(qos, granted) {
					r.t.Errorf("published with QoS %d, granted %d, comes with %d", qos, granted, m.QoS)
				}
			}
			c.silent()
			c.close()
		}
	}},
	{"MQTT-3.9.3-1", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `82 13 0001 0001 "a" 02 0002 "b#" 00 0001 "c" 01 0001 "d" 00`))
		c.expectFrame("90 06 0001 02 80 01 00")
	}},
	{"MQTT-3.9.3-2", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		for _, f := range []string{"#/a", "a#", "+a", "a/+b", "$share//x", "$share/+/x", "$share/g"} {
			c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(f), QoS: 2}}})
			c.expectFrame("90 03 0001 80")
		}
	}},
	{"MQTT-3.10.1-1", func(r *rig) {
		for _, first := range []string{"a0", "a1", "a3", "a6", "aa"} {
			rejects(packet.V311, wrong{"UNSUBSCRIBE as " + first, first + ` 05 0001 0001 "a"`, 0})(r)
		}
	}},
	{"MQTT-3.10.3-1", rejects(packet.V311,
		wrong{"not UTF-8", `a2 06 0001 0002 c328`, 0},
		wrong{"cut short", `a2 06 0001 0003 "ab"`, 0},
	)},
	{"MQTT-3.10.3-2", rejects(packet.V311, wrong{"no filter", "a2 02 0001", 0})},
	{"MQTT-3.10.4-1", func(r *rig) {
		c := r.watch(packet.V311, "char/+", "char/a/b")
		c.unsubscribe("char/#", "char/a", "Char/+", "char/+/", "char/A/b")
		r.publish("char/a", "1", 0, false)
		r.publish("char/a/b", "2", 0, false)
		c.expectMessage("1")
		c.expectMessage("2")
		c.unsubscribe("char/+")
		r.publish("char/a", "3", 0, false)
		r.publish("char/a/b", "4", 0, false)
		c.expectMessage("4")
	}},
	{"MQTT-3.10.4-2", func(r *rig) {
		for _, mod := range []func(*packet.Connect){func(*packet.Connect) {}, keep} {
			c, _ := r.connect(packet.V311, "stop", mod)
			c.subscribe(1, "stop/#")
			c.unsubscribe("stop/#")
			r.publish("stop/x", "x", 1, false)
			c.silent()
			c.leave(0)
		}
		r.publish("stop/x", "x", 1, false)
		r.back("stop").silent()
	}},
	{"MQTT-3.10.4-3", func(r *rig) {
		for _, mod := range []func(*packet.Connect){func(*packet.Connect) {}, keep} {
			c, _ := r.connect(packet.V311, "begun", mod)
			c.subscribe(2, "begun")
			r.publish("begun", "1", 1, false)
			r.publish("begun", "2", 2, false)
			one, two := c.expectMessage("1"), c.expectMessage("2")
			c.unsubscribe("begun")
			c.send(answer(packet.PUBACK, one.PacketID), answer(packet.PUBREC, two.PacketID))
			c.expectAck(packet.PUBREL, two.PacketID, 0)
			c.send(answer(packet.PUBCOMP, two.PacketID))
			c.silent()
			c.leave(0)
		}
		c := r.back("begun")
		c.subscribe(2, "begun")
		r.publish("begun", "3", 2, false)
		m := c.expectMessage("3")
		c.unsubscribe("begun")
		c.close()
		c = r.back("begun")
		if again := c.expectMessage("3"); !again.Dup || again.PacketID != m.PacketID {
			r.t.Errorf("after the connection was lost: %+v", again)
		}
	}},
	{"MQTT-3.10.4-4", func(r *rig) {
		c := r.watch(packet.V311, "a")
		c.write(wire(r.t, `a2 05 0102 0001 "a"`))
		c.expectFrame("b0 02 0102")
	}},
	{"MQTT-3.10.4-5", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `a2 05 0001 0001 "a"  a2 06 0002 0002 "b#"`))
		c.expectFrame("b0 02 0001")
		c.expectFrame("b0 02 0002")
	}},
	{"MQTT-3.10.4-6", func(r *rig) {
		c := r.watch(packet.V311, "each/a", "each/b", "each/c")
		c.write(wire(r.t, `a2 1a 0001 0006 "each/a" 0006 "each/x" 0006 "each/c"`))
		c.expectFrame("b0 02 0001")
		for _, name := range []string{"a", "b", "c"} {
			r.publish("each/"+name, name, 0, false)
		}
		c.expectMessage("b")
		c.silent()
	}},
}

// codes are the codes of a SUBACK.
func codes(a *packet.Suback) (b []byte) {
	for _, reason := range a.Reasons {
		b = append(b, byte(reason))
	}
	return b
}

// mqtt3Disconnect are the statements of PINGREQ and DISCONNECT.
var mqtt3Disconnect = []statement{
	{"MQTT-3.12.4-1", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, "c000 c000"))
		c.expectFrame("d0 00")
		c.expectFrame("d0 00")
	}},
	{"MQTT-3.14.1-1", func(r *rig) {
		w := r.watch(packet.V311, "will/flags")
		for _, bytes := range []string{"e1 00", "e2 00", "e8 00", "e0 01 00"} {
			c := r.will3("flags", 0, false)
			c.write(wire(r.t, bytes))
			c.over("DISCONNECT as "+bytes, 0)
			w.expectWill("flags") // it was no DISCONNECT
		}
	}},
	{"MQTT-3.14.4-3", func(r *rig) {
		w := r.watch(packet.V311, "will/good", "will/sign")
		r.will3("good", 1, true).leave(0)
		r.will3("sign", 0, false).close()
		w.expectWill("sign")
		w.silent()
	}},
}
