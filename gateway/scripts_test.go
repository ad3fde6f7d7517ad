package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sluice/mqttcore/store"
)

// TestScripts runs the real program as an installer would type it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(sluiceBinary)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"makestore": makeStore,
			"patch":     patch,
		},
	})
}

// steady is a clock at which a store is always the same.
type steady struct{ boot time.Duration }

func (c *steady) Boot() time.Duration { return c.boot }
func (c *steady) BootID() string      { return "steady" }
func (c *steady) Wall() (time.Time, bool) {
	return time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(c.boot), true
}

// makeStore makes a closed store in a folder: an upstream that has taken one of
// five messages and can't have another, a client that is away, and one that was
// deleted.
func makeStore(ts *testscript.TestScript, _ bool, args []string) {
	clock := &steady{}
	s, err := store.Open(store.Options{Dir: ts.MkAbs(args[0]), SegmentSize: 64 << 10, Clock: clock})
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	wait := func(do func(done func(error))) {
		c := make(chan error, 1)
		do(func(err error) { c <- err })
		ts.Check(<-c)
	}
	var cloud, panel, gone store.SID
	wait(func(done func(error)) { cloud = s.CreateSession("\x00consumer/upstream/cloud", "", 0xffffffff, done) })
	wait(func(done func(error)) { panel = s.CreateSession("panel", "ann", 3600, done) })
	wait(func(done func(error)) { gone = s.CreateSession("gone", "", 3600, done) })
	wait(func(done func(error)) {
		s.PutSubscription(cloud, store.Subscription{Filter: "home/#", Options: 1}, done)
	})
	wait(func(done func(error)) {
		s.PutSubscription(panel, store.Subscription{Filter: "home/+", Options: 2}, done)
	})
	for _, m := range []store.Message{
		{Topic: "home/temp", Payload: []byte("21.4"), QoS: 1, Retain: true, Routes: []store.Route{{Session: cloud, QoS: 1, Retain: true}}},
		{Topic: "home/a", Payload: []byte("one"), QoS: 1, Routes: []store.Route{{Session: cloud, QoS: 1}, {Session: panel, QoS: 1}, {Session: gone, QoS: 1}}},
		{Topic: "home/raw", Payload: []byte{0xff, 0, 1}, QoS: 2, Routes: []store.Route{{Session: cloud, QoS: 1}}},
		{Topic: "home/props", Payload: []byte("<two>"), QoS: 2, HasExpiry: true, Expiry: 3600, Routes: []store.Route{{Session: panel, QoS: 2}, {Session: cloud, QoS: 1}},
			// content type text/plain, user property a=b
			Props: []byte("\x03\x00\x0atext/plain\x26\x00\x01a\x00\x01b")},
		{Topic: "home/b", Payload: nil, QoS: 1, Routes: []store.Route{{Session: cloud, QoS: 1}}},
	} {
		clock.boot += time.Second
		wait(func(done func(error)) { s.Append(&m, done) })
	}
	q := s.OpenQueue(cloud, nil)
	var d store.Delivery
	for range 3 {
		_, err := q.Next(&d)
		ts.Check(err)
	}
	q.Ack(1)
	q.Drop(3, "unsendable")
	wait(func(done func(error)) { s.DeleteSession(gone, done) }) // and what became of those is on disk
	clock.boot += time.Second
	wait(func(done func(error)) { s.LeaveSession(panel, done) })
	clock.boot += time.Minute
	stop()
	ts.Check(<-ended)
	ts.Check(s.Close())
}

// patch changes a text in a file to another of the same length.
func patch(ts *testscript.TestScript, _ bool, args []string) {
	all, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, file := range all {
		b, err := os.ReadFile(file)
		ts.Check(err)
		at := bytes.Index(b, []byte(args[1]))
		if at < 0 || len(args[1]) != len(args[2]) {
			ts.Fatalf("%s: no %q to become %q", file, args[1], args[2])
		}
		copy(b[at:], args[2])
		ts.Check(os.WriteFile(file, b, 0o600))
	}
}
