package mqttcore

import (
	"io"
	"time"

	"sluice/mqttcore/packet"
)

// end5 is about PINGREQ, DISCONNECT and AUTH (3.12, 3.14, 3.15).
var end5 = []statement{
	{"MQTT-3.12.4-1", func(r *rig) {
		c, _ := r.connect(packet.V5, "")
		c.write([]byte{0xc0, 0, 0xc0, 0, 0xc0})
		c.expectFrame("d0 00")
		c.expectFrame("d0 00")
		c.write([]byte{0})
		c.expectFrame("d0 00")
		c.silent()
	}},
	{"MQTT-3.14.0-1", func(r *rig) {
		for _, b := range []string{
			`10: 00 04 "MQTT" 05 03 00 00 00 00 01 "x"`, // refused
			`10: 00 04 "MQTT" 05 02 00 00 08 15 00 05 "magic" 00 01 "x"`,
			`10: 00 04 "NoMQ" 05 02 00 00 00 00 01 "x"`,
			`e0 00`, `c0 00`, `00 00`, `10 ff ff ff ff 01`, `30: 00 01 "a" 00`,
		} {
			c := r.dial(packet.V5)
			c.write(wire(r.t, b))
			for p := c.read(); p != nil; p = c.read() {
				if _, ok := p.(*packet.Disconnect); ok {
					r.t.Errorf("%s: DISCONNECT without a connection", b)
				}
			}
		}
		// Taken over while it waits for its CONNACK.
		own := &rig{t: r.t, dir: r.t.TempDir(), cfg: Config{SysInterval: -1, Listen: []string{"tcp://127.0.0.1:0"}}, gather: 100 * time.Millisecond}
		own.up()
		defer func() { own.stop() }()
		first, second := own.dial(packet.V5), own.dial(packet.V5)
		hello := &packet.Connect{Version: packet.V5, ClientID: "c"}
		keep(hello)
		first.send(hello)
		await(r.t, "the session is there", func() bool { return own.Stats().Sessions == 1 })
		second.send(hello)
		if p := first.read(); p != nil {
			if _, ok := p.(*packet.Connack); !ok {
				r.t.Errorf("got %T before CONNACK", p)
			}
		}
		first.close()
		expect[*packet.Connack](second)
		second.close()
	}},
	{"MQTT-3.14.1-1", rejects(packet.V5,
		wrong{"flags 1", "@disconnect-5-flags", packet.MalformedPacket},
		wrong{"flags 2", "e2 00", packet.MalformedPacket},
		wrong{"all", "ef 02 00 00", packet.MalformedPacket},
	)},
	{"MQTT-3.14.2-1", func(r *rig) {
		rejects(packet.V5,
			wrong{"a code of another packet", "@disconnect-5-wrong-reason", packet.ProtocolError},
			wrong{"a code that nobody knows", "e0 01 ff", packet.ProtocolError},
			wrong{"what only a server may say", "e0 01 8b", packet.ProtocolError},
			wrong{"a server reference", `e0: 00 06 1c 00 03 "you"`, packet.ProtocolError},
		)(r)
		for _, reason := range []packet.Reason{0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99} {
			c, _ := r.connect(packet.V5, "")
			c.leave(reason)
		}
	}},
	{"MQTT-3.14.2-2", everyDisconnect},
	{"MQTT-3.14.2-3", everyDisconnect},
	{"MQTT-3.14.2-4", everyDisconnect},
	{"MQTT-3.14.4-1", func(r *rig) {
		// Messages flow while the broker ends the connection: none comes
		// behind its DISCONNECT.
		for _, durable := range []bool{false, true} {
			c := r.member(durable)
			c.subscribe(1, r.name())
			stop, stopped := make(chan struct{}), make(chan error, 1)
			go func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						stopped <- nil
						return
					default:
					}
					if err := r.Publish(r.t.Context(), Message{Topic: r.name(), Payload: []byte("x"), QoS: byte(i % 2)}); err != nil {
						stopped <- err
						return
					}
				}
			}()
			for range 20 {
				expect[*packet.Publish](c)
			}
			d, _ := r.connect(packet.V5, r.name()+"-member")
			_ = c.nc.SetReadDeadline(time.Now().Add(patience))
			rest, err := io.ReadAll(c.in)
			if err != nil {
				r.t.Error(err)
			}
			close(stop)
			if err := <-stopped; err != nil {
				r.t.Error(err)
			}
			if string(rest[max(0, len(rest)-3):]) != "\xe0\x01\x8e" {
				r.t.Errorf("the last bytes are % x, want DISCONNECT", rest[max(0, len(rest)-20):])
			}
			d.leave(packet.Success)
		}
		// Nor does the broker act on what a client sends behind its own.
		watch := r.watch(packet.V5, r.name())
		c, _ := r.connect(packet.V5, "")
		c.send(&packet.Disconnect{}, message(r.name(), "too late", 0, 0), &packet.Ping{Type: packet.PINGREQ})
		c.expectClosed(packet.Success)
		watch.silent()
	}},
	{"MQTT-3.14.4-2", func(r *rig) {
		c, _ := r.connect(packet.V5, r.name())
		d, _ := r.connect(packet.V5, r.name())
		c.over("taken over", packet.SessionTakenOver) // which wants the end of the connection
		d.write([]byte{0xc1, 0})
		d.over("malformed", packet.MalformedPacket)
		c, _ = r.connect(packet.V5, r.name())
		c.leave(packet.Success)
	}},
	{"MQTT-3.14.4-3", func(r *rig) {
		watch := r.watch(packet.V5, r.name())
		for _, b := range []string{"e0 00", "e0 01 00", "e0 02 00 00", `e0: 00 08 1f 00 05 "bored"`, "e0: 00 05 11 00 00 00 00"} {
			for _, expiry := range []uint32{0, 1000} {
				c := r.dying(willFor(r, "not to be sent", 0), with(packet.PropSessionExpiry, expiry))
				c.write(wire(r.t, b))
				c.expectClosed(packet.Success)
			}
		}
		watch.silent()
	}},
	{"MQTT-3.15.1-1", rejects(packet.V5,
		// Malformed or not, a client that named no method may not send it.
		wrong{"flags 2", "f2 00", packet.MalformedPacket},
		wrong{"flags 15", "ff: 19 00", packet.MalformedPacket},
	)},
	{"MQTT-3.15.2-1", rejects(packet.V5,
		wrong{"success", "f0 00", packet.ProtocolError},
		wrong{"a code of another packet", "@auth-5-wrong-reason", packet.ProtocolError},
		wrong{"again, without a first time", `f0: 19 08 15 00 05 "magic"`, packet.ProtocolError},
	)},
}

// everyDisconnect looks at the broker's DISCONNECT, whatever it is for: it says
// the reason and nothing else, and so fits into what any client allows.
func everyDisconnect(r *rig) {
	for reason, b := range map[packet.Reason]string{
		packet.MalformedPacket:   "c1 00",
		packet.ProtocolError:     `30: 00 01 "a" 02 0b 01`,
		packet.TopicNameInvalid:  `30: 00 01 "#" 00`,
		packet.TopicAliasInvalid: `30: 00 01 "a" 03 23 00 00`,
	} {
		c := r.tight()
		c.write(wire(r.t, b))
		if got := c.rawFrame(); string(got) != string([]byte{0xe0, 1, byte(reason)}) {
			r.t.Errorf("%s: got % x, want DISCONNECT with %v and no more", b, got, reason)
		}
	}
	c := r.tight()
	r.tight() // the same client
	c.expectFrame("e0 01 8e")
	own := start(r.t, Config{SysInterval: -1})
	c, _ = own.connect(packet.V5, "", with(packet.PropSessionExpiry, 100))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		own.stop()
	}()
	c.expectFrame("e0 01 8b")
	c.close()
	<-stopped
}
