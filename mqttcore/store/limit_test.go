package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

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
	r.LimitSession(a, 100_000)
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
	r.LimitSession(a, 10_000)
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
