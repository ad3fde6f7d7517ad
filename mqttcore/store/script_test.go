package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// script does random things to a store on fs, and notes what is promised.
type script struct {
	t    *testing.T
	fs   *simfs.FS
	rng  *rand.Rand
	s    *store.Store
	stop func()
	sids []store.SID
	q    map[store.SID]*store.Queue
	// What was appended: the payloads of each session, by sequence number.
	sent map[store.SID][]string
	out  map[store.SID][]uint64 // handed out and not acknowledged
	pids map[store.SID][]uint16 // received and not released
	wait []chan struct{}
	n    int
	// What recovery found at the end of the generation before, by session.
	found map[store.SID]uint64
}

func (x *script) open() {
	s, err := store.Open(options(x.fs))
	if err != nil {
		x.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	x.s, x.q, x.out = s, map[store.SID]*store.Queue{}, map[store.SID][]uint64{}
	x.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			x.t.Error(err)
		}
		if err := s.Close(); err != nil {
			x.t.Error(err)
		}
	}
}

// done makes a callback that notes mark, and that settle waits for.
func (x *script) done(mark any) func(error) {
	c := make(chan struct{})
	x.wait = append(x.wait, c)
	return func(err error) {
		if err != nil {
			x.t.Errorf("%v: %v", mark, err)
		} else {
			x.fs.Mark(mark)
		}
		close(c)
	}
}

func (x *script) settle() {
	for _, c := range x.wait {
		<-c
	}
	x.wait = nil
}

func (x *script) run(steps int) {
	x.open()
	x.fs.Mark(recovered(x.found))
	for range steps {
		x.step()
	}
	x.settle()
}

func (x *script) step() {
	if len(x.sids) < 2 {
		x.create()
		return
	}
	sid := x.sids[x.rng.IntN(len(x.sids))]
	switch p := x.rng.IntN(110); {
	case p < 36:
		for range 1 + x.rng.IntN(3) {
			x.publish()
		}
		x.settle()
	case p < 46:
		for range 20 {
			x.publish()
		}
	case p < 50: // a commit each: segments with little in them
		for range 30 {
			x.publish()
			x.settle()
		}
	case p < 70:
		x.consume(sid)
	case p < 76:
		x.release(sid)
	case p < 80:
		x.inbound(sid)
	case p < 84:
		x.subscribe(sid)
	case p < 87:
		x.fault()
	case p < 90:
		topic := fmt.Sprint("r/", x.rng.IntN(3))
		x.n++
		value := fmt.Sprint(x.n)
		if x.rng.IntN(4) == 0 {
			value = ""
		}
		x.settle() // so that values of a topic are told apart by their order
		x.fs.Mark(retaining{topic, value})
		x.s.Append(&store.Message{Topic: topic, Payload: []byte(value), StoreRetained: true}, x.done(retained{topic, value}))
		x.settle()
	case p < 94 && len(x.sids) < 4:
		x.create()
	case p < 96 && len(x.sids) > 2:
		x.settle()
		x.fs.Mark(deleting{sid})
		x.s.DeleteSession(sid, func(error) {})
		x.sids = slices.DeleteFunc(x.sids, func(s store.SID) bool { return s == sid })
	case p < 98:
		x.settle()
		x.stop()
		x.open()
	case p < 108:
		for _, sid := range x.sids {
			x.finish(sid)
		}
	default:
		x.settle()
	}
}

func (x *script) create() {
	var sid store.SID
	c := make(chan struct{})
	sid = x.s.CreateSession(fmt.Sprint("c", x.n), "", 10, func(err error) {
		if err != nil {
			x.t.Error(err)
		}
		close(c)
	})
	<-c
	x.fs.Mark(created{sid})
	x.sids = append(x.sids, sid)
}

func (x *script) publish() {
	x.n++
	size := x.rng.IntN(300)
	if x.rng.IntN(4) == 0 {
		size = x.rng.IntN(6000)
	}
	payload := fmt.Sprint(x.n, "|", strings.Repeat("x", size))
	m := &store.Message{Topic: fmt.Sprint("t/", x.n%7), Payload: []byte(payload), QoS: 2}
	var marks []durable
	for _, sid := range x.sids {
		if x.rng.IntN(3) > 0 {
			m.Routes = append(m.Routes, store.Route{Session: sid, QoS: 2})
			x.sent[sid] = append(x.sent[sid], payload)
			marks = append(marks, durable{sid, uint64(len(x.sent[sid]))})
		}
	}
	c := make(chan struct{})
	x.wait = append(x.wait, c)
	x.s.Append(m, func(err error) {
		if err != nil {
			x.t.Error(err)
		}
		for _, m := range marks {
			x.fs.Mark(m)
		}
		close(c)
	})
}

func (x *script) queue(sid store.SID) *store.Queue {
	if x.q[sid] == nil {
		x.q[sid], x.out[sid] = x.s.OpenQueue(sid, nil), nil
	}
	return x.q[sid]
}

// read takes out up to so many deliveries.
func (x *script) read(sid store.SID, most int) {
	q := x.queue(sid)
	var d store.Delivery
	for range most {
		ok, err := q.Next(&d)
		if err != nil {
			x.t.Error(err)
		}
		if !ok {
			break
		}
		if want := x.sent[sid][d.Seq-1]; string(d.Payload) != want {
			x.t.Errorf("session %d: delivery %d is not what was published", sid, d.Seq)
		}
		x.out[sid] = append(x.out[sid], d.Seq)
	}
}

// finish acknowledges all that there is.
func (x *script) finish(sid store.SID) {
	x.settle()
	x.read(sid, 1<<20)
	for _, seq := range x.out[sid] {
		x.fs.Mark(acking{sid, seq})
		x.q[sid].Ack(seq)
	}
	x.out[sid] = nil
}

func (x *script) consume(sid store.SID) {
	x.read(sid, x.rng.IntN(60))
	q := x.q[sid]
	for range x.rng.IntN(50) {
		if len(x.out[sid]) == 0 {
			break
		}
		i := 0
		if x.rng.IntN(8) == 0 {
			i = x.rng.IntN(len(x.out[sid]))
		}
		seq := x.out[sid][i]
		x.out[sid] = slices.Delete(x.out[sid], i, i+1)
		x.fs.Mark(acking{sid, seq})
		q.Ack(seq)
	}
	if x.rng.IntN(6) == 0 {
		q.Close() // has the cursor written
		delete(x.q, sid)
	}
}

func (x *script) release(sid store.SID) {
	if len(x.out[sid]) == 0 || x.q[sid] == nil {
		return
	}
	seq := x.out[sid][x.rng.IntN(len(x.out[sid]))]
	x.fs.Mark(releasing{sid, seq})
	x.q[sid].Release(seq, x.done(released{sid, seq}))
}

func (x *script) inbound(sid store.SID) {
	x.settle()
	if pids := x.pids[sid]; len(pids) > 0 && x.rng.IntN(2) == 0 {
		x.fs.Mark(inMoving{sid, pids[0]})
		x.s.ReleaseInbound(sid, pids[0], x.done(inbound{sid, pids[0], false}))
		x.pids[sid] = pids[1:]
	} else {
		x.n++
		pid := uint16(x.n)
		x.pids[sid] = append(x.pids[sid], pid)
		x.fs.Mark(inMoving{sid, pid})
		x.s.Append(&store.Message{Topic: "in", QoS: 2, Publisher: sid, PacketID: pid}, x.done(inbound{sid, pid, true}))
	}
	x.settle()
}

func (x *script) subscribe(sid store.SID) {
	x.settle()
	filter := fmt.Sprint("f/", x.rng.IntN(3))
	as := x.rng.IntN(4) - 1
	x.fs.Mark(subscribing{sid, filter, as})
	done := x.done(subscribed{sid, filter, as})
	if as == unsubscribed {
		x.s.DeleteSubscription(sid, filter, done)
	} else {
		x.s.PutSubscription(sid, store.Subscription{Filter: filter, Options: byte(as)}, done)
	}
	x.settle()
}

// fault fails one call of some kind: nobody may notice.
func (x *script) fault() {
	x.settle()
	kinds := []simfs.Kind{simfs.Write, simfs.Sync, simfs.Create, simfs.Rename, simfs.Remove, simfs.SyncDir}
	x.fs.SetFault(once(kinds[x.rng.IntN(len(kinds))], "", syscall.EIO))
	for range 1 + x.rng.IntN(20) {
		x.publish()
	}
	x.settle()
	x.fs.SetFault(nil)
}
