package mqttcore

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

func TestQoSFlows(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := start(t, Config{})
		sub, _ := r.connect(v, "sub")
		pub, _ := r.connect(v, "pub")
		sub.subscribe(2, "a/#")
		for qos := byte(0); qos <= 2; qos++ {
			for pid := uint16(1); pid <= 3; pid++ {
				pub.send(message("a/b", "hello", qos, pid))
				switch qos {
				case 1:
					pub.expectAck(packet.PUBACK, pid, packet.Success)
				case 2:
					pub.expectAck(packet.PUBREC, pid, packet.Success)
					pub.send(answer(packet.PUBREL, pid))
					pub.expectAck(packet.PUBCOMP, pid, packet.Success)
				}
				m := sub.expectMessage("hello")
				if m.QoS != qos || m.Dup || m.Retain || string(m.Topic) != "a/b" {
					t.Errorf("QoS %d arrives as %+v", qos, m)
				}
				switch qos {
				case 1:
					sub.send(answer(packet.PUBACK, m.PacketID))
				case 2:
					sub.send(answer(packet.PUBREC, m.PacketID))
					sub.expectAck(packet.PUBREL, m.PacketID, packet.Success)
					sub.send(answer(packet.PUBCOMP, m.PacketID))
				}
			}
		}
		sub.silent()
		pub.silent()
	})
}

func TestNoMatchingSubscribers(t *testing.T) {
	r := start(t, Config{})
	pub, _ := r.connect(packet.V5, "pub")
	pub.send(message("nobody", "", 1, 1), message("nobody", "", 2, 2))
	pub.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
	pub.expectAck(packet.PUBREC, 2, packet.NoMatchingSubscribers)
	pub.send(answer(packet.PUBREL, 2), answer(packet.PUBREL, 3))
	pub.expectAck(packet.PUBCOMP, 2, packet.Success)
	pub.expectAck(packet.PUBCOMP, 3, packet.PacketIdentifierNotFound)
}

func TestTopicAlias(t *testing.T) {
	r := start(t, Config{})
	sub, _ := r.connect(packet.V5, "sub")
	sub.subscribe(0, "#")
	aliased := func(topic, payload string, n uint16) *packet.Publish {
		p := message(topic, payload, 0, 0)
		p.Properties.SetUint(packet.PropTopicAlias, uint32(n))
		return p
	}
	pub, _ := r.connect(packet.V5, "pub")
	pub.send(aliased("long/topic", "1", 1), aliased("", "2", 1), aliased("other", "3", 1), aliased("", "4", 1))
	for i, want := range []string{"long/topic", "long/topic", "other", "other"} {
		m := sub.expectMessage(string(rune('1' + i)))
		if string(m.Topic) != want || m.Properties.Has(packet.PropTopicAlias) {
			t.Errorf("message %d on %q, alias passed on: %v", i, m.Topic, m.Properties.Has(packet.PropTopicAlias))
		}
	}
	t.Run("MQTT-3.3.2-7 an alias is of its connection", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "other")
		c.send(aliased("", "x", 1))
		c.expectClosed(packet.ProtocolError)
	})
	t.Run("MQTT-3.3.2-9 aliases up to our maximum", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "over")
		c.send(aliased("a", "x", aliasMaximum+1))
		c.expectClosed(packet.TopicAliasInvalid)
	})
}

func TestReceiveMaximum(t *testing.T) {
	r := start(t, Config{ReceiveMaximum: 3})
	t.Run("MQTT-3.3.4-7 ours is enforced", func(t *testing.T) {
		pub, _ := r.connect(packet.V5, "pub")
		for pid := uint16(1); pid <= 4; pid++ {
			pub.send(message("x", "", 2, pid)) // PUBREC does not give the place back
		}
		for pid := uint16(1); pid <= 3; pid++ {
			pub.expectAck(packet.PUBREC, pid, packet.NoMatchingSubscribers)
		}
		pub.expectClosed(packet.ReceiveMaximumExceeded)
	})
	t.Run("ours comes back", func(t *testing.T) {
		pub, _ := r.connect(packet.V5, "pub")
		for pid := uint16(1); pid <= 10; pid++ {
			pub.send(message("x", "", 2, pid), message("x", "", 1, pid+100))
			pub.expectAck(packet.PUBREC, pid, packet.NoMatchingSubscribers)
			pub.expectAck(packet.PUBACK, pid+100, packet.NoMatchingSubscribers)
			pub.send(answer(packet.PUBREL, pid))
			pub.expectAck(packet.PUBCOMP, pid, packet.Success)
		}
	})
	for _, durable := range []bool{false, true} {
		name, mods := "in memory", []func(*packet.Connect){with(packet.PropReceiveMaximum, 2)}
		if durable {
			name, mods = "durable", append(mods, keep)
		}
		t.Run("MQTT-3.3.4-9 the client's is kept, "+name, func(t *testing.T) {
			sub, _ := r.connect(packet.V5, "sub", mods...)
			sub.subscribe(2, "y")
			pub, _ := r.connect(packet.V311, "pub")
			for i := range 6 {
				pub.send(message("y", string(rune('a'+i)), byte(1+i%2), uint16(i+1)))
			}
			a := sub.expectMessage("a")
			b := sub.expectMessage("b")
			sub.silent()
			sub.send(answer(packet.PUBREC, b.PacketID))
			sub.expectAck(packet.PUBREL, b.PacketID, packet.Success)
			sub.silent() // PUBREC does not open the window
			sub.send(answer(packet.PUBACK, a.PacketID))
			sub.expectMessage("c")
			sub.silent()
			sub.send(answer(packet.PUBCOMP, b.PacketID))
			sub.expectMessage("d")
			sub.silent()
			refused := answer(packet.PUBREC, 4)
			refused.Reason = packet.QuotaExceeded
			sub.send(refused) // ends the message
			sub.expectMessage("e")
		})
	}
}

func TestMaximumPacketSize(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		for _, durable := range []bool{false, true} {
			r := start(t, Config{})
			mods := []func(*packet.Connect){with(packet.PropMaximumPacketSize, 30)}
			if durable {
				mods = append(mods, keep)
			}
			sub, _ := r.connect(packet.V5, "sub", mods...)
			sub.subscribe(1, "t")
			pub, _ := r.connect(v, "pub")
			fits, over := strings.Repeat("f", 22), strings.Repeat("o", 23)
			for i, payload := range []string{over, fits, over, fits} {
				pub.send(message("t", payload, 1, uint16(i+1)))
				pub.expectAck(packet.PUBACK, uint16(i+1), packet.Success)
			}
			for range 2 { // MQTT-3.1.2-25: as if it had been sent
				m := sub.expectMessage(fits)
				if n := len(m.Append(nil, packet.V5)); n != 30 {
					t.Fatalf("the test means a packet of 30 bytes, it has %d", n)
				}
			}
			sub.silent()
			if n := r.Stats().TooLarge; n != 2 {
				t.Errorf("%d counted as too large, want 2", n)
			}
		}
	})
}

func TestProperties(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	pub, _ := r.connect(packet.V5, "pub")
	p := message("p", "body", 1, 1)
	p.Properties.SetUint(packet.PropPayloadFormat, 1)
	p.Properties.SetUint(packet.PropMessageExpiry, 500)
	p.Properties.SetBytes(packet.PropContentType, []byte("text/plain"))
	p.Properties.SetBytes(packet.PropResponseTopic, []byte("answer/here"))
	p.Properties.SetBytes(packet.PropCorrelationData, []byte{0, 1, 2})
	p.Properties.User = []packet.UserProperty{{Key: []byte("b"), Value: []byte("1")}, {Key: []byte("a"), Value: []byte("2")}}
	for _, durable := range []bool{false, true} {
		for _, v := range []packet.Version{packet.V5, packet.V311} {
			var mods []func(*packet.Connect)
			if durable {
				mods = append(mods, keep)
			}
			sub, _ := r.connect(v, fmt.Sprint("sub", v, durable), mods...)
			sub.subscribe(1, "p")
			pub.send(p)
			pub.expectAck(packet.PUBACK, 1, packet.Success)
			m := sub.expectMessage("body")
			if v != packet.V5 {
				continue
			}
			q := &m.Properties
			if q.PayloadFormat != 1 || q.MessageExpiry != 500 || string(q.ContentType) != "text/plain" ||
				string(q.ResponseTopic) != "answer/here" || string(q.CorrelationData) != "\x00\x01\x02" {
				t.Errorf("MQTT-3.3.2-15 and -16: %+v", q)
			}
			if len(q.User) != 2 || string(q.User[0].Key) != "b" || string(q.User[1].Value) != "2" {
				t.Errorf("MQTT-3.3.2-18: user properties %s", q.User)
			}
		}
	}
	t.Run("MQTT-3.3.4-6 no subscription identifier from a client", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "odd")
		p := message("p", "", 0, 0)
		p.Properties.SetUint(packet.PropSubscriptionID, 1)
		c.send(p)
		c.expectClosed(packet.ProtocolError)
	})
}

func TestSysIsOurs(t *testing.T) {
	r := start(t, Config{SysInterval: time.Hour, Version: "v"})
	sub, _ := r.connect(packet.V5, "sub")
	sub.subscribe(0, "$SYS/broker/version", "#")
	sub.expectMessage("v")
	pub, _ := r.connect(packet.V5, "pub")
	pub.send(message("$SYS/broker/version", "fake", 0, 0), message("$SYS/x", "fake", 1, 1))
	pub.expectAck(packet.PUBACK, 1, packet.NotAuthorized)
	sub.silent() // MQTT-4.7.2-1: and # does not match $SYS
}

func TestDeepTopics(t *testing.T) {
	r := start(t, Config{MaxTopicLevels: 10})
	c, _ := r.connect(packet.V5, "c")
	c.send(message(strings.Repeat("/", 9), "", 1, 1), message(strings.Repeat("/", 10), "", 1, 2), message(strings.Repeat("/", 65535), "", 1, 3))
	c.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
	c.expectAck(packet.PUBACK, 2, packet.TopicNameInvalid)
	c.expectAck(packet.PUBACK, 3, packet.TopicNameInvalid)
	c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(strings.Repeat("/", 65535))}, {Topic: []byte("ok")}}})
	if got := expect[*packet.Suback](c).Reasons; got[0] != packet.TopicFilterInvalid || got[1] != packet.GrantedQoS0 {
		t.Errorf("SUBACK %v", got)
	}
}

// TestSlowClient: a client that does not read loses QoS 0 messages, which are
// counted, and costs the others nothing. One that reads again goes on.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	r := start(t, Config{MaxQueuedBytes: 64 << 10})
	slow, _ := r.connect(packet.V311, "slow")
	slow.subscribe(1, "flood")
	quick, _ := r.connect(packet.V311, "quick")
	quick.subscribe(1, "flood")
	pub, _ := r.connect(packet.V311, "pub")
	payload := strings.Repeat("x", 8000)
	n := 0
	for ; r.Stats().Dropped == 0; n++ {
		pub.send(message("flood", payload, byte(n%2), uint16(n%1000+1)))
		if m := quick.expectMessage(payload); m.QoS == 1 {
			quick.send(answer(packet.PUBACK, m.PacketID))
			pub.expectAck(packet.PUBACK, uint16(n%1000+1), packet.Success)
		}
		if n > 10_000 {
			t.Fatal("nothing is dropped")
		}
	}
	got := 0
	for {
		pub.send(message("flood", "end", 1, 1))
		pub.expectAck(packet.PUBACK, 1, packet.Success)
		if m := quick.expectMessage("end"); m.QoS == 1 {
			quick.send(answer(packet.PUBACK, m.PacketID))
		}
		m := expect[*packet.Publish](slow)
		if m.QoS == 1 {
			slow.send(answer(packet.PUBACK, m.PacketID))
		}
		if string(m.Payload) == "end" {
			break
		}
		got++
	}
	if got == 0 || got > n {
		t.Errorf("the slow client got %d of %d", got, n)
	}
	if r.Stats().WriteTimeouts != 0 {
		t.Error("a client that read in time was ended")
	}
}

// TestDeafClient: one that takes no bytes at all is ended, and one that asks
// without reading stops being read before it fills the memory.
func TestDeafClient(t *testing.T) {
	t.Parallel()
	r := start(t, Config{MaxQueuedBytes: 64 << 10, WriteTimeout: 200 * time.Millisecond})
	deaf, _ := r.connect(packet.V311, "deaf")
	pings := bytes.Repeat([]byte{0xc0, 0}, 64<<10)
	for {
		_ = deaf.nc.SetWriteDeadline(time.Now().Add(patience))
		if _, err := deaf.nc.Write(pings); err != nil {
			break
		}
	}
	await(t, "the client is ended", func() bool { return r.Stats().Connected == 0 })
	if n := r.Stats().WriteTimeouts; n != 1 {
		t.Errorf("%d write timeouts, want 1", n)
	}
}

// TestFaultEndsOneClient: a panic costs the client that met it, and is counted.
func TestFaultEndsOneClient(t *testing.T) {
	r := start(t, Config{})
	r.Subscribe("bomb", func(*Message) { panic("boom") })
	other, _ := r.connect(packet.V5, "other")
	other.subscribe(0, "bomb")
	c, _ := r.connect(packet.V5, "c")
	c.send(message("bomb", "", 0, 0))
	c.expectClosed(packet.UnspecifiedError)
	other.silent()
	if n := r.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
}

func TestInProcess(t *testing.T) {
	r := start(t, Config{})
	c, _ := r.connect(packet.V5, "c")
	c.subscribe(2, "to/#")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Publish(ctx, Message{Topic: "to/it", Payload: []byte("x"), QoS: 2, Properties: Properties{ContentType: "a"}}); err != nil {
		t.Fatal(err)
	}
	if m := c.expectMessage("x"); m.QoS != 2 || string(m.Properties.ContentType) != "a" {
		t.Errorf("got %+v", m)
	}
	got := make(chan *Message, 10)
	kept := message("from/kept", "kept", 0, 0)
	kept.Retain = true
	c.send(kept)
	c.silent()
	cancelSub := r.Subscribe("from/+", func(m *Message) { got <- m })
	if m := <-got; m.Topic != "from/kept" || !m.Retain {
		t.Errorf("got %+v", m)
	}
	p := message("from/it", "y", 1, 1)
	p.Properties.SetBytes(packet.PropResponseTopic, []byte("re"))
	c.send(p)
	c.expectAck(packet.PUBACK, 1, packet.Success)
	if m := <-got; m.Topic != "from/it" || string(m.Payload) != "y" || m.QoS != 1 || m.Retain || m.Properties.ResponseTopic != "re" {
		t.Errorf("got %+v", m)
	}
	cancelSub()
	c.send(message("from/it", "z", 1, 2))
	c.expectAck(packet.PUBACK, 2, packet.NoMatchingSubscribers)
	for _, m := range []Message{{Topic: ""}, {Topic: "a/+"}, {Topic: "a", QoS: 3}, {Topic: "a\x00"}} {
		if err := r.Publish(ctx, m); err == nil {
			t.Errorf("%+v was published", m)
		}
	}
}
