package mqttcore

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/packet"
)

// will5 is about the will (3.1.2.5, 3.1.3.2).
var will5 = []statement{
	{"MQTT-3.1.2-7", func(r *rig) {
		// All of it is kept until it is needed.
		w := willFor(r, "gone", 1)
		w.Properties.SetUint(packet.PropPayloadFormat, 1)
		w.Properties.SetUint(packet.PropMessageExpiry, 1000)
		w.Properties.SetBytes(packet.PropContentType, []byte("text/plain"))
		w.Properties.SetBytes(packet.PropResponseTopic, []byte("answer/here"))
		w.Properties.SetBytes(packet.PropCorrelationData, []byte{0, 255})
		watch, _ := r.connect(packet.V5, "")
		watch.subscribe(1, r.name())
		r.dying(w).close()
		p := watch.expectMessage("gone")
		q := &p.Properties
		if p.QoS != 1 || q.PayloadFormat != 1 || q.MessageExpiry > 1000 || q.MessageExpiry < 900 || q.Has(packet.PropWillDelay) ||
			string(q.ContentType) != "text/plain" || string(q.ResponseTopic) != "answer/here" || string(q.CorrelationData) != "\x00\xff" {
			r.t.Errorf("got %+v", p)
		}
	}},
	{"MQTT-3.1.2-8", publishesWill},
	{"MQTT-3.1.2-9", func(r *rig) {
		refuses(packet.V5,
			wrong{"no properties", `10: 00 04 "MQTT" 05 06 00 00 00 00 01 "x"`, packet.MalformedPacket},
			wrong{"no topic", `10: 00 04 "MQTT" 05 06 00 00 00 00 01 "x" 00`, packet.MalformedPacket},
			wrong{"no payload", `10: 00 04 "MQTT" 05 06 00 00 00 00 01 "x" 00 00 01 "w"`, packet.MalformedPacket},
			wrong{"payload cut short", `10: 00 04 "MQTT" 05 06 00 00 00 00 01 "x" 00 00 01 "w" 00 02 "p"`, packet.MalformedPacket},
		)(r)
		watch, _ := r.connect(packet.V5, "")
		watch.subscribeWith(packet.Filter{Topic: []byte(r.name()), QoS: 2, RetainAsPublished: true}, 0)
		w := willFor(r, "gone", 2)
		w.Retain = true
		r.dying(w).close()
		if p := watch.expectMessage("gone"); p.QoS != 2 || !p.Retain {
			r.t.Errorf("got QoS %d, RETAIN %v", p.QoS, p.Retain)
		}
	}},
	{"MQTT-3.1.2-10", func(r *rig) {
		watch := r.watch(packet.V5, r.name())
		c := r.dying(willFor(r, "first", 0), keep)
		c.close()
		watch.expectMessage("first")
		c, _ = r.connect(packet.V5, r.name(), keep) // the same session, without a will
		c.close()
		r.gone(r.name())
		watch.silent()
		c = r.dying(willFor(r, "second", 0), keep)
		c.leave(packet.NormalDisconnection)
		c, _ = r.connect(packet.V5, r.name(), keep)
		c.close()
		r.gone(r.name())
		watch.silent()
	}},
	{"MQTT-3.1.2-11", refuses(packet.V5,
		wrong{"QoS 1", `10: 00 04 "MQTT" 05 0a 00 00 00 00 01 "x"`, packet.MalformedPacket},
		wrong{"QoS 2", `10: 00 04 "MQTT" 05 12 00 00 00 00 01 "x"`, packet.MalformedPacket},
		wrong{"a will without its flag", `10: 00 04 "MQTT" 05 02 00 00 00 00 01 "x" 00 00 01 "w" 00 01 "p"`, packet.MalformedPacket},
	)},
	{"MQTT-3.1.2-12", func(r *rig) {
		refuses(packet.V5,
			wrong{"QoS 3", "@connect-5-will-qos-3", packet.MalformedPacket},
			wrong{"QoS 3 without a will", `10: 00 04 "MQTT" 05 1a 00 00 00 00 01 "x"`, packet.MalformedPacket},
		)(r)
		watch, _ := r.connect(packet.V5, "")
		watch.subscribe(2, r.name())
		for qos := range byte(3) {
			r.dying(willFor(r, fmt.Sprint(qos), qos)).close()
			if p := watch.expectMessage(fmt.Sprint(qos)); p.QoS != qos {
				r.t.Errorf("QoS %d, want %d", p.QoS, qos)
			}
		}
	}},
	{"MQTT-3.1.2-13", refuses(packet.V5, wrong{"RETAIN without a will", "@connect-5-will-retain-without-will", packet.MalformedPacket})},
	{"MQTT-3.1.2-14", func(r *rig) {
		r.publish(r.name(), "before", 0, true)
		watch := r.watch(packet.V5, r.name())
		watch.expectMessage("before")
		r.dying(willFor(r, "gone", 1)).close()
		watch.expectMessage("gone")
		r.watch(packet.V5, r.name()).expectMessage("before")
	}},
	{"MQTT-3.1.2-15", func(r *rig) {
		watch := r.watch(packet.V5, r.name())
		w := willFor(r, "gone", 1)
		w.Retain = true
		r.dying(w).close()
		if p := watch.expectMessage("gone"); p.Retain {
			r.t.Error("RETAIN is set for who was subscribed already")
		}
		if p := r.watch(packet.V5, r.name()).expectMessage("gone"); !p.Retain {
			r.t.Error("RETAIN is not set")
		}
	}},
	{"MQTT-3.1.3-9", func(r *rig) {
		inSubBubble(r, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			watch := dial(packet.V5)
			watch.hello("watch")
			watch.subscribe(0, "w")
			visit := func(clean bool, delay, expiry uint32) *client {
				c := dial(packet.V5)
				c.hello("c", with(packet.PropSessionExpiry, expiry), func(p *packet.Connect) {
					p.CleanStart = clean
					p.Will = &packet.Will{Topic: "w", Payload: []byte("gone")}
					p.Will.Properties.SetUint(packet.PropWillDelay, delay)
				})
				return c
			}
			for range 3 {
				visit(false, 10, 60).close()
				time.Sleep(9 * time.Second) // in the bubble: no time passes
			}
			c := visit(false, 10, 60)
			time.Sleep(time.Minute)
			watch.silent() // it was back in time, each time
			c.close()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			watch.expectMessage("gone")
			time.Sleep(time.Hour)
			watch.silent()
			visit(false, 10, 60).close()
			c = dial(packet.V5) // back in time, without a will
			c.hello("c", with(packet.PropSessionExpiry, 60), func(p *packet.Connect) { p.CleanStart = false })
			c.close()
			time.Sleep(time.Hour)
			watch.silent()
			visit(false, 60, 10).close() // the session ends before the delay
			time.Sleep(10 * time.Second)
			synctest.Wait()
			watch.expectMessage("gone")
			visit(true, 60, 0).close() // there is no session to wait with
			synctest.Wait()
			watch.expectMessage("gone")
		})
	}},
	{"MQTT-3.1.3-10", func(r *rig) {
		w := willFor(r, "gone", 0)
		for i := range 20 {
			w.Properties.User = append(w.Properties.User, packet.UserProperty{Key: fmt.Append(nil, "k", i%3), Value: fmt.Append(nil, i)})
		}
		watch := r.watch(packet.V5, r.name())
		r.dying(w).close()
		p := watch.expectMessage("gone")
		if len(p.Properties.User) != 20 {
			r.t.Fatalf("%d user properties, want 20", len(p.Properties.User))
		}
		for i, u := range p.Properties.User {
			if string(u.Key) != fmt.Sprint("k", i%3) || string(u.Value) != fmt.Sprint(i) {
				r.t.Errorf("user property %d is %s = %s", i, u.Key, u.Value)
			}
		}
	}},
	{"MQTT-3.1.3-11", refuses(packet.V5,
		wrong{"not UTF-8", `10: 00 04 "MQTT" 05 06 00 00 00 00 01 "x" 00 00 02 ff fe 00 00`, packet.MalformedPacket},
		wrong{"U+0000", `10: 00 04 "MQTT" 05 06 00 00 00 00 01 "x" 00 00 01 00 00 00`, packet.MalformedPacket},
		wrong{"a wildcard", "@connect-5-will-topic-wildcard", packet.TopicNameInvalid},
	)},
}

// willFor is a will on the statement's topic.
func willFor(r *rig, payload string, qos byte) *packet.Will {
	return &packet.Will{Topic: r.name(), Payload: []byte(payload), QoS: qos}
}

// dying connects a client that has a will.
func (r *rig) dying(w *packet.Will, mod ...func(*packet.Connect)) *client {
	r.t.Helper()
	c, _ := r.connect(packet.V5, r.name(), append(mod, func(p *packet.Connect) { p.Will = w })...)
	return c
}

// gone waits until the broker has let a client's connection go.
func (r *rig) gone(id string) {
	r.t.Helper()
	await(r.t, "client "+id+" is gone", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		s := r.sessions[id]
		return s == nil || s.owner == nil
	})
}

// publishesWill goes through the ends of a connection.
func publishesWill(r *rig) {
	watch := r.watch(packet.V5, r.name())
	ends := []struct {
		about string
		end   func(c *client)
	}{
		{"the connection is cut", func(c *client) { c.close() }},
		{"DISCONNECT with will", func(c *client) { c.leave(packet.DisconnectWithWill) }},
		{"DISCONNECT with an error", func(c *client) { c.leave(packet.UnspecifiedError) }},
		{"a second CONNECT", func(c *client) {
			c.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: r.name()})
			c.over("second CONNECT", packet.ProtocolError)
		}},
		{"a second CONNECT without a will, of another client", func(c *client) {
			c.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "other"})
			c.over("second CONNECT", packet.ProtocolError)
		}},
		{"a malformed packet", func(c *client) {
			c.write([]byte{0xc1, 0})
			c.over("PINGREQ with flags", packet.MalformedPacket)
		}},
		{"taken over with a clean start", func(c *client) {
			d, _ := r.connect(packet.V5, r.name())
			c.over("taken over", packet.SessionTakenOver)
			d.leave(packet.Success)
		}},
		{"taken over by who continues the session", func(c *client) {
			d, _ := r.connect(packet.V5, r.name(), func(p *packet.Connect) { p.CleanStart = false })
			c.over("taken over", packet.SessionTakenOver)
			d.leave(packet.Success)
		}},
	}
	for _, e := range ends {
		for _, expiry := range []uint32{0, 100} {
			c := r.dying(willFor(r, e.about, 0), with(packet.PropSessionExpiry, expiry))
			e.end(c)
			watch.expectMessage(e.about)
			watch.silent()
		}
	}
	c := r.dying(willFor(r, "fault", 0))
	c.write(wire(r.t, "e0: 00 05 11 00 00 00 05")) // a session expiry after none
	c.over("protocol error in DISCONNECT", packet.ProtocolError)
	watch.expectMessage("fault")
	c = r.dying(willFor(r, "none", 0))
	c.leave(packet.NormalDisconnection)
	watch.silent()
	inSubBubble(r, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		watch := dial(packet.V5)
		watch.hello("watch")
		watch.subscribe(0, "w")
		c := dial(packet.V5)
		c.hello("c", func(p *packet.Connect) {
			p.KeepAlive = 10
			p.Will = &packet.Will{Topic: "w", Payload: []byte("silent")}
		})
		c.ends(packet.KeepAliveTimeout)
		watch.expectMessage("silent")
	})
}
