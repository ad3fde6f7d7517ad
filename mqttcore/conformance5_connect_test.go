package mqttcore

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// connect5 is about CONNECT (3.1.0 to 3.1.2), without the will.
var connect5 = []statement{
	{"MQTT-3.1.0-1", refuses(packet.V5,
		wrong{"PUBLISH", `30: 00 01 "a" 00`, 0},
		wrong{"PUBLISH at QoS 1", `32: 00 01 "a" 00 01 00`, 0},
		wrong{"PUBACK", "40 02 00 01", 0},
		wrong{"PUBREL", "62 02 00 01", 0},
		wrong{"SUBSCRIBE", `82: 00 01 00 00 01 "a" 00`, 0},
		wrong{"UNSUBSCRIBE", `a2: 00 01 00 00 01 "a"`, 0},
		wrong{"PINGREQ", "c0 00", 0},
		wrong{"DISCONNECT", "e0 00", 0},
		wrong{"AUTH", "f0 00", 0},
		wrong{"CONNACK", "20 03 00 00 00", 0},
		wrong{"another protocol", `"SSH-2.0-OpenSSH_9.2\r\n"`, 0},
		wrong{"TLS", "16 03 01 02 00 01 00 01 fc 03 03", 0},
	)},
	{"MQTT-3.1.0-2", func(r *rig) {
		second := wrong{"a second CONNECT", `10: 00 04 "MQTT" 05 02 00 00 00 00 01 "x"`, packet.ProtocolError}
		rejects(packet.V5, second)(r)
		// The same in one segment with the first.
		c := r.dial(packet.V5)
		c.write(append(second.wire(r.t), second.wire(r.t)...))
		expect[*packet.Connack](c)
		c.over(second.about, second.reason)
	}},
	{"MQTT-3.1.2-1", refuses(packet.V5,
		wrong{"another name", "@connect-other-name", 0},
		wrong{"lower case", `10: 00 04 "mqtt" 05 02 00 00 00 00 01 "x"`, 0},
		wrong{"empty name", `10: 00 00 05 02 00 00 00 00 01 "x"`, 0},
		wrong{"longer name", `10: 00 05 "MQTTX" 05 02 00 00 00 00 01 "x"`, 0},
	)},
	{"MQTT-3.1.2-2", func(r *rig) {
		refuses(packet.V5,
			wrong{"level 6", "@connect-level-6", packet.UnsupportedProtocolVersion},
			wrong{"level 255", `10: 00 04 "MQTT" ff 02 00 00 00 00 01 "x"`, packet.UnsupportedProtocolVersion},
		)(r)
		// What is below 5 is answered in the words of 3.1.1.
		refuses(packet.V311, wrong{"level 3", `10: 00 04 "MQTT" 03 02 00 00 00 01 "x"`, packet.UnsupportedProtocolVersion})(r)
	}},
	{"MQTT-3.1.2-3", refuses(packet.V5, wrong{"reserved flag", "@connect-5-reserved-flag", packet.MalformedPacket})},
	{"MQTT-3.1.2-16", refuses(packet.V5, wrong{"a user name without its flag",
		`10: 00 04 "MQTT" 05 02 00 00 00 00 01 "x" 00 02 "me"`, packet.MalformedPacket})},
	{"MQTT-3.1.2-17", refuses(packet.V5, wrong{"a flag without its user name",
		`10: 00 04 "MQTT" 05 82 00 00 00 00 01 "x"`, packet.MalformedPacket})},
	{"MQTT-3.1.2-18", refuses(packet.V5, wrong{"a password without its flag",
		`10: 00 04 "MQTT" 05 82 00 00 00 00 01 "x" 00 02 "me" 00 02 "pw"`, packet.MalformedPacket})},
	{"MQTT-3.1.2-19", refuses(packet.V5,
		wrong{"a flag without its password", `10: 00 04 "MQTT" 05 c2 00 00 00 00 01 "x" 00 02 "me"`, packet.MalformedPacket},
		wrong{"a password cut short", `10: 00 04 "MQTT" 05 42 00 00 00 00 01 "x" 00 09 "pw"`, packet.MalformedPacket},
	)},
	{"MQTT-3.1.2-22", func(r *rig) {
		inSubBubble(r, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			c := dial(packet.V5)
			c.hello("c", func(p *packet.Connect) { p.KeepAlive = 10 })
			for range 3 {
				time.Sleep(14900 * time.Millisecond) // in the bubble: no time passes
				c.silent()
			}
			if took := c.ends(packet.KeepAliveTimeout); took != 15*time.Second {
				t.Errorf("ended after %v, want 15 s", took)
			}
			c = dial(packet.V5)
			c.hello("d", func(p *packet.Connect) { p.KeepAlive = 0 })
			time.Sleep(7 * 24 * time.Hour)
			c.silent() // 0 is no limit
			c = dial(packet.V5)
			c.hello("e", func(p *packet.Connect) { p.KeepAlive = 65535 })
			if took := c.ends(packet.KeepAliveTimeout); took != 65535*3/2*time.Second+500*time.Millisecond {
				t.Errorf("ended after %v, want 1.5 × 65535 s", took)
			}
		})
	}},
	{"MQTT-3.1.2-24", keepsMaximumPacketSize},
	{"MQTT-3.1.2-25", forgetsWhatIsTooLarge},
	{"MQTT-3.1.2-26", func(r *rig) {
		c, _ := r.connect(packet.V5, "", with(packet.PropTopicAliasMaximum, 2))
		c.subscribe(1, r.name()+"/#")
		known := map[uint16]string{}
		for i := range 10 {
			topic := fmt.Sprintf("%s/%d", r.name(), i%4)
			r.publish(topic, fmt.Sprint(i), byte(i%2), false)
			p := c.expectMessage(fmt.Sprint(i))
			if p.QoS == 1 {
				c.send(answer(packet.PUBACK, p.PacketID))
			}
			alias := p.Properties.TopicAlias
			if p.Properties.Has(packet.PropTopicAlias) && (alias < 1 || alias > 2) {
				r.t.Errorf("topic alias %d, at most 2 are allowed", alias)
			}
			name := string(p.Topic)
			if name == "" {
				name = known[alias]
			}
			known[alias] = name
			if name != topic {
				r.t.Errorf("message %d on %q, want %q", i, name, topic)
			}
		}
	}},
	{"MQTT-3.1.2-27", func(r *rig) {
		none, _ := r.connect(packet.V5, "")
		zero, _ := r.connect(packet.V5, "", with(packet.PropTopicAliasMaximum, 0))
		for _, c := range []*client{none, zero} {
			c.subscribe(0, r.name())
			for range 10 {
				r.publish(r.name(), "x", 0, false)
				p := c.expectMessage("x")
				if p.Properties.Has(packet.PropTopicAlias) || string(p.Topic) != r.name() {
					r.t.Errorf("got %+v", p)
				}
			}
		}
	}},
	{"MQTT-3.1.2-28", func(r *rig) {
		for _, ask := range []uint32{0, 2} {
			_, ack := r.connect(packet.V5, "", func(p *packet.Connect) {
				if ask < 2 {
					p.Properties.SetUint(packet.PropRequestResponseInfo, ask)
				}
			})
			if ack.Properties.Has(packet.PropResponseInfo) {
				r.t.Error("response information that nobody asked for")
			}
		}
	}},
	{"MQTT-3.1.2-29", func(r *rig) {
		c, _ := r.connect(packet.V5, "", with(packet.PropRequestProblemInfo, 0))
		bare := func(p *packet.Properties) {
			r.t.Helper()
			if p.Has(packet.PropReasonString) || p.Has(packet.PropUser) {
				r.t.Errorf("problem information: %+v", p)
			}
		}
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("a/#/b")}}})
		bare(&expect[*packet.Suback](c).Properties)
		c.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("a/#/b")}})
		bare(&expect[*packet.Unsuback](c).Properties)
		c.send(message("$SYS/x", "", 1, 1), message("$SYS/x", "", 2, 2), answer(packet.PUBREL, 3), answer(packet.PUBREC, 4))
		for range 4 {
			a := expect[*packet.Ack](c)
			if !a.Reason.Failed() {
				r.t.Errorf("%v %d: %v", a.Type, a.PacketID, a.Reason)
			}
			bare(&a.Properties)
		}
	}},
}

// inSubBubble is inBubble for a statement.
func inSubBubble(r *rig, cfg Config, test func(t *testing.T, b *Broker, dial func(packet.Version) *client)) {
	cfg.SysInterval = -1
	inBubble(r.t.(*testing.T), cfg, test)
}

// sized makes a message whose PUBLISH towards a subscriber of MQTT 5 has this
// many bytes, below 128.
func sized(topic string, size int, qos byte) string {
	head := 2 + 2 + len(topic) + 1
	if qos > 0 {
		head += 2
	}
	return string(bytes.Repeat([]byte("x"), size-head))
}

// keepsMaximumPacketSize: what is exactly as large as a client allows comes,
// and one byte more does not, in every way that a message may take, and with
// every other packet.
func keepsMaximumPacketSize(r *rig) {
	const limit = 100
	for _, clean := range []bool{true, false} {
		for qos := range byte(3) {
			topic := fmt.Sprintf("%s/%v/%d", r.name(), clean, qos)
			r.publish(topic+"/retained", sized(topic+"/retained", limit, qos), qos, true)
			r.publish(topic+"/retained/not", sized(topic+"/retained/not", limit+1, qos), qos, true)
			c, _ := r.connect(packet.V5, topic, with(packet.PropMaximumPacketSize, limit), func(p *packet.Connect) {
				if !clean {
					keep(p)
				}
			})
			take := func(payload string) {
				p := c.expectMessage(payload)
				switch p.QoS {
				case 1:
					c.send(answer(packet.PUBACK, p.PacketID))
				case 2:
					c.send(answer(packet.PUBREC, p.PacketID))
					c.expectAck(packet.PUBREL, p.PacketID, packet.Success)
					c.send(answer(packet.PUBCOMP, p.PacketID))
				}
			}
			c.subscribe(qos, topic+"/#")
			take(sized(topic+"/retained", limit, qos))
			for range 3 {
				r.publish(topic, sized(topic, limit+1, qos), qos, false)
				r.publish(topic, sized(topic, limit, qos), qos, false)
				take(sized(topic, limit, qos))
			}
			c.silent()
			r.publish(topic+"/retained", "", 0, true)
			r.publish(topic+"/retained/not", "", 0, true)
		}
	}
	// A SUBACK or UNSUBACK that would be larger cannot be left out.
	for _, unsubscribe := range []bool{false, true} {
		c, _ := r.connect(packet.V5, "", with(packet.PropMaximumPacketSize, limit))
		for _, n := range []int{limit - 5, limit - 4} {
			s, u := &packet.Subscribe{PacketID: 1}, &packet.Unsubscribe{PacketID: 1}
			for i := range n {
				topic := fmt.Appendf(nil, "%s/%d", r.name(), i)
				s.Filters = append(s.Filters, packet.Filter{Topic: topic})
				u.Filters = append(u.Filters, topic)
			}
			if unsubscribe {
				c.send(u)
			} else {
				c.send(s)
			}
			if n == limit-5 {
				if got := len(c.rawFrame()); got != limit {
					r.t.Errorf("%d bytes, want %d", got, limit)
				}
			}
		}
		c.over("an answer that is too large", packet.PacketTooLarge)
	}
}

// forgetsWhatIsTooLarge: messages that are too large for a client do not eat
// up what it may receive, now or when it comes back.
func forgetsWhatIsTooLarge(r *rig) {
	for _, clean := range []bool{true, false} {
		topic := fmt.Sprintf("%s/%v", r.name(), clean)
		mods := []func(*packet.Connect){with(packet.PropMaximumPacketSize, 100), with(packet.PropReceiveMaximum, 1)}
		if !clean {
			mods = append(mods, keep)
		}
		c, _ := r.connect(packet.V5, topic, mods...)
		c.subscribe(2, topic)
		for i := range 5 {
			qos := byte(1 + i%2)
			r.publish(topic, sized(topic, 101+i, qos), qos, false)
		}
		r.publish(topic, "small", 1, false)
		c.send(answer(packet.PUBACK, c.expectMessage("small").PacketID))
		r.publish(topic, sized(topic, 101, 1), 1, false)
		r.publish(topic, "last", 1, false)
		p := c.expectMessage("last")
		if clean {
			continue
		}
		c.close()
		c, _ = r.connect(packet.V5, topic, mods...)
		c.send(answer(packet.PUBACK, c.expectMessage("last").PacketID))
		c.silent()
		if p.PacketID == 0 {
			r.t.Error("packet identifier 0")
		}
	}
}
