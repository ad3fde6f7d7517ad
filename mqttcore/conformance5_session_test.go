package mqttcore

import (
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/packet"
)

// session5 is about the session and the client identifier (3.1.2.4, 3.1.3.1)
// and what the server does about CONNECT (3.1.4).
var session5 = []statement{
	{"MQTT-3.1.2-4", func(r *rig) {
		c, _ := r.connect(packet.V5, r.name(), keep)
		c.subscribe(1, r.name())
		r.publish(r.name(), "in flight", 1, false)
		c.expectMessage("in flight")
		c.send(message("x", "QoS 2", 2, 9))
		c.expectAck(packet.PUBREC, 9, packet.NoMatchingSubscribers)
		c.close()
		r.gone(r.name())
		r.publish(r.name(), "queued", 1, false)
		c, ack := r.connect(packet.V5, r.name(), with(packet.PropSessionExpiry, 100))
		if ack.SessionPresent {
			r.t.Error("session present")
		}
		r.publish(r.name(), "no longer subscribed", 1, false)
		c.silent()
		c.send(answer(packet.PUBREL, 9)) // nothing is known of it
		c.expectAck(packet.PUBCOMP, 9, packet.PacketIdentifierNotFound)
		c.leave(packet.Success)
		if _, ack = r.connect(packet.V5, r.name(), keep); !ack.SessionPresent {
			r.t.Error("the session that began with a clean start is not kept")
		}
	}},
	{"MQTT-3.1.2-5", func(r *rig) {
		c, _ := r.connect(packet.V5, r.name(), keep)
		c.subscribeWith(packet.Filter{Topic: []byte(r.name() + "/+"), QoS: 2, RetainAsPublished: true}, 77)
		r.publish(r.name()+"/1", "in flight", 1, false)
		first := c.expectMessage("in flight")
		c.send(message("x", "QoS 2", 2, 9))
		c.expectAck(packet.PUBREC, 9, packet.NoMatchingSubscribers)
		c.close()
		r.gone(r.name())
		r.publish(r.name()+"/2", "queued", 1, false)
		c, ack := r.connect(packet.V5, r.name(), keep)
		if !ack.SessionPresent {
			r.t.Error("no session present")
		}
		p := c.expectMessage("in flight")
		if !p.Dup || p.PacketID != first.PacketID {
			r.t.Errorf("resent as %+v", p)
		}
		c.send(answer(packet.PUBACK, p.PacketID))
		p = c.expectMessage("queued")
		if p.Dup || len(p.Properties.SubscriptionIDs) != 1 || p.Properties.SubscriptionIDs[0] != 77 {
			r.t.Errorf("queued message: %+v", p)
		}
		c.send(answer(packet.PUBACK, p.PacketID), answer(packet.PUBREL, 9))
		c.expectAck(packet.PUBCOMP, 9, packet.Success)
		r.publish(r.name()+"/3", "live", 2, true)
		if p := c.expectMessage("live"); p.QoS != 2 || !p.Retain || p.Properties.SubscriptionIDs[0] != 77 {
			r.t.Errorf("the subscription is not what it was: %+v", p)
		}
	}},
	{"MQTT-3.1.2-6", func(r *rig) {
		for range 2 {
			c, ack := r.connect(packet.V5, r.name(), func(p *packet.Connect) { p.CleanStart = false })
			if ack.SessionPresent {
				r.t.Error("a session from nowhere")
			}
			c.subscribe(1, r.name())
			c.leave(packet.Success) // its expiry is 0: nothing is left
		}
	}},
	{"MQTT-3.1.2-23", func(r *rig) {
		inSubBubble(r, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			visit := func(expiry uint32) (bool, *client) {
				c := dial(packet.V5)
				ack := c.hello("c", with(packet.PropSessionExpiry, expiry), func(p *packet.Connect) { p.CleanStart = false })
				return ack.SessionPresent, c
			}
			away := func(c *client, d time.Duration) {
				c.close()
				time.Sleep(d) // in the bubble: no time passes
				synctest.Wait()
			}
			_, c := visit(100)
			away(c, 99*time.Second)
			present, c := visit(100)
			if !present {
				t.Error("gone before its time")
			}
			away(c, 101*time.Second)
			if present, c = visit(1); present {
				t.Error("there after its time")
			}
			away(c, 0)
			if present, c = visit(7 * 24 * 3600); !present {
				t.Error("an interval of 1 s is none")
			}
			away(c, 6*24*time.Hour)
			if present, c = visit(0); !present {
				t.Error("gone before a week is over")
			}
			away(c, 0)
			if present, _ = visit(0); present {
				t.Error("kept although its interval is 0")
			}
		})
	}},
	{"MQTT-3.1.3-1", func(r *rig) {
		watch := r.watch(packet.V5, r.name()+"/#")
		c := r.dial(packet.V5)
		c.write(wire(r.t, `10: 00 04 "MQTT" 05 c6 00 00 00 00 02 "id" 00 00 0e "MQTT-3.1.3-1/w" 00 04 "will" 00 02 "me" 00 02 "pw"`))
		expect[*packet.Connack](c)
		c.close()
		if p := watch.expectMessage("will"); string(p.Topic) != r.name()+"/w" {
			r.t.Errorf("will topic %q", p.Topic)
		}
	}},
	{"MQTT-3.1.3-2", func(r *rig) {
		ids := []string{r.name(), r.name() + "2", "mqtt-3.1.3-2"} // the case matters
		for _, id := range ids {
			c, _ := r.connect(packet.V5, id, keep)
			c.subscribe(1, "of/"+id)
			c.leave(packet.Success)
		}
		for _, id := range ids {
			r.publish("of/"+id, id, 1, false)
			c, ack := r.connect(packet.V5, id, keep) // from another address
			if !ack.SessionPresent {
				r.t.Errorf("no session of %q", id)
			}
			c.expectMessage(id)
			c.silent()
		}
	}},
	{"MQTT-3.1.3-3", refuses(packet.V5,
		wrong{"no payload", `10: 00 04 "MQTT" 05 02 00 00 00`, packet.MalformedPacket},
		wrong{"half a length", `10: 00 04 "MQTT" 05 02 00 00 00 00`, packet.MalformedPacket},
		wrong{"cut short", `10: 00 04 "MQTT" 05 02 00 00 00 00 05 "four"`, packet.MalformedPacket},
	)},
	{"MQTT-3.1.3-4", refuses(packet.V5,
		wrong{"not UTF-8", `10: 00 04 "MQTT" 05 02 00 00 00 00 02 ff fe`, packet.MalformedPacket},
		wrong{"Latin-1", `10: 00 04 "MQTT" 05 02 00 00 00 00 04 "caf" e9`, packet.MalformedPacket},
	)},
	{"MQTT-3.1.3-5", func(r *rig) {
		for _, id := range []string{"a", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHI", "JKLMNOPQRSTUVWXYZ", "00000000000000000000000"} {
			if _, ack := r.connect(packet.V5, id); ack.Properties.Has(packet.PropAssignedClientID) {
				r.t.Errorf("%q became %q", id, ack.Properties.AssignedClientID)
			}
		}
	}},
	{"MQTT-3.1.3-6", func(r *rig) {
		seen := map[string]bool{}
		for range 20 {
			_, ack := r.connect(packet.V5, "")
			id := string(ack.Properties.AssignedClientID)
			if id == "" || seen[id] {
				r.t.Errorf("assigned %q, after %v", id, seen)
			}
			seen[id] = true
		}
	}},
	{"MQTT-3.1.3-7", func(r *rig) {
		c, ack := r.connect(packet.V5, "", keep)
		if ack.SessionPresent {
			r.t.Error("session present")
		}
		c.subscribe(1, r.name())
		c.leave(packet.Success)
		r.publish(r.name(), "queued", 1, false)
		c, again := r.connect(packet.V5, string(ack.Properties.AssignedClientID), keep)
		if !again.SessionPresent || again.Properties.Has(packet.PropAssignedClientID) {
			r.t.Errorf("back with the assigned identifier: %+v", again)
		}
		c.expectMessage("queued")
	}},
	{"MQTT-3.1.3-8", refuses(packet.V5, wrong{"an identifier that is no text", `10: 00 04 "MQTT" 05 02 00 00 00 00 02 c3 28`, packet.MalformedPacket})},
	{"MQTT-3.1.3-12", refuses(packet.V5,
		wrong{"not UTF-8", `10: 00 04 "MQTT" 05 82 00 00 00 00 01 "x" 00 02 ff fe`, packet.MalformedPacket},
		wrong{"U+0000", `10: 00 04 "MQTT" 05 82 00 00 00 00 01 "x" 00 01 00`, packet.MalformedPacket},
	)},
	{"MQTT-3.1.4-1", refuses(packet.V5,
		wrong{"empty", "@connect-empty", 0},
		wrong{"bytes behind", "@connect-5-trailing", packet.MalformedPacket},
		wrong{"a property cut short", "@connect-5-property-cut", packet.MalformedPacket},
		wrong{"a property list longer than the packet", "@connect-5-property-length-too-long", packet.MalformedPacket},
		wrong{"a property of another packet", "@connect-5-topic-alias", packet.MalformedPacket},
		wrong{"an unknown property", "@connect-5-unknown-property", packet.MalformedPacket},
		wrong{"a session expiry twice", "@connect-5-twice-session-expiry", packet.ProtocolError},
		wrong{"a receive maximum of 0", "@connect-5-receive-maximum-0", packet.ProtocolError},
		wrong{"a maximum packet size of 0", "@connect-5-maximum-packet-size-0", packet.ProtocolError},
		wrong{"a request that is neither yes nor no", "@connect-5-request-problem-info-2", packet.ProtocolError},
		wrong{"data without a method", "@connect-5-auth-data-alone", packet.ProtocolError},
		wrong{"a will delay outside the will", "@connect-5-will-delay-outside-will", packet.MalformedPacket},
	)},
	{"MQTT-3.1.4-2", func(r *rig) {
		refuses(packet.V5, wrong{"an authentication method that is not known", "@connect-5-all", packet.BadAuthenticationMethod})(r)
		watch := r.watch(packet.V5, "$SYS/#")
		c := r.dial(packet.V5)
		c.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x", Will: &packet.Will{Topic: "$SYS/fake", Payload: []byte("x")}})
		c.refused("a will where only the broker publishes", packet.NotAuthorized)
		watch.silent()
	}},
	{"MQTT-3.1.4-3", func(r *rig) {
		for _, v := range versions {
			c, _ := r.connect(packet.V5, r.name())
			d, _ := r.connect(v, r.name())
			c.over("taken over", packet.SessionTakenOver)
			d.silent()
		}
		// A clean start ends the session, and with it the wait of the will.
		watch := r.watch(packet.V5, r.name())
		delayed := func(payload string) *packet.Will {
			w := willFor(r, payload, 0)
			w.Properties.SetUint(packet.PropWillDelay, 1000)
			return w
		}
		c := r.dying(delayed("1"), with(packet.PropSessionExpiry, 5000))
		d := r.dying(delayed("2"), with(packet.PropSessionExpiry, 5000))
		c.over("taken over", packet.SessionTakenOver)
		watch.expectMessage("1")
		d.close()
		r.gone(r.name())
		watch.silent()
		c = r.dying(delayed("3"), with(packet.PropSessionExpiry, 5000))
		watch.expectMessage("2")
		d = r.dying(delayed("4"), keep) // goes on: the will is not sent
		c.over("taken over", packet.SessionTakenOver)
		watch.silent()
		d.leave(packet.Success)
	}},
	{"MQTT-3.1.4-4", func(r *rig) {
		for i, clean := range []bool{true, false, false, true, false} {
			c, ack := r.connect(packet.V5, r.name(), keep, func(p *packet.Connect) { p.CleanStart = clean })
			if want := i > 0 && !clean; ack.SessionPresent != want {
				r.t.Errorf("connection %d: session present %v, want %v", i, ack.SessionPresent, want)
			}
			c.leave(packet.Success)
		}
	}},
	{"MQTT-3.1.4-5", func(r *rig) {
		c := r.dial(packet.V5)
		c.write(wire(r.t, `10: 00 04 "MQTT" 05 02 00 00 00 00 01 "x"`))
		if b := c.rawFrame(); b[0] != 0x20 || b[2] != 0 || b[3] != 0 {
			r.t.Errorf("got % x, want CONNACK with success", b)
		}
		// What comes right behind CONNECT is not lost.
		c = r.dial(packet.V5)
		c.write(append(wire(r.t, `10: 00 04 "MQTT" 05 02 00 00 00 00 01 "x"`), 0xc0, 0))
		expect[*packet.Connack](c)
		expect[*packet.Ping](c)
	}},
	{"MQTT-3.1.4-6", func(r *rig) {
		watch := r.watch(packet.V5, r.name())
		behind := message(r.name(), "not to be seen", 0, 0)
		behind.Retain = true
		for _, name := range []string{"connect-5-all", "connect-5-reserved-flag", "connect-level-6", "connect-other-name", "connect-5-trailing"} {
			c := r.dial(packet.V5)
			b := behind.Append(vector(r.t, name), packet.V5)
			c.write((&packet.Ping{Type: packet.PINGREQ}).Append(b, packet.V5))
			if a, ok := c.read().(*packet.Connack); ok {
				if !a.Reason.Failed() {
					r.t.Errorf("%s is accepted", name)
				}
				if p := c.read(); p != nil {
					r.t.Errorf("%s: got %T %+v", name, p, p)
				}
			}
		}
		watch.silent()
		r.watch(packet.V5, r.name()).silent()
	}},
}
