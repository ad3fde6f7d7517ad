package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// TestFaultSweep fails the nth call to the disk of a script, for every n, once and
// from then on for good: with an I/O error, with a full disk, with half of what was
// to be written and with nothing of it. The script opens the store twice. No
// promise is ever broken, nothing is acknowledged that is not kept, no message is
// unaccounted for, and the store always opens again.
func TestFaultSweep(t *testing.T) {
	t.Parallel()
	if _, done := plainly(t); done {
		return
	}
	runs := 0
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, simfs.Untouched{Err: syscall.EIO}} {
		for _, sticky := range []bool{false, true} {
			for n, more := 1, true; more && !t.Failed(); n++ {
				// The pauses of whoever waits for a disk cost nothing here.
				synctest.Test(t, func(t *testing.T) { more = sweepOnce(t, errno, n, sticky) })
				runs++
			}
		}
	}
	if runs < 600 {
		t.Errorf("only %d calls failed", runs)
	}
	t.Logf("%d failed calls", runs)
}

// sweepOnce fails the nth call, and says whether there was one.
func sweepOnce(t *testing.T, errno error, n int, sticky bool) bool {
	fs := simfs.New()
	count, failed := 0, ""
	fs.SetFault(func(k simfs.Kind, name string) error {
		if errors.Is(errno, syscall.ENOSPC) && (k == simfs.Read || k == simfs.Open || k == simfs.List) {
			return nil // these need no room
		}
		if count++; count == n || sticky && count > n {
			if count == n {
				failed = fmt.Sprint(k, " ", name)
			}
			return errno
		}
		return nil
	})
	p := &promises{retained: []string{""}}
	for range 2 {
		p.run(t, fs)
	}
	fs.SetFault(nil)
	for _, lost := range []bool{false, true} {
		image := fs.Clone()
		if lost {
			image = fs.Replay().End().Crash(simfs.Lost, nil)
		}
		p.check(t, image, errors.Is(errno, syscall.ENOSPC))
		if t.Failed() {
			t.Logf("%v at %d (%s), sticky %v, cache lost %v", errno, n, failed, sticky, lost)
			return false
		}
	}
	return count >= n
}

// promises are what a script was told is on the disk.
type promises struct {
	session    bool
	words      []string
	settled    []string // acknowledged: may be gone
	subscribed bool
	inbound    []uint16
	retained   []string // what it may be
	n          int
}

// run opens the store, does a bit of everything, and closes it.
func (p *promises) run(t *testing.T, fs *simfs.FS) {
	s, err := store.Open(options(fs))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r := run(t, s)
	defer r.stop()
	sid := store.SID(1)
	if len(s.Sessions()) == 0 {
		err := r.await(func(done func(error)) { sid = r.CreateSession("a", "", 0, done) })
		p.session = p.session || err == nil
		if s.Err() != nil {
			return
		}
	}
	if r.await(func(done func(error)) { r.PutSubscription(sid, store.Subscription{Filter: "f"}, done) }) == nil {
		p.subscribed = true
	}
	big := strings.Repeat("x", 5000)
	for i := range 10 {
		p.n++
		word := fmt.Sprint(p.n)
		if r.await(func(done func(error)) { r.Append(message(sid, word+"|"+big), done) }) == nil {
			p.words = append(p.words, word)
		}
		if i == 4 {
			p.consume(r, sid)
		}
	}
	p.n++
	in := &store.Message{Topic: "in", QoS: 2, Publisher: sid, PacketID: uint16(p.n)}
	if r.await(func(done func(error)) { r.Append(in, done) }) == nil {
		p.inbound = append(p.inbound, in.PacketID)
	}
	value := fmt.Sprint(p.n)
	kept := &store.Message{Topic: "r", Payload: []byte(value), StoreRetained: true}
	if r.await(func(done func(error)) { r.Append(kept, done) }) == nil {
		p.retained = nil
	}
	p.retained = append(p.retained, value)
	balance(t, s)
}

func (p *promises) consume(r *running, sid store.SID) {
	q := r.OpenQueue(sid, nil)
	if q == nil {
		return
	}
	var d store.Delivery
	for range 2 {
		if ok, err := q.Next(&d); !ok || err != nil {
			return // what cannot be read waits
		}
		word, _, _ := strings.Cut(string(d.Payload), "|")
		p.settled = append(p.settled, word)
		if err := r.await(func(done func(error)) { q.Release(d.Seq, done) }); err == nil {
			q.Ack(d.Seq)
		}
	}
}

// check opens what is there and holds it against what was promised.
func (p *promises) check(t *testing.T, fs *simfs.FS, full bool) {
	s, err := store.Open(options(fs))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer s.Close()
	if s.Err() != nil {
		t.Errorf("nothing is taken from a disk that is well again: %v", s.Err())
	}
	balance(t, s)
	if !p.session && len(p.words) == 0 {
		return
	}
	sessions := s.Sessions()
	if len(sessions) == 0 {
		t.Errorf("session lost; files %q", fs.Names())
		return
	}
	if p.subscribed && len(sessions[0].Subs) == 0 {
		t.Error("subscription lost")
	}
	for _, pid := range p.inbound {
		if !slices.Contains(sessions[0].Inbound, pid) {
			t.Errorf("received identifier %d lost", pid)
		}
	}
	value := ""
	for m := range s.RecoveredRetained() {
		value = string(m.Payload)
	}
	if !slices.Contains(p.retained, value) {
		t.Errorf("retained message is %q, want one of %q", value, p.retained)
	}
	var got []string
	for _, m := range strings.Fields(drain(t, s.OpenQueue(sessions[0].ID, nil))) {
		_, word, _ := strings.Cut(m, ":")
		got = append(got, word)
	}
	if !slices.IsSortedFunc(got, func(a, b string) int { return len(a)*1000 - len(b)*1000 + strings.Compare(a, b) }) {
		t.Errorf("out of order: %v", got)
	}
	// Where the disk was full the oldest may have gone, and were counted.
	gone := s.Stats().Dropped[store.ReasonQuota]
	if gone > 0 && !full {
		t.Errorf("%d dropped for want of room", gone)
	}
	for _, word := range p.words {
		switch {
		case slices.Contains(got, word), slices.Contains(p.settled, word):
		case gone > 0:
			gone--
		default:
			t.Errorf("%s was promised and is lost: %v", word, got)
		}
	}
}
