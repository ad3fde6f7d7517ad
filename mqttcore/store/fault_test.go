package store_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// TestOneFaultIsSurvived fails one sync, and one write: the commit goes into a
// fresh segment and nobody notices.
func TestOneFaultIsSurvived(t *testing.T) {
	for _, kind := range []simfs.Kind{simfs.Sync, simfs.Write} {
		fs := simfs.New()
		r := start(t, options(fs))
		sid := r.session("a")
		r.publish(sid, "one")
		fs.SetFault(once(kind, "seg-", syscall.EIO))
		r.publish(sid, "two")
		r.publish(sid, "three")
		equal(t, "poisoned", r.Stats().Poisoned, 1)
		equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), "1:one 2:two 3:three")
		killed := fs.Clone()
		r.stop()
		r = start(t, options(killed))
		equal(t, "reopened", drain(t, r.OpenQueue(sid, nil)), "1:one 2:two 3:three")
		equal(t, "damaged places", r.Stats().CorruptFrames, 0)
	}
}

func once(kind simfs.Kind, prefix string, err error) func(simfs.Kind, string) error {
	done := false
	return func(k simfs.Kind, name string) error {
		if done || k != kind || !strings.HasPrefix(name, prefix) {
			return nil
		}
		done = true
		return err
	}
}

// TestTwoFaultsFail fails every sync: nothing is acknowledged any more, and what
// was before is there after a reopen.
func TestTwoFaultsFail(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	r.publish(sid, "one")
	fs.SetFault(func(k simfs.Kind, name string) error {
		if k == simfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	for range 3 {
		err := r.await(func(done func(error)) { r.Append(message(sid, "two"), done) })
		if !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("append on a broken disk: %v", err)
		}
	}
	equal(t, "state", r.Stats().State, "failed")
	if err := r.WaitRoom(t.Context()); !errors.Is(err, store.ErrFailed) {
		t.Errorf("room on a broken disk: %v", err)
	}
	r.stop()
	fs.SetFault(nil)
	r = start(t, options(fs))
	got := drain(t, r.OpenQueue(sid, nil))
	if got != "1:one" && got != "1:one 2:two" {
		t.Errorf("reopened: %s", got)
	}
	r.publish(sid, "three")
	balance(t, r.Store)
}

// TestFullDisk lets the disk run full: the oldest messages go, then publishers
// are refused, and all is well again when there is room.
func TestFullDisk(t *testing.T) {
	fs := simfs.New()
	o := options(fs)
	o.MaxBytes = 0
	r := start(t, o)
	sid := r.session("a")
	fs.SetCapacity(12*segment + segment/2)
	big := strings.Repeat("x", 8000)
	refused := 0
	for i := range 200 {
		err := r.await(func(done func(error)) { r.Append(message(sid, fmt.Sprint("m", i, "|", big)), done) })
		switch {
		case errors.Is(err, store.ErrFull):
			refused++
		case err != nil:
			t.Fatalf("full disk: %v", err)
		}
	}
	st := r.Stats()
	t.Logf("%s, refused %d, dropped %v, %d segments", st.State, refused, st.Dropped, st.Segments)
	if st.Dropped[store.ReasonQuota] == 0 {
		t.Error("nothing was dropped on a full disk")
	}
	balance(t, r.Store)
	fs.SetCapacity(0)
	r.publish(sid, "room again")
	equal(t, "state", r.Stats().State, "open")
	q := r.OpenQueue(sid, nil)
	got := drain(t, q)
	if !strings.HasSuffix(got, ":room again") {
		t.Errorf("the newest message is not there: …%s", got[max(0, len(got)-40):])
	}
	equal(t, "corrupt", r.Stats().Dropped[store.ReasonCorrupt], 0)
	before := r.Stats().Dropped[store.ReasonQuota]
	r.stop()
	r = start(t, o)
	equal(t, "reopened", drain(t, r.OpenQueue(sid, nil)), got)
	equal(t, "dropped", r.Stats().Dropped[store.ReasonQuota], before)
	balance(t, r.Store)
}

// TestSessionOfARefusedCommit makes a session while the disk is full. Once there
// is room its first message brings the session to the disk, too.
func TestSessionOfARefusedCommit(t *testing.T) {
	fs := simfs.New()
	fs.SetCapacity(4096)
	r := start(t, options(fs))
	var sid store.SID
	full := r.await(func(done func(error)) { sid = r.CreateSession("a", "", 3600, done) })
	if !errors.Is(full, store.ErrFull) {
		t.Fatalf("session on a full disk: %v", full)
	}
	equal(t, "state", r.Stats().State, "full")
	full = r.await(func(done func(error)) { r.PutSubscription(sid, store.Subscription{Filter: "t", Options: 1}, done) })
	if !errors.Is(full, store.ErrFull) {
		t.Fatalf("subscription on a full disk: %v", full)
	}
	fs.SetCapacity(0)
	var killed *simfs.FS
	r.must(func(done func(error)) {
		r.Append(message(sid, "one"), func(err error) {
			killed = fs.Clone() // before anything else, such as a snapshot
			done(err)
		})
	})
	r = start(t, options(killed))
	sessions := r.Sessions()
	if len(sessions) != 1 || sessions[0].Client != "a" || len(sessions[0].Subs) != 1 {
		t.Fatalf("sessions: %+v", sessions)
	}
	equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), "1:one")
}

// TestSubscriptionEndedInARefusedCommit ends a subscription while the disk is
// full. With the next message that there is room for, the disk hears of it.
func TestSubscriptionEndedInARefusedCommit(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	for _, filter := range []string{"goes", "returns", "stays"} {
		r.must(func(done func(error)) {
			r.PutSubscription(sid, store.Subscription{Filter: filter, Options: 1}, done)
		})
	}
	full := errors.New("")
	fs.SetCapacity(1)
	for n := 0; full == nil || !errors.Is(full, store.ErrFull); n++ {
		if n > 10000 {
			t.Fatal("the disk does not run full")
		}
		full = r.await(func(done func(error)) {
			r.Append(&store.Message{Topic: "kept", StoreRetained: true, Payload: make([]byte, 8000)}, done)
		})
	}
	for _, filter := range []string{"goes", "returns"} {
		full := r.await(func(done func(error)) { r.DeleteSubscription(sid, filter, done) })
		if !errors.Is(full, store.ErrFull) {
			t.Fatalf("end of a subscription on a full disk: %v", full)
		}
	}
	full = r.await(func(done func(error)) {
		r.PutSubscription(sid, store.Subscription{Filter: "returns", Options: 2}, done)
	})
	if !errors.Is(full, store.ErrFull) {
		t.Fatalf("subscription on a full disk: %v", full)
	}
	fs.SetCapacity(0)
	var killed *simfs.FS
	r.must(func(done func(error)) {
		r.Append(message(sid, "one"), func(err error) {
			killed = fs.Clone() // before anything else, such as a snapshot
			done(err)
		})
	})
	r = start(t, options(killed))
	var subs []string
	for _, sub := range r.Sessions()[0].Subs {
		subs = append(subs, fmt.Sprintf("%s:%d", sub.Filter, sub.Options))
	}
	equal(t, "subscriptions", strings.Join(subs, " "), "returns:2 stays:1")
}

// TestFullDiskWithoutBallast starts on a full disk that has no free segment left,
// as after kills while it was full: what is given up makes room all the same, and
// a kill finds all that was acknowledged or gave way to it.
func TestFullDiskWithoutBallast(t *testing.T) {
	fs := simfs.New()
	o := options(fs)
	o.MaxBytes = 0
	r := start(t, o)
	sid := r.session("a")
	big := strings.Repeat("x", 8000)
	for range 60 {
		r.publish(sid, "before|"+big)
	}
	r.stop()
	used := int64(8192) // for a snapshot
	for _, name := range fs.Names() {
		if strings.HasPrefix(name, "free-") {
			if err := fs.Remove(name); err != nil {
				t.Fatal(err)
			}
			continue
		}
		used += int64(fs.Size(name))
	}
	fs.SetCapacity(used)
	r = start(t, o)
	var killed *simfs.FS
	for n := range 40 {
		r.must(func(done func(error)) {
			r.Append(message(sid, fmt.Sprintf("m%d|%s", n, big)), func(err error) {
				killed = fs.Clone()
				done(err)
			})
		})
		k := start(t, options(killed))
		balance(t, k.Store)
		if got := drain(t, k.OpenQueue(sid, nil)); !strings.HasSuffix(got, fmt.Sprintf(":m%d", n)) {
			t.Fatalf("after a kill the newest message is not there: …%s", got[max(0, len(got)-40):])
		}
		balance(t, k.Store)
		k.stop()
	}
	if r.Stats().Dropped[store.ReasonQuota] == 0 {
		t.Error("nothing was given up")
	}
	balance(t, r.Store)
}
