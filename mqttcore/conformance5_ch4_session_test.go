package mqttcore

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/packet"
)

// TestMQTT5Ch4 goes through what chapter 4 of MQTT 5.0 demands of a server.
func TestMQTT5Ch4(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	r.judge(t, mqtt5Sessions, mqtt5QoS1, mqtt5QoS2Out, mqtt5QoS2In, mqtt5Delivery, mqtt5Order,
		mqtt5Topics, mqtt5Shares, mqtt5Flow, mqtt5Auth, mqtt5Errors)
}

// away5 makes a session that has these subscriptions, outlives its connection,
// and has nobody connected.
func (r *rig) away5(id string, qos byte, filters ...string) {
	r.t.Helper()
	c, _ := r.connect(packet.V5, id, keep, func(p *packet.Connect) { p.CleanStart = true })
	c.subscribe(qos, filters...)
	c.leave(0)
}

// back5 connects to a session that must be there.
func (r *rig) back5(id string, mods ...func(*packet.Connect)) *client {
	r.t.Helper()
	c, ack := r.connect(packet.V5, id, append([]func(*packet.Connect){keep}, mods...)...)
	if !ack.SessionPresent {
		r.t.Fatalf("the session of %s is gone", id)
	}
	return c
}

// lasting are sessions in memory and in the log: what holds for one must hold
// for the other.
var lasting = []func(*packet.Connect){func(*packet.Connect) {}, keep}

// onClock runs a test of a statement in fake time.
func onClock(test func(t *testing.T, b *Broker, dial func() *client)) func(*rig) {
	return func(r *rig) {
		inBubble(r.t.(*testing.T), Config{SysInterval: -1}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			test(t, b, func() *client { return dial(packet.V5) })
		})
	}
}

// resume connects to a session with this expiry, in seconds.
func (c *client) resume(id string, expiry uint32) (present bool) {
	c.t.Helper()
	return c.hello(id, func(p *packet.Connect) {
		p.CleanStart = false
		p.Properties.SetUint(packet.PropSessionExpiry, expiry)
	}).SessionPresent
}

// vanish cuts the connection and waits until the broker knows, in fake time.
func (c *client) vanish() {
	c.close()
	synctest.Wait()
}

// mqtt5Sessions are the statements of session state and network connections.
var mqtt5Sessions = []statement{
	{"MQTT-4.1.0-1", onClock(func(t *testing.T, b *Broker, dial func() *client) {
		for _, expiry := range []uint32{0, 1, 30} {
			c := dial()
			c.resume("open", expiry)
			c.subscribe(1, "open")
			if expiry > 0 { // the clock that this started must stop again
				c.vanish()
				c = dial()
				if !c.resume("open", expiry) {
					t.Errorf("expiry %d: gone at once", expiry)
				}
			}
			time.Sleep(time.Hour) // fake: no time passes
			sent := make(chan error, 1)
			go func() { sent <- b.Publish(t.Context(), Message{Topic: "open", Payload: []byte("x"), QoS: 1}) }()
			c.send(answer(packet.PUBACK, c.expectMessage("x").PacketID))
			if err := <-sent; err != nil {
				t.Error(err)
			}
			c.vanish()
			time.Sleep(time.Minute)
		}
	})},
	{"MQTT-4.1.0-2", onClock(func(t *testing.T, b *Broker, dial func() *client) {
		for _, expiry := range []uint32{0, 1, 60} {
			c := dial()
			c.resume("ends", expiry)
			c.subscribe(1, "ends")
			c.vanish()
			time.Sleep(time.Duration(expiry)*time.Second + time.Millisecond)
			synctest.Wait()
			if n := b.Stats().Sessions; n != 0 {
				t.Errorf("expiry %d: %d sessions left", expiry, n)
			}
			if n := b.st.Stats().Sessions; n != 0 {
				t.Errorf("expiry %d: %d sessions left in the store", expiry, n)
			}
			c = dial()
			if c.resume("ends", 0) {
				t.Errorf("expiry %d: present after its end", expiry)
			}
			c.vanish()
		}
	})},
	{"MQTT-4.2.0-1", func(r *rig) {
		c := r.dial(packet.V5)
		hello := (&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "tcp"}).Append(nil, packet.V5)
		for _, b := range append(hello, wire(r.t, `82 09 0001 00 0003 "tcp" 00 30 07 0003 "tcp" 00 "x" c0 00`)...) {
			c.write([]byte{b}) // a stream, however it is cut
		}
		expect[*packet.Connack](c)
		c.expectFrame("90 04 0001 00 00")
		c.expectFrame(`30 07 0003 "tcp" 00 "x"`)
		c.expectFrame("d0 00")
	}},
	{"MQTT-4.3.1-1", func(r *rig) {
		c := r.watch(packet.V5, "qos0")
		r.publish("qos0", "x", 2, false)
		c.expectFrame(`30 08 0004 "qos0" 00 "x"`)
		rejects(packet.V5, wrong{"DUP in QoS 0", `38 07 0004 "qos0" 00`, packet.MalformedPacket})(r)
	}},
}

// mqtt5Delivery are the statements of what is sent again, and of receipt.
var mqtt5Delivery = []statement{
	{"MQTT-4.4.0-1", func(r *rig) {
		r.away5("resend", 2, "resend")
		c := r.back5("resend")
		for i, qos := range []byte{1, 2, 2, 1} {
			r.publish("resend", fmt.Sprint(i+1), qos, false)
			c.expectMessage(fmt.Sprint(i + 1))
		}
		c.send(answer(packet.PUBREC, 2), answer(packet.PUBACK, 1))
		c.expectAck(packet.PUBREL, 2, 0)
		c.silent() // nothing again while the connection lasts
		for range 2 {
			c.close()
			c = r.back5("resend")
			c.expectAck(packet.PUBREL, 2, 0)
			for i, qos := range []byte{2, 1} {
				if m := c.expectMessage(fmt.Sprint(i + 3)); m.PacketID != uint16(i+3) || m.QoS != qos || !m.Dup {
					r.t.Errorf("sent again as %+v", m)
				}
			}
			c.silent()
		}
	}},
	{"MQTT-4.4.0-2", func(r *rig) {
		r.away5("refuse", 2, "refuse")
		c := r.back5("refuse")
		r.publish("refuse", "1", 1, false)
		r.publish("refuse", "2", 2, false)
		c.expectMessage("1")
		c.expectMessage("2")
		c.send(&packet.Ack{Type: packet.PUBACK, PacketID: 1, Reason: packet.QuotaExceeded},
			&packet.Ack{Type: packet.PUBREC, PacketID: 2, Reason: packet.UnspecifiedError})
		c.silent() // and no PUBREL
		c.close()
		r.back5("refuse").silent()
	}},
	{"MQTT-4.5.0-1", func(r *rig) {
		r = start(r.t, r.cfg)
		r.away5("absent", 2, "all/+")
		var here []*client
		for i, f := range []string{"all/#", "+/x", "all/x", "#", "$share/one/all/x"} {
			c, _ := r.connect(packet.V5, "")
			c.subscribe(byte(i%3), f)
			here = append(here, c)
		}
		r.publish("all/x", "x", 2, false)
		for i, c := range append(here, r.back5("absent")) {
			if m := c.expectMessage("x"); i < 5 && m.QoS != byte(i%3) || i == 5 && m.QoS != 2 {
				r.t.Errorf("subscriber %d: %+v", i, m)
			}
		}
	}},
}
