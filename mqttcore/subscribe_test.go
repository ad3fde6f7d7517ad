package mqttcore

import (
	"fmt"
	"slices"
	"testing"

	"sluice/mqttcore/packet"
)

// ask subscribes with options and gives the answer.
func (c *client) ask(id uint32, filters ...packet.Filter) []packet.Reason {
	c.t.Helper()
	p := &packet.Subscribe{PacketID: 5, Filters: filters}
	if id != 0 {
		p.Properties.SetUint(packet.PropSubscriptionID, id)
	}
	c.send(p)
	return expect[*packet.Suback](c).Reasons
}

func filterOf(topic string, qos byte) packet.Filter {
	return packet.Filter{Topic: []byte(topic), QoS: qos}
}

func TestFilters(t *testing.T) {
	r := start(t, Config{MaxSubscriptions: 8})
	t.Run("MQTT-4.7.1-1 MQTT-4.8.2-1 bad filters", func(t *testing.T) {
		each(t, func(t *testing.T, v packet.Version) {
			c, _ := r.connect(v, "c")
			bad := []string{"a#", "#/a", "a+", "+a/b", "a/#/b", "$share/g", "$share//x", "$share/+/x", "$share/g/", "$share/#/x", "$share/g/a#"}
			var filters []packet.Filter
			for _, f := range bad {
				filters = append(filters, filterOf(f, 1))
			}
			want := packet.TopicFilterInvalid
			if v != packet.V5 {
				want = packet.UnspecifiedError
			}
			for i, reason := range c.ask(0, filters...) {
				if reason != want {
					t.Errorf("%q: %v", bad[i], reason)
				}
			}
		})
	})
	t.Run("one client's share of the memory", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "many")
		for i := range 8 {
			c.subscribe(0, fmt.Sprint("f/", i))
		}
		if got := c.ask(0, filterOf("f/8", 0), filterOf("f/0", 1)); got[0] != packet.QuotaExceeded || got[1] != packet.GrantedQoS1 {
			t.Errorf("SUBACK %v", got)
		}
	})
	t.Run("MQTT-3.10.4-4 UNSUBACK", func(t *testing.T) {
		each(t, func(t *testing.T, v packet.Version) {
			c, _ := r.connect(v, "c")
			c.subscribe(0, "u")
			c.send(&packet.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("u"), []byte("u")}})
			a := expect[*packet.Unsuback](c)
			if a.PacketID != 9 {
				t.Errorf("UNSUBACK %d", a.PacketID)
			}
			if v == packet.V5 && (a.Reasons[0] != packet.Success || a.Reasons[1] != packet.NoSubscriptionExisted) {
				t.Errorf("UNSUBACK %v", a.Reasons)
			}
			c.send(message("u", "", 0, 0))
			c.silent()
		})
	})
	t.Run("MQTT-3.8.3-4 no local on a shared subscription", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "c")
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("$share/g/x"), NoLocal: true}}})
		c.expectClosed(packet.ProtocolError)
	})
}

func TestOverlappingSubscriptions(t *testing.T) {
	r := start(t, Config{})
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprint("MQTT-3.3.4-2 MQTT-3.3.4-4 durable ", durable), func(t *testing.T) {
			var mods []func(*packet.Connect)
			if durable {
				mods = append(mods, keep)
			}
			c, _ := r.connect(packet.V5, "c", mods...)
			c.ask(1, filterOf("a/#", 0))
			c.ask(2, filterOf("a/+", 2))
			c.ask(3, filterOf("a/b", 1))
			c.ask(4, filterOf("b", 1))
			pub, _ := r.connect(packet.V5, "pub")
			pub.send(message("a/b", "x", 2, 1))
			pub.expectAck(packet.PUBREC, 1, packet.Success)
			m := c.expectMessage("x")
			ids := slices.Sorted(slices.Values(m.Properties.SubscriptionIDs))
			if m.QoS != 2 || !slices.Equal(ids, []uint32{1, 2, 3}) {
				t.Errorf("QoS %d, identifiers %v", m.QoS, ids)
			}
			c.silent()
			pub.send(message("b", "y", 2, 2))
			pub.expectAck(packet.PUBREC, 2, packet.Success)
			if m := c.expectMessage("y"); m.QoS != 1 || !slices.Equal(m.Properties.SubscriptionIDs, []uint32{4}) {
				t.Errorf("QoS %d, identifiers %v", m.QoS, m.Properties.SubscriptionIDs)
			}
			pub.send(message("a/c/d", "z", 0, 0))
			if m := c.expectMessage("z"); !slices.Equal(m.Properties.SubscriptionIDs, []uint32{1}) {
				t.Errorf("identifiers %v", m.Properties.SubscriptionIDs)
			}
		})
	}
	t.Run("MQTT-3.3.5-1 in 3.1.1", func(t *testing.T) {
		c, _ := r.connect(packet.V311, "c3")
		c.subscribe(0, "a/#")
		c.subscribe(1, "a/+")
		c.send(message("a/b", "x", 2, 1))
		for range 2 {
			switch p := c.read().(type) {
			case *packet.Publish:
				if p.QoS != 1 {
					t.Errorf("QoS %d", p.QoS)
				}
			case *packet.Ack:
			default:
				t.Errorf("got %T", p)
			}
		}
		c.silent()
	})
}

func TestNoLocal(t *testing.T) {
	r := start(t, Config{})
	c, _ := r.connect(packet.V5, "c")
	c.ask(0, packet.Filter{Topic: []byte("n"), QoS: 1, NoLocal: true}, packet.Filter{Topic: []byte("m"), QoS: 1})
	c.send(message("n", "own", 0, 0))
	c.silent() // MQTT-3.8.3-3
	c.send(message("m", "own", 0, 0))
	c.expectMessage("own")
	other, _ := r.connect(packet.V5, "other")
	other.send(message("n", "other's", 0, 0))
	c.expectMessage("other's")
}

func TestSharedSubscriptions(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	var subs []*client
	for i := range 3 {
		c, _ := r.connect(packet.V5, fmt.Sprint("sub", i))
		c.ask(uint32(i+1), filterOf("$share/g/s/+", 1))
		subs = append(subs, c)
	}
	alone, _ := r.connect(packet.V5, "alone")
	alone.subscribe(1, "s/#")
	pub, _ := r.connect(packet.V5, "pub")
	const n = 30
	for i := range n {
		pub.send(message("s/x", fmt.Sprint(i), 1, uint16(i+1)))
		pub.expectAck(packet.PUBACK, uint16(i+1), packet.Success)
		alone.expectMessage(fmt.Sprint(i))
	}
	total := 0
	for i, c := range subs {
		c.send(&packet.Ping{Type: packet.PINGREQ})
		got := 0
		for {
			m, ok := c.read().(*packet.Publish)
			if !ok {
				break
			}
			if !slices.Equal(m.Properties.SubscriptionIDs, []uint32{uint32(i + 1)}) {
				t.Errorf("identifiers %v", m.Properties.SubscriptionIDs)
			}
			got++
		}
		if got != n/3 {
			t.Errorf("subscriber %d got %d of %d", i, got, n)
		}
		total += got
	}
	if total != n {
		t.Errorf("%d messages became %d", n, total)
	}
	t.Run("who is gone gets nothing", func(t *testing.T) {
		subs[0].close()
		subs[1].send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("$share/g/s/+")}})
		expect[*packet.Unsuback](subs[1])
		await(t, "the session ended", func() bool { return r.Stats().Connected == 4 })
		for i := range 4 {
			pub.send(message("s/x", fmt.Sprint("to2 ", i), 1, uint16(i+1)))
			subs[2].expectMessage(fmt.Sprint("to2 ", i))
		}
	})
	t.Run("a durable member keeps the messages for the group", func(t *testing.T) {
		subs[2].close()
		c, _ := r.connect(packet.V5, "durable", keep)
		c.ask(0, filterOf("$share/d/q", 1))
		c.close()
		await(t, "only two are left", func() bool { return r.Stats().Connected == 3 })
		pub, _ := r.connect(packet.V5, "pub2")
		pub.send(message("q", "kept", 1, 1))
		pub.expectAck(packet.PUBACK, 1, packet.Success)
		r.restart()
		c, _ = r.connect(packet.V5, "durable", keep)
		c.expectMessage("kept")
	})
}

func TestRetained(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, v packet.Version) {
		r := start(t, Config{})
		pub, _ := r.connect(v, "pub")
		retain := func(topic, payload string, qos byte, pid uint16) {
			t.Helper()
			p := message(topic, payload, qos, pid)
			p.Retain = true
			pub.send(p)
			if qos == 1 {
				expect[*packet.Ack](pub)
			}
		}
		sub, _ := r.connect(v, "live")
		sub.subscribe(1, "r/#")
		retain("r/a", "1", 1, 1)
		if m := sub.expectMessage("1"); m.Retain {
			t.Error("MQTT-3.3.1-9: RETAIN set for an established subscription")
		}
		retain("r/a", "2", 0, 0)
		retain("r/b", "3", 1, 2)
		retain("r", "parent", 1, 3)
		for restarted := range 2 {
			late, _ := r.connect(v, "late")
			late.subscribe(1, "r/#")
			got := map[string]string{}
			for range 3 {
				m := expect[*packet.Publish](late)
				if !m.Retain {
					t.Error("MQTT-3.3.1-8: RETAIN not set")
				}
				got[string(m.Topic)] = string(m.Payload)
			}
			if got["r/a"] != "2" || got["r/b"] != "3" || got["r"] != "parent" {
				t.Errorf("MQTT-3.3.1-6: got %v", got)
			}
			late.silent()
			if restarted == 0 {
				r.restart()
			}
		}
		pub, _ = r.connect(v, "pub")
		retain("r/a", "", 1, 4) // MQTT-3.3.1-10
		retain("r/b", "", 0, 0)
		retain("r", "", 1, 5)
		late, _ := r.connect(v, "late")
		late.subscribe(1, "r/#")
		late.silent()
		r.restart()
		late, _ = r.connect(v, "late")
		late.subscribe(1, "#")
		late.silent()
	})
}

func TestRetainOptions(t *testing.T) {
	r := start(t, Config{SysInterval: -1, MaxRetainedBytes: 4 << 10})
	pub, _ := r.connect(packet.V5, "pub")
	p := message("r", "kept", 1, 1)
	p.Retain = true
	pub.send(p)
	pub.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
	with := func(handling byte, asPublished bool) packet.Filter {
		return packet.Filter{Topic: []byte("r"), QoS: 1, RetainHandling: handling, RetainAsPublished: asPublished}
	}
	for _, durable := range []bool{false, true} {
		var mods []func(*packet.Connect)
		if durable {
			mods = append(mods, keep)
		}
		c, _ := r.connect(packet.V5, fmt.Sprint("c", durable), mods...)
		c.ask(0, with(2, false)) // MQTT-3.3.1-11
		c.silent()
		c.ask(0, with(1, false)) // MQTT-3.3.1-10: not new
		c.silent()
		c.ask(7, with(0, false)) // MQTT-3.3.1-9: always
		if m := c.expectMessage("kept"); !m.Retain || !slices.Equal(m.Properties.SubscriptionIDs, []uint32{7}) {
			t.Errorf("got %+v", m)
		}
		c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("r")}})
		expect[*packet.Unsuback](c)
		c.ask(0, with(1, true))
		c.expectMessage("kept")
		pub.send(p)
		pub.expectAck(packet.PUBACK, 1, packet.Success)
		if m := c.expectMessage("kept"); !m.Retain {
			t.Error("MQTT-3.3.1-13: RETAIN not kept as published")
		}
		c.ask(0, with(2, false))
		pub.send(p)
		pub.expectAck(packet.PUBACK, 1, packet.Success)
		if m := c.expectMessage("kept"); m.Retain {
			t.Error("MQTT-3.3.1-12: RETAIN kept")
		}
		if got := c.ask(0, filterOf("$share/g/r", 1)); got[0] != packet.GrantedQoS1 {
			t.Errorf("SUBACK %v", got)
		}
		c.silent() // no retained messages for a shared subscription
		c.send(&packet.Disconnect{Reason: packet.DisconnectWithWill})
		c.expectClosed(0)
	}
	t.Run("room for retained messages is bounded", func(t *testing.T) {
		for i := range 100 {
			p := message(fmt.Sprint("fill/", i), fmt.Sprintf("%50d", i), 0, 0)
			p.Retain = true
			pub.send(p)
		}
		pub.silent()
		if s := r.Stats(); s.RetainedBytes > 4<<10 || s.RetainedRefused == 0 || s.Retained < 10 {
			t.Errorf("%d retained, %d bytes, %d refused", s.Retained, s.RetainedBytes, s.RetainedRefused)
		}
	})
}
