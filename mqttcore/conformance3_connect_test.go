package mqttcore

import (
	"fmt"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// mqtt3Connect are the statements of CONNECT, without those of the will.
var mqtt3Connect = []statement{
	{"MQTT-3.1.0-1", refuses(packet.V311,
		wrong{"PINGREQ", "c0 00", 0},
		wrong{"PUBLISH", `30 03 0001 "a"`, 0},
		wrong{"SUBSCRIBE", `82 06 0001 0001 "a" 00`, 0},
		wrong{"CONNACK", "20 02 00 00", 0},
		wrong{"DISCONNECT", "e0 00", 0},
	)},
	{"MQTT-3.1.0-2", rejects(packet.V311, wrong{"second CONNECT", connect3(0x02, "twice"), 0})},
	{"MQTT-3.1.2-1", refuses(packet.V311,
		wrong{"another letter", `10 0d 0004 "MQTX" 04 02 0000 0001 "n"`, 0},
		wrong{"small letters", `10 0d 0004 "mqtt" 04 02 0000 0001 "n"`, 0},
		wrong{"a shorter name", `10 0c 0003 "MQT" 04 02 0000 0001 "n"`, 0},
		wrong{"no name", `10 09 0000 04 02 0000 0001 "n"`, 0},
	)},
	{"MQTT-3.1.2-2", func(r *rig) {
		// 0x83 and 0x84: what bridges of another make try first.
		for _, level := range []string{"00", "02", "83", "84"} {
			c := r.dial(packet.V311)
			c.write(wire(r.t, `10 0d 0004 "MQTT" `+level+` 02 0000 0001 "n"`))
			c.expectFrame("20 02 00 01")
			c.over("level "+level, 0)
		}
	}},
	{"MQTT-3.1.2-3", refuses(packet.V311, wrong{"reserved flag", connect3(0x03, "n"), 0})},
	{"MQTT-3.1.2-4", func(r *rig) {
		c, ack := r.connect(packet.V311, "kept", keep)
		if ack.SessionPresent {
			r.t.Fatal("there was no session")
		}
		c.subscribe(1, "kept/#")
		c.leave(0)
		for range 2 {
			c = r.back("kept")
			r.publish("kept/1", "x", 1, false)
			c.send(answer(packet.PUBACK, c.expectMessage("x").PacketID))
			c.silent()
			c.close()
		}
	}},
	{"MQTT-3.1.2-5", func(r *rig) {
		r.away("stored", 2, "stored/+")
		r.publish("stored/1", "one", 1, false)
		r.publish("stored/2", "two", 2, false)
		r.publish("other", "no", 2, false)
		c := r.back("stored")
		if m := c.expectMessage("one"); m.QoS != 1 || m.Dup {
			r.t.Errorf("got %+v", m)
		}
		if m := c.expectMessage("two"); m.QoS != 2 || m.Dup {
			r.t.Errorf("got %+v", m)
		}
		c.silent()
	}},
	{"MQTT-3.1.2-6", func(r *rig) {
		r.away("clean", 1, "clean")
		r.publish("clean", "queued", 1, false)
		c, ack := r.connect(packet.V311, "clean")
		if ack.SessionPresent {
			r.t.Error("the old session is present")
		}
		r.publish("clean", "subscribed", 1, false)
		c.silent()
		c.subscribe(1, "clean")
		c.close()
		if c, ack = r.connect(packet.V311, "clean", keep); ack.SessionPresent {
			r.t.Error("a clean session outlived its connection")
		}
		r.publish("clean", "subscribed", 1, false)
		c.silent()
	}},
	{"MQTT-3.1.2-7", func(r *rig) {
		c, _ := r.connect(packet.V311, "retainer", keep)
		m := message("stays", "retained", 1, 1)
		m.Retain = true
		c.send(m)
		c.expectAck(packet.PUBACK, 1, 0)
		c.leave(0)
		c, _ = r.connect(packet.V311, "retainer") // ends the session
		c.leave(0)
		r.watch(packet.V311, "stays").expectMessage("retained")
	}},
	{"MQTT-3.1.2-18", refuses(packet.V311, wrong{"user name without its flag", connect3(0x02, "n", "u"), 0})},
	{"MQTT-3.1.2-19", refuses(packet.V311, wrong{"no user name", connect3(0x82, "n"), 0})},
	{"MQTT-3.1.2-20", refuses(packet.V311, wrong{"password without its flag", connect3(0x82, "n", "u", "p"), 0})},
	{"MQTT-3.1.2-21", refuses(packet.V311, wrong{"no password", connect3(0xc2, "n", "u"), 0})},
	{"MQTT-3.1.2-22", refuses(packet.V311, wrong{"password without a user name", connect3(0x42, "n", "p"), 0})},
	{"MQTT-3.1.2-24", func(r *rig) {
		inBubble(r.t.(*testing.T), Config{SysInterval: -1}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			wills := make(chan string, 1)
			b.Subscribe("silent", func(m *Message) { wills <- string(m.Payload) })
			c := dial(packet.V311)
			c.hello("silent", func(p *packet.Connect) {
				p.KeepAlive, p.Will = 20, &packet.Will{Topic: "silent", Payload: []byte("lost")}
			})
			for range 3 {
				time.Sleep(29 * time.Second) // fake: no time passes
				c.silent()
			}
			if took := c.ends(0); took != 30*time.Second {
				t.Errorf("ended after %v, want 30 s", took)
			}
			if will := <-wills; will != "lost" {
				t.Errorf("will %q", will)
			}
		})
	}},
	{"MQTT-3.1.3-1", func(r *rig) {
		w := r.watch(packet.V311, "order/will")
		c := r.dial(packet.V311)
		c.write(wire(r.t, connect3(0xc6, "order", "order/will", "last", "user", "pass")))
		c.expectFrame("20 02 00 00")
		c.close()
		w.expectMessage("last")
	}},
	{"MQTT-3.1.3-2", func(r *rig) {
		r.away("id-a", 1, "of/a")
		r.away("id-b", 1, "of/b")
		r.publish("of/a", "a", 1, false)
		r.publish("of/b", "b", 1, false)
		for _, id := range []string{"a", "b"} {
			c := r.back("id-" + id)
			c.expectMessage(id)
			c.silent()
		}
		if _, ack := r.connect(packet.V311, "ID-A", keep); ack.SessionPresent {
			r.t.Error("identifiers differ in their letters' case")
		}
	}},
	{"MQTT-3.1.3-3", refuses(packet.V311, wrong{"no payload", `10 0a 0004 "MQTT" 04 02 0000`, 0})},
	{"MQTT-3.1.3-4", refuses(packet.V311, wrong{"client identifier", connect3(0x02, "\xff\xfe"), 0})},
	{"MQTT-3.1.3-5", func(r *rig) {
		const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for n := 1; n <= 23; n++ {
			at := 7 * n % len(letters)
			c, _ := r.connect(packet.V311, (letters + letters)[at:at+n])
			c.leave(0)
		}
		for i := 0; i < len(letters); i += 20 {
			c, _ := r.connect(packet.V311, letters[i:min(i+20, len(letters))])
			c.leave(0)
		}
	}},
	{"MQTT-3.1.3-6", func(r *rig) {
		var all []*client
		for range 3 {
			c, ack := r.connect(packet.V311, "")
			if ack.SessionPresent {
				r.t.Error("a session is present")
			}
			c.subscribe(1, "everyone")
			all = append(all, c)
		}
		r.publish("everyone", "x", 1, false)
		for _, c := range all {
			c.expectMessage("x") // none took over from another
		}
	}},
	{"MQTT-3.1.3-8", func(r *rig) {
		c := r.dial(packet.V311)
		c.write(wire(r.t, connect3(0x00, "")))
		c.expectFrame("20 02 00 02")
		c.over("no identifier and no clean session", 0)
	}},
	{"MQTT-3.1.3-9", func(r *rig) {
		for _, clean := range []string{"00", "02"} { // 3.1 knows no empty identifier at all
			c := r.dial(packet.V31)
			c.write(wire(r.t, `10 0e 0006 "MQIsdp" 03 `+clean+` 0000 0000`))
			c.expectFrame("20 02 00 02")
			c.over("refused identifier", 0)
		}
	}},
	{"MQTT-3.1.3-11", refuses(packet.V311, wrong{"user name", connect3(0x82, "n", "\xc3\x28"), 0})},
	{"MQTT-3.1.4-1", refuses(packet.V311,
		wrong{"cut short", `10 0c 0004 "MQTT" 04 02 0000 0001`, 0},
		wrong{"nothing", "10 00", 0},
		wrong{"bytes left over", connect3(0x02, "n", ""), 0},
		wrong{"an endless length", "10 ff ff ff ff 01", 0},
	)},
	{"MQTT-3.1.4-2", func(r *rig) {
		old, _ := r.connect(packet.V311, "same", keep)
		old.subscribe(1, "same")
		c := r.back("same")
		old.over("the older connection", 0)
		r.publish("same", "x", 1, false)
		c.expectMessage("x")
	}},
	{"MQTT-3.1.4-3", func(r *rig) {
		old, _ := r.connect(packet.V311, "wipe", keep) // still connected when it is discarded
		old.subscribe(1, "wipe")
		c, ack := r.connect(packet.V311, "wipe")
		if ack.SessionPresent {
			r.t.Error("a session is present")
		}
		r.publish("wipe", "x", 1, false)
		c.silent()
	}},
	{"MQTT-3.1.4-4", func(r *rig) {
		c := r.dial(packet.V311)
		c.write(wire(r.t, connect3(0x02, "good")))
		c.expectFrame("20 02 00 00")
		c.silent()
	}},
	{"MQTT-3.1.4-5", func(r *rig) {
		w := r.watch(packet.V311, "behind/#")
		for _, refused := range []string{
			connect3(0x00, ""),  // by a code
			connect3(0x03, "n"), // without
		} {
			c := r.dial(packet.V311)
			c.write(wire(r.t, refused+` 31 0b 0008 "behind/1" "x" 82 06 0001 0001 "a" 00`))
			await(r.t, "the refused connection ends", func() bool { return c.read() == nil })
		}
		w.silent()
		r.watch(packet.V311, "behind/#").silent()
	}},
}

// mqtt3Connack are the statements of CONNACK.
var mqtt3Connack = []statement{
	{"MQTT-3.2.0-1", func(r *rig) {
		r.away("first", 1, "first")
		r.publish("first", "waits", 1, false)
		c := r.dial(packet.V311)
		c.send(&packet.Connect{Version: packet.V311, ClientID: "first"}, &packet.Ping{Type: packet.PINGREQ})
		c.expectFrame("20 02 01 00")
	}},
	{"MQTT-3.2.2-1", func(r *rig) {
		r.away("present", 1, "present")
		c := r.dial(packet.V311)
		c.send(&packet.Connect{Version: packet.V311, ClientID: "present", CleanStart: true})
		c.expectFrame("20 02 00 00")
	}},
	{"MQTT-3.2.2-2", func(r *rig) {
		r.away("present", 1, "present")
		c := r.dial(packet.V311)
		c.send(&packet.Connect{Version: packet.V311, ClientID: "present"})
		c.expectFrame("20 02 01 00")
	}},
	{"MQTT-3.2.2-3", func(r *rig) {
		c := r.dial(packet.V311)
		c.send(&packet.Connect{Version: packet.V311, ClientID: "never seen before"})
		c.expectFrame("20 02 00 00")
	}},
	{"MQTT-3.2.2-4", func(r *rig) {
		r.away("present", 1, "present")
		c := r.dial(packet.V311)
		c.send(&packet.Connect{Version: packet.V311, ClientID: "present", Will: &packet.Will{Topic: "$SYS/mine"}})
		c.expectFrame("20 02 00 05")
		r.back("present") // and the session is still there
	}},
	{"MQTT-3.2.2-5", func(r *rig) {
		for i, refused := range []string{connect3(0x00, ""), `10 0d 0004 "MQTT" 02 02 0000 0001 "n"`} {
			c := r.dial(packet.V311)
			c.write(wire(r.t, refused))
			c.expectFrame(fmt.Sprintf("20 02 00 %02x", 2-i))
			c.over("refused", 0)
		}
	}},
	{"MQTT-3.2.2-6", refuses(packet.V311,
		wrong{"will QoS 3", connect3(0x1e, "n", "w", ""), 0},
		wrong{"bytes left over", connect3(0x02, "n", "more"), 0},
	)},
}
