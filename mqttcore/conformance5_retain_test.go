package mqttcore

import (
	"fmt"

	"sluice/mqttcore/packet"
)

// retain5 is about the flags of PUBLISH (3.3.1).
var retain5 = []statement{
	{"MQTT-3.3.1-1", func(r *rig) {
		c, _ := r.connect(packet.V5, r.name(), keep)
		c.subscribe(2, r.name())
		var first []*packet.Publish
		for i := range 4 {
			r.publish(r.name(), fmt.Sprint(i), byte(1+i%2), false)
			p := c.expectMessage(fmt.Sprint(i))
			if p.Dup {
				r.t.Errorf("message %d: DUP at first", i)
			}
			first = append(first, p)
		}
		for range 2 {
			c.close()
			c, _ = r.connect(packet.V5, r.name(), keep)
			for i, was := range first {
				if p := c.expectMessage(fmt.Sprint(i)); !p.Dup || p.PacketID != was.PacketID || p.QoS != was.QoS {
					r.t.Errorf("message %d resent as %+v", i, p)
				}
			}
		}
	}},
	{"MQTT-3.3.1-2", func(r *rig) {
		rejects(packet.V5, wrong{"DUP at QoS 0", "@publish-5-dup-qos-0", packet.MalformedPacket})(r)
		c := r.watch(packet.V5, "3.3.1-2")
		c.write(wire(r.t, `3a: 00 07 "3.3.1-2" 00 01 00 "x"`))
		c.expectFrame(`30: 00 07 "3.3.1-2" 00 "x"`)
		c.expectFrame(`40: 00 01`)
	}},
	{"MQTT-3.3.1-3", func(r *rig) {
		for _, durable := range []bool{false, true} {
			c := r.member(durable)
			c.subscribe(2, r.name())
			from, _ := r.connect(packet.V5, "")
			for qos := byte(1); qos <= 2; qos++ {
				p := message(r.name(), "x", qos, 5)
				p.Dup = true
				from.send(p)
				if p := c.expectMessage("x"); p.Dup {
					r.t.Errorf("QoS %d: DUP is passed on", qos)
				}
			}
		}
	}},
	{"MQTT-3.3.1-4", rejects(packet.V5,
		wrong{"QoS 3", "@publish-5-qos-3", packet.MalformedPacket},
		wrong{"QoS 3 with all flags", `3f: 00 01 "a" 00 01 00`, packet.MalformedPacket},
	)},
	{"MQTT-3.3.1-5", func(r *rig) {
		for _, from := range versions {
			p, _ := r.connect(from, r.name()+from.String())
			for qos := range byte(3) {
				m := message(r.name(), fmt.Sprint(qos), qos, uint16(1+qos))
				m.Retain = true
				p.send(m, &packet.Ping{Type: packet.PINGREQ})
				for {
					if _, ok := p.read().(*packet.Ping); ok {
						break
					}
				}
				c, _ := r.connect(packet.V5, "")
				c.subscribe(2, r.name())
				if got := c.expectMessage(fmt.Sprint(qos)); got.QoS != qos || !got.Retain {
					r.t.Errorf("v%v: retained at QoS %d, RETAIN %v, want QoS %d", from, got.QoS, got.Retain, qos)
				}
			}
		}
	}},
	{"MQTT-3.3.1-6", func(r *rig) {
		r.publish(r.name(), "old", 1, true)
		c := r.watch(packet.V5, r.name())
		c.expectMessage("old")
		from, _ := r.connect(packet.V5, "")
		m := message(r.name(), "", 1, 1)
		m.Retain = true
		from.send(m)
		from.expectAck(packet.PUBACK, 1, packet.Success)
		if p := c.expectMessage(""); p.Retain {
			r.t.Error("RETAIN is set")
		}
		r.watch(packet.V5, r.name()).silent()
	}},
	{"MQTT-3.3.1-7", func(r *rig) {
		r.publish(r.name(), "", 1, true)
		for _, filter := range []string{r.name(), r.name() + "/#", "+"} {
			c := r.watch(packet.V5, filter)
			c.send(&packet.Ping{Type: packet.PINGREQ})
			for {
				p := c.read()
				if m, ok := p.(*packet.Publish); ok && string(m.Topic) == r.name() {
					r.t.Errorf("%s: got %+v", filter, m)
				} else if !ok {
					break
				}
			}
		}
	}},
	{"MQTT-3.3.1-8", func(r *rig) {
		r.publish(r.name(), "not", 1, false)
		r.watch(packet.V5, r.name()).silent()
		r.publish(r.name(), "kept", 1, true)
		r.publish(r.name(), "other", 1, false)
		r.publish(r.name(), "", 1, false)
		r.watch(packet.V5, r.name()).expectMessage("kept")
	}},
	{"MQTT-3.3.1-9", func(r *rig) {
		c := retainHandling(r, 0, 0)
		expectRetained(c, r.name(), 12)
		c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/#")}, 0)
		expectRetained(c, r.name(), 12) // again
		c.silent()
		// The parent level and + match too.
		c, _ = r.connect(packet.V5, "")
		c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/0/#")}, 0)
		c.expectMessage("0")
		c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/+")}, 0)
		expectRetained(c, r.name(), 12)
		c.silent()
	}},
	{"MQTT-3.3.1-10", func(r *rig) {
		c := retainHandling(r, 1, 0)
		expectRetained(c, r.name(), 12)
		f := packet.Filter{Topic: []byte(r.name() + "/#"), RetainHandling: 1}
		c.subscribeWith(f, 0)
		f.QoS = 1
		c.subscribeWith(f, 8)
		c.silent() // it was there before
		c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{f.Topic}})
		expect[*packet.Unsuback](c)
		c.subscribeWith(f, 0)
		expectRetained(c, r.name(), 12)
		c.silent()
		// It was there in the session that went on.
		c, _ = r.connect(packet.V5, r.name(), keep)
		f.QoS = 0
		c.subscribeWith(f, 0)
		expectRetained(c, r.name(), 12)
		c.close()
		c, _ = r.connect(packet.V5, r.name(), keep)
		c.subscribeWith(f, 0)
		c.silent()
	}},
	{"MQTT-3.3.1-11", func(r *rig) {
		c := retainHandling(r, 2, 1)
		c.silent()
		r.publish(r.name()+"/0", "live", 0, true)
		c.expectMessage("live")
	}},
	{"MQTT-3.3.1-12", func(r *rig) {
		for _, durable := range []bool{false, true} {
			for qos := range byte(3) {
				c := r.member(durable)
				c.subscribeWith(packet.Filter{Topic: []byte(r.name()), QoS: qos, RetainHandling: 2}, 0)
				for _, retain := range []bool{true, false} {
					r.publish(r.name(), "x", 2, retain)
					if p := c.expectMessage("x"); p.Retain || p.QoS != qos {
						r.t.Errorf("got %+v", p)
					}
				}
			}
		}
	}},
	{"MQTT-3.3.1-13", func(r *rig) {
		for _, durable := range []bool{false, true} {
			for qos := range byte(3) {
				c := r.member(durable)
				c.subscribeWith(packet.Filter{Topic: []byte(r.name()), QoS: qos, RetainHandling: 2, RetainAsPublished: true}, 0)
				for _, retain := range []bool{true, false} {
					r.publish(r.name(), "x", 2, retain)
					if p := c.expectMessage("x"); p.Retain != retain || p.QoS != qos {
						r.t.Errorf("published with RETAIN %v, got %+v", retain, p)
					}
				}
			}
		}
	}},
}

// retainHandling subscribes to 12 retained messages with this Retain Handling.
func retainHandling(r *rig, handling, qos byte) *client {
	for i := range 12 {
		r.publish(fmt.Sprint(r.name(), "/", i), fmt.Sprint(i), 1, true)
	}
	c, _ := r.connect(packet.V5, "")
	c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/#"), QoS: qos, RetainHandling: handling}, 0)
	return c
}

// expectRetained wants the retained messages 0 to n-1 below a topic, in any
// order, each once and with RETAIN.
func expectRetained(c *client, topic string, n int) {
	c.t.Helper()
	seen := map[string]bool{}
	for range n {
		p := expect[*packet.Publish](c)
		if !p.Retain || seen[string(p.Topic)] || string(p.Topic) != topic+"/"+string(p.Payload) {
			c.t.Errorf("got %s = %s, RETAIN %v, after %v", p.Topic, p.Payload, p.Retain, seen)
		}
		seen[string(p.Topic)] = true
		if p.QoS == 1 {
			c.send(answer(packet.PUBACK, p.PacketID))
		}
	}
}
