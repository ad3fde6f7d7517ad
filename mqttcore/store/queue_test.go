package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

func TestDeliveryIsWhatWasPublished(t *testing.T) {
	r := start(t, store.Options{Dir: t.TempDir()})
	sid := r.session("a")
	other := r.session("b")
	sent := []store.Message{
		{Topic: "a/b", Payload: []byte("x"), QoS: 1},
		{Topic: "a/b", Payload: nil, QoS: 2, Retain: true, Props: []byte{1, 1}},
		{Topic: "ü/c", Payload: make([]byte, 300<<10), QoS: 2, HasExpiry: true, Expiry: 100}, // beyond a frame
		{Topic: "a/b", Payload: []byte("y"), QoS: 0, Props: make([]byte, 300)},
	}
	routes := []store.Route{
		{Session: sid, QoS: 1, SubIDs: []uint32{7, 1 << 27}},
		{Session: sid, QoS: 2, Retain: true},
		{Session: sid, QoS: 0, SubIDs: []uint32{1}},
		{Session: sid, QoS: 1},
	}
	for i := range sent {
		sent[i].Routes = []store.Route{{Session: other, QoS: 1, SubIDs: []uint32{3, 4}}, routes[i], {Session: 77}, routes[i]}
		if err := r.AppendSync(t.Context(), &sent[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{"memory", "disk"} {
		q := r.OpenQueue(sid, nil)
		for i, m := range sent {
			var d store.Delivery
			if ok, err := q.Next(&d); !ok || err != nil {
				t.Fatal(from, i, ok, err)
			}
			what := fmt.Sprint(from, " ", i)
			equal(t, what+" seq", d.Seq, uint64(i+1))
			equal(t, what+" topic", string(d.Topic), m.Topic)
			equal(t, what+" payload", string(d.Payload), string(m.Payload))
			equal(t, what+" props", string(d.Props), string(m.Props))
			equal(t, what+" qos", d.QoS, routes[i].QoS)
			equal(t, what+" retain", d.Retain, routes[i].Retain)
			equal(t, what+" ids", fmt.Sprint(d.SubIDs), fmt.Sprint(append([]uint32{}, routes[i].SubIDs...)))
			equal(t, what+" expiry", fmt.Sprint(d.HasExpiry, d.Expiry), fmt.Sprint(m.HasExpiry, m.Expiry))
			if age := time.Since(d.At); age < -time.Second || age > time.Minute {
				t.Errorf("%s: appended %v ago", what, age)
			}
			equal(t, what+" sent", d.Sent, from == "disk")
		}
		if ok, _ := q.Next(&store.Delivery{}); ok {
			t.Error(from, ": more than was published")
		}
		// Push everything out of the ring.
		for range 40 {
			r.must(func(done func(error)) { r.Append(&store.Message{Topic: "z", Payload: make([]byte, 60_000)}, done) })
		}
	}
	if r.Stats().DiskFrames == 0 || r.Stats().RingFrames == 0 {
		t.Errorf("not both ways were read: %+v", r.Stats())
	}
}

func TestPacketID(t *testing.T) {
	for seq, want := range map[uint64]uint16{1: 1, 65535: 65535, 65536: 1, 65537: 2, 131070: 65535} {
		equal(t, fmt.Sprint(seq), store.PacketID(seq), want)
	}
}

func TestReleaseSurvives(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	for i := range 4 {
		r.publish(sid, fmt.Sprint("m", i+1))
	}
	q := r.OpenQueue(sid, nil)
	drain(t, q)
	r.must(func(done func(error)) { q.Release(1, done) })
	r.must(func(done func(error)) { q.Release(3, done) }) // 2 is of QoS 1, say
	q.Ack(1)
	equal(t, "base", q.Base(), 1)
	equal(t, "released", q.Released(), 3)
	check := func(q *store.Queue) {
		t.Helper()
		var states []string
		var d store.Delivery
		for {
			ok, err := q.Next(&d)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			states = append(states, fmt.Sprint(d.Seq, d.Released, d.Sent))
		}
		got := strings.Join(states, " ")
		if want := "2 false true 3 true true 4 false true"; strings.TrimPrefix(got, "1 true true ") != want {
			t.Errorf("got %s", got)
		}
	}
	q.Rewind()
	check(q)
	killed := fs.Clone()
	r.stop()
	for _, image := range []*simfs.FS{killed, fs} {
		r := start(t, options(image))
		check(r.OpenQueue(sid, nil))
		r.stop()
	}
}

// An acknowledgement may come after a restart, before its message is read again.
func TestAckBeforeRead(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	for i := range 5 {
		r.publish(sid, fmt.Sprint("m", i+1))
	}
	drain(t, r.OpenQueue(sid, nil))
	killed := fs.Clone()
	r.stop()
	r = start(t, options(killed))
	q := r.OpenQueue(sid, nil)
	for _, seq := range []uint64{1, 2, 4, 4, 99} {
		q.Ack(seq)
	}
	n, _ := q.Len()
	equal(t, "queued", n, 2)
	equal(t, "base", q.Base(), 2)
	equal(t, "queue", drain(t, q), "3:m3 5:m5")
	q.Ack(3)
	q.Ack(5)
	equal(t, "base at the end", q.Base(), 5)
	balance(t, r.Store)
}

func TestDropIsRecorded(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	for i := range 3 {
		r.publish(sid, fmt.Sprint("m", i+1))
	}
	q := r.OpenQueue(sid, nil)
	drain(t, q)
	q.Drop(2, "too large for the upstream")
	q.Drop(2, "twice")
	r.publish(sid, "m4") // the commit after it
	balance(t, r.Store)
	killed := fs.Clone()
	r.stop()
	r = start(t, options(killed))
	equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), "1:m1 3:m3 4:m4")
	equal(t, "dropped", fmt.Sprint(r.Stats().Dropped), "map[too large for the upstream:1]")
	balance(t, r.Store)
}

func TestDeletedSession(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	a, b := r.session("a"), r.session("b")
	big := strings.Repeat("x", 8000)
	for range 30 {
		r.publish(a, big)
	}
	before := r.Stats().Segments
	q := r.OpenQueue(a, nil)
	r.must(func(done func(error)) { r.DeleteSession(a, done) })
	if _, err := q.Next(&store.Delivery{}); err != store.ErrClosed {
		t.Errorf("queue of a deleted session: %v", err)
	}
	equal(t, "dropped", r.Stats().Dropped[store.ReasonDeleted], 30)
	balance(t, r.Store)
	// Two snapshots later nothing of it is left.
	for range 60 {
		r.publish(b, big)
		q := r.OpenQueue(b, nil)
		drain(t, q)
		q.Ack(q.Last())
		q.Close()
	}
	for range 3 {
		r.stop()
		r = start(t, options(fs))
		r.must(func(done func(error)) { r.LeaveSession(b, done) })
	}
	if after := r.Stats().Segments; after >= before {
		t.Errorf("%d segments, %d before", after, before)
	}
	balance(t, r.Store)
}

// MaxBytes is kept by giving up the oldest, and that is remembered.
func TestQuota(t *testing.T) {
	fs := simfs.New()
	o := options(fs)
	o.MaxBytes = 6 * segment
	r := start(t, o)
	slow, quick := r.session("slow"), r.session("quick")
	big := strings.Repeat("x", 8000)
	q := r.OpenQueue(quick, nil)
	for i := range 200 {
		m := message(slow, fmt.Sprint(i+1, "|", big))
		m.Routes = append(m.Routes, store.Route{Session: quick, QoS: 1})
		r.must(func(done func(error)) { r.Append(m, done) })
		var d store.Delivery
		if ok, err := q.Next(&d); !ok || err != nil {
			t.Fatal(ok, err)
		}
		equal(t, "quick", d.Seq, uint64(i+1))
		q.Ack(d.Seq)
		if n := r.Stats().Bytes; n > o.MaxBytes+2*segment {
			t.Fatalf("%d bytes", n)
		}
	}
	st := r.Stats()
	if st.Dropped[store.ReasonQuota] == 0 || len(st.Dropped) != 1 {
		t.Errorf("dropped %v", st.Dropped)
	}
	n, bytes := r.Backlog(slow)
	equal(t, "slow", n, 200-st.Dropped[store.ReasonQuota])
	if bytes < n*7000 || bytes > n*9000 {
		t.Errorf("%d bytes for %d messages", bytes, n)
	}
	balance(t, r.Store)
	got := drain(t, r.OpenQueue(slow, nil))
	if first := fmt.Sprint(201-n, ":", 201-n, " "); !strings.HasPrefix(got, first) || !strings.HasSuffix(got, " 200:200") {
		t.Errorf("slow has %.20s…, wanted %s…", got, first)
	}
	r.stop()
	r = start(t, o)
	equal(t, "reopened", drain(t, r.OpenQueue(slow, nil)), got)
	equal(t, "dropped", r.Stats().Dropped[store.ReasonQuota], st.Dropped[store.ReasonQuota])
	balance(t, r.Store)
}

// A queue that is read, others that lag, and a writer that recycles under them.
func TestReadersAndWriter(t *testing.T) {
	r := start(t, store.Options{Dir: t.TempDir(), SegmentSize: segment, MaxBytes: 64 * segment})
	const messages, readers = 1500, 3
	var sids []store.SID
	var routes []store.Route
	for i := range readers {
		sids = append(sids, r.session(fmt.Sprint(i)))
		routes = append(routes, store.Route{Session: sids[i], QoS: 1})
	}
	var work sync.WaitGroup
	for i, sid := range sids {
		woken := make(chan struct{}, 1)
		q := r.OpenQueue(sid, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		work.Go(func() {
			var d store.Delivery
			for next := uint64(1); next <= messages; {
				ok, err := q.Next(&d)
				if err != nil {
					t.Error(err)
					return
				}
				if !ok {
					select {
					case <-woken:
					case <-time.After(10 * time.Second):
						t.Errorf("reader %d: not woken in 10 s at %d", i, next)
						return
					}
					continue
				}
				if want := fmt.Sprint(next, "|"); d.Seq != next || !strings.HasPrefix(string(d.Payload), want) {
					t.Errorf("reader %d: delivery %d is %.10s, wanted %d", i, d.Seq, d.Payload, next)
					return
				}
				q.Ack(d.Seq)
				next++
				if i > 0 && next%300 == 0 {
					q.Oldest()
					q.Rewind()
				}
			}
		})
	}
	work.Go(func() {
		big := strings.Repeat("x", 1000)
		for i := range messages {
			m := &store.Message{Topic: "t", Payload: []byte(fmt.Sprint(i+1, "|", big)), Routes: routes}
			if i%50 == 0 {
				if err := r.AppendSync(t.Context(), m); err != nil {
					t.Error(err)
				}
			} else {
				r.Append(m, func(err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
		}
	})
	work.Wait()
	balance(t, r.Store)
	equal(t, "queued", r.Stats().Queued, 0)
}

// Wakes come once for each sync and queue, and only for those concerned.
func TestWake(t *testing.T) {
	fs := simfs.New()
	s, err := store.Open(options(fs))
	if err != nil {
		t.Fatal(err)
	}
	a, b := s.CreateSession("a", "", 0, nil), s.CreateSession("b", "", 0, nil)
	woken := map[string]int{}
	s.OpenQueue(a, func() { woken["a"]++ })
	s.OpenQueue(b, func() { woken["b"]++ })
	for range 10 {
		s.Append(message(a, strings.Repeat("x", 9000)), nil) // several frames
	}
	r := run(t, s)
	r.publish(a, "y")
	r.publish(a, "z")
	r.stop() // so that nobody writes to woken
	if n := s.Stats().Commits; woken["b"] != 0 || woken["a"] < 3 || uint64(woken["a"]) > n {
		t.Errorf("woken %v, %d syncs", woken, n)
	}
}

// A commit gathers for its interval, and no longer than it takes to be large.
func TestCommitInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := simfs.New()
		o := options(fs)
		o.CommitInterval = 250 * time.Millisecond
		r := start(t, o)
		sid := r.session("a")
		before, begin := r.Stats().Commits, time.Now()
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				if err := r.AppendSync(t.Context(), message(sid, "m")); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		equal(t, "took", time.Since(begin), o.CommitInterval)
		equal(t, "commits", r.Stats().Commits-before, 1)
		begin = time.Now()
		large := strings.Repeat("x", 10_000)
		for range 6 {
			r.Append(message(sid, large), nil)
		}
		r.publish(sid, large) // with this one 64 KiB wait: no longer
		equal(t, "large took", time.Since(begin), 0)
		r.stop()
	})
}

// Acknowledgements reach the disk within a second, without anyone asking, and
// an idle store writes nothing.
func TestCursorIsLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := simfs.New()
		r := start(t, options(fs))
		sid := r.session("a")
		for range 3 {
			r.publish(sid, "m")
		}
		q := r.OpenQueue(sid, nil)
		drain(t, q)
		q.Ack(1)
		synctest.Wait()
		before := r.Stats().Commits
		q.Ack(2)
		synctest.Wait()
		equal(t, "commits at once", r.Stats().Commits, before)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		equal(t, "commits a second later", r.Stats().Commits, before+1)
		killed := fs.Clone()
		time.Sleep(14 * time.Minute)
		synctest.Wait()
		equal(t, "commits of an idle store", r.Stats().Commits, before+1)
		r.stop()
		s, err := store.Open(options(killed))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "after a kill", drain(t, s.OpenQueue(sid, nil)), "3:m")
		s.Close()
	})
}

// 256 acknowledgements do not wait for the second.
func TestCursorAfterManyAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := simfs.New()
		r := start(t, options(fs))
		sid := r.session("a")
		for range 300 {
			r.Append(message(sid, "m"), nil)
		}
		r.publish(sid, "last")
		q := r.OpenQueue(sid, nil)
		drain(t, q)
		begin := time.Now()
		for seq := range uint64(256) {
			q.Ack(seq + 1)
		}
		synctest.Wait()
		equal(t, "time passed", time.Since(begin), 0)
		killed := fs.Clone()
		r.stop()
		s, err := store.Open(options(killed))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "base after a kill", s.OpenQueue(sid, nil).Base(), 256)
		s.Close()
	})
}
