package mqttcore

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/packet"
)

// publish5 is about topics and properties of PUBLISH (3.3.2).
var publish5 = []statement{
	{"MQTT-3.3.2-1", rejects(packet.V5,
		wrong{"nothing", "30 00", packet.MalformedPacket},
		wrong{"half a length", "30 01 00", packet.MalformedPacket},
		wrong{"a topic cut short", `30: 00 05 "four"`, packet.MalformedPacket},
		wrong{"not UTF-8", `30: 00 02 ff fe 00`, packet.MalformedPacket},
		wrong{"empty without an alias", "@publish-5-empty-topic", packet.ProtocolError},
		wrong{"no packet identifier", `32: 00 01 "a"`, packet.MalformedPacket},
	)},
	{"MQTT-3.3.2-2", rejects(packet.V5,
		wrong{"#", "@publish-5-wildcard", packet.TopicNameInvalid},
		wrong{"+", `30: 00 03 "a/+" 00`, packet.TopicNameInvalid},
		wrong{"# within a level", `30: 00 02 "a#" 00`, packet.TopicNameInvalid},
		wrong{"with an alias", `30: 00 01 "+" 03 23 00 01`, packet.TopicNameInvalid},
		wrong{"at QoS 2", `34: 00 01 "#" 00 01 00`, packet.TopicNameInvalid},
	)},
	{"MQTT-3.3.2-3", func(r *rig) {
		n := r.name()
		for filter, topics := range map[string]string{
			n + "/a":   "/a",
			n + "/+":   "/a / /B",
			n + "/#":   " /a /a/b / /a/b/c //b /B",
			n + "/+/b": "/a/b //b",
			n + "/+/#": "/a /a/b / /a/b/c //b /B",
		} {
			c := r.watch(packet.V5, filter)
			all := []string{"", "/a", "/a/b", "/", "/a/b/c", "//b", "/B"}
			for _, t := range all {
				r.publish(n+t, t, 0, false)
			}
			want := map[string]bool{}
			for _, t := range strings.Split(topics, " ") {
				want[t] = true
			}
			for _, t := range all {
				if want[t] {
					if p := c.expectMessage(t); string(p.Topic) != n+t {
						r.t.Errorf("%s: %q came on %q", filter, t, p.Topic)
					}
				}
			}
			c.silent()
		}
	}},
	{"MQTT-3.3.2-4", travels(func(p *packet.Properties) { p.SetUint(packet.PropPayloadFormat, 1) },
		func(p *packet.Properties) { p.SetUint(packet.PropPayloadFormat, 0) })},
	{"MQTT-3.3.2-5", func(r *rig) {
		inSubBubble(r, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			for _, durable := range []bool{false, true} {
				c := expiring(t, b, dial, durable)
				p := c.expectMessage("first")
				time.Sleep(6 * time.Second) // in the bubble: no time passes
				c.send(answer(packet.PUBACK, p.PacketID))
				p = c.expectMessage("long")
				c.send(answer(packet.PUBACK, p.PacketID))
				c.silent()
				if !durable {
					continue
				}
				c.close()
				synctest.Wait()
				publishFor(t, b, "away", 5)
				publishFor(t, b, "kept", 7)
				time.Sleep(6 * time.Second)
				c = dial(packet.V5)
				c.hello("c", keep)
				c.expectMessage("kept")
				c.silent()
			}
		})
	}},
	{"MQTT-3.3.2-6", func(r *rig) {
		inSubBubble(r, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
			for _, durable := range []bool{false, true} {
				c := expiring(t, b, dial, durable)
				p := c.expectMessage("first")
				if p.Properties.MessageExpiry != 60 {
					t.Errorf("expiry %d at once, want 60", p.Properties.MessageExpiry)
				}
				time.Sleep(20 * time.Second)
				c.send(answer(packet.PUBACK, p.PacketID))
				if p = c.expectMessage("long"); p.Properties.MessageExpiry != 40 {
					t.Errorf("expiry %d after 20 s of 60", p.Properties.MessageExpiry)
				}
				c.send(answer(packet.PUBACK, p.PacketID))
				if err := b.Publish(t.Context(), Message{Topic: "e", Payload: []byte("ever"), QoS: 1}); err != nil {
					t.Fatal(err)
				}
				if p := c.expectMessage("ever"); p.Properties.Has(packet.PropMessageExpiry) {
					t.Errorf("expiry %d from nowhere", p.Properties.MessageExpiry)
				}
			}
			if err := b.Publish(t.Context(), Message{Topic: "retained", Payload: []byte("x"), Retain: true,
				Properties: Properties{Expiry: 100, HasExpiry: true}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			c := dial(packet.V5)
			c.hello("d")
			c.subscribe(0, "retained")
			if p := c.expectMessage("x"); p.Properties.MessageExpiry != 70 {
				t.Errorf("retained: expiry %d after 30 s of 100", p.Properties.MessageExpiry)
			}
		})
	}},
	{"MQTT-3.3.2-7", func(r *rig) {
		set, use := message(r.name(), "x", 0, 0), message("", "x", 0, 0)
		set.Properties.SetUint(packet.PropTopicAlias, 3)
		use.Properties.SetUint(packet.PropTopicAlias, 3)
		watch := r.watch(packet.V5, r.name())
		c, _ := r.connect(packet.V5, r.name(), keep)
		c.send(set, use)
		watch.expectMessage("x")
		watch.expectMessage("x")
		c.close()
		c, _ = r.connect(packet.V5, r.name(), keep) // the same session
		c.send(use)
		c.over("alias of another connection", packet.ProtocolError)
		watch.silent()
	}},
	{"MQTT-3.3.2-8", rejects(packet.V5, wrong{"alias 0", "@publish-5-alias-0", packet.TopicAliasInvalid})},
	{"MQTT-3.3.2-9", func(r *rig) {
		_, ack := r.connect(packet.V5, "")
		over := ack.Properties.TopicAliasMaximum + 1
		c, _ := r.connect(packet.V5, "")
		p := message(r.name(), "x", 1, 1)
		p.Properties.SetUint(packet.PropTopicAlias, uint32(over))
		c.send(p)
		c.over("alias above the maximum", packet.TopicAliasInvalid)
	}},
	{"MQTT-3.3.2-11", func(r *rig) {
		for _, most := range []uint32{0, 1, 5} {
			c, _ := r.connect(packet.V5, "", with(packet.PropTopicAliasMaximum, most))
			c.subscribe(0, r.name()+"/#")
			for i := range 20 {
				r.publish(fmt.Sprint(r.name(), "/", i%8), "x", 0, false)
				p := c.expectMessage("x")
				if a := p.Properties.TopicAlias; uint32(a) > most || p.Properties.Has(packet.PropTopicAlias) && a == 0 {
					r.t.Errorf("alias %d, at most %d are allowed", a, most)
				}
			}
		}
	}},
	{"MQTT-3.3.2-12", func(r *rig) {
		watch := r.watch(packet.V5, r.name()+"/#")
		c, ack := r.connect(packet.V5, "")
		most := int(ack.Properties.TopicAliasMaximum)
		if most == 0 {
			r.t.Fatal("the broker takes no aliases")
		}
		for round := range 3 { // set, use, set anew
			for i := 1; i <= most; i++ {
				p := message(fmt.Sprint(r.name(), "/", round, "/", i), fmt.Sprint(i), 0, 0)
				want := string(p.Topic)
				if round == 1 {
					p.Topic, want = nil, fmt.Sprint(r.name(), "/0/", i)
				}
				p.Properties.SetUint(packet.PropTopicAlias, uint32(i))
				c.send(p)
				if got := watch.expectMessage(fmt.Sprint(i)); string(got.Topic) != want || got.Properties.Has(packet.PropTopicAlias) {
					r.t.Errorf("alias %d: topic %q, want %q", i, got.Topic, want)
				}
			}
		}
	}},
	{"MQTT-3.3.2-13", rejects(packet.V5,
		wrong{"not UTF-8", `30: 00 01 "a" 05 08 00 02 ff fe`, packet.MalformedPacket},
		wrong{"empty", "@publish-5-response-topic-empty", packet.ProtocolError},
	)},
	{"MQTT-3.3.2-14", rejects(packet.V5,
		wrong{"a wildcard", "@publish-5-response-topic-wildcard", packet.TopicNameInvalid},
		wrong{"+", `30: 00 01 "a" 06 08 00 03 "a/+"`, packet.TopicNameInvalid},
	)},
	{"MQTT-3.3.2-15", travels(func(p *packet.Properties) { p.SetBytes(packet.PropResponseTopic, []byte("\ufeffä//nswer/$x")) })},
	{"MQTT-3.3.2-16", travels(
		func(p *packet.Properties) { p.SetBytes(packet.PropCorrelationData, []byte{0, 1, 255}) },
		func(p *packet.Properties) { p.SetBytes(packet.PropCorrelationData, []byte{}) },
		func(p *packet.Properties) { p.SetBytes(packet.PropCorrelationData, bytes.Repeat([]byte{7}, 1000)) },
	)},
	{"MQTT-3.3.2-17", travels(userProperties("k", "v"), userProperties("", ""), userProperties("ключ", "\ufeffзначение"))},
	{"MQTT-3.3.2-18", travels(userProperties("b", "1", "a", "2", "b", "1", "c", "", "a", "0", "", "x"))},
	{"MQTT-3.3.2-19", rejects(packet.V5,
		wrong{"not UTF-8", "@publish-5-content-type-not-utf8", packet.MalformedPacket},
		wrong{"U+0000", `30: 00 01 "a" 04 03 00 01 00`, packet.MalformedPacket},
	)},
	{"MQTT-3.3.2-20", travels(
		func(p *packet.Properties) { p.SetBytes(packet.PropContentType, []byte("text/plain; charset=utf-8")) },
		func(p *packet.Properties) { p.SetBytes(packet.PropContentType, []byte{}) },
	)},
}

func userProperties(pairs ...string) func(*packet.Properties) {
	return func(p *packet.Properties) {
		for i := 0; i < len(pairs); i += 2 {
			p.User = append(p.User, packet.UserProperty{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
		}
	}
}

// travels makes a test: these properties reach each subscriber byte for byte,
// at every QoS, through memory and through the log, live and retained.
func travels(sets ...func(*packet.Properties)) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		from, _ := r.connect(packet.V5, "")
		for i, set := range sets {
			for qos := range byte(3) {
				topic := fmt.Sprint(r.name(), "/", i, "/", qos)
				live, _ := r.connect(packet.V5, "")
				live.subscribe(qos, topic)
				durable, _ := r.connect(packet.V5, topic, keep)
				durable.subscribe(qos, topic)
				p := message(topic, "x", qos, 1)
				p.Retain = true
				set(&p.Properties)
				want := p.Properties.Append(nil)
				from.send(p)
				switch qos {
				case 1:
					from.expectAck(packet.PUBACK, 1, packet.Success)
				case 2:
					from.expectAck(packet.PUBREC, 1, packet.Success)
					from.send(answer(packet.PUBREL, 1))
					from.expectAck(packet.PUBCOMP, 1, packet.Success)
				}
				from.silent()
				retained, _ := r.connect(packet.V5, "")
				retained.subscribe(qos, topic)
				for _, c := range []*client{live, durable, retained} {
					got := c.expectMessage("x")
					if b := got.Properties.Append(nil); !bytes.Equal(b, want) {
						r.t.Errorf("QoS %d: got % x, want % x", qos, b, want)
					}
				}
				p.Payload = nil
				p.QoS, p.PacketID = 0, 0
				from.send(p) // makes room for others
				from.silent()
			}
		}
	}
}

// publishFor publishes a message that lives so many seconds.
func publishFor(t *testing.T, b *Broker, payload string, seconds uint32) {
	t.Helper()
	if err := b.Publish(t.Context(), Message{Topic: "e", Payload: []byte(payload), QoS: 1,
		Properties: Properties{Expiry: seconds, HasExpiry: true}}); err != nil {
		t.Fatal(err)
	}
}

// expiring is a client that takes one message at a time, with one in flight
// and two that wait: of 5 and of 60 s.
func expiring(t *testing.T, b *Broker, dial func(packet.Version) *client, durable bool) *client {
	t.Helper()
	c := dial(packet.V5)
	c.hello("c", with(packet.PropReceiveMaximum, 1), func(p *packet.Connect) {
		if durable {
			keep(p)
		}
	})
	c.subscribe(1, "e")
	done := make(chan struct{})
	go func() {
		defer close(done)
		publishFor(t, b, "first", 60)
		publishFor(t, b, "short", 5)
		publishFor(t, b, "long", 60)
	}()
	<-done
	return c
}
