package mqttcore

import (
	"fmt"
	"slices"

	"sluice/mqttcore/packet"
)

// delivery5 is about what PUBLISH leads to (3.3.4).
var delivery5 = []statement{
	{"MQTT-3.3.4-1", func(r *rig) {
		watch := r.watch(packet.V5, r.name())
		c, _ := r.connect(packet.V5, "")
		c.send(message(r.name(), "0", 0, 0))
		c.silent()
		watch.expectMessage("0")
		c.send(message(r.name(), "1", 1, 11))
		c.expectAck(packet.PUBACK, 11, packet.Success)
		watch.expectMessage("1")
		c.send(message(r.name(), "2", 2, 12))
		c.expectAck(packet.PUBREC, 12, packet.Success)
		watch.expectMessage("2") // before PUBREL
		c.send(answer(packet.PUBREL, 12))
		c.expectAck(packet.PUBCOMP, 12, packet.Success)
		c.silent()
		watch.silent()
	}},
	{"MQTT-3.3.4-2", func(r *rig) {
		for _, durable := range []bool{false, true} {
			c := r.member(durable)
			// Whichever comes first, the highest holds.
			for i, qos := range []byte{1, 2, 0} {
				filter := []string{r.name() + "/+", r.name() + "/#", r.name() + "/a"}[i]
				c.subscribeWith(packet.Filter{Topic: []byte(filter), QoS: qos, RetainHandling: 2}, 0)
			}
			for qos := range byte(3) {
				r.publish(r.name()+"/a", "x", qos, true)
				if p := c.expectMessage("x"); p.QoS != qos || p.Retain {
					r.t.Errorf("durable %v: QoS %d, want %d; RETAIN %v", durable, p.QoS, qos, p.Retain)
				}
			}
			c.silent() // one copy each
			c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(r.name() + "/#")}})
			expect[*packet.Unsuback](c)
			r.publish(r.name()+"/a", "x", 2, false)
			if p := c.expectMessage("x"); p.QoS != 1 {
				r.t.Errorf("durable %v: QoS %d, want 1", durable, p.QoS)
			}
		}
	}},
	{"MQTT-3.3.4-3", identified},
	{"MQTT-3.3.4-4", identified},
	{"MQTT-3.3.4-5", func(r *rig) {
		// A shared subscription is a copy of its own.
		for _, durable := range []bool{false, true} {
			for qos := range byte(3) {
				c := r.member(durable)
				c.subscribeWith(packet.Filter{Topic: []byte(r.name()), QoS: qos}, 1)
				c.subscribeWith(packet.Filter{Topic: []byte("$share/g/" + r.name()), QoS: qos}, 2)
				c.subscribeWith(packet.Filter{Topic: []byte("$share/h/" + r.name()), QoS: qos}, 0)
				r.publish(r.name(), "x", qos, false)
				var ids []uint32
				for range 3 {
					p := c.expectMessage("x")
					if len(p.Properties.SubscriptionIDs) > 1 {
						r.t.Errorf("identifiers %v in one copy", p.Properties.SubscriptionIDs)
					}
					ids = append(ids, append(p.Properties.SubscriptionIDs, 0)[0])
				}
				slices.Sort(ids)
				if !slices.Equal(ids, []uint32{0, 1, 2}) {
					r.t.Errorf("durable %v, QoS %d: identifiers %v of three copies", durable, qos, ids)
				}
				c.silent()
			}
		}
	}},
	{"MQTT-3.3.4-6", func(r *rig) {
		watch := r.watch(packet.V5, "a")
		rejects(packet.V5,
			wrong{"QoS 0", `30: 00 01 "a" 02 0b 01`, packet.ProtocolError},
			wrong{"QoS 1", `32: 00 01 "a" 00 01 02 0b 01`, packet.ProtocolError},
			wrong{"QoS 2", `34: 00 01 "a" 00 01 04 0b 01 0b 02`, packet.ProtocolError},
			wrong{"among others", `30: 00 01 "a" 04 01 01 0b 01`, packet.ProtocolError},
		)(r)
		watch.silent()
	}},
	{"MQTT-3.3.4-7", func(r *rig) {
		own := start(r.t, Config{SysInterval: -1, ReceiveMaximum: 3})
		for _, expiry := range []uint32{0, 100} {
			c, ack := own.connect(packet.V5, "c", with(packet.PropSessionExpiry, expiry))
			if ack.Properties.ReceiveMaximum != 3 {
				r.t.Errorf("receive maximum %d, want 3", ack.Properties.ReceiveMaximum)
			}
			pub := func(pid uint16) {
				c.send(message("t", "x", 2, pid))
				c.expectAck(packet.PUBREC, pid, packet.NoMatchingSubscribers)
			}
			pub(1)
			pub(2)
			pub(3)
			c.send(answer(packet.PUBREL, 2)) // makes room for one
			c.expectAck(packet.PUBCOMP, 2, packet.Success)
			pub(4)
			c.send(message("t", "x", 0, 0)) // does not count
			c.silent()
			c.send(answer(packet.PUBREL, 1))
			c.expectAck(packet.PUBCOMP, 1, packet.Success)
			c.send(message("$SYS/x", "refused", 2, 5)) // and what is refused counts no longer
			c.expectAck(packet.PUBREC, 5, packet.NotAuthorized)
			c.send(message("t", "x", 1, 6))
			c.expectAck(packet.PUBACK, 6, packet.NoMatchingSubscribers)
			pub(7)
			c.send(message("t", "x", 1, 8))
			c.over("one message too many", packet.ReceiveMaximumExceeded)
		}
	}},
	{"MQTT-3.3.4-9", func(r *rig) {
		for _, durable := range []bool{false, true} {
			for qos := byte(1); qos <= 2; qos++ {
				c, _ := r.connect(packet.V5, r.name(), with(packet.PropReceiveMaximum, 2), func(p *packet.Connect) {
					if durable {
						p.Properties.SetUint(packet.PropSessionExpiry, 3600)
					}
				})
				c.subscribe(2, r.name())
				for i := range 6 {
					r.publish(r.name(), fmt.Sprint(i), qos, false)
				}
				open := []*packet.Publish{c.expectMessage("0"), c.expectMessage("1")}
				for i := 2; i < 6; i++ {
					c.silent()
					pid := open[0].PacketID
					if qos == 1 {
						c.send(answer(packet.PUBACK, pid))
					} else {
						c.send(answer(packet.PUBREC, pid))
						c.expectAck(packet.PUBREL, pid, packet.Success)
						c.silent() // PUBREC alone makes no room
						c.send(answer(packet.PUBCOMP, pid))
					}
					open = append(open[1:], c.expectMessage(fmt.Sprint(i)))
				}
				c.silent()
			}
			// A PUBREC that refuses makes room at once.
			c, _ := r.connect(packet.V5, r.name(), with(packet.PropReceiveMaximum, 1))
			c.subscribe(2, r.name())
			r.publish(r.name(), "first", 2, false)
			r.publish(r.name(), "second", 2, false)
			p := c.expectMessage("first")
			c.send(&packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID, Reason: packet.QuotaExceeded})
			c.expectMessage("second")
		}
	}},
	{"MQTT-3.3.4-10", func(r *rig) {
		for _, durable := range []bool{false, true} {
			c, _ := r.connect(packet.V5, r.name(), with(packet.PropReceiveMaximum, 1), func(p *packet.Connect) {
				if durable {
					p.Properties.SetUint(packet.PropSessionExpiry, 3600)
				}
			})
			c.subscribe(2, r.name())
			r.publish(r.name(), "first", 2, false)
			r.publish(r.name(), "second", 2, false)
			p := c.expectMessage("first")
			c.silent() // PINGRESP
			c.send(message("x", "x", 1, 1))
			c.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
			c.send(message("x", "x", 2, 2))
			c.expectAck(packet.PUBREC, 2, packet.NoMatchingSubscribers)
			c.send(answer(packet.PUBREL, 2))
			c.expectAck(packet.PUBCOMP, 2, packet.Success)
			c.subscribe(0, r.name()+"/0") // SUBACK
			r.publish(r.name()+"/0", "QoS 0 is not counted", 0, false)
			c.expectMessage("QoS 0 is not counted")
			c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(r.name() + "/0")}})
			expect[*packet.Unsuback](c)
			c.send(answer(packet.PUBREC, p.PacketID))
			c.expectAck(packet.PUBREL, p.PacketID, packet.Success)
			c.send(answer(packet.PUBCOMP, p.PacketID))
			c.expectMessage("second")
		}
	}},
}

// identified: one copy of a message bears the identifiers of all subscriptions
// that match, and no others; so does what is retained, of its subscription.
func identified(r *rig) {
	for _, durable := range []bool{false, true} {
		for qos := range byte(3) {
			c := r.member(durable)
			for id, filter := range map[uint32]string{1: "/+", 268435455: "/#", 128: "/a", 4: "/b", 0: "/a/#"} {
				c.subscribeWith(packet.Filter{Topic: []byte(r.name() + filter), QoS: qos}, id)
			}
			r.publish(r.name()+"/a", "x", qos, true)
			p := c.expectMessage("x")
			slices.Sort(p.Properties.SubscriptionIDs)
			if !slices.Equal(p.Properties.SubscriptionIDs, []uint32{1, 128, 268435455}) {
				r.t.Errorf("durable %v, QoS %d: identifiers %v", durable, qos, p.Properties.SubscriptionIDs)
			}
			c.silent()
			c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/a"), QoS: qos}, 129)
			p = c.expectMessage("x")
			if !slices.Equal(p.Properties.SubscriptionIDs, []uint32{129}) {
				r.t.Errorf("durable %v, QoS %d: identifiers %v of a retained message", durable, qos, p.Properties.SubscriptionIDs)
			}
			r.publish(r.name()+"/a", "", 0, true)
			c.expectMessage("")
			// A subscription that lost its identifier has none.
			c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(r.name() + "/+"), []byte(r.name() + "/#")}})
			expect[*packet.Unsuback](c)
			c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/a"), QoS: qos}, 0)
			r.publish(r.name()+"/a", "y", qos, false)
			if p := c.expectMessage("y"); len(p.Properties.SubscriptionIDs) != 0 {
				r.t.Errorf("identifiers %v, want none", p.Properties.SubscriptionIDs)
			}
		}
	}
}
