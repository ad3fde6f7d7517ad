package bridge

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"sluice/mqttcore"
)

// addLink gives a gateway one more link.
func (g *gateway) addLink(t *testing.T, cfg Config) *Link {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	l := New(cfg, g.broker, g.log)
	runTask(t, l.Run, l.Ready())
	return l
}

// TestRing is two gateways between two upstreams, each taking down from both
// what the others send up: nothing goes round for ever, and all get all.
func TestRing(t *testing.T) {
	one, two := newUpstream(t, "").start(), newUpstream(t, "").start()
	cfg := func(gateway, link string, up *upstream) Config {
		return Config{
			Name: link, URL: "mqtt://" + up.addr, ClientID: gateway, QoS: 1,
			Out: []string{"#"}, In: []string{"#"}, Via: gateway + "/" + link,
		}
	}
	a := startGateway(t, t.TempDir(), cfg("a", "one", one))
	b := startGateway(t, t.TempDir(), cfg("b", "one", one))
	links := []*Link{a.link, b.link, a.addLink(t, cfg("a", "two", two)), b.addLink(t, cfg("b", "two", two))}
	for _, l := range links {
		eventually(t, "all links are up", func() bool { return l.Stats().Connected })
	}
	atA, atB := listen(t, a, "#"), listen(t, b, "#")
	atOne, atTwo := newWitness(t, one.addr, "#", 1), newWitness(t, two.addr, "#", 1)
	const n = 20
	a.publish(t, "from/a", 1, 1, n)
	b.publish(t, "from/b", 1, 1, n)
	for i := range n {
		atOne.publish(t, &paho.Publish{Topic: "from/one", Payload: fmt.Appendf(nil, "%06d", i+1), QoS: 1})
	}
	all := func(payloads []string, want int) bool {
		seen := map[string]int{}
		for _, p := range payloads {
			seen[p]++
		}
		for i := 1; i <= n; i++ {
			if seen[fmt.Sprintf("%06d", i)] < want {
				return false
			}
		}
		return true
	}
	eventually(t, "all are everywhere", func() bool {
		return all(atA.payloads(), 3) && all(atB.payloads(), 3) && atOne.has("from/b", "000020") && atTwo.has("from/one", "000020")
	})
	a.publish(t, "marker", 1, n+1, n+1)
	eventually(t, "the marker went round", func() bool {
		return atTwo.has("marker", fmt.Sprintf("%06d", n+1)) && atOne.has("marker", fmt.Sprintf("%06d", n+1))
	})
	eventually(t, "all queues are empty", func() bool {
		for _, l := range links {
			if l.Stats().Backlog > 0 {
				return false
			}
		}
		return true
	})
	// A link sends a message up as it began here, and as it came down from the
	// other upstream by either gateway.
	sum := uint64(0)
	for _, l := range links {
		sum += l.Stats().Forwarded
	}
	t.Logf("%d were sent up for %d", sum, 3*n+1)
	if sum > 4*3*(3*n+1) {
		t.Errorf("%d were sent up for %d", sum, 3*n+1)
	}
	looped := uint64(0)
	for _, l := range links {
		looped += l.Stats().Looped
	}
	if looped == 0 {
		t.Error("nothing was known again: the test proves nothing")
	}
}

// TestADeadUpstreamSlowsNoOther: beside a server that takes the connection and
// never says a word, another gets all.
func TestADeadUpstreamSlowsNoOther(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var held []net.Conn
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			held = append(held, c)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
		for _, c := range held {
			c.Close()
		}
	})
	up := newUpstream(t, "").start()
	w := newWitness(t, up.addr, "site7/#", 2)
	g := startGateway(t, t.TempDir(), linkTo(up.addr, 2))
	dead := linkTo(l.Addr().String(), 2)
	dead.Name = "dead"
	other := g.addLink(t, dead)
	connected(t, g)
	const n = 2000
	g.publish(t, "home/x", 2, 1, n)
	eventually(t, "the witness has all", func() bool { return w.tally(n).lost == 0 })
	if got := w.tally(n); got != (tally{}) {
		t.Errorf("beside a dead one: %+v", got)
	}
	if s := other.Stats(); s.Backlog != n || s.Connected {
		t.Errorf("the dead one: %+v", s)
	}
}

// TestEachOthersUpstream is two gateways of which each is the other's upstream:
// a message that began here comes back at most once.
func TestEachOthersUpstream(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		to := func(addr, name string) Config {
			return Config{Name: "peer", URL: "mqtt://" + addr, ClientID: name, QoS: 1, Out: []string{"home/#"}}
		}
		serving := mqttcore.Config{Listen: []string{"tcp://127.0.0.1:0"}, Anonymous: true}
		a := startBroker(t, t.TempDir(), serving, nil)
		b := startBroker(t, t.TempDir(), serving, nil)
		marking := to(b.broker.Addrs()[0].String(), "a")
		marking.Via, marking.MarkUp = "a/peer", true
		la, lb := a.addLink(t, marking), b.addLink(t, to(a.broker.Addrs()[0].String(), "b"))
		for _, l := range []*Link{la, lb} {
			eventually(t, "both are up", func() bool { return l.Stats().Connected })
		}
		atA, atB := listen(t, a, "home/#"), listen(t, b, "home/#")
		const n = 10
		a.publish(t, "home/x", qos, 1, n)
		b.publish(t, "home/x", qos, 1, n)
		eventually(t, "what went round is known again", func() bool { return la.Stats().Looped >= 2*n })
		eventually(t, "nothing is on its way", func() bool { return la.Stats().Backlog+lb.Stats().Backlog == 0 })
		if na, nb := len(atA.payloads()), len(atB.payloads()); na != 4*n || nb != 3*n {
			t.Errorf("qos %d: %d and %d arrived of %d", qos, na, nb, 2*n)
		}
	}
}
