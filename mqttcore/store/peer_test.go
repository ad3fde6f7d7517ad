package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/store"
)

// running is a store with its writer.
type running struct {
	*store.Store
	t     testing.TB
	stop  func()
	ended chan error
}

func start(t testing.TB, o store.Options) *running {
	t.Helper()
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

func run(t testing.TB, s *store.Store) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Store: s, t: t, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	<-s.Ready()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-r.ended; err != nil && s.Stats().State != "failed" {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// await is the outcome of an operation that calls back.
func (r *running) await(f func(done func(error))) error {
	r.t.Helper()
	c := make(chan error, 1)
	f(func(err error) { c <- err })
	select {
	case err := <-c:
		return err
	case <-time.After(10 * time.Second):
		r.t.Fatal("no answer in 10 s")
		return nil
	}
}

func (r *running) must(f func(done func(error))) {
	r.t.Helper()
	if err := r.await(f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) session(client string) (sid store.SID) {
	r.t.Helper()
	r.must(func(done func(error)) { sid = r.CreateSession(client, "", 3600, done) })
	return sid
}

func message(sid store.SID, payload string) *store.Message {
	return &store.Message{Topic: "t", Payload: []byte(payload), QoS: 2, Routes: []store.Route{{Session: sid, QoS: 2}}}
}

func (r *running) publish(sid store.SID, payload string) {
	r.t.Helper()
	r.must(func(done func(error)) { r.Append(message(sid, payload), done) })
}

// drain reads all of a queue: sequence number and first word of each payload.
func drain(t testing.TB, q *store.Queue) string {
	t.Helper()
	var all []string
	var d store.Delivery
	for {
		ok, err := q.Next(&d)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(all, " ")
		}
		word, _, _ := strings.Cut(string(d.Payload), "|")
		all = append(all, fmt.Sprintf("%d:%s", d.Seq, word))
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// balance checks that no message is unaccounted for.
func balance(t testing.TB, s *store.Store) {
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
