package mqttcore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"sluice/mqttcore/packet"
)

// aliased is a client that takes topic aliases and believes them.
type aliased struct {
	*client
	names map[uint16]string
	most  uint16
}

// takesAliases connects a client that takes so many aliases.
func (r *rig) takesAliases(id string, most uint16, mod ...func(*packet.Connect)) *aliased {
	r.t.Helper()
	c, _ := r.connect(packet.V5, id, append(mod, with(packet.PropTopicAliasMaximum, uint32(most)))...)
	return &aliased{c, map[uint16]string{}, most}
}

// arrived is a message as its packet named it, and its real topic.
type arrived struct {
	name, topic, payload string
	alias                uint16
	dup                  bool
	pid                  uint16
}

// message reads a PUBLISH and resolves its alias.
func (c *aliased) message() arrived {
	c.t.Helper()
	p := expect[*packet.Publish](c.client)
	a := arrived{name: string(p.Topic), topic: string(p.Topic), payload: string(p.Payload),
		alias: p.Properties.TopicAlias, dup: p.Dup, pid: p.PacketID}
	switch known, ok := c.names[a.alias]; {
	case !p.Properties.Has(packet.PropTopicAlias):
	case a.alias == 0 || a.alias > c.most:
		c.t.Fatalf("alias %d, %d are taken", a.alias, c.most)
	case a.topic != "":
		c.names[a.alias] = a.topic
	case !ok:
		c.t.Fatalf("alias %d was never told", a.alias)
	default:
		a.topic = known
	}
	switch p.QoS {
	case 1:
		c.send(answer(packet.PUBACK, p.PacketID))
	case 2:
		c.send(answer(packet.PUBREC, p.PacketID))
		c.expectAck(packet.PUBREL, p.PacketID, packet.Success)
		c.send(answer(packet.PUBCOMP, p.PacketID))
	}
	return a
}

// wants reads a message that must come so: name is empty where the alias is
// to be enough.
func (c *aliased) wants(name string, alias uint16, topic, payload string) {
	c.t.Helper()
	if a := c.message(); a.name != name || a.alias != alias || a.topic != topic || a.payload != payload {
		c.t.Errorf("got %+v, want topic %q named %q with alias %d", a, topic, name, alias)
	}
}

// TestAliasesSent: the first topics of a connection get an alias each, those
// after them and short ones do not, at every QoS, with and without a log.
func TestAliasesSent(t *testing.T) {
	r := start(t, Config{})
	for qos := range byte(2) {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("QoS %d, durable %v", qos, durable), func(t *testing.T) {
				r := r.in(t)
				base := fmt.Sprintf("building/%d/%v/", qos, durable)
				var mods []func(*packet.Connect)
				if durable {
					mods = append(mods, keep)
				}
				c := r.takesAliases(base, 2, mods...)
				c.subscribe(qos, base+"#", "short")
				for i, want := range []struct {
					topic string
					alias uint16
					told  bool
				}{
					{"a", 1, true}, {"a", 1, false}, {"b", 2, true}, {"c", 0, true}, {"b", 2, false},
					{"a", 1, false}, {"c", 0, true},
				} {
					name := ""
					if want.told {
						name = base + want.topic
					}
					r.publish(base+want.topic, fmt.Sprint(i), qos, false)
					c.wants(name, want.alias, base+want.topic, fmt.Sprint(i))
				}
				r.publish("short", "x", qos, false)
				c.wants("short", 0, "short", "x")
			})
		}
	}
}

// TestAliasesNotInQoS2: its messages come with their topic, whatever else
// stands for that.
func TestAliasesNotInQoS2(t *testing.T) {
	r := start(t, Config{})
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprint("durable ", durable), func(t *testing.T) {
			r := r.in(t)
			var mods []func(*packet.Connect)
			if durable {
				mods = append(mods, keep)
			}
			c := r.takesAliases("c", 5, mods...)
			c.subscribe(2, "building/#")
			for i, want := range []struct {
				qos   byte
				name  string
				alias uint16
			}{{2, "building/a", 0}, {1, "building/a", 1}, {2, "building/a", 0}, {0, "", 1}, {1, "", 1}} {
				r.publish("building/a", fmt.Sprint(i), want.qos, false)
				c.wants(want.name, want.alias, "building/a", fmt.Sprint(i))
			}
		})
	}
}

// TestAliasesBound: a client that takes any number of aliases gets aliasesSent.
// What they take in memory is counted, and given back in the end.
func TestAliasesBound(t *testing.T) {
	r := start(t, Config{})
	c := r.takesAliases("c", 65535)
	c.subscribe(0, "#")
	size := 0
	for range 2 {
		size = 0
		for i := range aliasesSent + 10 {
			topic := fmt.Sprintf("building/floor/%03d", i)
			r.publish(topic, "x", 0, false)
			if a := c.message(); a.topic != topic || (a.alias > 0) != (i < aliasesSent) {
				t.Fatalf("message %d: %+v", i, a)
			}
			if i < aliasesSent {
				size += len(topic) + aliasCost
			}
		}
	}
	if len(c.names) != aliasesSent {
		t.Errorf("%d aliases", len(c.names))
	}
	if used := r.memory.used.Load(); used != int64(size) {
		t.Errorf("%d bytes are counted, want %d", used, size)
	}
	c.close()
	r.idle()
}

// TestAliasesWithoutMemory: where no memory is left there is no new alias.
func TestAliasesWithoutMemory(t *testing.T) {
	r := start(t, Config{})
	c := r.takesAliases("c", 5)
	c.subscribe(0, "#")
	r.publish("building/a", "1", 0, false)
	c.wants("building/a", 1, "building/a", "1")
	r.memory.force(int(r.memory.limit))
	r.publish("building/b", "2", 0, false)
	c.wants("building/b", 0, "building/b", "2")
	r.publish("building/a", "3", 0, false)
	c.wants("", 1, "building/a", "3")
	r.memory.give(int(r.memory.limit))
	r.publish("building/b", "4", 0, false)
	c.wants("building/b", 2, "building/b", "4")
}

// TestAliasesEndWithConnection: what is sent again on a new connection of the
// session is named anew (MQTT-3.3.2-7), in full if that takes no aliases.
func TestAliasesEndWithConnection(t *testing.T) {
	r := start(t, Config{})
	c := r.takesAliases("c", 5, keep)
	c.subscribe(1, "building/#")
	topics := []string{"building/a", "building/b", "building/b"}
	for i, topic := range topics {
		r.publish(topic, fmt.Sprint(i), 1, false)
		p := c.expectMessage(fmt.Sprint(i)) // never acknowledged
		if told := i < 2; (len(p.Topic) > 0) != told {
			t.Errorf("message %d is named %q", i, p.Topic)
		}
	}
	c.close()
	plain, _ := r.connect(packet.V5, "c", keep)
	for i, topic := range topics {
		p := plain.expectMessage(fmt.Sprint(i))
		if string(p.Topic) != topic || p.Properties.Has(packet.PropTopicAlias) || !p.Dup {
			t.Errorf("without aliases: %+v", p)
		}
	}
	plain.close()
	c = r.takesAliases("c", 1, keep)
	for i, topic := range topics {
		a := c.message()
		if a.name != topic || (a.alias == 1) != (i == 0) || !a.dup || a.payload != fmt.Sprint(i) {
			t.Errorf("got %+v, want %q", a, topic)
		}
	}
	r.publish("building/a", "new", 1, false)
	c.wants("", 1, "building/a", "new")
}

// TestAliasesAmongOthers: one message goes to clients with aliases, without,
// with subscription identifiers and of older versions, each in its own words.
func TestAliasesAmongOthers(t *testing.T) {
	r := start(t, Config{})
	const topic = "building/floor"
	first, second := r.takesAliases("first", 5), r.takesAliases("second", 5)
	first.subscribe(0, "building/#")
	old, none := r.watch(packet.V311, topic), r.watch(packet.V5, topic)
	second.subscribeWith(packet.Filter{Topic: []byte(topic)}, 7)
	for i := range 3 {
		payload := fmt.Sprint(i)
		name := ""
		if i == 0 {
			name = topic
		}
		r.publish(topic, payload, 0, false)
		first.wants(name, 1, topic, payload)
		p := second.expectMessage(payload)
		if string(p.Topic) != name || p.Properties.TopicAlias != 1 ||
			len(p.Properties.SubscriptionIDs) != 1 || p.Properties.SubscriptionIDs[0] != 7 {
			t.Errorf("with an identifier: %+v", p)
		}
		for _, c := range []*client{old, none} {
			if p := c.expectMessage(payload); string(p.Topic) != topic || p.Properties.Has(packet.PropTopicAlias) {
				t.Errorf("without aliases: %+v", p)
			}
		}
	}
}

// TestAliasesAndPacketSize: what counts against the client's maximum is the
// packet as it leaves: no alias is told where it would not fit, and a known one
// lets more fit.
func TestAliasesAndPacketSize(t *testing.T) {
	const topic, most = "building/floor/room", 200
	// Sizes of payload that just fit.
	head := packet.PublishSize(packet.V5, len(topic), 0, &packet.Outgoing{}) + 1 // 2 bytes of remaining length
	for qos := range byte(2) {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("QoS %d, durable %v", qos, durable), func(t *testing.T) {
				r := start(t, Config{})
				mods := []func(*packet.Connect){with(packet.PropMaximumPacketSize, most)}
				if durable {
					mods = append(mods, keep)
				}
				c := r.takesAliases("c", 5, mods...)
				c.subscribe(qos, topic)
				full := most - head
				if qos > 0 {
					full -= 2
				}
				send := func(size int) string {
					payload := strings.Repeat("x", size)
					r.publish(topic, payload, qos, false)
					return payload
				}
				send(full + 1)
				c.wants(topic, 0, topic, send(full))
				c.wants(topic, 0, topic, send(full-2))
				c.wants(topic, 1, topic, send(full-3))
				c.wants("", 1, topic, send(full))
				byAlias := full + len(topic) - 3
				send(byAlias + 1)
				c.wants("", 1, topic, send(byAlias))
				c.silent()
				await(t, "two are counted as too large", func() bool { return r.Stats().TooLarge == 2 })
			})
		}
	}
}

// TestAliasesOfDropped: a message that was dropped has told no alias.
func TestAliasesOfDropped(t *testing.T) {
	r := start(t, Config{MaxQueuedBytes: 256 << 10})
	c := r.takesAliases("c", 65535)
	c.subscribe(0, "building/#")
	filler := strings.Repeat("x", 64<<10)
	sent := 0
	for ; r.Stats().Dropped == 0; sent++ { // it does not read
		r.publish("building/flood", filler, 0, false)
	}
	before := r.Stats().Dropped
	for i := range 10 {
		r.publish(fmt.Sprint("building/", i), filler, 0, false)
	}
	if n := r.Stats().Dropped - before; n != 10 {
		t.Fatalf("%d of 10 messages were dropped", n)
	}
	for i := range sent - 1 {
		if a := c.message(); a.topic != "building/flood" || (a.name != "") != (i == 0) {
			t.Fatalf("message %d on %q, named %q", i, a.topic, a.name)
		}
	}
	for i := range 10 {
		topic := fmt.Sprint("building/", i)
		r.publish(topic, "now", 0, false)
		c.wants(topic, uint16(2+i), topic, "now")
	}
}

// TestAliasesOfMany: publishers at once, QoS mixed, more topics than aliases:
// every message reaches the topic that its payload says.
func TestAliasesOfMany(t *testing.T) {
	t.Parallel()
	const publishers, each, topics = 4, 300, 12
	r := start(t, Config{})
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprint("durable ", durable), func(t *testing.T) {
			r := r.in(t)
			var mods []func(*packet.Connect)
			if durable {
				mods = append(mods, keep)
			}
			c := r.takesAliases("c", 8, mods...)
			c.subscribe(1, "building/#")
			var wg sync.WaitGroup
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for p := range publishers {
				wg.Go(func() {
					for i := range each {
						topic := fmt.Sprint("building/", (i+p)%topics)
						if err := r.Publish(ctx, Message{Topic: topic, Payload: []byte(topic), QoS: byte(i % 2)}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			short := 0
			for range publishers * each {
				a := c.message()
				if a.topic != a.payload {
					t.Fatalf("got %+v", a)
				}
				if a.name == "" {
					short++
				}
			}
			wg.Wait()
			if want := publishers*each*8/topics - 8; short != want {
				t.Errorf("%d messages by alias, want %d", short, want)
			}
		})
	}
}

// TestAliasesCostNothing: a message by a known alias allocates nothing, from
// memory and from the log.
func TestAliasesCostNothing(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	c := &conn{b: r.Broker, version: packet.V5, maxPacket: packet.MaxRemaining, short: &shortNames{most: 5}}
	rt := r.takeRouter()
	defer r.giveRouter(rt)
	p := &publication{topic: []byte("building/floor"), payload: []byte("21.5")}
	ways := map[string]func(){
		"QoS 0":             func() { rt.pass(c, p, false, nil) },
		"QoS 1 from a log":  func() { post(c, p.topic, p.payload, &packet.Outgoing{QoS: 1, PacketID: 1}) },
		"QoS 1 from memory": func() { post(c, "building/floor", p.payload, &packet.Outgoing{QoS: 1, PacketID: 1}) },
	}
	for name, way := range ways {
		got := testing.AllocsPerRun(1000, func() {
			way()
			c.out.pending.b, c.out.dirty = c.out.pending.b[:0], false
			rt.dirty = rt.dirty[:0]
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

// TestAliasesMQTTjs: MQTT.js finds the topics of what comes by alias.
func TestAliasesMQTTjs(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	j := startJS(t)
	j.connect("mqtt://"+r.addr(), do{"protocolVersion": 5, "reconnectPeriod": 0, "clientId": "js",
		"properties": do{"topicAliasMaximum": 3}})
	j.do("subscribe", do{"topic": "building/#", "options": do{"qos": 2}})
	j.expect("subscribed")
	aliases := 0
	for i := range 30 {
		topic, payload := fmt.Sprint("building/", i%5), fmt.Sprint(i)
		r.publish(topic, payload, byte(i%3), false)
		e := j.expect("message")
		if e.Topic != topic || e.Payload != payload || e.QoS != byte(i%3) {
			t.Errorf("message %d: got %+v", i, e)
		}
		if _, ok := e.Properties["topicAlias"]; ok {
			aliases++
		}
	}
	if aliases < 10 {
		t.Errorf("%d of 30 messages came with an alias", aliases)
	}
}

// BenchmarkRouteAliases is BenchmarkRoute for subscribers that know the alias
// of the topic.
func BenchmarkRouteAliases(b *testing.B) {
	const fan = 20
	r := start(b, Config{SysInterval: -1})
	p := &publication{topic: []byte("bench/building/floor"), payload: make([]byte, 100)}
	var subs []*conn
	for range fan {
		c := &conn{b: r.Broker, version: packet.V5, maxPacket: packet.MaxRemaining, short: &shortNames{most: 5}}
		s := &session{}
		s.member.sess, s.member.id = s, r.memberID()
		s.conn.Store(c)
		r.tree.Set("bench/#", &s.member, grant{})
		subs = append(subs, c)
	}
	rt := r.takeRouter()
	b.ReportAllocs()
	for b.Loop() {
		rt.route(p)
		for _, s := range subs {
			s.out.pending.b, s.out.dirty = s.out.pending.b[:0], false
		}
		rt.dirty = rt.dirty[:0]
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*fan), "ns/delivery")
}
