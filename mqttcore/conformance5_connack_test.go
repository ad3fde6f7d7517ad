package mqttcore

import (
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// connack5 is about CONNACK (3.2).
var connack5 = []statement{
	{"MQTT-3.2.0-1", func(r *rig) {
		// Messages that wait come after it, and so does what is published at
		// the same moment.
		c, _ := r.connect(packet.V5, r.name(), keep)
		c.subscribe(1, r.name())
		for range 20 {
			c.close()
			c = r.dial(packet.V5)
			r.publish(r.name(), "x", 1, false)
			p := &packet.Connect{Version: packet.V5, ClientID: r.name()}
			keep(p)
			c.send(p)
			r.publish(r.name(), "x", 1, false)
			if ack := expect[*packet.Connack](c); ack.Reason != packet.Success {
				r.t.Fatal(ack.Reason)
			}
		}
		c.close()
	}},
	{"MQTT-3.2.0-2", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		c.write(wire(r.t, `10: 00 04 "MQTT" 05 02 00 00 00 00 01 "x"`))
		c.over("a second CONNECT", packet.ProtocolError) // and no second CONNACK
		refuses(packet.V5, wrong{"a second CONNECT behind one refused",
			`10 11 00 04 "MQTT" 05 03 00 00 00 00 01 "x" 10 0e 00 04 "MQTT" 05 02 00 00 00 00 01 "x"`, packet.MalformedPacket})(r)
	}},
	{"MQTT-3.2.2-1", func(r *rig) {
		for i, want := range []byte{0, 1} {
			c := r.dial(packet.V5)
			p := &packet.Connect{Version: packet.V5, ClientID: r.name()}
			keep(p)
			c.send(p)
			if b := c.rawFrame(); b[0] != 0x20 || b[2] != want {
				r.t.Errorf("connection %d: % x, want the flags %02x", i, b, want)
			}
			c.leave(packet.Success)
		}
	}},
	{"MQTT-3.2.2-2", func(r *rig) {
		for range 3 {
			c, ack := r.connect(packet.V5, r.name(), keep, func(p *packet.Connect) { p.CleanStart = true })
			if ack.SessionPresent {
				r.t.Error("session present after a clean start")
			}
			c.leave(packet.Success)
		}
	}},
	{"MQTT-3.2.2-3", func(r *rig) {
		for i := range 3 {
			c, ack := r.connect(packet.V5, r.name(), keep)
			if ack.SessionPresent != (i > 0) {
				r.t.Errorf("connection %d: session present %v", i, ack.SessionPresent)
			}
			c.leave(packet.Success)
		}
		// Taken over while it is connected, and after a restart.
		own := start(r.t, Config{SysInterval: -1})
		own.connect(packet.V5, "c", keep)
		c, ack := own.connect(packet.V5, "c", keep)
		if !ack.SessionPresent {
			r.t.Error("no session present where one was taken over")
		}
		c.close()
		own.restart()
		if _, ack := own.connect(packet.V5, "c", keep); !ack.SessionPresent {
			r.t.Error("no session present after a restart")
		}
	}},
	{"MQTT-3.2.2-6", func(r *rig) {
		c, _ := r.connect(packet.V5, "x", keep)
		c.leave(packet.Success)
		refuses(packet.V5, // refused wants no session present
			wrong{"another method, with a session there", `10: 00 04 "MQTT" 05 00 00 00 08 15 00 05 "magic" 00 01 "x"`, packet.BadAuthenticationMethod},
			wrong{"another version, with a session there", `10: 00 04 "MQTT" 07 00 00 00 00 00 01 "x"`, packet.UnsupportedProtocolVersion},
		)(r)
	}},
	{"MQTT-3.2.2-7", refuses(packet.V5, // which wants the end of the connection
		wrong{"malformed", "@connect-5-trailing", packet.MalformedPacket},
		wrong{"protocol error", "@connect-5-twice-session-expiry", packet.ProtocolError},
		wrong{"version", "@connect-level-6", packet.UnsupportedProtocolVersion},
		wrong{"method", "@connect-5-all", packet.BadAuthenticationMethod},
		wrong{"topic", "@connect-5-will-topic-wildcard", packet.TopicNameInvalid},
	)},
	{"MQTT-3.2.2-8", func(r *rig) {
		busy := start(r.t, Config{SysInterval: -1, MaxConnections: 1})
		busy.connect(packet.V5, "")
		c := busy.dial(packet.V5)
		c.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x"})
		c.refused("too many", packet.ServerBusy)
		for _, limit := range []uint32{packetLimitOfCONNACK, 1} {
			c = r.dial(packet.V5)
			p := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x"}
			p.Properties.SetUint(packet.PropMaximumPacketSize, limit)
			c.send(p)
			if limit == 1 {
				c.refused("no room for any CONNACK", 0)
			} else {
				c.refused("no room for what CONNACK must say", packet.PacketTooLarge)
			}
		}
	}},
	{"MQTT-3.2.2-16", func(r *rig) {
		_, ack := r.connect(packet.V5, "")
		taken := string(ack.Properties.AssignedClientID)
		if taken == "" {
			r.t.Fatal("no identifier is assigned")
		}
		old, _ := r.connect(packet.V5, "", keep)
		_, ack = r.connect(packet.V5, "", keep)
		if id := string(ack.Properties.AssignedClientID); id == taken || ack.SessionPresent {
			r.t.Errorf("assigned %q, session present %v", id, ack.SessionPresent)
		}
		old.silent() // it was not taken over
		if _, ack = r.connect(packet.V5, r.name()); ack.Properties.Has(packet.PropAssignedClientID) {
			r.t.Error("an identifier is assigned to who has one")
		}
	}},
	{"MQTT-3.2.2-19", connackFits},
	{"MQTT-3.2.2-20", connackFits},
	{"MQTT-3.2.2-22", func(r *rig) {
		_, ack := r.connect(packet.V5, "", func(p *packet.Connect) { p.KeepAlive = 300 })
		if ack.Properties.Has(packet.PropServerKeepAlive) {
			r.t.Errorf("server keep alive %d, the client's was fine", ack.Properties.ServerKeepAlive)
		}
		inSubBubble(r, Config{MaxKeepAlive: 100 * time.Second}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			for _, ask := range []uint16{0, 60, 300} {
				c := dial(packet.V5)
				ack := c.hello("", func(p *packet.Connect) { p.KeepAlive = ask })
				want := uint16(100)
				if ask == 60 {
					want = 60
				}
				if told := ack.Properties.Has(packet.PropServerKeepAlive); told != (ask != want) || told && ack.Properties.ServerKeepAlive != want {
					t.Errorf("keep alive %d: told %v %d", ask, told, ack.Properties.ServerKeepAlive)
				}
				if took := c.ends(packet.KeepAliveTimeout); took != time.Duration(want)*time.Second*3/2 {
					t.Errorf("keep alive %d: ended after %v", ask, took)
				}
			}
		})
	}},
}

// packetLimitOfCONNACK is the length of a CONNACK that says only no.
const packetLimitOfCONNACK = 5

// connackFits: whatever a client allows, no CONNACK is larger; nothing that
// could be left out is in it.
func connackFits(r *rig) {
	accepted := 0
	for limit := range 80 {
		c := r.dial(packet.V5)
		p := &packet.Connect{Version: packet.V5, CleanStart: true}
		p.Properties.SetUint(packet.PropMaximumPacketSize, uint32(limit+1))
		c.send(p)
		b, err := c.in.Peek(2)
		if err != nil {
			if limit+1 >= packetLimitOfCONNACK {
				r.t.Errorf("at most %d bytes: %v", limit+1, err)
			}
			continue
		}
		if size := 2 + int(b[1]); size > limit+1 {
			r.t.Errorf("CONNACK of %d bytes, at most %d are allowed", size, limit+1)
		}
		ack := expect[*packet.Connack](c)
		if ack.Properties.Has(packet.PropReasonString) || ack.Properties.Has(packet.PropUser) {
			r.t.Errorf("got %+v", ack)
		}
		if ack.Reason == packet.Success {
			accepted++
		}
		c.close()
	}
	if accepted == 0 {
		r.t.Error("no client was accepted")
	}
}
