package mqttcore

import (
	"sluice/mqttcore/packet"
)

// will3 connects a client of 3.1.1 with a will on the topic of its name.
func (r *rig) will3(id string, qos byte, retain bool) *client {
	r.t.Helper()
	c, _ := r.connect(packet.V311, id, func(p *packet.Connect) {
		p.Will = &packet.Will{Topic: "will/" + id, Payload: []byte("gone"), QoS: qos, Retain: retain}
	})
	return c
}

// expectWill wants the will of the client of this name next.
func (c *client) expectWill(id string) *packet.Publish {
	c.t.Helper()
	m := c.expectMessage("gone")
	if string(m.Topic) != "will/"+id {
		c.t.Errorf("will on %q, want that of %s", m.Topic, id)
	}
	return m
}

// mqtt3Will are the statements of the will.
var mqtt3Will = []statement{
	{"MQTT-3.1.2-8", func(r *rig) {
		w := r.watch(packet.V311, "will/end")
		for about, end := range map[string]func(*client){
			"the network connection closes": func(c *client) { c.close() },
			"a second CONNECT":              func(c *client) { c.write(wire(r.t, connect3(0x02, "end"))) },
			"a malformed packet":            func(c *client) { c.write(wire(r.t, "36 05 0001 41 0001")) },
			"a packet of servers":           func(c *client) { c.write(wire(r.t, "d0 00")) },
			"taken over":                    func(*client) { r.connect(packet.V311, "end") },
		} {
			end(r.will3("end", 0, false))
			w.expectWill("end")
			w.silent()
			if r.t.Failed() {
				r.t.Fatal(about)
			}
		}
	}},
	{"MQTT-3.1.2-9", func(r *rig) {
		w, _ := r.connect(packet.V311, "")
		w.subscribe(2, "will/fields")
		for qos := byte(0); qos <= 2; qos++ {
			r.will3("fields", qos, qos == 1).close()
			if m := w.expectWill("fields"); m.QoS != qos {
				r.t.Errorf("will of QoS %d comes with %d", qos, m.QoS)
			}
		}
		late, _ := r.connect(packet.V311, "")
		late.subscribe(2, "will/fields")
		if m := late.expectWill("fields"); !m.Retain || m.QoS != 1 {
			r.t.Errorf("retained will: %+v", m)
		}
		refuses(packet.V311,
			wrong{"no will", connect3(0x06, "n"), 0},
			wrong{"no will message", connect3(0x06, "n", "w"), 0},
		)(r)
	}},
	{"MQTT-3.1.2-10", func(r *rig) {
		w := r.watch(packet.V311, "will/once", "will/end of once")
		r.will3("once", 0, false).leave(0)
		r.will3("once", 0, false).close()
		w.expectWill("once")
		w.silent()
		c, _ := r.connect(packet.V311, "once", keep, func(p *packet.Connect) {
			p.Will = &packet.Will{Topic: "will/once", Payload: []byte("of the session")}
		})
		c.close()
		w.expectMessage("of the session")
		c = r.back("once") // without a will
		c.close()
		r.will3("end of once", 0, false).close()
		w.expectWill("end of once")
		w.silent()
	}},
	{"MQTT-3.1.2-11", refuses(packet.V311,
		wrong{"QoS and RETAIN", connect3(0x2a, "n"), 0},
		wrong{"QoS, RETAIN and a will", connect3(0x2a, "n", "w", "m"), 0},
		wrong{"a will", connect3(0x02, "n", "w", "m"), 0},
	)},
	{"MQTT-3.1.2-12", func(r *rig) {
		r = start(r.t, r.cfg)
		w := r.watch(packet.V311, "#")
		c, _ := r.connect(packet.V311, "no will")
		c.close()
		await(r.t, "the client is gone", func() bool { return r.Stats().Connected == 1 })
		w.silent()
	}},
	{"MQTT-3.1.2-13", refuses(packet.V311,
		wrong{"QoS 1", connect3(0x0a, "n"), 0},
		wrong{"QoS 2", connect3(0x12, "n"), 0},
	)},
	{"MQTT-3.1.2-14", refuses(packet.V311, wrong{"QoS 3", connect3(0x1e, "n", "w", "m"), 0})},
	{"MQTT-3.1.2-15", refuses(packet.V311, wrong{"RETAIN", connect3(0x22, "n"), 0})},
	{"MQTT-3.1.2-16", func(r *rig) {
		w := r.watch(packet.V311, "will/passing")
		r.will3("passing", 1, false).close()
		w.expectMessage("gone")
		r.watch(packet.V311, "will/passing").silent()
	}},
	{"MQTT-3.1.2-17", func(r *rig) {
		w := r.watch(packet.V311, "will/lasting")
		r.will3("lasting", 1, true).close()
		if m := w.expectMessage("gone"); m.Retain {
			r.t.Error("RETAIN towards a subscription that was there")
		}
		if m := r.watch(packet.V311, "will/lasting").expectMessage("gone"); !m.Retain {
			r.t.Error("not retained")
		}
	}},
	{"MQTT-3.1.3-10", refuses(packet.V311,
		wrong{"not UTF-8", connect3(0x06, "n", "\xc3\x28", "m"), 0},
		wrong{"U+0000", connect3(0x06, "n", "a\x00", "m"), 0},
		wrong{"a wildcard", connect3(0x06, "n", "a/#", "m"), 0},
	)},
}
