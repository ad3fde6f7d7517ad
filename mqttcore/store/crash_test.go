package store_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

const segment = 64 << 10

func options(fs *simfs.FS) store.Options {
	return store.Options{FS: fs, SegmentSize: segment, MaxBytes: 24 * segment}
}

// Marks of what had happened before a crash.
type (
	created  struct{ sid store.SID }
	deleting struct{ sid store.SID }
	durable  struct {
		sid store.SID
		seq uint64
	}
	acking struct {
		sid store.SID
		seq uint64
	}
	releasing struct {
		sid store.SID
		seq uint64
	}
	released struct {
		sid store.SID
		seq uint64
	}
	inbound struct {
		sid store.SID
		pid uint16
		in  bool
	} // durable
	inMoving struct {
		sid store.SID
		pid uint16
	} // may be either
	retained    struct{ topic, value string } // durable
	retaining   struct{ topic, value string }
	subscribing struct {
		sid    store.SID
		filter string
		as     int // options, or unsubscribed
	}
	subscribed subscribing          // durable
	recovered  map[store.SID]uint64 // and handed out: it must stay
)

const unsubscribed = -1

// knowledge is what can be said of the store at some point of a script.
type knowledge struct {
	sessions map[store.SID]*known
	kept     map[string][]string // topic → the values that it may have
}

type known struct {
	deleting bool
	durable  uint64 // published and acknowledged up to here
	acking   map[uint64]bool
	released map[uint64]bool // durable
	maybeRel map[uint64]bool
	inbound  map[uint16]bool
	inMaybe  map[uint16]bool
	subs     map[string][]int // filter → the options that it may have
}

func newKnowledge() *knowledge {
	return &knowledge{sessions: map[store.SID]*known{}, kept: map[string][]string{}}
}

func (k *knowledge) learn(mark any) {
	switch m := mark.(type) {
	case created:
		k.sessions[m.sid] = &known{acking: map[uint64]bool{}, released: map[uint64]bool{},
			maybeRel: map[uint64]bool{}, inbound: map[uint16]bool{}, inMaybe: map[uint16]bool{}, subs: map[string][]int{}}
	case deleting:
		k.sessions[m.sid].deleting = true
	case durable:
		if s := k.sessions[m.sid]; s != nil {
			s.durable = m.seq
		}
	case acking:
		k.sessions[m.sid].acking[m.seq] = true
	case releasing:
		k.sessions[m.sid].maybeRel[m.seq] = true
	case released:
		k.sessions[m.sid].released[m.seq] = true
	case inMoving:
		k.sessions[m.sid].inMaybe[m.pid] = true
	case inbound:
		delete(k.sessions[m.sid].inMaybe, m.pid)
		k.sessions[m.sid].inbound[m.pid] = m.in
	case subscribing:
		subs := k.sessions[m.sid].subs
		if subs[m.filter] == nil {
			subs[m.filter] = []int{unsubscribed}
		}
		subs[m.filter] = append(subs[m.filter], m.as)
	case subscribed: // one at a time
		k.sessions[m.sid].subs[m.filter] = []int{m.as}
	case recovered:
		for sid, seq := range m {
			if s := k.sessions[sid]; s != nil {
				s.durable = max(s.durable, seq)
			}
		}
	case retaining:
		if k.kept[m.topic] == nil {
			k.kept[m.topic] = []string{""}
		}
		k.kept[m.topic] = append(k.kept[m.topic], m.value)
	case retained: // one at a time
		k.kept[m.topic] = []string{m.value}
	}
}

// verify opens what a crash left and holds it against what is known. It returns
// what it found, for a script to go on from.
func verify(fs *simfs.FS, k *knowledge, sent map[store.SID][]string) (found map[store.SID]uint64, err error) {
	var log strings.Builder
	o := options(fs)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\nfiles %q\n%s", err, fs.Names(), &log)
		}
	}()
	s, err := store.Open(o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	found = map[store.SID]uint64{}
	for _, ses := range s.Sessions() {
		have := k.sessions[ses.ID]
		if have == nil || have.deleting {
			continue
		}
		for pid, in := range have.inbound {
			if !have.inMaybe[pid] && slices.Contains(ses.Inbound, pid) != in {
				return nil, fmt.Errorf("session %d: inbound %d is not %v", ses.ID, pid, in)
			}
		}
		now := map[string]int{}
		for _, sub := range ses.Subs {
			now[sub.Filter] = int(sub.Options)
		}
		for filter, may := range have.subs {
			as, ok := now[filter]
			if !ok {
				as = unsubscribed
			}
			if !slices.Contains(may, as) {
				return nil, fmt.Errorf("session %d: subscription to %s is %d, wanted one of %d", ses.ID, filter, as, may)
			}
		}
		found[ses.ID] = 0
	}
	for _, sid := range slices.Sorted(maps.Keys(k.sessions)) {
		have := k.sessions[sid]
		if have.deleting {
			continue
		}
		if _, ok := found[sid]; !ok {
			return nil, fmt.Errorf("session %d is lost", sid)
		}
		last, err := verifyQueue(s, sid, have, sent[sid])
		if err != nil {
			return nil, fmt.Errorf("session %d: %w", sid, err)
		}
		found[sid] = last
	}
	if err := verifyRetained(s, k); err != nil {
		return nil, err
	}
	st := s.Stats()
	if st.CorruptFrames > 0 || st.Dropped[store.ReasonCorrupt] > 0 {
		return nil, fmt.Errorf("a crash was taken for damage: %+v", st)
	}
	sum := st.Delivered + st.Queued
	for _, n := range st.Dropped {
		sum += n
	}
	if st.Appended != sum {
		return nil, fmt.Errorf("the sum is not right: %+v", st)
	}
	return found, nil
}

func verifyQueue(s *store.Store, sid store.SID, have *known, sent []string) (last uint64, err error) {
	q := s.OpenQueue(sid, nil)
	got := map[uint64]bool{}
	last = q.Base()
	for seq := uint64(1); seq <= last; seq++ {
		if !have.acking[seq] {
			return 0, fmt.Errorf("base is %d, but %d was never acknowledged", last, seq)
		}
	}
	var d store.Delivery
	for {
		ok, err := q.Next(&d)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		switch {
		case d.Seq <= last:
			return 0, fmt.Errorf("%d after %d", d.Seq, last)
		case d.Seq > uint64(len(sent)) || string(d.Payload) != sent[d.Seq-1]:
			return 0, fmt.Errorf("delivery %d was never published", d.Seq)
		case d.Released && !have.maybeRel[d.Seq]:
			return 0, fmt.Errorf("%d was never released", d.Seq)
		case !d.Released && have.released[d.Seq]:
			return 0, fmt.Errorf("release of %d is lost", d.Seq)
		}
		for seq := last + 1; seq < d.Seq; seq++ {
			if !have.acking[seq] {
				return 0, fmt.Errorf("%d is missing, %d is there", seq, d.Seq)
			}
		}
		last = d.Seq
		got[last] = true
	}
	for seq := uint64(1); seq <= have.durable; seq++ {
		if !got[seq] && !have.acking[seq] {
			return 0, fmt.Errorf("%d was promised (all up to %d) and is lost; there are %v", seq, have.durable, slices.Sorted(maps.Keys(got)))
		}
	}
	return max(last, q.Last()), nil
}

func verifyRetained(s *store.Store, k *knowledge) error {
	now := map[string]string{}
	for m := range s.RecoveredRetained() {
		now[m.Topic] = string(m.Payload)
	}
	for topic, values := range k.kept {
		if !slices.Contains(values, now[topic]) {
			return fmt.Errorf("retained %s is %q, wanted one of %q", topic, now[topic], values)
		}
	}
	return nil
}

// crashScript runs a script, crashes it everywhere, and goes on from one of the
// crashed states with another one.
func crashScript(t *testing.T, seed uint64) (states int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := &script{t: t, fs: simfs.New(), rng: rng, sent: map[store.SID][]string{}, pids: map[store.SID][]uint16{}}
	k := newKnowledge()
	for generation := range 3 {
		x.run(40)
		x.stop()
		if t.Failed() {
			t.Logf("seed %x generation %d", seed, generation)
			return states
		}
		replay := x.fs.Replay()
		goOn := rng.IntN(replay.Left()) + 1
		killed := rng.IntN(2) == 0
		var next *simfs.FS
		var after *knowledge
		for replay.Left() > 0 {
			k.learn(replay.Step())
			// All modes in turn; a few states are worth more than one look.
			mode := simfs.Mode(rng.IntN(len(simfs.Modes())))
			if only, err := strconv.Atoi(os.Getenv(crashModeVar)); err == nil {
				mode = simfs.Mode(only)
			}
			crashed := replay.Crash(mode, rng)
			choose := next == nil && replay.Left() < goOn && (!killed || replay.Unsynced() || replay.Left() == 0)
			if choose && killed {
				crashed, next = replay.Kill(), replay.Kill()
			} else if choose {
				next = crashed.Clone()
			}
			found, err := verify(crashed, k, x.sent)
			states++
			if err == nil && rng.IntN(8) == 0 {
				// Another crash while recovery is at work.
				again := crashed.Replay()
				for range rng.IntN(again.Left() + 1) {
					again.Step()
				}
				_, err = verify(again.Crash(mode, rng), k, x.sent)
				states++
			}
			if err != nil {
				t.Errorf("crash state: after %d, seed %x generation %d, %d steps before the end, mode %d: %v", states, seed, generation, replay.Left(), mode, err)
				return states
			}
			if choose {
				after = k.clone(found)
				x.found = found
				if !killed {
					after.learn(recovered(found)) // it is on the platter
				}
			}
		}
		x.fs, k = next, after
		x.sids, x.wait = nil, nil
		for _, sid := range slices.Sorted(maps.Keys(k.sessions)) {
			x.sids = append(x.sids, sid)
			x.sent[sid] = x.sent[sid][:x.found[sid]]
		}
		maps.DeleteFunc(x.sent, func(sid store.SID, _ []string) bool { return k.sessions[sid] == nil })
		x.pids = map[store.SID][]uint16{}
	}
	return states
}

// clone is what is known after recovery found so much in each session.
func (k *knowledge) clone(found map[store.SID]uint64) *knowledge {
	c := newKnowledge()
	for topic, values := range k.kept {
		c.kept[topic] = slices.Clone(values)
	}
	for sid, last := range found {
		old := k.sessions[sid]
		c.sessions[sid] = &known{
			durable: old.durable, acking: maps.Clone(old.acking), released: maps.Clone(old.released), maybeRel: maps.Clone(old.maybeRel),
			inbound: maps.Clone(old.inbound), inMaybe: maps.Clone(old.inMaybe), subs: map[string][]int{},
		}
		for filter, may := range old.subs {
			c.sessions[sid].subs[filter] = slices.Clone(may)
		}
		maps.DeleteFunc(c.sessions[sid].acking, func(seq uint64, _ bool) bool { return seq > last })
		maps.DeleteFunc(c.sessions[sid].released, func(seq uint64, _ bool) bool { return seq > last })
		maps.DeleteFunc(c.sessions[sid].maybeRel, func(seq uint64, _ bool) bool { return seq > last })
	}
	return c
}
