package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// TestQueuedWhileAway: what is acknowledged while a durable session is away is
// delivered in order when it comes back, whatever happens to the broker.
func TestQueuedWhileAway(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, v packet.Version) {
		r := start(t, Config{})
		sub, _ := r.connect(v, "sub", keep)
		sub.subscribe(2, "q/#")
		sub.close()
		pub, _ := r.connect(v, "pub")
		const n = 50
		for i := range n {
			qos := byte(1 + i%2)
			pub.send(message("q/x", fmt.Sprint(i), qos, uint16(i+1)))
		}
		for i := range n {
			if i%2 == 0 {
				pub.expectAck(packet.PUBACK, uint16(i+1), packet.Success)
			} else {
				pub.expectAck(packet.PUBREC, uint16(i+1), packet.Success)
			}
		}
		r.restart()
		sub, _ = r.connect(v, "sub", keep)
		for i := range n {
			m := sub.expectMessage(fmt.Sprint(i))
			if m.PacketID != uint16(i+1) || m.QoS != byte(1+i%2) {
				t.Fatalf("message %d comes as %+v", i, m)
			}
			if m.QoS == 1 {
				sub.send(answer(packet.PUBACK, m.PacketID))
			} else {
				sub.send(answer(packet.PUBREC, m.PacketID))
			}
		}
		for i := 1; i < n; i += 2 {
			sub.expectAck(packet.PUBREL, uint16(i+1), packet.Success)
			sub.send(answer(packet.PUBCOMP, uint16(i+1)))
		}
		sub.silent()
		sub.send(&packet.Disconnect{})
		sub.expectClosed(0)
		sub, _ = r.connect(v, "sub", keep)
		sub.silent()
	})
}

// TestResend: MQTT-4.4.0-1, what is not acknowledged is sent again on the next
// connection, with the same packet identifiers.
func TestResend(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, v packet.Version) {
		for _, how := range []string{"reconnect", "restart"} {
			t.Run(how, func(t *testing.T) {
				r := start(t, Config{})
				sub, _ := r.connect(v, "sub", keep)
				sub.subscribe(2, "q")
				pub, _ := r.connect(v, "pub")
				for i, qos := range []byte{1, 2, 1, 2} {
					pub.send(message("q", fmt.Sprint(i+1), qos, uint16(i+1)))
					sub.expectMessage(fmt.Sprint(i + 1))
				}
				sub.send(answer(packet.PUBACK, 1), answer(packet.PUBREC, 2))
				sub.expectAck(packet.PUBREL, 2, packet.Success)
				sub.close()
				if how == "restart" {
					r.restart()
				}
				sub, _ = r.connect(v, "sub", keep)
				sub.expectAck(packet.PUBREL, 2, packet.Success) // MQTT-4.3.3-5: never the message again
				for i, qos := range []byte{1, 2} {
					m := sub.expectMessage(fmt.Sprint(i + 3))
					if !m.Dup || m.PacketID != uint16(i+3) || m.QoS != qos {
						t.Errorf("MQTT-3.3.1-1: resent as %+v", m)
					}
				}
				sub.send(answer(packet.PUBCOMP, 2), answer(packet.PUBACK, 3), answer(packet.PUBREC, 4))
				sub.expectAck(packet.PUBREL, 4, packet.Success)
				sub.send(answer(packet.PUBCOMP, 4))
				sub.silent()
				pub, _ = r.connect(v, "pub")
				pub.send(message("q", "new", 1, 9))
				if m := sub.expectMessage("new"); m.Dup || m.PacketID != 5 {
					t.Errorf("a new message comes as %+v", m)
				}
			})
		}
	})
}

// TestResendWithinTheWindow: MQTT-4.9.0-1, what is sent again counts against
// the Receive Maximum that the client has now.
func TestResendWithinTheWindow(t *testing.T) {
	r := start(t, Config{})
	sub, _ := r.connect(packet.V5, "sub", keep, with(packet.PropReceiveMaximum, 10))
	sub.subscribe(1, "q")
	pub, _ := r.connect(packet.V311, "pub")
	for i := range 6 {
		pub.send(message("q", fmt.Sprint(i), 1, uint16(i+1)))
		sub.expectMessage(fmt.Sprint(i))
	}
	sub.send(answer(packet.PUBACK, 3)) // out of its turn: not sent again
	sub.silent()
	sub.close()
	sub, _ = r.connect(packet.V5, "sub", keep, with(packet.PropReceiveMaximum, 2))
	sub.expectMessage("0")
	sub.expectMessage("1")
	sub.silent()
	sub.send(answer(packet.PUBACK, 1))
	sub.expectMessage("3")
	sub.silent()
}

// TestReceivedOnce: MQTT-4.3.3-10, a QoS 2 message is not routed again
// before its PUBREL, on no connection and in no life of the broker.
func TestReceivedOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, v packet.Version) {
		for _, how := range []string{"same connection", "reconnect", "restart"} {
			t.Run(how, func(t *testing.T) {
				r := start(t, Config{})
				sub, _ := r.connect(v, "sub", keep)
				sub.subscribe(1, "once")
				pub, _ := r.connect(v, "pub", keep)
				pub.send(message("once", "1", 2, 7))
				pub.expectAck(packet.PUBREC, 7, packet.Success)
				sub.expectMessage("1")
				sub.send(answer(packet.PUBACK, 1))
				sub.silent()
				switch how {
				case "restart":
					r.restart()
					sub, _ = r.connect(v, "sub", keep)
					fallthrough
				case "reconnect":
					pub.close()
					pub, _ = r.connect(v, "pub", keep)
				}
				again := message("once", "1", 2, 7)
				again.Dup = true
				pub.send(again)
				pub.expectAck(packet.PUBREC, 7, packet.Success)
				pub.send(answer(packet.PUBREL, 7))
				pub.expectAck(packet.PUBCOMP, 7, packet.Success)
				pub.send(message("once", "2", 2, 7)) // the identifier is free again
				pub.expectAck(packet.PUBREC, 7, packet.Success)
				for {
					m := expect[*packet.Publish](sub)
					sub.send(answer(packet.PUBACK, m.PacketID))
					if string(m.Payload) == "2" {
						break
					}
					if !m.Dup || how != "restart" { // its PUBACK may have been lost with the broker
						t.Fatalf("routed twice: %+v", m)
					}
				}
				sub.silent()
			})
		}
	})
}

func TestDurableState(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	c, _ := r.connect(packet.V5, "c", keep)
	c.subscribe(1, "a/+", "$share/g/b", "c")
	c.send(&packet.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("c"), []byte("never")}})
	reasons := expect[*packet.Unsuback](c).Reasons
	if reasons[0] != packet.Success || reasons[1] != packet.NoSubscriptionExisted {
		t.Errorf("UNSUBACK %v", reasons)
	}
	pub, _ := r.connect(packet.V5, "pub")
	keepers := message("a/kept", "retained", 1, 1)
	keepers.Retain = true
	pub.send(keepers)
	pub.expectAck(packet.PUBACK, 1, packet.Success)
	c.expectMessage("retained")
	c.send(answer(packet.PUBACK, 1))
	c.silent()
	r.restart()
	pub, _ = r.connect(packet.V5, "pub")
	pub.send(message("a/1", "one", 1, 1), message("b", "two", 1, 2), message("c", "three", 1, 3))
	pub.expectAck(packet.PUBACK, 1, packet.Success)
	pub.expectAck(packet.PUBACK, 2, packet.Success)
	pub.expectAck(packet.PUBACK, 3, packet.NoMatchingSubscribers)
	c, _ = r.connect(packet.V5, "c", keep)
	for m := expect[*packet.Publish](c); string(m.Payload) != "one"; m = expect[*packet.Publish](c) {
		if !m.Dup {
			t.Fatalf("got %q", m.Payload)
		}
	}
	c.expectMessage("two")
	other, _ := r.connect(packet.V5, "other")
	other.subscribe(1, "a/#")
	if m := other.expectMessage("retained"); !m.Retain {
		t.Error("RETAIN is not set")
	}
}

// TestConsumer: an in-process consumer gets what was published over restarts,
// and never what it published itself.
func TestConsumer(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	r := start(t, Config{})
	filters := []Filter{{Topic: "up/#", QoS: 1}, {Topic: "up/+/x", QoS: 2}}
	k, err := r.Consumer(ctx, "cloud", filters)
	if err != nil {
		t.Fatal(err)
	}
	next := func(k *Consumer, want string) Delivery {
		t.Helper()
		var d Delivery
		for {
			ok, err := k.Next(&d)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				break
			}
			select {
			case <-k.Wake():
			case <-ctx.Done():
				t.Fatal("nothing comes")
			}
		}
		if string(d.Payload) != want {
			t.Fatalf("got %q, want %q", d.Payload, want)
		}
		return d
	}
	props := Properties{ContentType: "text/plain", UTF8: true, ResponseTopic: "re", Correlation: []byte{1, 0},
		User: []UserProperty{{"a", "1"}, {"a", "2"}}, Expiry: 100, HasExpiry: true}
	for i, m := range []Message{
		{Topic: "up/1", Payload: []byte("one"), QoS: 1, Properties: props},
		{Topic: "up/1", Payload: []byte("echo"), QoS: 1, Origin: "cloud"},
		{Topic: "up/1/x", Payload: []byte("two"), QoS: 2, Retain: true, Live: true, Origin: "other"},
		{Topic: "up/1", Payload: []byte("lost"), QoS: 0},
		{Topic: "elsewhere", Payload: []byte("no"), QoS: 1},
	} {
		if err := r.Publish(ctx, m); err != nil {
			t.Fatal(i, err)
		}
	}
	d := next(k, "one")
	got, err := ParseProperties(d.Props)
	if err != nil || d.Expiry == 0 || d.Expiry > 100 {
		t.Fatalf("properties: %v, expiry %d", err, d.Expiry)
	}
	got.Expiry, got.HasExpiry = 100, d.HasExpiry
	if fmt.Sprint(got) != fmt.Sprint(props) {
		t.Errorf("properties\n%+v\nwant\n%+v", got, props)
	}
	if n, _, _ := k.Backlog(); n != 2 {
		t.Errorf("backlog %d, want 2", n)
	}
	k.Ack(1)
	r.restart()
	if k, err = r.Consumer(ctx, "cloud", filters); err != nil {
		t.Fatal(err)
	}
	if k.Base() != 1 {
		t.Fatalf("base %d after a restart, want 1", k.Base())
	}
	if d = next(k, "two"); d.QoS != 2 || !d.Retain || d.Seq != 2 {
		t.Errorf("got %+v", d)
	}
	released := make(chan error, 1)
	k.Release(d.Seq, func(err error) { released <- err })
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	k.Rewind()
	if d = next(k, "two"); !d.Released {
		t.Error("not released after Release")
	}
	k.Drop(d.Seq, "test")
	if n, _, _ := k.Backlog(); n != 0 {
		t.Errorf("backlog %d, want 0", n)
	}
	if k, err = r.Consumer(ctx, "cloud", []Filter{{Topic: "other", QoS: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		r.Publish(ctx, Message{Topic: "up/1", Payload: []byte("not any more"), QoS: 1}),
		r.Publish(ctx, Message{Topic: "other", Payload: []byte("three"), QoS: 2})); err != nil {
		t.Fatal(err)
	}
	next(k, "three")
	r.RemoveConsumers()
	await(t, "the consumer is gone", func() bool { return r.st.Stats().Sessions == 0 })
}

// TestRemovedConsumer: what waited for a consumer that is no longer there is
// deleted, counted, and said.
func TestRemovedConsumer(t *testing.T) {
	r, log := startLogged(t, Config{})
	for _, name := range []string{"gone", "empty"} {
		if _, err := r.Consumer(t.Context(), name, []Filter{{Topic: name, QoS: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := r.Publish(t.Context(), Message{Topic: "gone", QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	r.RemoveConsumers()
	if got := log.text(); !strings.Contains(got, "consumer=gone messages=3") || strings.Contains(got, "consumer=empty") {
		t.Errorf("said: %s", got)
	}
	if n := r.st.Stats().Dropped[store.ReasonDeleted]; n != 3 {
		t.Errorf("%d counted", n)
	}
}

// TestAckWaitsForTheDisk: a store that gathers its commits delays the PUBACK
// of a message for a durable session, of no other, and nothing but PUBACKs.
func TestAckWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	sub, _ := r.connect(packet.V311, "sub", keep)
	sub.subscribe(1, "d")
	r.stop()
	r.gather = 200 * time.Millisecond
	r.up()
	pub, _ := r.connect(packet.V311, "pub")
	ping := &packet.Ping{Type: packet.PINGREQ}
	pub.send(message("nobody", "x", 1, 1), ping)
	pub.expectAck(packet.PUBACK, 1, packet.Success)
	expect[*packet.Ping](pub)
	pub.send(message("d", "x", 1, 2), message("nobody", "x", 1, 3), ping)
	expect[*packet.Ping](pub)
	pub.expectAck(packet.PUBACK, 2, packet.Success)
	pub.expectAck(packet.PUBACK, 3, packet.Success) // MQTT-4.6.0-2: in order
}

// TestManyPublishers: many clients at once, nothing lost, order kept for each.
func TestManyPublishers(t *testing.T) {
	r := start(t, Config{})
	const pubs, each = 8, 200
	sub, _ := r.connect(packet.V5, "sub", keep, with(packet.PropReceiveMaximum, 20))
	sub.subscribe(1, "m/+")
	var failed atomic.Bool
	for p := range pubs {
		c, _ := r.connect(packet.V311, fmt.Sprint("pub", p))
		go func() {
			for i := range each {
				b := message(fmt.Sprintf("m/%d", p), fmt.Sprint(i), 1, uint16(i+1)).Append(nil, c.v)
				if _, err := c.nc.Write(b); err != nil {
					failed.Store(true)
				}
			}
			for i := range each {
				if a, err := c.next(patience); err != nil || a.(*packet.Ack).PacketID != uint16(i+1) {
					failed.Store(true)
					return
				}
			}
		}()
	}
	next := map[string]int{}
	for n := range pubs * each {
		m := expect[*packet.Publish](sub)
		if want := fmt.Sprint(next[string(m.Topic)]); string(m.Payload) != want {
			t.Fatalf("message %d on %s: %s, want %s", n, m.Topic, m.Payload, want)
		}
		next[string(m.Topic)]++
		sub.send(answer(packet.PUBACK, m.PacketID))
	}
	if failed.Load() {
		t.Error("a publisher was not acknowledged in order")
	}
}
