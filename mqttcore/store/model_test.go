package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

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
	boot atomic.Int64 // the clock
	away uint64       // messages that full queues did not take
}

func (m *model) Boot() time.Duration     { return time.Duration(m.boot.Load()) }
func (m *model) Wall() (time.Time, bool) { return time.UnixMilli(0), false }
func (m *model) BootID() string          { return "one" }

type modelSession struct {
	q       *store.Queue
	sent    []string        // by sequence number
	settled map[uint64]bool // acknowledged or dropped
	flight  map[uint64]bool // handed out since the queue was opened
	next    uint64          // to be handed out
	rel     map[uint64]bool
	at      []time.Duration // by sequence number
	bytes   []uint64
	handed  map[uint64]bool
	limit   store.Limit
}

// queued is what waits above the first that is not settled.
func (ses *modelSession) queued() (bytes uint64) {
	open := false
	for seq := uint64(1); seq <= uint64(len(ses.sent)); seq++ {
		if open = open || !ses.settled[seq]; open {
			bytes += ses.bytes[seq-1]
		}
	}
	return bytes
}

// mayRefuse says whether the queue may be full. How much waits is an estimate
// within a segment: exact where nothing or all of it does.
func (ses *modelSession) mayRefuse(size uint64) bool {
	queued := ses.queued()
	return size > ses.limit.MaxBytes || queued > 0 && ses.all()+size > ses.limit.MaxBytes
}

// all is what ever was queued.
func (ses *modelSession) all() (bytes uint64) {
	for _, n := range ses.bytes {
		bytes += n
	}
	return bytes
}

// aged says whether a message is too old.
func (ses *modelSession) aged(seq uint64, now time.Duration) bool {
	return ses.limit.MaxAge > 0 && now-ses.at[seq-1] > ses.limit.MaxAge
}

func (m *model) open() {
	o := options(m.fs)
	o.Clock = m
	s, err := store.Open(o)
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
		s.LimitSession(sid, ses.limit)
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
	m.ses[sid] = &modelSession{q: m.s.OpenQueue(sid, nil), settled: map[uint64]bool{}, flight: map[uint64]bool{}, rel: map[uint64]bool{}, handed: map[uint64]bool{}, next: 1}
}

func (m *model) publish(t *rapid.T) {
	count := rapid.IntRange(1, 8).Draw(t, "count")
	size := rapid.IntRange(0, 4000).Draw(t, "size")
	for range count {
		m.n++
		msg := &store.Message{Topic: "t", Payload: append(fmt.Append(nil, m.n, "|"), make([]byte, size)...), QoS: 2}
		for _, sid := range slices.Sorted(maps.Keys(m.ses)) {
			if rapid.Bool().Draw(t, "routed") {
				msg.Routes = append(msg.Routes, store.Route{Session: sid, QoS: 2})
			}
		}
		if !m.accepted(t, msg) {
			continue
		}
		size := uint64(len(msg.Topic) + len(msg.Payload))
		for _, r := range msg.Routes {
			ses := m.ses[r.Session]
			if ses.limit.WhenFull == store.DropNewest && ses.limit.MaxBytes > 0 && ses.q.Last() == uint64(len(ses.sent)) {
				if !ses.mayRefuse(size) {
					t.Fatalf("session %d: did not take %d bytes, with %d of %d", r.Session, size, ses.queued(), ses.limit.MaxBytes)
				}
				m.away++
				continue
			}
			ses.sent = append(ses.sent, fmt.Sprint(m.n))
			ses.at = append(ses.at, m.Boot())
			ses.bytes = append(ses.bytes, size)
		}
	}
}

// accepted publishes msg, and says whether a queue refused it, which it may when
// it is full.
func (m *model) accepted(t *rapid.T, msg *store.Message) bool {
	c := make(chan error, 1)
	m.s.Append(msg, func(err error) { c <- err })
	err := <-c
	size, may, must := uint64(len(msg.Topic)+len(msg.Payload)), false, false
	for _, r := range msg.Routes {
		if ses := m.ses[r.Session]; ses.limit.WhenFull == store.Reject && ses.limit.MaxBytes > 0 {
			may = may || ses.mayRefuse(size)
			must = must || size > ses.limit.MaxBytes
		}
	}
	if err != nil && (!errors.Is(err, store.ErrQuota) || !may) || err == nil && must {
		t.Fatalf("published: %v", err)
	}
	return err == nil
}

// limits gives a session other limits.
func (m *model) limits(t *rapid.T) {
	sid, ses := m.pick(t)
	ses.limit = store.Limit{
		MaxBytes: rapid.SampledFrom([]uint64{0, 10_000, 100_000}).Draw(t, "bytes"),
		MaxAge:   rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "age"),
		WhenFull: rapid.SampledFrom([]store.WhenFull{store.DropOldest, store.DropNewest, store.Reject}).Draw(t, "when full"),
	}
	m.s.LimitSession(sid, ses.limit)
}

// pass lets time go by.
func (m *model) pass(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Second, 40 * time.Second, 40 * time.Minute}).Draw(t, "time")
	m.boot.Add(int64(d))
}

// trickle publishes as much as segments are packed for.
func (m *model) trickle(t *rapid.T) {
	sid, ses := m.pick(t)
	if ses.limit.MaxBytes > 0 {
		t.Skip("limited")
	}
	for range 60 {
		m.n++
		msg := &store.Message{Topic: "t", Payload: fmt.Append(nil, m.n, "|"), Routes: []store.Route{{Session: sid, QoS: 2}}}
		m.await(func(done func(error)) { m.s.Append(msg, done) })
		ses.sent = append(ses.sent, fmt.Sprint(m.n))
		ses.at = append(ses.at, m.Boot())
		ses.bytes = append(ses.bytes, uint64(len(msg.Topic)+len(msg.Payload)))
	}
}

func (m *model) read(t *rapid.T) {
	sid, ses := m.pick(t)
	var d store.Delivery
	for range rapid.IntRange(1, 12).Draw(t, "count") {
		ok, err := ses.q.Next(&d)
		if err != nil {
			t.Fatal(err)
		}
		m.absorb(t)
		want := ses.next
		for ses.settled[want] || want <= uint64(len(ses.sent)) && ses.aged(want, m.Boot()) && (!ok || want < d.Seq) {
			ses.settled[want] = true
			want++
		}
		if ok && ses.aged(d.Seq, m.Boot()) && !ses.handed[d.Seq] {
			t.Fatalf("session %d: %d is too old", sid, d.Seq)
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
		ses.flight[want], ses.handed[want] = true, true
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
		m.absorb(t)
		n, _ := ses.q.Len()
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
			there[d.Seq], ses.handed[d.Seq] = true, true
		}
		if now, _ := ses.q.Len(); uint64(len(there)) != now || now != n && ses.limit.MaxAge == 0 {
			t.Fatalf("session %d: %d queued, %d found", sid, n, len(there))
		}
		for seq := uint64(1); seq <= uint64(len(ses.sent)); seq++ {
			if !there[seq] && !ses.settled[seq] && !ses.aged(seq, m.Boot()) {
				t.Fatalf("session %d: %d is lost", sid, seq)
			}
			ses.settled[seq] = !there[seq]
		}
		q.Rewind()
	}
}

// absorb takes in what the store has given up meanwhile, if it may have.
func (m *model) absorb(t *rapid.T) {
	for sid, ses := range m.ses {
		for seq := uint64(1); seq <= ses.q.Base(); seq++ {
			if ses.settled[seq] {
				continue
			}
			full := ses.limit.WhenFull == store.DropOldest && ses.limit.MaxBytes > 0
			if !full && !ses.aged(seq, m.Boot()) {
				t.Fatalf("session %d: %d was given up", sid, seq)
			}
			ses.settled[seq] = true
			delete(ses.flight, seq)
		}
	}
}

func (m *model) check(t *rapid.T) {
	m.absorb(t)
	for sid, ses := range m.ses {
		if full := ses.limit.WhenFull == store.DropOldest && ses.limit.MaxBytes > 0; full && ses.queued() == ses.all() && ses.queued() > ses.limit.MaxBytes*5/4 {
			t.Fatalf("session %d: %d bytes queued of %d", sid, ses.queued(), ses.limit.MaxBytes)
		}
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
	if st.Appended != sum || st.CorruptFrames > 0 || st.Dropped[store.ReasonNewest] != m.away {
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
			"drop": m.drop, "rewind": m.rewind, "remove": m.remove, "limits": m.limits, "pass": m.pass, "trickle": m.trickle, "reopen": m.reopen, "crash": m.crash, "": m.check,
		})
	})
}
