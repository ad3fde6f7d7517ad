package mqttcore

import (
	"bytes"
	"strings"
	"testing"

	"sluice/mqttcore/packet"
)

func TestConnect(t *testing.T) {
	r := start(t, Config{MaxPacketSize: 2000, ReceiveMaximum: 10})

	t.Run("MQTT-3.2.2-16 assigned client identifiers", func(t *testing.T) {
		c, ack := r.connect(packet.V5, "")
		id := string(ack.Properties.AssignedClientID)
		if id == "" {
			t.Fatal("no client identifier assigned")
		}
		if _, other := r.connect(packet.V5, ""); string(other.Properties.AssignedClientID) == id {
			t.Error("assigned twice")
		}
		c.silent()
		r.connect(packet.V311, "") // MQTT-3.1.3-6 of 3.1.1: allowed with a clean session
	})
	t.Run("limits are told", func(t *testing.T) {
		_, ack := r.connect(packet.V5, "limits", with(packet.PropSessionExpiry, 4_000_000_000))
		p := &ack.Properties
		if p.ReceiveMaximum != 10 || p.MaximumPacketSize != 2000 || p.TopicAliasMaximum != aliasMaximum {
			t.Errorf("told %+v", p)
		}
		if p.SessionExpiry != 30*24*3600 {
			t.Errorf("session expiry granted: %d", p.SessionExpiry)
		}
		_, ack = r.connect(packet.V5, "plain")
		if ack.Properties.Has(packet.PropSessionExpiry) || ack.Properties.Has(packet.PropServerKeepAlive) {
			t.Error("told what the client knows")
		}
	})
	t.Run("MQTT-3.1.0-1 the first packet is CONNECT", func(t *testing.T) {
		for _, p := range []packet.Packet{message("a", "", 0, 0), answer(packet.PUBACK, 1), &packet.Ping{Type: packet.PINGREQ}} {
			c := r.dial(packet.V311)
			c.send(p)
			c.expectClosed(0)
		}
	})
	t.Run("MQTT-3.1.0-2 a second CONNECT ends the connection", func(t *testing.T) {
		each(t, func(t *testing.T, v packet.Version) {
			c, _ := r.connect(v, "twice")
			c.send(&packet.Connect{Version: v, CleanStart: true, ClientID: "twice"})
			c.expectClosed(packet.ProtocolError)
		})
	})
	t.Run("MQTT-3.1.2-2 unknown protocol levels", func(t *testing.T) {
		for level, want := range map[byte][]byte{6: {0x20, 3, 0, 0x84, 0}, 2: {0x20, 2, 0, 1}} {
			c := r.dial(packet.V311)
			p := (&packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "x"}).Append(nil, packet.V311)
			p[8] = level
			c.write(p)
			got := make([]byte, len(want))
			if _, err := c.in.Read(got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("level %d: answer % x, %v, want % x", level, got, err, want)
			}
		}
	})
	t.Run("MQTT-3.1.3-8 an empty identifier needs a clean session in 3.1.1", func(t *testing.T) {
		c := r.dial(packet.V311)
		c.send(&packet.Connect{Version: packet.V311})
		if ack := expect[*packet.Connack](c); ack.Reason != packet.ClientIdentifierNotValid {
			t.Errorf("answer %v", ack.Reason)
		}
		c.expectClosed(0)
	})
	t.Run("MQTT-3.1.4-1 a malformed CONNECT of 3.1.1 gets no answer", func(t *testing.T) {
		c := r.dial(packet.V311)
		c.write([]byte("\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00")) // reserved flag
		c.expectClosed(0)
	})
	t.Run("authentication methods are refused", func(t *testing.T) {
		c := r.dial(packet.V5)
		p := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "auth"}
		p.Properties.SetBytes(packet.PropAuthMethod, []byte("SCRAM-SHA-1"))
		c.send(p)
		if ack := expect[*packet.Connack](c); ack.Reason != packet.BadAuthenticationMethod {
			t.Errorf("answer %v", ack.Reason)
		}
	})
	t.Run("only what clients may send", func(t *testing.T) {
		for _, p := range []packet.Packet{&packet.Connack{}, &packet.Suback{PacketID: 1, Reasons: []packet.Reason{0}},
			&packet.Unsuback{PacketID: 1, Reasons: []packet.Reason{0}}, &packet.Ping{Type: packet.PINGRESP}, &packet.Auth{}} {
			c, _ := r.connect(packet.V5, "odd")
			c.send(p)
			c.expectClosed(packet.ProtocolError)
		}
	})
	t.Run("MQTT-3.14.4-1 DISCONNECT ends the connection", func(t *testing.T) {
		each(t, func(t *testing.T, v packet.Version) {
			c, _ := r.connect(v, "bye")
			c.send(&packet.Disconnect{})
			c.expectClosed(0)
		})
	})
	t.Run("MQTT-3.1.2-23 session expiry cannot be raised from 0", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "raise")
		d := &packet.Disconnect{}
		d.Properties.SetUint(packet.PropSessionExpiry, 10)
		c.send(d)
		c.expectClosed(packet.ProtocolError)
	})
	t.Run("MQTT-3.14.2-1 reasons that only servers have", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "taken")
		c.send(&packet.Disconnect{Reason: packet.SessionTakenOver})
		c.expectClosed(packet.ProtocolError)
	})
	t.Run("packets above the maximum", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "big")
		c.send(message("a", strings.Repeat("x", 2000), 0, 0))
		c.expectClosed(packet.PacketTooLarge)
	})
	t.Run("a claimed length costs nothing", func(t *testing.T) {
		c := r.dial(packet.V311)
		c.write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, 'M'})
		c.expectClosed(0)
	})
}

func TestTakeover(t *testing.T) {
	r := start(t, Config{})
	t.Run("MQTT-3.1.4-3 the older connection ends", func(t *testing.T) {
		each(t, func(t *testing.T, v packet.Version) {
			id := "same" + v.String()
			old, _ := r.connect(v, id)
			now, _ := r.connect(v, id)
			old.expectClosed(packet.SessionTakenOver)
			now.silent()
		})
	})
	if s := r.Stats(); s.Evicted != 3 || s.KeepAliveTimeouts != 0 || s.ProtocolErrors != 0 {
		t.Errorf("counted: %d taken over, %d timed out, %d in error; want 3, 0, 0", s.Evicted, s.KeepAliveTimeouts, s.ProtocolErrors)
	}
}

func TestSessions(t *testing.T) {
	r := start(t, Config{})
	t.Run("MQTT-3.2.2-2 session present", func(t *testing.T) {
		each(t, func(t *testing.T, v packet.Version) {
			if v == packet.V31 {
				v = packet.V311 // has no such flag; the session is tested below
			}
			id := "present" + t.Name()
			for i, want := range []bool{false, true, true} {
				c, ack := r.connect(v, id, keep)
				if ack.SessionPresent != want {
					t.Errorf("connection %d: session present %v", i, ack.SessionPresent)
				}
				c.send(&packet.Disconnect{})
				c.expectClosed(0)
			}
			c, ack := r.connect(v, id) // MQTT-3.1.2-4: clean start
			if ack.SessionPresent {
				t.Error("present after a clean start")
			}
			c.close()
			if _, ack := r.connect(v, id, keep); ack.SessionPresent {
				t.Error("MQTT-3.1.2-6: a clean session was kept")
			}
		})
	})
	t.Run("subscriptions stay with the session", func(t *testing.T) {
		each(t, func(t *testing.T, v packet.Version) {
			id := "subs" + v.String()
			c, _ := r.connect(v, id, keep)
			c.subscribe(0, "s/+")
			c.close()
			c, _ = r.connect(v, id, keep)
			pub, _ := r.connect(v, "pub")
			pub.send(message("s/1", "still", 0, 0))
			c.expectMessage("still")
			c.close()
			c, _ = r.connect(v, id)
			pub.send(message("s/1", "gone", 0, 0))
			pub.silent()
			c.silent()
		})
	})
}
