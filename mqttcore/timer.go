package mqttcore

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootClock counts while the machine sleeps, too: what expires in an hour is
// gone after an hour of sleep.
func bootClock() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	}
	return time.Duration(ts.Nano())
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// timer is something to do for a session that nobody is connected to. It is
// void if the session's round has moved on.
type timer struct {
	at    time.Duration
	sess  *session
	round uint64
	kind  timerKind
}

type timerKind uint8

const (
	timeWill timerKind = iota
	timeExpiry
)

// timers holds two per session at most.
type timers struct {
	mu    sync.Mutex
	heap  timerHeap
	limit int           // length at which void ones are looked for
	more  chan struct{} // room for one: the first may have changed
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return t
}

func (t *timers) add(n timer) {
	t.mu.Lock()
	heap.Push(&t.heap, n)
	if len(t.heap) > max(t.limit, 64) {
		t.prune()
	}
	first := len(t.heap) > 0 && t.heap[0] == n
	t.mu.Unlock()
	if first {
		select {
		case t.more <- struct{}{}:
		default:
		}
	}
}

// prune drops what is void: a client that comes and goes leaves timers behind.
func (t *timers) prune() {
	kept := t.heap[:0]
	for _, n := range t.heap {
		if n.round == n.sess.round.Load() {
			kept = append(kept, n)
		}
	}
	clear(t.heap[len(kept):])
	t.heap = kept
	t.limit = 2 * len(kept)
	heap.Init(&t.heap)
}

// due takes what is due, or tells how long to wait for the next.
func (t *timers) due(now time.Duration) (timer, time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) == 0 {
		return timer{}, math.MaxInt64, false
	}
	if wait := t.heap[0].at - now; wait > 0 {
		return timer{}, wait, false
	}
	return heap.Pop(&t.heap).(timer), 0, true
}

// timerNap bounds a wait, as Go's timers stand still while the machine sleeps.
const timerNap = 30 * time.Second

// watch serves the timers until ctx ends.
func (b *Broker) watch(ctx context.Context) {
	for {
		t, wait, ok := b.timers.due(b.clock())
		if ok {
			b.ring(t)
			continue
		}
		nap := time.NewTimer(min(wait, timerNap))
		select {
		case <-ctx.Done():
			nap.Stop()
			return
		case <-b.timers.more:
			nap.Stop()
		case <-nap.C:
		}
	}
}

// ring does what a timer is for.
func (b *Broker) ring(t timer) {
	b.mu.Lock()
	s := t.sess
	if s.round.Load() != t.round || s.owner != nil {
		b.mu.Unlock()
		return
	}
	var w *will
	switch t.kind {
	case timeWill:
		w, s.will = s.will, nil
		left := s.expiry
		if left != forever {
			left -= min(left, uint32((b.clock()-s.left)/time.Second))
		}
		b.st.UpdateSession(s.sid, left, nil, b.logged)
		b.st.LeaveSession(s.sid, b.logged)
	case timeExpiry:
		w = b.endLocked(s) // MQTT-3.1.2-23
		b.count.sessionsExpired.add(1)
	}
	b.mu.Unlock()
	b.publishWill(s, w)
}

// willLater sets the timer of a delayed will: it comes with the end of the
// session at the latest (MQTT-3.1.3-9). away is how long the client has been
// gone already.
func (b *Broker) willLater(s *session, away time.Duration) {
	b.timers.add(timer{at: b.clock() - away + seconds(min(s.will.delay, s.expiry)), sess: s, round: s.round.Load(), kind: timeWill})
}

// expireLater sets the timer of the session's end.
func (b *Broker) expireLater(s *session, away time.Duration) {
	if s.expiry == forever {
		return
	}
	b.timers.add(timer{at: b.clock() - away + seconds(s.expiry), sess: s, round: s.round.Load(), kind: timeExpiry})
}
