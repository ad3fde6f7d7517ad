package mqttcore

import (
	"bytes"
	"fmt"

	"sluice/mqttcore/packet"
)

// answersInOrder5 publishes messages of which only every other has to wait for
// the disk.
func answersInOrder5(qos byte, want packet.Type) func(*rig) {
	return func(r *rig) {
		r.away5("slow5", 2, "slow5")
		for _, mod := range lasting {
			c, _ := r.connect(packet.V5, "fast5", mod)
			const n = 40
			for i := range n {
				topic := "fast5"
				if i%2 == 0 {
					topic = "slow5"
				}
				c.send(message(topic, "x", qos, uint16(1+i*7)))
			}
			for i := range n {
				a := expect[*packet.Ack](c)
				if a.Type != want || a.PacketID != uint16(1+i*7) {
					r.t.Fatalf("answer %d is %+v", i, a)
				}
			}
			c.leave(0)
		}
	}
}

// mqtt5Order are the statements of the order of messages.
var mqtt5Order = []statement{
	{"MQTT-4.6.0-1", func(r *rig) {
		r.away5("order5", 2, "order5")
		c := r.back5("order5")
		const n = 30
		for i := range n {
			r.publish("order5", fmt.Sprint(i), byte(1+i%2), false)
			c.expectMessage(fmt.Sprint(i))
		}
		c.send(answer(packet.PUBACK, 1), answer(packet.PUBACK, 11)) // messages 0 and 10
		c.silent()
		c.close()
		c = r.back5("order5")
		for i := 1; i < n; i++ {
			if i != 10 {
				c.expectMessage(fmt.Sprint(i))
			}
		}
		c.silent()
	}},
	{"MQTT-4.6.0-2", answersInOrder5(1, packet.PUBACK)},
	{"MQTT-4.6.0-3", answersInOrder5(2, packet.PUBREC)},
	{"MQTT-4.6.0-4", func(r *rig) {
		for _, mod := range lasting {
			c, _ := r.connect(packet.V5, "release5", mod)
			c.subscribe(2, "release5")
			const n = 9
			ids := make([]uint16, n)
			for i := range ids {
				r.publish("release5", "x", 2, false)
				ids[i] = c.expectMessage("x").PacketID
			}
			for i := range ids {
				c.send(answer(packet.PUBREC, ids[i*4%n])) // 0 4 8 3 7 …
			}
			for i := range ids {
				c.expectAck(packet.PUBREL, ids[i*4%n], packet.Success)
			}
			c.leave(0)
		}
	}},
	{"MQTT-4.6.0-5", func(r *rig) {
		r.away5("in order 5", 2, "in/order5")
		plain, _ := r.connect(packet.V5, "")
		plain.subscribe(2, "in/order5")
		durable := r.back5("in order 5")
		pub, _ := r.connect(packet.V5, "")
		const n = 60
		for i := range n {
			pub.send(message("in/order5", fmt.Sprint(i), byte(i%3), uint16(i+1)))
		}
		for _, c := range []*client{plain, durable} {
			next := [3]int{0, 1, 2}
			for range n {
				m := expect[*packet.Publish](c)
				if string(m.Payload) != fmt.Sprint(next[m.QoS]) {
					r.t.Fatalf("QoS %d: got %s, want %d", m.QoS, m.Payload, next[m.QoS])
				}
				next[m.QoS] += 3
			}
			c.silent()
		}
	}},
	{"MQTT-4.6.0-6", func(r *rig) {
		w, _ := r.connect(packet.V5, "")
		w.subscribe(1, "every/+/#")
		for i := range 20 {
			for _, name := range []string{"every/a", "every/b/c", "every/d"} {
				r.publish(name, fmt.Sprint(i), 1, false)
			}
		}
		next := map[string]int{}
		for range 60 {
			m := expect[*packet.Publish](w)
			if string(m.Payload) != fmt.Sprint(next[string(m.Topic)]) {
				r.t.Fatalf("%s: got %s, want %d", m.Topic, m.Payload, next[string(m.Topic)])
			}
			next[string(m.Topic)]++
			w.send(answer(packet.PUBACK, m.PacketID))
		}
	}},
}

// mqtt5Flow are the statements of flow control.
var mqtt5Flow = []statement{
	{"MQTT-4.9.0-1", func(r *rig) {
		for _, quota := range []int{1, 3, 40} {
			for _, mod := range lasting {
				c, _ := r.connect(packet.V5, "quota", mod, with(packet.PropReceiveMaximum, uint32(quota)))
				c.subscribe(2, "quota")
				for i := range quota + 5 {
					r.publish("quota", "x", byte(1+i%2), false)
				}
				if n := len(c.drain()); n != quota {
					r.t.Errorf("%d messages are open, the Receive Maximum is %d", n, quota)
				}
				c.leave(0)
			}
			// What is sent again counts as well.
			c := r.back5("quota", with(packet.PropReceiveMaximum, 2))
			if n := len(c.drain()); n != min(2, quota+5) {
				r.t.Errorf("%d messages are open again, the Receive Maximum is 2", n)
			}
			c.close()
			c, _ = r.connect(packet.V5, "quota")
			c.leave(0)
		}
		rejected := r.dial(packet.V5)
		rejected.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "q",
			Properties: *properties(packet.PropReceiveMaximum, 0)})
		rejected.refused("a Receive Maximum of 0", packet.ProtocolError)
	}},
	{"MQTT-4.9.0-2", func(r *rig) {
		for _, mod := range lasting {
			c, _ := r.connect(packet.V5, "window", mod, with(packet.PropReceiveMaximum, 2))
			c.subscribe(2, "window")
			for i, qos := range []byte{1, 2, 1, 2, 1, 1, 1} {
				r.publish("window", fmt.Sprint(i), qos, false)
			}
			zero, one := c.expectMessage("0"), c.expectMessage("1")
			c.silent()
			c.send(answer(packet.PUBREC, one.PacketID)) // gives no place back
			c.expectAck(packet.PUBREL, one.PacketID, packet.Success)
			c.silent()
			c.send(answer(packet.PUBACK, zero.PacketID))
			two := c.expectMessage("2")
			c.silent()
			c.send(answer(packet.PUBCOMP, one.PacketID))
			three := c.expectMessage("3")
			c.silent()
			c.send(&packet.Ack{Type: packet.PUBREC, PacketID: three.PacketID, Reason: packet.QuotaExceeded})
			c.expectMessage("4")
			c.silent()
			c.send(answer(packet.PUBACK, two.PacketID), answer(packet.PUBACK, two.PacketID)) // the second counts nothing
			c.expectMessage("5")
			c.silent()
			c.leave(0)
		}
	}},
	{"MQTT-4.9.0-3", func(r *rig) {
		for _, mod := range lasting {
			c, _ := r.connect(packet.V5, "busy", mod, with(packet.PropReceiveMaximum, 1))
			c.subscribe(1, "busy/#")
			r.publish("busy/1", "first", 1, false)
			r.publish("busy/1", "second", 1, false)
			first := c.expectMessage("first")
			c.silent() // PINGREQ
			c.subscribe(1, "more")
			r.publish("busy/0", "QoS 0", 0, false)
			c.expectMessage("QoS 0")
			c.send(message("nobody", "x", 1, 1), message("nobody", "x", 2, 2))
			c.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
			c.expectAck(packet.PUBREC, 2, packet.NoMatchingSubscribers)
			c.send(answer(packet.PUBREL, 2))
			c.expectAck(packet.PUBCOMP, 2, packet.Success)
			c.unsubscribe("more")
			c.send(answer(packet.PUBACK, first.PacketID))
			c.expectMessage("second")
			c.leave(0)
		}
	}},
}

// properties is a list of one property.
func properties(id packet.PropID, n uint32) *packet.Properties {
	p := new(packet.Properties)
	p.SetUint(id, n)
	return p
}

// mqtt5Auth are the statements of enhanced authentication.
var mqtt5Auth = []statement{
	{"MQTT-4.12.0-1", func(r *rig) {
		c := r.dial(packet.V5)
		p := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "auth"}
		p.Properties.SetBytes(packet.PropAuthMethod, []byte("SCRAM-SHA-1"))
		c.send(p, message("auth", "x", 0, 0))
		c.refused("an authentication method", packet.BadAuthenticationMethod)
	}},
	{"MQTT-4.12.0-6", func(r *rig) {
		c, ack := r.connect(packet.V5, "")
		if ack.Properties.Has(packet.PropAuthMethod) || ack.Properties.Has(packet.PropAuthData) {
			r.t.Errorf("CONNACK %+v", ack)
		}
		c.silent() // no AUTH
		rejects(packet.V5,
			wrong{"AUTH", "f0 00", packet.ProtocolError},
			wrong{"AUTH to authenticate again", `f0 06 19 04 15 0001 "m"`, packet.ProtocolError},
		)(r)
	}},
}

// mqtt5Errors are the statements of errors.
var mqtt5Errors = []statement{
	{"MQTT-4.13.1-1", func(r *rig) {
		rejects(packet.V5,
			wrong{"type 0", "00 00", packet.MalformedPacket},
			wrong{"a length of five bytes", "30 80 80 80 80 01", packet.MalformedPacket},
			wrong{"a length with a byte too many", "c0 80 00", packet.MalformedPacket},
			wrong{"PUBACK without an identifier", "40 00", packet.MalformedPacket},
			wrong{"an unknown property", `30 07 0001 "a" 02 7f 00 "x"`, packet.MalformedPacket},
			wrong{"a property of another packet", `30 09 0001 "a" 05 11 00000001`, packet.MalformedPacket},
			wrong{"a property twice", `30 08 0001 "a" 04 01 00 01 00`, packet.ProtocolError},
			wrong{"CONNACK", "20 03 00 00 00", packet.ProtocolError},
			wrong{"SUBACK", "90 04 0001 00 00", packet.ProtocolError},
			wrong{"PINGRESP", "d0 00", packet.ProtocolError},
		)(r)
		refuses(packet.V5, wrong{"CONNECT", sent3(0x10, field("MQTT")+"\x05\x03\x00\x00\x00"+field("n")), packet.MalformedPacket})(r)
	}},
	{"MQTT-4.13.2-1", func(r *rig) {
		for _, reason := range []packet.Reason{packet.UnspecifiedError, packet.ProtocolError, packet.QuotaExceeded} {
			c, _ := r.connect(packet.V5, "")
			c.send(&packet.Disconnect{Reason: reason})
			c.over("DISCONNECT of the client", 0)
		}
		c, _ := r.connect(packet.V5, "")
		c.write(bytes.Repeat([]byte{0xff}, 100))
		c.over("told", packet.MalformedPacket)
		first := r.dial(packet.V5)
		first.send(&packet.Ping{Type: packet.PINGREQ})
		first.refused("not told", 0)
	}},
}
