package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// A session's own limit takes its oldest, and nobody else's.
func TestLimitSession(t *testing.T) {
	fs := simfs.New()
	o := options(fs)
	o.MaxBytes = 0
	r := start(t, o)
	a, b := r.session("a"), r.session("b")
	r.LimitSession(a, store.Limit{MaxBytes: 100_000})
	for i := range 200 {
		m := message(a, fmt.Sprint(i+1, "|", strings.Repeat("x", 2000)))
		m.Routes = append(m.Routes, store.Route{Session: b, QoS: 1})
		r.must(func(done func(error)) { r.Append(m, done) })
	}
	n, bytes := r.Backlog(a)
	if bytes > 104_000 || n > 52 || n < 45 {
		t.Errorf("%d messages, %d bytes queued", n, bytes)
	}
	equal(t, "dropped", r.Stats().Dropped[store.ReasonQuota], 200-n)
	if all, _ := r.Backlog(b); all != 200 {
		t.Errorf("the other one has %d", all)
	}
	got := drain(t, r.OpenQueue(a, nil))
	if first := fmt.Sprint(201-n, ":", 201-n, " "); !strings.HasPrefix(got, first) || !strings.HasSuffix(got, " 200:200") {
		t.Errorf("it has %.20s…, wanted %s…", got, first)
	}
	r.LimitSession(a, store.Limit{MaxBytes: 10_000})
	if n, _ := r.Backlog(a); n > 5 || n < 4 {
		t.Errorf("%d queued after a smaller limit", n)
	}
	balance(t, r.Store)
	r.publish(b, "the commit after it")
	got = drain(t, r.OpenQueue(a, nil))
	killed := fs.Clone()
	r.stop()
	o.FS = killed
	r = start(t, o)
	equal(t, "reopened", drain(t, r.OpenQueue(a, nil)), got)
	balance(t, r.Store)
}

// Under a load that never pauses snapshots are still taken in, and segments
// recycled.
func TestNoPause(t *testing.T) {
	fs := simfs.New()
	o := options(fs)
	o.MaxBytes = 8 * segment
	r := start(t, o)
	sid := r.session("a")
	body := strings.Repeat("x", 2000)
	const messages = 8000
	var left sync.WaitGroup
	left.Add(messages)
	// Each commit's callbacks append the next: there is always something.
	var more func(n int) func(error)
	more = func(n int) func(error) {
		return func(err error) {
			if err != nil {
				t.Error(err)
			}
			if n > 0 {
				r.Append(message(sid, fmt.Sprint(n, "|", body)), more(n-1))
			}
			left.Done()
		}
	}
	for range 8 {
		r.Append(message(sid, body), more(messages/8-1))
	}
	left.Wait()
	st := r.Stats()
	if limit := o.MaxBytes + 3*segment; st.Snapshots < 10 || st.Bytes > limit {
		t.Errorf("%d snapshots, %d bytes of %d", st.Snapshots, st.Bytes, limit)
	}
	equal(t, "corrupt", st.Dropped[store.ReasonCorrupt], 0)
	balance(t, r.Store)
}

// Each policy does to new messages what it says, to nobody else's, and what was
// dropped is on record after a kill and after the log has gone on.
func TestWhenFull(t *testing.T) {
	fs := simfs.New()
	o := options(fs)
	o.MaxBytes = 0
	r := start(t, o)
	a, b, c := r.session("oldest"), r.session("newest"), r.session("other")
	r.LimitSession(a, store.Limit{MaxBytes: 10_100})
	r.LimitSession(b, store.Limit{MaxBytes: 10_100, WhenFull: store.DropNewest})
	publish := func(i int, sids ...store.SID) error {
		m := message(sids[0], fmt.Sprintf("%04d%096d", i, 0))
		for _, sid := range sids[1:] {
			m.Routes = append(m.Routes, store.Route{Session: sid, QoS: 1})
		}
		return r.await(func(done func(error)) { r.Append(m, done) })
	}
	for i := range 250 {
		if err := publish(i, a, b, c); err != nil {
			t.Fatal(err)
		}
	}
	r.LimitSession(c, store.Limit{MaxBytes: 10_100, WhenFull: store.Reject})
	for range 3 {
		if err := publish(250, a, b, c); !errors.Is(err, store.ErrQuota) {
			t.Errorf("refused with %v", err)
		}
	}
	check := func(s *running) {
		t.Helper()
		first := func(sid store.SID) string { return drain(t, s.OpenQueue(sid, nil))[:6] }
		n, _ := s.Backlog(b)
		equal(t, "newest: queued", n, 100)
		equal(t, "newest: first", first(b), "1:0000")
		n, _ = s.Backlog(a)
		if n < 98 || n > 100 {
			t.Errorf("oldest: %d queued", n)
		}
		equal(t, "oldest: first", first(a), fmt.Sprintf("%d:%04d", 251-n, 250-n)[:6])
		equal(t, "dropped", fmt.Sprint(s.Stats().Dropped), fmt.Sprint(map[store.Reason]uint64{store.ReasonQuota: 250 - n, store.ReasonNewest: 150}))
		sums := map[string]uint64{}
		for _, d := range s.Drops() {
			sums[d.Client+" "+string(d.Reason)] += d.Count
			if d.Bytes < d.Count*101 || d.At.IsZero() || d.Reason == store.ReasonQuota && d.To+1 < d.From+d.Count {
				t.Errorf("recorded %+v", d)
			}
		}
		if len(s.Drops()) != 64 || sums["newest newest"] == 0 {
			t.Errorf("%d drops on record: %v", len(s.Drops()), sums)
		}
		balance(t, s.Store)
	}
	equal(t, "rejected", r.Stats().Rejected, 3)
	check(r)
	killed := fs.Clone()
	r.stop()
	for _, image := range []*simfs.FS{fs, killed} { // by the snapshot, and by the log
		o.FS = image
		r = start(t, o)
		check(r)
		r.stop()
	}
}

// What is older than a queue keeps is not delivered: exactly where it is read,
// and whole segments where nobody does.
func TestMaxAge(t *testing.T) {
	clock := &model{}
	o := options(simfs.New())
	o.Clock, o.MaxBytes = clock, 0
	r := start(t, o)
	read, left := r.session("read"), r.session("left")
	limit := store.Limit{MaxAge: time.Hour}
	r.LimitSession(read, limit)
	for i := range 60 {
		clock.boot.Add(int64(2 * time.Minute))
		m := message(read, fmt.Sprint(i, strings.Repeat(" ", 3000)))
		m.Routes = append(m.Routes, store.Route{Session: left, QoS: 1})
		r.must(func(done func(error)) { r.Append(m, done) })
	}
	got := strings.Fields(drain(t, r.OpenQueue(read, nil)))
	equal(t, "first of what is young enough", got[0], "30:29")
	equal(t, "so many", len(got), 31)
	equal(t, "dropped", r.Stats().Dropped[store.ReasonAge], 29)
	r.LimitSession(left, limit)
	n, _ := r.Backlog(left)
	if n < 31 || n > 31+15 {
		t.Errorf("%d left in a queue that nobody reads", n)
	}
	got = strings.Fields(drain(t, r.OpenQueue(left, nil)))
	equal(t, "first of the other one", got[0], "30:29")
	balance(t, r.Store)
	r.publish(read, "the commit after it")
	lost := uint64(0)
	for _, d := range r.Drops() {
		if d.Client == "read" {
			equal(t, "from", d.From, lost+1)
			lost += d.Count
			equal(t, "to", d.To, lost)
		}
	}
	equal(t, "on record", lost, 29)
}
