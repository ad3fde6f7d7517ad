package mqttcore

import (
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// freeIDs shows that each new message of this QoS gets an identifier that no
// open one has.
func freeIDs(qos byte) func(*rig) {
	return func(r *rig) {
		for _, mod := range lasting {
			c, _ := r.connect(packet.V5, "ids", mod)
			c.subscribe(qos, "ids")
			open := map[uint16]bool{}
			for i := range 40 {
				r.publish("ids", "x", qos, false)
				m := c.expectMessage("x")
				if m.PacketID == 0 || open[m.PacketID] {
					r.t.Fatalf("message %d has identifier %d, in use: %v", i, m.PacketID, open)
				}
				open[m.PacketID] = true
				if i%3 == 0 {
					typ := packet.PUBACK
					if qos == 2 {
						typ = packet.PUBREC
					}
					c.send(&packet.Ack{Type: typ, PacketID: m.PacketID, Reason: packet.UnspecifiedError}) // ends it
					delete(open, m.PacketID)
				}
			}
			c.leave(0)
		}
	}
}

// firstDelivery shows that DUP is not set on a first delivery, not even on one
// that waited, nor if the publisher set it.
func firstDelivery(qos byte) func(*rig) {
	return func(r *rig) {
		r.away5("first", qos, "first")
		c, _ := r.connect(packet.V5, "")
		m := message("first", "waited", qos, 1)
		m.Dup = true
		c.send(m)
		c.silentAfter(qos)
		c = r.back5("first")
		if m := c.expectMessage("waited"); m.Dup || m.QoS != qos {
			r.t.Errorf("got %+v", m)
		}
		r.publish("first", "at once", qos, false)
		if m := c.expectMessage("at once"); m.Dup || m.QoS != qos {
			r.t.Errorf("got %+v", m)
		}
	}
}

// mqtt5QoS1 are the statements of QoS 1.
var mqtt5QoS1 = []statement{
	{"MQTT-4.3.2-1", freeIDs(1)},
	{"MQTT-4.3.2-2", firstDelivery(1)},
	{"MQTT-4.3.2-3", func(r *rig) {
		r.away5("open1", 1, "open1")
		c := r.back5("open1")
		r.publish("open1", "x", 1, false)
		c.expectMessage("x")
		c.send(answer(packet.PUBREC, 1), answer(packet.PUBCOMP, 1), answer(packet.PUBACK, 2)) // none of them is its PUBACK
		c.expectAck(packet.PUBREL, 1, packet.PacketIdentifierNotFound)
		c.silent()
		c.close()
		c = r.back5("open1")
		if m := c.expectMessage("x"); !m.Dup || m.PacketID != 1 {
			r.t.Errorf("got %+v", m)
		}
		c.send(answer(packet.PUBACK, 1))
		c.silent()
		c.close()
		r.back5("open1").silent()
	}},
	{"MQTT-4.3.2-4", func(r *rig) {
		r.away5("owner1", 1, "owned")
		c, _ := r.connect(packet.V5, "")
		c.send(message("owned", "x", 1, 500), message("nobody", "x", 1, 501))
		c.expectAck(packet.PUBACK, 500, packet.Success)
		c.expectAck(packet.PUBACK, 501, packet.NoMatchingSubscribers)
		c.close() // it is the broker's now
		r.back5("owner1").expectMessage("x")
	}},
	{"MQTT-4.3.2-5", func(r *rig) {
		w := r.watch(packet.V5, "new1")
		c, _ := r.connect(packet.V5, "")
		for _, dup := range []bool{false, false, true} {
			m := message("new1", "x", 1, 9)
			m.Dup = dup
			c.send(m)
			c.expectAck(packet.PUBACK, 9, packet.Success)
			w.expectMessage("x")
		}
	}},
}

// mqtt5QoS2Out are the statements of QoS 2 on the way out.
var mqtt5QoS2Out = []statement{
	{"MQTT-4.3.3-1", freeIDs(2)},
	{"MQTT-4.3.3-2", firstDelivery(2)},
	{"MQTT-4.3.3-3", func(r *rig) {
		r.away5("open2", 2, "open2")
		c := r.back5("open2")
		r.publish("open2", "x", 2, false)
		c.expectMessage("x")
		c.send(answer(packet.PUBACK, 1), answer(packet.PUBCOMP, 1)) // neither is its PUBREC
		c.silent()
		c.close()
		c = r.back5("open2")
		if m := c.expectMessage("x"); !m.Dup || m.PacketID != 1 {
			r.t.Errorf("got %+v", m)
		}
	}},
	{"MQTT-4.3.3-4", func(r *rig) {
		for _, mod := range lasting {
			c, _ := r.connect(packet.V5, "rel", mod)
			c.subscribe(2, "rel")
			r.publish("rel", "x", 2, false)
			r.publish("rel", "x", 2, false)
			r.publish("rel", "x", 2, false)
			for id := uint16(1); id <= 3; id++ {
				if m := c.expectMessage("x"); m.PacketID != id {
					r.t.Fatalf("identifier %d, want %d", m.PacketID, id)
				}
			}
			c.send(&packet.Ack{Type: packet.PUBREC, PacketID: 2, Reason: packet.NoMatchingSubscribers})
			c.expectAck(packet.PUBREL, 2, packet.Success)
			c.send(&packet.Ack{Type: packet.PUBREC, PacketID: 1, Reason: packet.QuotaExceeded}, answer(packet.PUBREC, 3))
			c.expectAck(packet.PUBREL, 3, packet.Success) // none for the one refused
			c.silent()
			c.leave(0)
		}
	}},
	{"MQTT-4.3.3-5", func(r *rig) {
		r.away5("rel open", 2, "rel open")
		c := r.back5("rel open")
		r.publish("rel open", "x", 2, false)
		c.expectMessage("x")
		c.send(answer(packet.PUBREC, 1))
		c.expectAck(packet.PUBREL, 1, packet.Success)
		for range 2 {
			c.close()
			c = r.back5("rel open")
			c.expectAck(packet.PUBREL, 1, packet.Success)
			c.silent()
		}
		c.send(answer(packet.PUBCOMP, 1))
		c.silent()
		c.close()
		r.back5("rel open").silent()
	}},
	{"MQTT-4.3.3-6", func(r *rig) {
		r = start(r.t, r.cfg)
		r.away5("never", 2, "never")
		c := r.back5("never")
		r.publish("never", "x", 2, false)
		c.expectMessage("x")
		c.send(answer(packet.PUBREC, 1))
		c.expectAck(packet.PUBREL, 1, packet.Success)
		r.restart() // not even by a broker that starts again
		c = r.back5("never")
		c.expectAck(packet.PUBREL, 1, packet.Success)
		c.silent()
	}},
	{"MQTT-4.3.3-7", onClock(func(t *testing.T, b *Broker, dial func() *client) {
		c := dial()
		c.resume("late", 3600)
		c.subscribe(2, "late")
		sent := make(chan error, 1)
		go func() {
			sent <- b.Publish(t.Context(), Message{Topic: "late", Payload: []byte("x"), QoS: 2,
				Properties: Properties{Expiry: 10, HasExpiry: true}})
		}()
		m := c.expectMessage("x")
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		c.vanish()
		time.Sleep(time.Minute) // fake: no time passes
		c = dial()
		if !c.resume("late", 3600) {
			t.Fatal("the session is gone")
		}
		if again := c.expectMessage("x"); !again.Dup || again.PacketID != m.PacketID {
			t.Errorf("got %+v", again)
		}
		c.send(answer(packet.PUBREC, m.PacketID))
		c.expectAck(packet.PUBREL, m.PacketID, packet.Success)
		c.vanish()
	})},
}

// mqtt5QoS2In are the statements of QoS 2 on the way in.
var mqtt5QoS2In = []statement{
	{"MQTT-4.3.3-8", func(r *rig) {
		r.away5("owner2", 2, "owned2")
		c, _ := r.connect(packet.V5, "")
		c.send(message("owned2", "x", 2, 500), message("nobody", "x", 2, 501))
		c.expectAck(packet.PUBREC, 500, packet.Success)
		c.expectAck(packet.PUBREC, 501, packet.NoMatchingSubscribers)
		c.close() // it is the broker's now
		r.back5("owner2").expectMessage("x")
	}},
	{"MQTT-4.3.3-9", func(r *rig) {
		for _, mod := range lasting {
			w := r.watch(packet.V5, "fresh")
			c, _ := r.connect(packet.V5, "fresh", mod)
			c.send(message("$SYS/no", "x", 2, 5))
			if a := expect[*packet.Ack](c); a.Type != packet.PUBREC || !a.Reason.Failed() {
				r.t.Fatalf("got %+v", a)
			}
			c.send(message("fresh", "x", 2, 5)) // no PUBREL in between
			c.expectAck(packet.PUBREC, 5, packet.Success)
			w.expectMessage("x")
			c.leave(0)
		}
	}},
	{"MQTT-4.3.3-10", func(r *rig) {
		for _, mod := range lasting {
			w := r.watch(packet.V5, "once")
			c, _ := r.connect(packet.V5, "once", mod)
			for i, payload := range []string{"x", "x", "other payload"} {
				m := message("once", payload, 2, 5)
				m.Dup = i > 0
				c.send(m)
				c.expectAck(packet.PUBREC, 5, packet.Success)
			}
			w.expectMessage("x")
			w.silent()
			c.leave(0)
		}
		w := r.watch(packet.V5, "once")
		c := r.back5("once")
		c.send(message("once", "x", 2, 5))
		c.expectAck(packet.PUBREC, 5, packet.Success)
		w.silent()
	}},
	{"MQTT-4.3.3-11", func(r *rig) {
		for _, mod := range lasting {
			c, _ := r.connect(packet.V5, "comp", mod)
			c.send(message("nobody", "x", 2, 5), message("nobody", "x", 2, 65535))
			c.expectAck(packet.PUBREC, 5, packet.NoMatchingSubscribers)
			c.expectAck(packet.PUBREC, 65535, packet.NoMatchingSubscribers)
			c.send(answer(packet.PUBREL, 65535), answer(packet.PUBREL, 5))
			c.expectAck(packet.PUBCOMP, 65535, packet.Success)
			c.expectAck(packet.PUBCOMP, 5, packet.Success)
			c.send(answer(packet.PUBREL, 5))
			c.expectAck(packet.PUBCOMP, 5, packet.PacketIdentifierNotFound)
			c.leave(0)
		}
	}},
	{"MQTT-4.3.3-12", func(r *rig) {
		for _, mod := range lasting {
			w := r.watch(packet.V5, "next")
			c, _ := r.connect(packet.V5, "next", mod)
			for _, dup := range []bool{false, true} {
				m := message("next", "x", 2, 5)
				m.Dup = dup
				c.send(m)
				c.expectAck(packet.PUBREC, 5, packet.Success)
				c.send(answer(packet.PUBREL, 5))
				c.expectAck(packet.PUBCOMP, 5, packet.Success)
				w.expectMessage("x")
			}
			c.leave(0)
		}
	}},
	{"MQTT-4.3.3-13", onClock(func(t *testing.T, b *Broker, dial func() *client) {
		away := dial()
		away.resume("away", 3600)
		away.subscribe(2, "dead")
		away.vanish()
		c := dial()
		c.resume("publisher", 3600)
		m := message("dead", "x", 2, 5)
		m.Properties.SetUint(packet.PropMessageExpiry, 10)
		c.send(m)
		c.expectAck(packet.PUBREC, 5, packet.Success)
		time.Sleep(time.Minute) // fake: no time passes
		away = dial()
		away.resume("away", 3600)
		away.silent() // it is dead
		c.send(m)
		c.expectAck(packet.PUBREC, 5, packet.Success)
		c.send(answer(packet.PUBREL, 5))
		c.expectAck(packet.PUBCOMP, 5, packet.Success)
		away.silent()
		away.vanish()
		c.vanish()
	})},
}
