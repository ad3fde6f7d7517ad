package store_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// model is the store as one would like it to be: in memory, and obvious.
type model struct {
	t    *rapid.T
	fs   *simfs.FS
	s    *store.Store
	end  context.CancelFunc
	done chan error
	ses  map[store.SID]*modelSession
	n    int
}

type modelSession struct {
	q       *store.Queue
	sent    []string        // by sequence number
	settled map[uint64]bool // acknowledged or dropped
	flight  map[uint64]bool // handed out since the queue was opened
	next    uint64          // to be handed out
	rel     map[uint64]bool
}

func (m *model) open() {
	s, err := store.Open(options(m.fs))
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.s, m.end, m.done = s, cancel, make(chan error, 1)
	go func(done chan error) { done <- s.Run(ctx) }(m.done)
	<-s.Ready()
	for sid, ses := range m.ses {
		ses.q = s.OpenQueue(sid, nil)
		if ses.q == nil {
			m.t.Fatalf("session %d is lost", sid)
		}
		ses.next, ses.flight = 1, map[uint64]bool{}
	}
}

func (m *model) close() {
	m.end()
	if err := <-m.done; err != nil {
		m.t.Fatal(err)
	}
	if err := m.s.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) await(f func(done func(error))) {
	c := make(chan error, 1)
	f(func(err error) { c <- err })
	if err := <-c; err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) pick(t *rapid.T) (store.SID, *modelSession) {
	if len(m.ses) == 0 {
		t.Skip("no session")
	}
	sid := rapid.SampledFrom(slices.Sorted(maps.Keys(m.ses))).Draw(t, "session")
	return sid, m.ses[sid]
}

func (m *model) create(t *rapid.T) {
	if len(m.ses) == 3 {
		t.Skip("enough")
	}
	var sid store.SID
	m.await(func(done func(error)) { sid = m.s.CreateSession("c", "", 0, done) })
	m.ses[sid] = &modelSession{q: m.s.OpenQueue(sid, nil), settled: map[uint64]bool{}, flight: map[uint64]bool{}, rel: map[uint64]bool{}, next: 1}
}

func (m *model) publish(t *rapid.T) {
	count := rapid.IntRange(1, 8).Draw(t, "count")
	size := rapid.IntRange(0, 4000).Draw(t, "size")
	for i := range count {
		m.n++
		msg := &store.Message{Topic: "t", Payload: append(fmt.Append(nil, m.n, "|"), make([]byte, size)...), QoS: 2}
		for _, sid := range slices.Sorted(maps.Keys(m.ses)) {
			if rapid.Bool().Draw(t, "routed") {
				msg.Routes = append(msg.Routes, store.Route{Session: sid, QoS: 2})
				m.ses[sid].sent = append(m.ses[sid].sent, fmt.Sprint(m.n))
			}
		}
		if i == count-1 {
			m.await(func(done func(error)) { m.s.Append(msg, done) })
		} else {
			m.s.Append(msg, nil)
		}
	}
}

func (m *model) read(t *rapid.T) {
	sid, ses := m.pick(t)
	var d store.Delivery
	for range rapid.IntRange(1, 12).Draw(t, "count") {
		want := ses.next
		for ses.settled[want] {
			want++
		}
		ok, err := ses.q.Next(&d)
		if err != nil {
			t.Fatal(err)
		}
		if ok != (want <= uint64(len(ses.sent))) {
			t.Fatalf("session %d: more is %v at %d of %d", sid, ok, want, len(ses.sent))
		}
		if !ok {
			return
		}
		if d.Seq != want || string(d.Payload[:len(ses.sent[want-1])]) != ses.sent[want-1] {
			t.Fatalf("session %d: got %d, want %d", sid, d.Seq, want)
		}
		if d.Released != ses.rel[want] {
			t.Fatalf("session %d: %d released is %v", sid, want, d.Released)
		}
		ses.next = want + 1
		ses.flight[want] = true
	}
}

func (ses *modelSession) inFlight(t *rapid.T) uint64 {
	if len(ses.flight) == 0 {
		t.Skip("nothing in flight")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(ses.flight))).Draw(t, "seq")
}

func (m *model) ack(t *rapid.T) {
	_, ses := m.pick(t)
	seq := ses.inFlight(t)
	ses.q.Ack(seq)
	ses.settled[seq] = true
	delete(ses.flight, seq)
}

func (m *model) ackAll(t *rapid.T) {
	_, ses := m.pick(t)
	for seq := range ses.flight {
		ses.q.Ack(seq)
		ses.settled[seq] = true
	}
	clear(ses.flight)
}

func (m *model) release(t *rapid.T) {
	_, ses := m.pick(t)
	seq := ses.inFlight(t)
	m.await(func(done func(error)) { ses.q.Release(seq, done) })
	ses.rel[seq] = true
}

func (m *model) drop(t *rapid.T) {
	_, ses := m.pick(t)
	seq := ses.inFlight(t)
	ses.q.Drop(seq, "test")
	ses.settled[seq] = true
	delete(ses.flight, seq)
}

func (m *model) rewind(t *rapid.T) {
	_, ses := m.pick(t)
	ses.q.Rewind()
	ses.next = 1
}

func (m *model) remove(t *rapid.T) {
	sid, _ := m.pick(t)
	m.await(func(done func(error)) { m.s.DeleteSession(sid, done) })
	delete(m.ses, sid)
}

func (m *model) reopen(t *rapid.T) {
	m.close()
	m.open()
}

// crash goes on from what is left: everything promised, and of what was
// acknowledged the rest.
func (m *model) crash(t *rapid.T) {
	image := m.fs.Clone() // as after kill -9
	if rapid.Bool().Draw(t, "power cut") {
		replay := m.fs.Replay()
		for replay.Left() > 0 {
			replay.Step()
		}
		image = replay.Crash(simfs.Lost, nil)
	}
	m.close()
	m.fs = image
	m.open()
	for sid, ses := range m.ses {
		base := ses.q.Base()
		n, _ := ses.q.Len()
		for seq := uint64(1); seq <= base; seq++ {
			if !ses.settled[seq] {
				t.Fatalf("session %d: base is %d, %d was not settled", sid, base, seq)
			}
		}
		// Which ones came back only reading shows: forget, and look.
		q := ses.q
		there := map[uint64]bool{}
		var d store.Delivery
		for {
			ok, err := q.Next(&d)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			there[d.Seq] = true
		}
		if uint64(len(there)) != n {
			t.Fatalf("session %d: %d queued, %d found", sid, n, len(there))
		}
		for seq := uint64(1); seq <= uint64(len(ses.sent)); seq++ {
			if !there[seq] && !ses.settled[seq] {
				t.Fatalf("session %d: %d is lost", sid, seq)
			}
			ses.settled[seq] = !there[seq]
		}
		q.Rewind()
	}
}

func (m *model) check(t *rapid.T) {
	for sid, ses := range m.ses {
		settled, base := uint64(0), uint64(0)
		for seq := uint64(1); seq <= uint64(len(ses.sent)); seq++ {
			if ses.settled[seq] {
				settled++
			}
			if settled == seq {
				base = seq
			}
		}
		if n, _ := m.s.Backlog(sid); n != uint64(len(ses.sent))-settled {
			t.Fatalf("session %d: backlog %d, want %d", sid, n, uint64(len(ses.sent))-settled)
		}
		if got := ses.q.Base(); got > base {
			t.Fatalf("session %d: base %d, want %d", sid, got, base)
		}
	}
	st := m.s.Stats()
	sum := st.Delivered + st.Queued
	for _, n := range st.Dropped {
		sum += n
	}
	if st.Appended != sum || st.CorruptFrames > 0 {
		t.Fatalf("%+v", st)
	}
}

// TestModel does anything in any order and compares with the model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, fs: simfs.New(), ses: map[store.SID]*modelSession{}}
		m.open()
		defer m.close()
		t.Repeat(map[string]func(*rapid.T){
			"create": m.create, "publish": m.publish, "read": m.read, "ack": m.ack, "ackAll": m.ackAll, "release": m.release,
			"drop": m.drop, "rewind": m.rewind, "remove": m.remove, "reopen": m.reopen, "crash": m.crash, "": m.check,
		})
	})
}
