package mqttcore

import (
	"fmt"
	"slices"

	"sluice/mqttcore/packet"
)

// subscribe5 is about SUBSCRIBE and SUBACK (3.8, 3.9).
var subscribe5 = []statement{
	{"MQTT-3.8.1-1", rejects(packet.V5,
		wrong{"flags 0", "@subscribe-5-flags", packet.MalformedPacket},
		wrong{"flags 3", `83: 00 01 00 00 01 "a" 00`, packet.MalformedPacket},
		wrong{"DUP", `8a: 00 01 00 00 01 "a" 00`, packet.MalformedPacket},
	)},
	{"MQTT-3.8.3-1", rejects(packet.V5,
		wrong{"not UTF-8", `82: 00 01 00 00 02 ff fe 00`, packet.MalformedPacket},
		wrong{"behind a good one", `82: 00 01 00 00 01 "a" 00 00 02 ff fe 00`, packet.MalformedPacket},
		wrong{"cut short", `82: 00 01 00 00 05 "four"`, packet.MalformedPacket},
	)},
	{"MQTT-3.8.3-2", rejects(packet.V5,
		wrong{"no filter", "@subscribe-5-no-filter", packet.ProtocolError},
		wrong{"no options", "@subscribe-5-no-options", packet.MalformedPacket},
		wrong{"no options for the second", `82: 00 01 00 00 01 "a" 00 00 01 "b"`, packet.MalformedPacket},
	)},
	{"MQTT-3.8.3-3", func(r *rig) {
		for _, durable := range []bool{false, true} {
			for qos := range byte(3) {
				c := r.member(durable)
				c.subscribeWith(packet.Filter{Topic: []byte(r.name()), QoS: qos, NoLocal: true}, 0)
				other, _ := r.connect(packet.V5, "")
				other.send(message(r.name(), "of another", 0, 0))
				c.expectMessage("of another")
				c.send(message(r.name(), "own", 0, 0))
				c.silent()
				c.subscribeWith(packet.Filter{Topic: []byte(r.name()), QoS: qos}, 0)
				c.send(message(r.name(), "own", 0, 0))
				c.expectMessage("own")
				// What another subscription brings comes, and one that is retained.
				c.subscribeWith(packet.Filter{Topic: []byte(r.name()), QoS: qos, NoLocal: true}, 0)
				c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/#"), QoS: qos}, 9)
				c.send(message(r.name(), "own", 0, 0))
				if p := c.expectMessage("own"); !slices.Equal(p.Properties.SubscriptionIDs, []uint32{9}) {
					r.t.Errorf("identifiers %v", p.Properties.SubscriptionIDs)
				}
				c.silent()
			}
		}
	}},
	{"MQTT-3.8.3-4", rejects(packet.V5,
		wrong{"No Local", "@subscribe-5-no-local-shared", packet.ProtocolError},
		wrong{"the second", `82: 00 01 00 00 01 "a" 04 00 0a "$share/g/a" 05`, packet.ProtocolError},
	)},
	{"MQTT-3.8.3-5", rejects(packet.V5,
		wrong{"bit 6", `82: 00 01 00 00 01 "a" 40`, packet.MalformedPacket},
		wrong{"bit 7", `82: 00 01 00 00 01 "a" 80`, packet.MalformedPacket},
		wrong{"the second", `82: 00 01 00 00 01 "a" 00 00 01 "b" c1`, packet.MalformedPacket},
		wrong{"QoS 3", "@subscribe-5-qos-3", packet.ProtocolError},
		wrong{"Retain Handling 3", "@subscribe-5-retain-handling-3", packet.ProtocolError},
	)},
	{"MQTT-3.8.4-1", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		for _, f := range []string{"a", "a", "#", "+/+", "$share/g/a", "$SYS/#", "a/#/b", "a+", "$share//a", "/"} {
			c.send(&packet.Subscribe{PacketID: 7, Filters: []packet.Filter{{Topic: []byte(f), RetainHandling: 2}}})
			expect[*packet.Suback](c)
			c.silent()
		}
	}},
	{"MQTT-3.8.4-2", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		var b []byte
		ids := []uint16{9, 65535, 1, 256, 9}
		for _, id := range ids {
			b = (&packet.Subscribe{PacketID: id, Filters: []packet.Filter{{Topic: []byte(r.name())}}}).Append(b, packet.V5)
		}
		c.write(b)
		for _, id := range ids {
			if a := expect[*packet.Suback](c); a.PacketID != id {
				r.t.Errorf("SUBACK %d, want %d", a.PacketID, id)
			}
		}
	}},
	{"MQTT-3.8.4-3", func(r *rig) {
		for _, prefix := range []string{"", "$share/g/"} {
			for _, durable := range []bool{false, true} {
				c := r.member(durable)
				f := packet.Filter{Topic: []byte(prefix + r.name()), QoS: 2, RetainAsPublished: true}
				c.subscribeWith(f, 5)
				f.QoS, f.RetainAsPublished, f.NoLocal = 1, false, prefix == ""
				c.subscribeWith(f, 6)
				r.publish(r.name(), "x", 2, true)
				p := c.expectMessage("x")
				if p.QoS != 1 || p.Retain || !slices.Equal(p.Properties.SubscriptionIDs, []uint32{6}) {
					r.t.Errorf("%q: got %+v", prefix, p)
				}
				c.silent() // once
				c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{f.Topic}})
				expect[*packet.Unsuback](c)
				r.publish(r.name(), "", 2, true)
				c.silent() // nothing is left of either
			}
		}
	}},
	{"MQTT-3.8.4-4", func(r *rig) {
		for _, durable := range []bool{false, true} {
			r.publish(r.name(), "retained", 0, true)
			c := r.member(durable)
			c.subscribe(1, r.name())
			c.expectMessage("retained")
			// It subscribes again and again while messages flow: each comes once.
			const n = 300
			published := make(chan error, 1)
			go func() {
				for i := range n {
					m := Message{Topic: r.name(), Payload: fmt.Append(nil, i), QoS: 1}
					if err := r.Publish(r.t.Context(), m); err != nil {
						published <- err
						return
					}
				}
				published <- nil
			}()
			again, next := 0, 0
			for next < n {
				if next%10 == again {
					again = (again + 3) % 10
					c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(r.name()), QoS: 1}}})
				}
				switch p := c.read().(type) {
				case *packet.Publish:
					if p.QoS == 1 {
						c.send(answer(packet.PUBACK, p.PacketID))
					}
					if string(p.Payload) == "retained" {
						continue
					}
					if string(p.Payload) != fmt.Sprint(next) {
						r.t.Fatalf("got message %s, want %d", p.Payload, next)
					}
					next++
				case *packet.Suback:
				default:
					r.t.Fatalf("got %T", p)
				}
			}
			if err := <-published; err != nil {
				r.t.Fatal(err)
			}
			r.publish(r.name(), "", 0, true)
		}
	}},
	{"MQTT-3.8.4-5", func(r *rig) {
		r.publish(r.name()+"/a", "1", 2, true)
		r.publish(r.name()+"/b", "2", 2, true)
		c, _ := r.connect(packet.V5, "")
		topic := func(s string) []byte { return []byte(r.name() + s) }
		p := &packet.Subscribe{PacketID: 3, Filters: []packet.Filter{
			{Topic: topic("/a"), QoS: 2},
			{Topic: topic("/a/#/x"), QoS: 1}, // not a filter
			{Topic: topic("/b"), QoS: 1},
			{Topic: topic("/a"), QoS: 0}, // replaces the first; what is retained comes again
		}}
		p.Properties.SetUint(packet.PropSubscriptionID, 3)
		c.send(p)
		want := []packet.Reason{2, packet.TopicFilterInvalid, 1, 0}
		if a := expect[*packet.Suback](c); a.PacketID != 3 || !slices.Equal(a.Reasons, want) {
			r.t.Errorf("SUBACK %d %v, want 3 %v", a.PacketID, a.Reasons, want)
		}
		for i, payload := range []string{"1", "2", "1"} {
			p := c.expectMessage(payload)
			if i != 0 && p.QoS != byte([]int{0, 1, 0}[i]) || !slices.Equal(p.Properties.SubscriptionIDs, []uint32{3}) {
				r.t.Errorf("%s: QoS %d, identifiers %v", payload, p.QoS, p.Properties.SubscriptionIDs)
			}
		}
		c.silent()
		r.publish(r.name()+"/a", "3", 2, false)
		if p := c.expectMessage("3"); p.QoS != 0 {
			r.t.Errorf("QoS %d, want 0", p.QoS)
		}
	}},
	{"MQTT-3.8.4-6", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		for _, n := range []int{1, 2, 127, 128, 1000} {
			p := &packet.Subscribe{PacketID: 1}
			for i := range n {
				p.Filters = append(p.Filters, packet.Filter{Topic: fmt.Append(nil, r.name(), "/", i)})
			}
			c.send(p)
			if a := expect[*packet.Suback](c); len(a.Reasons) != n {
				r.t.Errorf("%d reasons for %d filters", len(a.Reasons), n)
			}
		}
	}},
	{"MQTT-3.8.4-7", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		for qos := range byte(3) {
			c.subscribe(qos, r.name())
			r.publish(r.name(), "x", 2, false)
			p := c.expectMessage("x")
			if p.QoS != qos {
				r.t.Errorf("granted %d, got %d", qos, p.QoS)
			}
		}
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("a#"), QoS: 2}, {Topic: []byte("$share/+/a")}}})
		if a := expect[*packet.Suback](c); !slices.Equal(a.Reasons, []packet.Reason{packet.TopicFilterInvalid, packet.TopicFilterInvalid}) {
			r.t.Errorf("got %v", a.Reasons)
		}
		c.send(message("a#x/b", "x", 1, 1))
		c.over("a topic with #", packet.TopicNameInvalid)
	}},
	{"MQTT-3.8.4-8", func(r *rig) {
		for _, durable := range []bool{false, true} {
			for granted := range byte(3) {
				for published := range byte(3) {
					topic := fmt.Sprint(r.name(), "/", granted, "/", published)
					r.publish(topic, "retained", published, true)
					c := r.member(durable)
					c.subscribe(granted, topic)
					from, _ := r.connect(packet.V5, "")
					from.send(message(topic, "live", published, 1))
					for _, payload := range []string{"retained", "live"} {
						p := c.expectMessage(payload)
						if p.QoS != min(granted, published) {
							r.t.Errorf("%s: QoS %d of %d published and %d granted", payload, p.QoS, published, granted)
						}
					}
				}
			}
		}
	}},
	{"MQTT-3.9.2-1", subackFits},
	{"MQTT-3.9.2-2", subackFits},
	{"MQTT-3.9.3-1", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		p := &packet.Subscribe{PacketID: 1}
		var want []packet.Reason
		for i := range 40 {
			f := packet.Filter{Topic: fmt.Append(nil, r.name(), "/", i), QoS: byte(i * 7 % 3)}
			reason := packet.Reason(f.QoS)
			if i%5 == 0 {
				f.Topic, reason = append(f.Topic, "/#/x"...), packet.TopicFilterInvalid
			}
			p.Filters, want = append(p.Filters, f), append(want, reason)
		}
		c.send(p)
		if a := expect[*packet.Suback](c); !slices.Equal(a.Reasons, want) {
			r.t.Errorf("got  %v\nwant %v", a.Reasons, want)
		}
	}},
	{"MQTT-3.9.3-2", func(r *rig) {
		own := start(r.t, Config{SysInterval: -1, MaxSubscriptions: 3})
		c, _ := own.connect(packet.V5, "")
		p := &packet.Subscribe{PacketID: 1}
		for _, f := range []string{"a", "b", "#b", "c", "d", "a"} {
			p.Filters = append(p.Filters, packet.Filter{Topic: []byte(f), QoS: 1})
		}
		c.send(p)
		want := []packet.Reason{1, 1, packet.TopicFilterInvalid, 1, packet.QuotaExceeded, 1}
		a := expect[*packet.Suback](c)
		if !slices.Equal(a.Reasons, want) {
			r.t.Errorf("got %v, want %v", a.Reasons, want)
		}
		for _, reason := range a.Reasons {
			if !reason.In(packet.SUBACK) {
				r.t.Errorf("%v does not belong into SUBACK", reason)
			}
		}
	}},
}

// subackFits: neither reason string nor user properties make a SUBACK or
// UNSUBACK larger than a client takes, not even one that refuses.
func subackFits(r *rig) {
	c := r.tight()
	c.write(wire(r.t, `82: 00 01 00 00 02 "a#" 00`))
	c.expectFrame(`90: 00 01 00 8f`)
	c.write(wire(r.t, `a2: 00 02 00 00 02 "a#"`))
	c.expectFrame(`b0: 00 02 00 8f`)
	c.silent()
}
