package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// running is a store with its writer, for one test.
type running struct {
	*Store
	t      testing.TB
	cancel context.CancelFunc
	ended  chan error
}

func start(t testing.TB, o Options) *running {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

func run(t testing.TB, s *Store) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Store: s, t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	<-s.Ready()
	t.Cleanup(func() {
		if r.cancel != nil {
			r.stop()
		}
	})
	return r
}

// stop ends the store in an orderly way.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	r.cancel = nil
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	if err := r.Close(); err != nil {
		r.t.Errorf("Close: %v", err)
	}
}

func (r *running) do(what string, f func(done func(error))) {
	r.t.Helper()
	c := make(chan error, 1)
	f(func(err error) { c <- err })
	select {
	case err := <-c:
		if err != nil {
			r.t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(10 * time.Second):
		r.t.Fatalf("%s: no answer in 10 s", what)
	}
}

func (r *running) session(client string) (sid SID) {
	r.t.Helper()
	r.do("create "+client, func(done func(error)) { sid = r.CreateSession(client, "user", 3600, done) })
	return sid
}

func (r *running) publish(topic, payload string, sids ...SID) {
	r.t.Helper()
	m := Message{Topic: topic, Payload: []byte(payload), QoS: 1}
	for _, sid := range sids {
		m.Routes = append(m.Routes, Route{Session: sid, QoS: 1})
	}
	if err := r.AppendSync(r.t.Context(), &m); err != nil {
		r.t.Fatalf("append %s: %v", topic, err)
	}
}

func (r *running) open(sid SID) *Queue {
	r.t.Helper()
	q := r.OpenQueue(sid, nil)
	if q == nil {
		r.t.Fatalf("session %d: no queue", sid)
	}
	return q
}

// rest reads what the queue has, as text.
func rest(t testing.TB, q *Queue) (all []string) {
	t.Helper()
	for {
		var d Delivery
		ok, err := q.Next(&d)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, fmt.Sprintf("%d:%s=%s", d.Seq, d.Topic, d.Payload))
	}
}

func want(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// balance checks that no message is unaccounted for.
func balance(t testing.TB, s *Store) {
	t.Helper()
	st := s.Stats()
	sum := st.Delivered + st.Queued
	for _, n := range st.Dropped {
		sum += n
	}
	if st.Appended != sum {
		t.Errorf("appended %d, but delivered %d + queued %d + dropped %v", st.Appended, st.Delivered, st.Queued, st.Dropped)
	}
}

func TestQueueSurvivesReopen(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	a, b := r.session("a"), r.session("b")
	r.publish("x/1", "one", a, b)
	r.publish("x/2", "two", a)
	r.publish("x/1", "three", a, b)
	q := r.open(a)
	want(t, "a", rest(t, q), "[1:x/1=one 2:x/2=two 3:x/1=three]")
	q.Ack(1)
	q.Ack(3) // out of order
	n, _ := q.Len()
	want(t, "base", q.Base(), 1)
	want(t, "len", n, 1)
	q.Rewind()
	want(t, "a again", rest(t, q), "[2:x/2=two]")
	balance(t, r.Store)
	r.stop()

	r = start(t, Options{Dir: dir})
	want(t, "a after reopen", rest(t, r.open(a)), "[2:x/2=two]")
	want(t, "b after reopen", rest(t, r.open(b)), "[1:x/1=one 2:x/1=three]")
	r.publish("x/3", "four", a)
	want(t, "a goes on", rest(t, r.open(a)), "[2:x/2=two 4:x/3=four]")
	balance(t, r.Store)
}

func TestSessionsSurviveReopen(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	a, b := r.session("a"), r.session("b")
	will := &Will{Message: Message{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true}, Delay: 5}
	r.do("update", func(d func(error)) { r.UpdateSession(a, 77, will, d) })
	r.do("sub", func(d func(error)) { r.PutSubscription(a, Subscription{Filter: "x/#", Options: 1, SubID: 9}, d) })
	r.do("sub", func(d func(error)) { r.PutSubscription(a, Subscription{Filter: "y", Options: 2}, d) })
	r.do("unsub", func(d func(error)) { r.DeleteSubscription(a, "y", d) })
	for _, pid := range []uint16{3, 1, 2} {
		m := &Message{Topic: "x", QoS: 2, Publisher: a, PacketID: pid}
		r.do("qos 2", func(d func(error)) { r.Append(m, d) })
	}
	r.do("release", func(d func(error)) { r.ReleaseInbound(a, 3, d) })
	r.do("delete", func(d func(error)) { r.DeleteSession(b, d) })
	r.do("retained", func(d func(error)) {
		r.Append(&Message{Topic: "r", Payload: []byte("kept"), Retain: true, StoreRetained: true, Props: []byte{1, 1}}, d)
	})
	check := func(r *running) {
		t.Helper()
		all := r.Sessions()
		if len(all) != 1 {
			t.Fatalf("%d sessions, want 1", len(all))
		}
		s := all[0]
		want(t, "session", fmt.Sprintln(s.ID, s.Client, s.User, s.Expiry, s.Subs, s.Inbound), "1 a user 77 [{x/# 1 9}] [1 2]\n")
		want(t, "will", fmt.Sprintf("%s %s %d %v %d", s.Will.Message.Topic, s.Will.Message.Payload, s.Will.Message.QoS, s.Will.Message.Retain, s.Will.Delay), "w gone 1 true 5")
		for m := range r.RecoveredRetained() {
			want(t, "retained", fmt.Sprintf("%s=%s %v", m.Topic, m.Payload, m.Props), "r=kept [1 1]")
		}
		if r.OpenQueue(b, nil) != nil {
			t.Error("deleted session has a queue")
		}
	}
	check(r)
	r.stop() // with a snapshot
	for range 2 {
		r = start(t, Options{Dir: dir})
		check(r)
		r.stop()
	}
	r = start(t, Options{Dir: dir})
	if sid := r.session("c"); sid != 3 {
		t.Errorf("new session is %d: numbers are never reused", sid)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Options{Dir: dir, SegmentSize: minSegmentSize})
	if err := r.AppendSync(t.Context(), &Message{Topic: "t", Payload: make([]byte, minSegmentSize)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large message: %v", err)
	}
	var got error
	r.DeleteSession(99, func(err error) { got = err })
	if !errors.Is(got, ErrNoSession) {
		t.Errorf("unknown session: %v", got)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	r.stop()
	r.Append(&Message{Topic: "t"}, func(err error) { got = err })
	if !errors.Is(got, ErrClosed) {
		t.Errorf("append after close: %v", got)
	}
}
