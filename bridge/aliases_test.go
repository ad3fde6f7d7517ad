package bridge

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"pgregory.net/rapid"

	"sluice/mqttcore/packet"
)

// resolver is what a server knows of the aliases of one connection.
type resolver map[uint16]string

// resolve gives the topic that a PUBLISH is about, as a server does (MQTT 5.0,
// 3.3.2.3.4).
func (r resolver) resolve(topic string, alias, most uint16) (string, error) {
	switch {
	case alias > most:
		return "", fmt.Errorf("alias %d is above %d", alias, most)
	case alias == 0 && topic == "":
		return "", fmt.Errorf("there is neither a topic nor an alias")
	case alias == 0:
		return topic, nil
	case topic != "":
		r[alias] = topic
	case r[alias] == "":
		return "", fmt.Errorf("alias %d stands for nothing", alias)
	}
	return r[alias], nil
}

// TestAliasesMeanTheirTopics: whatever topics come in whatever order, the
// server understands them.
func TestAliasesMeanTheirTopics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(0, 5).Draw(t, "most")
		a, server, saved := newAliases(most), resolver{}, int64(0)
		for range rapid.IntRange(1, 200).Draw(t, "messages") {
			want := "home/" + strings.Repeat("x", rapid.IntRange(0, 12).Draw(t, "topic"))
			a.now += uint64(rapid.SampledFrom([]int{0, 0, 0, 2 * aliasIdle}).Draw(t, "others"))
			var out packet.Outgoing
			name := a.name([]byte(want), &out, rapid.IntRange(0, 10).Draw(t, "room"))
			if got, err := server.resolve(string(name), out.Alias, uint16(most)); err != nil || got != want {
				t.Fatalf("topic %q arrives as %q: %v", want, got, err)
			}
			saved += int64(len(want) - len(name))
			if out.Alias != 0 {
				saved -= 3
			}
		}
		if saved != a.saved {
			t.Fatalf("%d bytes were saved, counted %d", saved, a.saved)
		}
	})
}

// TestAliasesStay: topics that come round in turn keep the aliases that there
// are, and topics that are gone give theirs to others.
func TestAliasesStay(t *testing.T) {
	a := newAliases(10)
	round := func(kind string, rounds int) (used uint64) {
		before := a.used
		for range rounds {
			for i := range 25 {
				a.name(fmt.Appendf(nil, "home/%s/%d", kind, i), &packet.Outgoing{}, 100)
			}
		}
		return a.used - before
	}
	round("first", 1)
	if used := round("first", 100); used != 10*100 {
		t.Errorf("of 2500 messages %d used an alias, want 10 of each 25", used)
	}
	round("second", 2*aliasIdle/25)
	if used := round("second", 100); used != 10*100 {
		t.Errorf("of 2500 messages on new topics %d used an alias, want 10 of each 25", used)
	}
}

// TestAliasesOfAConnection: each connection tells its aliases anew, also for
// what is sent again, and a server that takes none gets none.
func TestAliasesOfAConnection(t *testing.T) {
	for _, most := range []uint16{0, 3} {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("%d aliases, qos %d", most, qos), func(t *testing.T) {
				s := &script{keep: true}
				s.connack.Properties = &packets.Properties{TopicAliasMaximum: new(most)}
				var mu sync.Mutex
				var server resolver
				s.after = func(func(packets.Packet)) bool {
					mu.Lock()
					defer mu.Unlock()
					server = resolver{}
					return true
				}
				got := map[string]string{}
				left := 30 // then the line is cut
				s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
					mu.Lock()
					defer mu.Unlock()
					alias := uint16(0)
					if p.Properties.TopicAlias != nil {
						alias = *p.Properties.TopicAlias
					}
					topic, err := server.resolve(p.Topic, alias, most)
					if err != nil {
						t.Errorf("message %s: %v", p.Payload, err)
					}
					if left--; left == 0 {
						return false
					}
					got[string(p.Payload)] = topic
					acknowledge(p, 0, reply)
					return true
				}
				underScript(t, s, scripted(qos), func(t *testing.T, g *gateway) {
					for i := range 100 {
						topic := fmt.Sprintf("home/topic/%d", i%7)
						if err := g.broker.Publish(t.Context(), message(topic, fmt.Sprint(i), qos)); err != nil {
							t.Fatal(err)
						}
						if err := g.broker.Publish(t.Context(), message("home/topic/0", fmt.Sprint("live", i), 0)); err != nil {
							t.Fatal(err)
						}
						time.Sleep(100 * time.Millisecond)
					}
					time.Sleep(10 * time.Second)
					mu.Lock()
					defer mu.Unlock()
					for i := range 100 {
						if want := fmt.Sprintf("site7/home/topic/%d", i%7); got[fmt.Sprint(i)] != want {
							t.Errorf("message %d is on %q, want %q", i, got[fmt.Sprint(i)], want)
						}
					}
					st := g.link.Stats()
					if st.Connects != 2 || st.Aliases != int(most) || (st.AliasUses > 50) != (most > 0) || (st.AliasSaved > 500) != (most > 0) {
						t.Errorf("figures: %+v", st)
					}
				})
			})
		}
	}
}
