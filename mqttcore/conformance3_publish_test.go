package mqttcore

import (
	"sluice/mqttcore/packet"
)

// mqtt3Publish are the statements of PUBLISH and its answers.
var mqtt3Publish = []statement{
	{"MQTT-3.3.1-1", func(r *rig) {
		r.away("dup", 2, "dup")
		c := r.back("dup")
		for qos := byte(1); qos <= 2; qos++ {
			r.publish("dup", "x", qos, false)
			if m := c.expectMessage("x"); m.Dup {
				r.t.Errorf("DUP on the first delivery of QoS %d", qos)
			}
		}
		c.close()
		c = r.back("dup")
		for qos := byte(1); qos <= 2; qos++ {
			if m := c.expectMessage("x"); !m.Dup || m.QoS != qos || m.PacketID != uint16(qos) {
				r.t.Errorf("sent again as %+v", m)
			}
		}
	}},
	{"MQTT-3.3.1-2", func(r *rig) {
		rejects(packet.V311, wrong{"DUP in QoS 0", `38 06 0004 "dup0"`, 0})(r)
		c, _ := r.connect(packet.V311, "")
		c.subscribe(0, "dup0")
		c.write(wire(r.t, `3a 08 0004 "dup0" 0001`)) // QoS 1 that goes out as QoS 0
		c.expectFrame(`30 06 0004 "dup0"`)
	}},
	{"MQTT-3.3.1-3", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.subscribe(2, "own dup")
		for _, first := range []string{"3a", "3c"} {
			c.write(wire(r.t, first+` 0c 0007 "own dup" 0009 "x"`))
			if m := c.expectMessage("x"); m.Dup {
				r.t.Error("DUP of the publisher comes through")
			}
			expect[*packet.Ack](c)
		}
	}},
	{"MQTT-3.3.1-4", rejects(packet.V311, wrong{"QoS 3", `36 05 0001 "a" 0001`, 0}, wrong{"QoS 3 with DUP", `3e 05 0001 "a" 0001`, 0})},
	{"MQTT-3.3.2-1", rejects(packet.V311,
		wrong{"no topic", "30 00", 0},
		wrong{"half a length", "30 01 00", 0},
		wrong{"cut short", `30 04 0003 "ab"`, 0},
		wrong{"not UTF-8", `30 03 0001 ff`, 0},
	)},
	{"MQTT-3.3.2-2", rejects(packet.V311,
		wrong{"#", `30 03 0001 "#"`, 0},
		wrong{"+", `30 05 0003 "a/+"`, 0},
		wrong{"within a level", `32 07 0003 "a+b" 0001`, 0},
	)},
	{"MQTT-3.3.2-3", func(r *rig) {
		c := r.watch(packet.V311, "match/+/x")
		for _, name := range []string{"match/a/y", "match/x", "match/a/b/x", "match/a/x", "match//x"} {
			r.publish(name, name, 0, false)
		}
		for _, want := range []string{"match/a/x", "match//x"} {
			if m := c.expectMessage(want); string(m.Topic) != want {
				r.t.Errorf("topic %q, want %q", m.Topic, want)
			}
		}
		c.silent()
	}},
	{"MQTT-3.3.4-1", func(r *rig) {
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `30 05 0003 "ack"`))
		c.silent()
		c.write(wire(r.t, `32 07 0003 "ack" 0007`))
		c.expectFrame("40 02 0007")
		c.write(wire(r.t, `34 07 0003 "ack" 0007`))
		c.expectFrame("50 02 0007")
	}},
	{"MQTT-3.3.5-1", func(r *rig) {
		for _, filters := range [][]packet.Filter{
			{{Topic: []byte("over/#"), QoS: 0}, {Topic: []byte("over/+"), QoS: 2}, {Topic: []byte("over/x"), QoS: 1}},
			{{Topic: []byte("over/x"), QoS: 2}, {Topic: []byte("over/+"), QoS: 0}},
		} {
			c, _ := r.connect(packet.V311, "")
			c.send(&packet.Subscribe{PacketID: 1, Filters: filters})
			expect[*packet.Suback](c)
			r.publish("over/x", "x", 2, false)
			if m := c.expectMessage("x"); m.QoS != 2 {
				r.t.Errorf("comes with QoS %d", m.QoS)
			}
			c.silent() // one copy
		}
	}},
	{"MQTT-3.3.5-2", func(r *rig) {
		w := r.watch(packet.V311, "$SYS/#")
		c, _ := r.connect(packet.V311, "")
		c.write(wire(r.t, `32 0a 0006 "$SYS/x" 0001  34 0a 0006 "$SYS/x" 0002  62 02 0002`))
		c.expectFrame("40 02 0001")
		c.expectFrame("50 02 0002")
		c.expectFrame("70 02 0002")
		w.silent()
	}},
	{"MQTT-3.6.1-1", func(r *rig) {
		for _, first := range []string{"60", "61", "63", "6a", "6f"} {
			c, _ := r.connect(packet.V311, "")
			c.write(wire(r.t, `34 05 0001 "a" 0001`))
			c.expectAck(packet.PUBREC, 1, 0)
			c.write(wire(r.t, first+" 02 0001"))
			c.over("PUBREL as "+first, 0)
		}
	}},
}

// putRetained publishes a retained message the way a client of 3.1.1 does.
func (r *rig) putRetained(topic, payload string, qos byte) {
	r.t.Helper()
	c, _ := r.connect(packet.V311, "")
	m := message(topic, payload, qos, 1)
	m.Retain = true
	c.send(m)
	c.silentAfter(qos)
	c.leave(0)
}

// silentAfter reads the answer to a message of this QoS, and nothing more.
func (c *client) silentAfter(qos byte) {
	c.t.Helper()
	switch qos {
	case 1:
		c.expectAck(packet.PUBACK, 1, 0)
	case 2:
		c.expectAck(packet.PUBREC, 1, 0)
		c.send(answer(packet.PUBREL, 1))
		c.expectAck(packet.PUBCOMP, 1, 0)
	}
	c.silent()
}

// mqtt3Retain are the statements of RETAIN.
var mqtt3Retain = []statement{
	{"MQTT-3.3.1-5", func(r *rig) {
		for qos := byte(0); qos <= 2; qos++ {
			r.putRetained("keep/qos", "x", qos)
			c, _ := r.connect(packet.V311, "")
			c.subscribe(2, "keep/qos")
			if m := c.expectMessage("x"); m.QoS != qos {
				r.t.Errorf("stored with QoS %d, comes with %d", qos, m.QoS)
			}
		}
	}},
	{"MQTT-3.3.1-6", func(r *rig) {
		r.putRetained("last/a", "old", 1)
		r.putRetained("last/a", "a", 1)
		r.putRetained("last", "parent", 1)
		r.putRetained("last/b/c", "deep", 0)
		r.putRetained("other/a", "no", 0)
		c := r.watch(packet.V311, "last/#")
		got := map[string]string{}
		for range 3 {
			m := expect[*packet.Publish](c)
			got[string(m.Topic)] = string(m.Payload)
		}
		c.silent()
		if got["last/a"] != "a" || got["last"] != "parent" || got["last/b/c"] != "deep" {
			r.t.Errorf("got %v", got)
		}
	}},
	{"MQTT-3.3.1-7", func(r *rig) {
		r.putRetained("zero", "one", 1)
		r.putRetained("zero", "two", 0)
		c, _ := r.connect(packet.V311, "")
		c.subscribe(2, "zero")
		if m := c.expectMessage("two"); m.QoS != 0 {
			r.t.Errorf("comes with QoS %d", m.QoS)
		}
		c.silent()
	}},
	{"MQTT-3.3.1-8", func(r *rig) {
		r.putRetained("flag", "x", 1)
		for qos := byte(0); qos <= 2; qos++ {
			for _, mod := range []func(*packet.Connect){func(*packet.Connect) {}, keep} {
				c, _ := r.connect(packet.V311, "flags", mod)
				c.subscribe(qos, "flag")
				if m := c.expectMessage("x"); !m.Retain || m.QoS != min(qos, 1) {
					r.t.Errorf("subscribed with QoS %d, got %+v", qos, m)
				}
				c.leave(0)
				c, _ = r.connect(packet.V311, "flags")
				c.leave(0)
			}
		}
	}},
	{"MQTT-3.3.1-9", func(r *rig) {
		r.away("had", 1, "had")
		durable := r.back("had")
		plain := r.watch(packet.V311, "had")
		r.putRetained("had", "x", 1)
		for _, c := range []*client{durable, plain} {
			if m := c.expectMessage("x"); m.Retain {
				r.t.Error("RETAIN is set")
			}
		}
	}},
	{"MQTT-3.3.1-10", func(r *rig) {
		r.putRetained("clear", "x", 1)
		w := r.watch(packet.V311, "clear")
		w.expectMessage("x")
		r.putRetained("clear", "", 1)
		if m := w.expectMessage(""); m.Retain {
			r.t.Error("RETAIN is set for a subscription that was there")
		}
		r.watch(packet.V311, "clear").silent()
	}},
	{"MQTT-3.3.1-11", func(r *rig) {
		for qos := byte(0); qos <= 2; qos++ {
			r.putRetained("empty", "", qos)
			r.watch(packet.V311, "empty").silent()
		}
	}},
	{"MQTT-3.3.1-12", func(r *rig) {
		r.publish("passing", "x", 1, false)
		r.watch(packet.V311, "passing").silent()
		r.putRetained("passing", "stays", 1)
		r.publish("passing", "goes by", 1, false)
		r.publish("passing", "", 1, false)
		r.watch(packet.V311, "passing").expectMessage("stays")
	}},
}
