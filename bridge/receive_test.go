package bridge

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/google/go-cmp/cmp"

	"sluice/mqttcore"
)

func message(topic, payload string, qos byte) mqttcore.Message {
	return mqttcore.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
}

// local records what the local broker hands out.
type local struct {
	mu  sync.Mutex
	got []mqttcore.Message
}

func listen(t *testing.T, g *gateway, filter string) *local {
	l := &local{}
	t.Cleanup(g.broker.Subscribe(filter, func(m *mqttcore.Message) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.got = append(l.got, *m)
	}))
	return l
}

func (l *local) payloads() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, m := range l.got {
		all = append(all, string(m.Payload))
	}
	return all
}

func connected(t *testing.T, g *gateway) {
	t.Helper()
	eventually(t, "the link is up", func() bool { return g.link.Stats().Connected })
}

func TestCommandsComeDown(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		for _, qos := range []byte{0, 1, 2} {
			t.Run(fmt.Sprintf("qos %d", qos), func(t *testing.T) {
				up := newUpstream(t, "").start()
				w := newWitness(t, up.addr, "site7/#", qos)
				g := startGateway(t, t.TempDir(), linkIn(version, up.addr, qos))
				l := listen(t, g, "#")
				connected(t, g)
				var want []string
				for i := range 200 {
					want = append(want, fmt.Sprint(i))
					w.publish(t, &paho.Publish{Topic: "site7/home/heater/set", Payload: []byte(want[i]), QoS: qos})
				}
				eventually(t, "all commands are here", func() bool { return len(l.payloads()) >= len(want) })
				if diff := cmp.Diff(want, l.payloads()); diff != "" {
					t.Errorf("commands (-want +got):\n%s", diff)
				}
				eventually(t, "all are counted", func() bool { return g.link.Stats().Received == 200 })
				if s := g.link.Stats(); s.Ignored != 0 || s.Backlog != 0 || s.Forwarded != 0 {
					t.Errorf("figures, where an echo would show: %+v", s)
				}
			})
		}
	})
}

// TestCommandsWaitForTheGateway: what is sent while the gateway is away comes
// when it is back, because its session upstream outlives it.
func TestCommandsWaitForTheGateway(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		up := newUpstream(t, "").start()
		w := newWitness(t, up.addr, "none", 1)
		dir := t.TempDir()
		g := startGateway(t, dir, linkIn(version, up.addr, 2))
		connected(t, g)
		g.halt()
		for i := range 5 {
			w.publish(t, &paho.Publish{Topic: "site7/home/heater/set", Payload: fmt.Append(nil, i), QoS: 2})
		}
		up.stop(syscall.SIGTERM)
		up.start()
		g = startGateway(t, dir, linkIn(version, up.addr, 2))
		eventually(t, "all commands are here", func() bool { return g.link.Stats().Received == 5 })
	})
}

func TestPropertiesTravelBothWays(t *testing.T) {
	up := newUpstream(t, "").start()
	w := newWitness(t, up.addr, "site7/home/meter", 1)
	g := startGateway(t, t.TempDir(), linkTo(up.addr, 1))
	l := listen(t, g, "home/+/set")
	connected(t, g)

	props := mqttcore.Properties{
		UTF8: true, ContentType: "application/json", ResponseTopic: "reply/to", Correlation: []byte{0, 1, 255},
		User: []mqttcore.UserProperty{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}, Expiry: 1000, HasExpiry: true,
	}
	m := message("home/meter", "up", 1)
	m.Retain, m.Properties = true, props
	if err := g.broker.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is upstream", func() bool { return w.has("site7/home/meter", "up") })
	got := w.messages()[0]
	back := propertiesOf(got.Properties)
	if back.Expiry < 990 || back.Expiry > 1000 {
		t.Errorf("of an expiry of 1000s remain %ds", back.Expiry)
	}
	back.Expiry = 1000
	if diff := cmp.Diff(props, back); diff != "" || !got.Retain {
		t.Errorf("upstream, retain %v (-want +got):\n%s", got.Retain, diff)
	}

	w.publish(t, &paho.Publish{Topic: "site7/home/heater/set", Payload: []byte("down"), QoS: 1, Properties: got.Properties})
	eventually(t, "it is here", func() bool { return len(l.payloads()) == 1 })
	down := l.got[0].Properties
	if !down.HasExpiry || down.Expiry > 1000 {
		t.Errorf("expiry down: %+v", down)
	}
	down.Expiry = 1000
	if diff := cmp.Diff(props, down); diff != "" {
		t.Errorf("down (-want +got):\n%s", diff)
	}

	// Who asks from above gets the answer where it waits: site7/ is put before it again.
	got.Properties.ResponseTopic = "site7/reply/to"
	w.publish(t, &paho.Publish{Topic: "site7/home/heater/set", Payload: []byte("down"), QoS: 1, Properties: got.Properties})
	eventually(t, "it is here, too", func() bool { return len(l.payloads()) == 2 })
	if to := l.got[1].Properties.ResponseTopic; to != "reply/to" {
		t.Errorf("response topic %q", to)
	}
}

// TestForeignTopicsAreIgnored: the upstream session may still have filters of
// an earlier configuration.
func TestForeignTopicsAreIgnored(t *testing.T) {
	up := newUpstream(t, "").start()
	w := newWitness(t, up.addr, "none", 1)
	dir := t.TempDir()
	cfg := linkTo(up.addr, 1)
	cfg.In = []string{"other", "home/+/set"}
	g := startGateway(t, dir, cfg)
	connected(t, g)
	g.publish(t, "home/x", 1, 1, 1) // so that the session is not a stranger's the next time
	settledAll(t, g)
	g.halt()
	cfg.In = []string{"home/+/set"}
	g = startGateway(t, dir, cfg)
	l := listen(t, g, "#")
	connected(t, g)
	w.publish(t, &paho.Publish{Topic: "site7/other", Payload: []byte("no"), QoS: 1})
	w.publish(t, &paho.Publish{Topic: "site7/home/a/set", Payload: []byte("yes"), QoS: 1})
	eventually(t, "the command is here", func() bool { return len(l.payloads()) > 0 })
	if diff := cmp.Diff([]string{"yes"}, l.payloads()); diff != "" {
		t.Errorf("here (-want +got):\n%s", diff)
	}
	eventually(t, "the other is counted", func() bool { return g.link.Stats().Ignored == 1 })
}

// TestNoLoops connects two links of one gateway to one upstream, each taking
// down what the other sends up.
func TestNoLoops(t *testing.T) {
	up := newUpstream(t, "").start()
	w := newWitness(t, up.addr, "site7/#", 1)
	cfg := linkTo(up.addr, 1)
	cfg.Out, cfg.In, cfg.Via = []string{"#"}, []string{"#"}, "gateway/cloud"
	g := startGateway(t, t.TempDir(), cfg)
	other := cfg
	other.Name, other.ClientID, other.Via = "second", "gateway-2", "gateway/second"
	second := &gateway{broker: g.broker, link: New(other, g.broker, g.link.log)}
	runTask(t, second.link.Run, second.link.Ready())
	connected(t, g)
	connected(t, second)
	g.publish(t, "home/x", 1, 1, 3)
	w.publish(t, &paho.Publish{Topic: "site7/command", Payload: []byte("down"), QoS: 1})
	settledAll(t, g)
	settledAll(t, second)
	// One marker more each way shows that all before it has come to rest.
	g.publish(t, "home/end", 1, 4, 4)
	eventually(t, "the marker went round", func() bool {
		return g.link.Stats().Backlog+second.link.Stats().Backlog == 0 && w.has("site7/home/end", "000004")
	})
	if n := len(w.messages()); n > 60 {
		t.Errorf("%d messages went up for five", n)
	}
	if a, b := g.link.Stats(), second.link.Stats(); a.Looped == 0 || b.Looped == 0 {
		t.Errorf("nothing was known again: %+v %+v", a, b)
	}
}

func TestAvailabilityUpstream(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		const topic = "sluice/pi/availability"
		up := newUpstream(t, "").start()
		line := newProxy(t, up.addr)
		cfg := linkIn(version, line.addr(), 1)
		cfg.Availability = topic
		cfg.Out = []string{"#"}
		w := newWitness(t, up.addr, "site7/"+topic, 1)
		states := func() (all []string) {
			for _, p := range w.messages() {
				if !p.Retain {
					t.Errorf("%s is not retained", p.Payload)
				}
				all = append(all, string(p.Payload))
			}
			return all
		}
		become := func(want ...string) {
			t.Helper()
			eventually(t, fmt.Sprint("the states are ", want), func() bool { return cmp.Equal(want, states()) })
		}
		g := startGateway(t, t.TempDir(), cfg)
		become("online")
		// The local copy is not forwarded: an "offline" of an earlier run, still
		// in the queue, would contradict the birth.
		if err := g.broker.Publish(t.Context(), message(topic, "offline", 1)); err != nil {
			t.Fatal(err)
		}
		settledAll(t, g)
		line.set(true)
		become("online", "offline")
		line.set(false)
		become("online", "offline", "online")
		g.halt()
		become("online", "offline", "online", "offline")
	})
}

func TestLiveMessagesGoUp(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		up := newUpstream(t, "").start()
		w := newWitness(t, up.addr, "site7/#", 1)
		cfg := linkIn(version, up.addr, 1)
		cfg.Out = []string{"home/#", "home/+/+", "#"} // overlapping: still once
		g := startGateway(t, t.TempDir(), cfg)
		connected(t, g)
		for i := range 20 {
			if err := g.broker.Publish(t.Context(), message("home/a/b", fmt.Sprint(i), 0)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all are upstream", func() bool { return w.has("site7/home/a/b", "19") })
		if n := len(w.messages()); n != 20 {
			t.Errorf("%d arrived of 20", n)
		}
		if s := g.link.Stats(); s.LiveSent != 20 || s.LiveDropped != 0 {
			t.Errorf("figures: %+v", s)
		}
	})
}

// TestLargeMessagesComeDown sends more at once than the log takes in without
// a pause. The upstream is held up, and nothing is refused.
func TestLargeMessagesComeDown(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		const n, size = 60, 400_000
		up := newUpstream(t, "max_inflight_messages 0").start()
		w := newWitness(t, up.addr, "none", 1)
		g := startGateway(t, t.TempDir(), linkIn(version, up.addr, 1))
		sink, err := g.broker.Consumer(t.Context(), "sink", []mqttcore.Filter{{Topic: "home/+/set", QoS: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		connected(t, g)
		for i := range n {
			w.publish(t, &paho.Publish{Topic: "site7/home/a/set", Payload: append(fmt.Appendf(nil, "%06d", i), make([]byte, size)...), QoS: 1})
		}
		eventually(t, "all are here", func() bool { return g.link.Stats().Received == n })
		var d mqttcore.Delivery
		for i := range n {
			ok, err := sink.Next(&d)
			if err != nil || !ok || string(d.Payload[:6]) != fmt.Sprintf("%06d", i) {
				t.Fatalf("message %d: %v, %v, %.6q", i, ok, err, d.Payload)
			}
			sink.Ack(d.Seq)
		}
		if s := g.link.Stats(); s.Connects != 1 || s.Unfit != 0 {
			t.Errorf("figures: %+v", s)
		}
	})
}
