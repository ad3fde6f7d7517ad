package mqttcore

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// arrival is a message as a client's library hands it to its program.
type arrival struct {
	topic, payload string
	id             uint16 // packet identifier, if the library tells
	dup            bool
}

// library is a client of a third party that keeps its session while its link
// is cut. Both functions connect again until ctx ends.
type library struct {
	// receive subscribes to flow/#, calls ready when that is granted and
	// then got with each message.
	receive func(ctx context.Context, t *testing.T, addr string, qos byte, ready func(), got func(arrival))
	// publish publishes messages 0 to n-1 of the flow in order.
	publish func(ctx context.Context, t *testing.T, addr string, qos byte, n int)
	listen  string // scheme of the listener it speaks to; empty: tcp
	// repeats: it hands QoS 2 messages on at each PUBLISH, so that its program
	// has to tell by DUP and packet identifier which it has already.
	repeats bool
}

// flowTopics is the number of topics that a flow goes over.
const flowTopics = 3

// flowMessage is message i of a flow: each topic has numbers of its own.
func flowMessage(i int) (topic, payload string) {
	return fmt.Sprint("flow/topic/", i%flowTopics), fmt.Sprint(i / flowTopics)
}

// ledger judges what comes of a flow.
type ledger struct {
	qos     byte
	repeats bool
	n       int               // messages, without repetitions
	next    map[string]int    // number that is due, by topic
	ids     map[string]uint16 // packet identifiers of those that came
}

func newLedger(qos byte, repeats bool) *ledger {
	return &ledger{qos: qos, repeats: repeats, next: map[string]int{}, ids: map[string]uint16{}}
}

// enter says what is wrong with an arrival: a gap, a wrong order, or, at QoS
// 2, a repetition.
func (l *ledger) enter(a arrival) error {
	i, err := strconv.Atoi(a.payload)
	if err != nil {
		return fmt.Errorf("payload %q on %s", a.payload, a.topic)
	}
	key := a.topic + " " + a.payload
	switch due := l.next[a.topic]; {
	case i > due:
		return fmt.Errorf("%s: message %d comes when %d is due", a.topic, i, due)
	case i == due:
		l.next[a.topic]++
		l.ids[key] = a.id
		l.n++
	case l.qos == 2 && !l.repeats:
		return fmt.Errorf("%s: message %d comes twice", a.topic, i)
	case l.qos == 2 && (!a.dup || a.id != l.ids[key]):
		return fmt.Errorf("%s: message %d comes twice, as if it were a new one: %+v", a.topic, i, a)
	}
	return nil
}

// TestLedger: the judge sees what is wrong.
func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name    string
		qos     byte
		repeats bool
		last    arrival // after message 0 with identifier 1
		wrong   bool
	}{
		{"next", 2, false, arrival{"a", "1", 2, false}, false},
		{"gap", 1, false, arrival{"a", "2", 2, false}, true},
		{"other topic", 1, false, arrival{"b", "0", 2, false}, false},
		{"again at QoS 1", 1, false, arrival{"a", "0", 2, false}, false},
		{"again at QoS 2", 2, false, arrival{"a", "0", 1, true}, true},
		{"handed on again", 2, true, arrival{"a", "0", 1, true}, false},
		{"again as new", 2, true, arrival{"a", "0", 2, false}, true},
		{"again with another identifier", 2, true, arrival{"a", "0", 2, true}, true},
		{"no number", 1, false, arrival{"a", "x", 2, false}, true},
	} {
		l := newLedger(c.qos, c.repeats)
		if err := l.enter(arrival{"a", "0", 1, false}); err != nil {
			t.Fatal(err)
		}
		if err := l.enter(c.last); (err != nil) != c.wrong {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// flow is one client sending to another, both over links of their own.
type flow struct {
	t        *testing.T
	r        *rig
	from, to library
	qos      byte
	up, down *roughLink
	restart  bool // the broker is restarted on the way
}

func newFlow(t *testing.T, from, to library, qos byte) *flow {
	t.Helper()
	r := start(t, Config{ReceiveMaximum: 20, MaxInflight: 20, Listen: []string{cmp.Or(to.listen, "tcp") + "://127.0.0.1:0"}})
	return &flow{t: t, r: r, from: from, to: to, qos: qos,
		up: newRoughLink(t, r.addr()), down: newRoughLink(t, r.addr())}
}

// run sends n messages. spoil is called when the receiver has subscribed.
// Nothing may be lost, each topic keeps its order, at QoS 2 nothing comes
// twice, and in the end all is acknowledged.
func (f *flow) run(n int, spoil func()) {
	t, r := f.t, f.r
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	got := make(chan arrival, 8*n)
	ready := make(chan struct{})
	wg.Go(func() {
		f.to.receive(ctx, t, f.down.addr(), f.qos, func() { close(ready) }, func(a arrival) {
			select {
			case got <- a:
			default:
				t.Error("repetitions without end")
			}
		})
	})
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal("the receiver has not subscribed in time")
	}
	spoil()
	wg.Go(func() { f.from.publish(ctx, t, f.up.addr(), f.qos, n) })

	book := newLedger(f.qos, f.to.repeats)
	for book.n < n {
		select {
		case a := <-got:
			if err := book.enter(a); err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatalf("nothing comes after %d messages; cuts: %d of the publisher, %d of the receiver", book.n, f.up.cut(), f.down.cut())
		}
		if f.restart && book.n == n/3 {
			f.restart = false
			f.up.lead("")
			f.down.lead("")
			r.restart()
			f.up.lead(r.addr())
			f.down.lead(r.addr())
		}
	}
	await(t, "all is acknowledged", func() bool { return r.st.Stats().Queued == 0 })
	for len(got) > 0 {
		if err := book.enter(<-got); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.Stats(); s.ProtocolErrors > 0 {
		t.Errorf("%d protocol errors", s.ProtocolErrors)
	}
	if d := r.st.Stats().Dropped; len(d) > 0 {
		t.Errorf("dropped: %v", d)
	}
}

// overCuts cuts both links again and again, anywhere, and restarts the broker
// once.
func overCuts(t *testing.T, from, to library, qos byte) {
	t.Helper()
	const cuts = 8
	f := newFlow(t, from, to, qos)
	f.restart = true
	f.run(300, func() {
		f.down.cutAfter(hardships(uint64(qos), cuts))
		f.up.cutAfter(hardships(10+uint64(qos), cuts))
	})
	if f.up.cut() != cuts || f.down.cut() != cuts {
		t.Errorf("the publisher's link was cut %d times, the receiver's %d times, want %d each", f.up.cut(), f.down.cut(), cuts)
	}
}

// overLosses loses, with the link, a few packets of one type on the way from
// the broker to the publisher, of another on the way to the receiver. 0: none.
func overLosses(t *testing.T, from, to library, qos byte, up, down packet.Type) {
	t.Helper()
	f := newFlow(t, from, to, qos)
	f.up.lose(someOf(up))
	f.down.lose(someOf(down))
	f.run(60, func() {})
	for typ, k := range map[packet.Type]*roughLink{up: f.up, down: f.down} {
		if typ != 0 && k.cut() != losses {
			t.Errorf("%d of %v were lost, want %d", k.cut(), typ, losses)
		}
	}
}

const losses = 6

// someOf picks each seventh packet of a type, so many times as losses says: it
// must end, as a cut takes answers with it that are under way.
func someOf(typ packet.Type) func(packet.Type) bool {
	n := 0
	return func(got packet.Type) bool {
		if got == typ {
			n++
		}
		return got == typ && n%7 == 0 && n <= 7*losses
	}
}
