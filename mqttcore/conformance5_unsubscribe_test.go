package mqttcore

import (
	"fmt"
	"slices"

	"sluice/mqttcore/packet"
)

// unsubscribe5 is about UNSUBSCRIBE and UNSUBACK (3.10, 3.11).
var unsubscribe5 = []statement{
	{"MQTT-3.10.1-1", rejects(packet.V5,
		wrong{"flags 0", `a0: 00 01 00 00 01 "a"`, packet.MalformedPacket},
		wrong{"flags 3", `a3: 00 01 00 00 01 "a"`, packet.MalformedPacket},
		wrong{"DUP", `aa: 00 01 00 00 01 "a"`, packet.MalformedPacket},
	)},
	{"MQTT-3.10.3-1", rejects(packet.V5,
		wrong{"not UTF-8", `a2: 00 01 00 00 02 ff fe`, packet.MalformedPacket},
		wrong{"the second", `a2: 00 01 00 00 01 "a" 00 02 ff fe`, packet.MalformedPacket},
		wrong{"cut short", "@unsubscribe-5-filter-cut", packet.MalformedPacket},
	)},
	{"MQTT-3.10.3-2", rejects(packet.V5, wrong{"no filter", "@unsubscribe-5-no-filter", packet.ProtocolError})},
	{"MQTT-3.10.4-1", func(r *rig) {
		for _, durable := range []bool{false, true} {
			c := r.member(durable)
			topic := r.name() + "/a"
			filters := []string{topic, r.name() + "/+", r.name() + "/#", "$share/g/" + topic}
			c.subscribe(1, filters...)
			// What only means the same, or nearly, is another filter.
			for _, f := range []string{r.name() + "/A", topic + "/", r.name() + "/+/#", "$share/h/" + topic, "#", "+/a"} {
				if a := c.drop(1, f); a.Reasons[0] != packet.NoSubscriptionExisted {
					r.t.Errorf("%q: %v", f, a.Reasons)
				}
			}
			copies := 2 // one of the first three together, one of the share
			for i, f := range filters {
				r.publish(topic, "x", 1, false)
				for range copies {
					c.send(answer(packet.PUBACK, c.expectMessage("x").PacketID))
				}
				c.silent()
				if a := c.drop(1, f); a.Reasons[0] != packet.Success {
					r.t.Errorf("%q: %v", f, a.Reasons)
				}
				if i == 2 {
					copies = 1
				}
			}
			r.publish(topic, "x", 1, false)
			c.silent()
		}
	}},
	{"MQTT-3.10.4-2", func(r *rig) {
		for _, durable := range []bool{false, true} {
			for qos := range byte(3) {
				c := r.member(durable)
				c.subscribe(qos, r.name()+"/#")
				c.subscribe(qos, r.name()+"/b")
				c.drop(1, r.name()+"/#")
				r.publish(r.name()+"/a", "a", 2, false)
				r.publish(r.name()+"/b", "b", 2, false)
				c.expectMessage("b")
				c.silent()
				if !durable {
					continue
				}
				c.close()
				r.gone(r.name() + "-member")
				r.publish(r.name()+"/a", "away", 2, false)
				c, _ = r.connect(packet.V5, r.name()+"-member", keep)
				if qos > 0 {
					c.expectMessage("b") // it was not acknowledged
				}
				c.silent()
			}
		}
	}},
	{"MQTT-3.10.4-3", func(r *rig) {
		for _, durable := range []bool{false, true} {
			c := r.member(durable)
			c.subscribe(2, r.name())
			r.publish(r.name(), "1", 1, false)
			r.publish(r.name(), "2", 2, false)
			one, two := c.expectMessage("1"), c.expectMessage("2")
			c.drop(1, r.name())
			if durable { // it is sent again, too
				c.close()
				c, _ = r.connect(packet.V5, r.name()+"-member", keep)
				c.expectMessage("1")
				if p := c.expectMessage("2"); !p.Dup || p.PacketID != two.PacketID {
					r.t.Errorf("resent as %+v", p)
				}
			}
			c.send(answer(packet.PUBACK, one.PacketID), answer(packet.PUBREC, two.PacketID))
			c.expectAck(packet.PUBREL, two.PacketID, packet.Success)
			c.send(answer(packet.PUBCOMP, two.PacketID))
			c.silent()
		}
	}},
	{"MQTT-3.10.4-4", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		for _, f := range []string{"never", "#", "$share/g/x", "a/#/b", "$share//x", "$SYS/#"} {
			c.drop(7, f)
			c.silent()
		}
	}},
	{"MQTT-3.10.4-5", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		for _, pid := range []uint16{1, 256, 65535, 1} {
			if a := c.drop(pid, "never"); a.PacketID != pid || !slices.Equal(a.Reasons, []packet.Reason{packet.NoSubscriptionExisted}) {
				r.t.Errorf("UNSUBACK %d %v, want %d", a.PacketID, a.Reasons, pid)
			}
		}
	}},
	{"MQTT-3.10.4-6", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		c.subscribe(0, r.name(), r.name()+"/#", r.name()+"/a")
		a := c.drop(3, r.name(), r.name()+"/b", r.name(), r.name()+"/#")
		want := []packet.Reason{packet.Success, packet.NoSubscriptionExisted, packet.NoSubscriptionExisted, packet.Success}
		if !slices.Equal(a.Reasons, want) {
			r.t.Errorf("got %v, want %v", a.Reasons, want)
		}
		c.silent() // no further UNSUBACK
		r.publish(r.name(), "gone", 0, false)
		r.publish(r.name()+"/a", "left", 0, false)
		c.expectMessage("left")
	}},
	{"MQTT-3.11.2-1", subackFits},
	{"MQTT-3.11.2-2", subackFits},
	{"MQTT-3.11.3-1", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		var filters []string
		var want []packet.Reason
		for i := range 40 {
			f := fmt.Sprint(r.name(), "/", i)
			switch i * 7 % 3 {
			case 0:
				c.subscribe(1, f)
				want = append(want, packet.Success)
			case 1:
				want = append(want, packet.NoSubscriptionExisted)
			default:
				f += "/#/x"
				want = append(want, packet.TopicFilterInvalid)
			}
			filters = append(filters, f)
		}
		if a := c.drop(1, filters...); !slices.Equal(a.Reasons, want) {
			r.t.Errorf("got  %v\nwant %v", a.Reasons, want)
		}
	}},
	{"MQTT-3.11.3-2", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		c.subscribe(0, r.name())
		for _, reason := range c.drop(1, r.name(), r.name(), "a#", "$share//x", "+").Reasons {
			if !reason.In(packet.UNSUBACK) {
				r.t.Errorf("%v does not belong into UNSUBACK", reason)
			}
		}
	}},
}

// drop unsubscribes and gives the answer.
func (c *client) drop(pid uint16, filters ...string) *packet.Unsuback {
	c.t.Helper()
	p := &packet.Unsubscribe{PacketID: pid}
	for _, f := range filters {
		p.Filters = append(p.Filters, []byte(f))
	}
	c.send(p)
	a := expect[*packet.Unsuback](c)
	if len(a.Reasons) != len(filters) {
		c.t.Fatalf("%d reasons for %d filters", len(a.Reasons), len(filters))
	}
	return a
}
