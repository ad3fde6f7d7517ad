package mqttcore

import (
	"fmt"
	"strings"

	"sluice/mqttcore/packet"
)

// filters5 wants these filters granted and those refused, by a broker in which
// nothing is retained.
func (r *rig) filters5(good, bad []string) {
	r.t.Helper()
	c, _ := start(r.t, r.cfg).connect(packet.V5, "")
	for _, f := range good {
		c.subscribe(0, f)
		c.unsubscribe(f)
	}
	for _, f := range bad {
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(f)}, {Topic: []byte("ok"), QoS: 1}}})
		if a := expect[*packet.Suback](c); len(a.Reasons) != 2 || a.Reasons[0] != packet.TopicFilterInvalid || a.Reasons[1] != 1 {
			r.t.Errorf("%q: %v", f, a.Reasons)
		}
		c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(f)}})
		if a := expect[*packet.Unsuback](c); len(a.Reasons) != 1 || a.Reasons[0] != packet.TopicFilterInvalid {
			r.t.Errorf("leaving %q: %v", f, a.Reasons)
		}
	}
}

// mqtt5Topics are the statements of topic names and filters.
var mqtt5Topics = []statement{
	{"MQTT-4.7.0-1", func(r *rig) {
		w := r.watch(packet.V5, "no/#")
		rejects(packet.V5,
			wrong{"# at the end", `30 07 0004 "no/#" 00`, packet.TopicNameInvalid},
			wrong{"+ alone in its level", `30 09 0006 "no/+/x" 00`, packet.TopicNameInvalid},
			wrong{"+ within a level", `32 0a 0005 "no/a+" 0001 00`, packet.TopicNameInvalid},
		)(r)
		w.silent()
	}},
	{"MQTT-4.7.1-1", func(r *rig) {
		r.filters5([]string{"#", "a/#", "/#", "+/#", "$share/g/#"}, []string{"a#", "a/b#", "a/#/b", "#/", "##", "#a", "$share/g/a#"})
	}},
	{"MQTT-4.7.1-2", func(r *rig) {
		r.filters5([]string{"+", "+/a", "a/+", "a/+/b", "/+", "+/", "+/+", "$share/g/+"}, []string{"a+", "+a", "a/b+/c", "++", "a/+b", "$share/g/+a"})
	}},
	{"MQTT-4.7.2-1", func(r *rig) {
		r = start(r.t, r.cfg)
		w := r.watch(packet.V5, "#", "+/x", "+/#", "$share/g/#", "$share/g/+/x")
		mine := r.watch(packet.V5, "$mine/#")
		r.publish("$mine/x", "x", 0, false)
		mine.expectMessage("x")
		w.silent()
		r.publish("$mine/x", "kept", 0, true)
		r.watch(packet.V5, "#", "+/x").silent()
		r.watch(packet.V5, "$mine/+").expectMessage("kept")
	}},
	{"MQTT-4.7.3-1", func(r *rig) {
		rejects(packet.V5,
			wrong{"name", "30 03 0000 00", packet.ProtocolError},
			wrong{"filter", "82 06 0001 00 0000 00", packet.ProtocolError},
			wrong{"filter to leave", "a2 05 0001 00 0000", packet.ProtocolError},
		)(r)
		c := r.watch(packet.V5, "z", "/")
		r.publish("z", "one character", 0, false)
		r.publish("/", "two empty levels", 0, false)
		c.expectMessage("one character")
		c.expectMessage("two empty levels")
	}},
	{"MQTT-4.7.3-2", rejects(packet.V5,
		wrong{"name", `30 06 0003 "a" 00 "b" 00`, packet.MalformedPacket},
		wrong{"filter", `82 07 0001 00 0001 00 00`, packet.MalformedPacket},
		wrong{"filter to leave", `a2 06 0001 00 0001 00`, packet.MalformedPacket},
	)},
	{"MQTT-4.7.3-3", func(r *rig) {
		long := strings.Repeat("long", 16384)[:65535]
		c := r.watch(packet.V5, long)
		pub, _ := r.connect(packet.V5, "")
		pub.send(message(long, "x", 1, 1))
		pub.expectAck(packet.PUBACK, 1, packet.Success)
		if m := c.expectMessage("x"); string(m.Topic) != long {
			r.t.Errorf("a topic of %d bytes comes with %d", len(long), len(m.Topic))
		}
	}},
	{"MQTT-4.7.3-4", func(r *rig) {
		names := []string{"norm/ACCOUNTS", "norm/Accounts", "norm/Accounts/", "/norm/Accounts", "norm//Accounts",
			"norm/ Accounts", "norm/caf\u00e9", "norm/cafe\u0301", "norm/\u212b", "norm/\u00c5", "norm/\U0001f600", "norm/."}
		for i, name := range names {
			c := r.watch(packet.V5, name)
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
}

// mqtt5Shares are the statements of shared subscriptions.
var mqtt5Shares = []statement{
	{"MQTT-4.8.2-1", func(r *rig) {
		r.filters5([]string{"$share/g/a", "$share/a very long name \u00e9/a", "$shared/a", "$share"}, []string{"$share//a", "$share/", "$share//"})
	}},
	{"MQTT-4.8.2-2", func(r *rig) {
		r.filters5([]string{"$share/g//", "$share/g/a/b", "$share/g/+/b"},
			[]string{"$share/+/a", "$share/#/a", "$share/g+/a", "$share/#g/a", "$share/g", "$share/g/"})
	}},
	{"MQTT-4.8.2-3", func(r *rig) {
		var group []*client
		for qos := byte(0); qos <= 2; qos++ {
			c, _ := r.connect(packet.V5, "")
			c.subscribe(qos, "$share/qos/share/qos")
			group = append(group, c)
		}
		for i := range 9 {
			r.publish("share/qos", fmt.Sprint(i), 2, false)
		}
		got := 0
		for qos, c := range group {
			for _, m := range c.drain() {
				if got++; m.QoS != byte(qos) {
					r.t.Errorf("granted QoS %d, got %d", qos, m.QoS)
				}
			}
		}
		if got != 9 {
			r.t.Errorf("%d messages, want 9", got)
		}
	}},
	{"MQTT-4.8.2-4", func(r *rig) {
		for _, released := range []bool{false, true} {
			c, other := r.begunShare("begun", released)
			c.close()
			c = r.back5("begun")
			if released {
				c.expectAck(packet.PUBREL, 1, packet.Success)
			} else {
				if m := c.expectMessage("x"); !m.Dup || m.PacketID != 1 {
					r.t.Errorf("got %+v", m)
				}
				c.send(answer(packet.PUBREC, 1))
				c.expectAck(packet.PUBREL, 1, packet.Success)
			}
			c.send(answer(packet.PUBCOMP, 1))
			c.silent()
			other.silent()
			other.leave(0)
		}
	}},
	{"MQTT-4.8.2-5", func(r *rig) {
		c, other := r.begunShare("ended", false)
		c.close()
		c, _ = r.connect(packet.V5, "ended") // a clean start ends the session
		c.silent()
		other.silent()
		r.publish("share/ended", "next", 2, false)
		other.expectMessage("next")
	}},
	{"MQTT-4.8.2-6", func(r *rig) {
		for qos := byte(1); qos <= 2; qos++ {
			for _, mod := range lasting {
				c, _ := r.connect(packet.V5, "no", mod)
				c.subscribe(qos, "$share/no/share/no")
				r.publish("share/no", "x", qos, false)
				m := c.expectMessage("x")
				other, _ := r.connect(packet.V5, "other", mod)
				other.subscribe(qos, "$share/no/share/no")
				a := &packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID, Reason: packet.QuotaExceeded}
				if qos == 2 {
					a.Type = packet.PUBREC
				}
				c.send(a)
				c.silent()
				other.silent()
				c.leave(0)
				other.silent()
				other.leave(0)
				for _, id := range []string{"no", "other"} {
					c, _ := r.connect(packet.V5, id) // for the next round
					c.leave(0)
				}
			}
		}
	}},
}

// begunShare gives a member of a shared subscription that has got a QoS 2
// message, and another who waits. With released PUBREL was sent, too.
func (r *rig) begunShare(id string, released bool) (c, other *client) {
	r.t.Helper()
	filter := "$share/" + id + "/share/" + id
	c, _ = r.connect(packet.V5, id, keep, func(p *packet.Connect) { p.CleanStart = true })
	c.subscribe(2, filter)
	r.publish("share/"+id, "x", 2, false)
	c.expectMessage("x")
	if released {
		c.send(answer(packet.PUBREC, 1))
		c.expectAck(packet.PUBREL, 1, packet.Success)
	}
	other, _ = r.connect(packet.V5, "")
	other.subscribe(2, filter)
	return c, other
}

// drain reads all messages that are on their way.
func (c *client) drain() (all []*packet.Publish) {
	c.t.Helper()
	c.send(&packet.Ping{Type: packet.PINGREQ})
	for {
		switch p := c.read().(type) {
		case *packet.Publish:
			all = append(all, p)
		case *packet.Ping:
			return all
		default:
			c.t.Fatalf("got %T %+v", p, p)
		}
	}
}
