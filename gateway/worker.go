package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sluice/adapters"
)

// worker carries out the commands of one device, one after the other. Of the
// commands that wait for one point only the newest counts.
type worker struct {
	commands *commands
	writer   adapters.Writer
	keep     bool          // a command waits for a device that is away
	maxAge   time.Duration // of a command

	more chan struct{} // holds one token while orders wait
	back chan struct{} // holds one token when the device came back

	mu       sync.Mutex
	waiting  []*order  // at most one for each point
	away     bool      // the device was told to be away last
	lost     time.Time // when that was told, for the last time
	returned bool      // it came back, and its safe values were not seen to
}

const (
	// firstRest is how long a device that is away is left alone before what
	// waits for it is tried again; it doubles up to longestRest. Its line has
	// others on it. That the device reports back ends it at once.
	firstRest   = 2 * time.Second
	longestRest = 30 * time.Second
)

// errReplaced answers a command in whose place another is carried out.
var errReplaced = errors.New("replaced by a newer command")

// push queues o and gives the older order for the same point that it replaces,
// if one waits.
func (w *worker) push(o *order) (old *order) {
	w.mu.Lock()
	for i, other := range w.waiting {
		if other.target == o.target {
			old = other
			w.waiting = slices.Delete(w.waiting, i, i+1)
			break
		}
	}
	w.waiting = append(w.waiting, o)
	w.mu.Unlock()
	poke(w.more)
	return old
}

// presence tells whether the device answers. It never blocks.
func (w *worker) presence(online bool) {
	w.mu.Lock()
	back := online && w.away
	if !online && !w.away {
		w.lost = time.Now()
	}
	w.away, w.returned = !online, w.returned || back
	w.mu.Unlock()
	if back {
		poke(w.commands.returned)
	}
	if online {
		poke(w.back)
	}
}

// cameBack tells once of each time that the device came back, and when it had
// been lost.
func (w *worker) cameBack() (lost time.Time, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	is, w.returned = w.returned, false
	return w.lost, is
}

// poke puts one token into a channel of capacity one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *worker) pop() *order {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		return nil
	}
	o := w.waiting[0]
	w.waiting = slices.Delete(w.waiting, 0, 1)
	return o
}

// giveBack queues o once more, behind the others; false: a newer order for its
// point waits.
func (w *worker) giveBack(o *order) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.waiting {
		if other.target == o.target {
			return false
		}
	}
	w.waiting = append(w.waiting, o)
	return true
}

// expired takes out what waits and has become too old; next is when the next
// one does, zero if none will.
func (w *worker) expired(now time.Time) (old []*order, next time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = slices.DeleteFunc(w.waiting, func(o *order) bool {
		switch {
		case o.until.IsZero():
		case !o.until.After(now):
			old = append(old, o)
			return true
		case next.IsZero() || o.until.Before(next):
			next = o.until
		}
		return false
	})
	return old, next
}

// run carries out orders until ctx ends. What waits then stays.
func (w *worker) run(ctx context.Context) {
	rest := firstRest
	for ctx.Err() == nil {
		o := w.pop()
		if o == nil {
			select {
			case <-ctx.Done():
			case <-w.more:
			}
			continue
		}
		if !w.carryOut(ctx, o) {
			rest = firstRest
			continue
		}
		w.rest(ctx, rest)
		rest = min(2*rest, longestRest)
	}
}

// carryOut tries o once and answers it, or keeps it; true if it is to be tried
// again after a rest.
func (w *worker) carryOut(ctx context.Context, o *order) (again bool) {
	once, cancel := ctx, context.CancelFunc(func() {})
	if !o.until.IsZero() {
		if !time.Now().Before(o.until) {
			w.commands.finish(o, failed(o, o.tooOld()))
			return false
		}
		once, cancel = context.WithDeadline(ctx, o.until)
	}
	if o.began.IsZero() {
		o.began = time.Now()
	}
	res := w.writer.Write(once, adapters.Command{Point: o.target.point.Name, Value: o.value})
	late := once.Err() != nil
	cancel()
	res.Elapsed = time.Since(o.began)
	switch {
	case res.Err == nil:
		w.commands.finish(o, res)
	case errors.Is(res.Err, adapters.ErrStopping) || ctx.Err() != nil:
		// Nobody knows how it ended: it comes again after the start.
		w.giveBack(o)
		<-ctx.Done()
	case late:
		if !errors.Is(res.Err, context.DeadlineExceeded) {
			o.last = res.Err.Error()
		}
		w.commands.finish(o, failed(o, o.tooOld()))
	case o.safe != "":
		if text := res.Err.Error(); text != o.last {
			o.last = text
			w.commands.finish(o, res)
		}
		return w.giveBack(o)
	case w.keep && errors.Is(res.Err, adapters.ErrOffline):
		o.last = res.Err.Error()
		if w.giveBack(o) {
			return true
		}
		w.commands.finish(o, failed(o, fmt.Errorf("%w while the device was away", errReplaced)))
	default:
		w.commands.finish(o, res)
	}
	return false
}

// rest waits for the device to come back, for as long as given or, where a new
// order comes, for firstRest.
func (w *worker) rest(ctx context.Context, long time.Duration) {
	now := time.Now()
	soonest, end := now.Add(firstRest), now.Add(long)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		old, next := w.expired(now)
		for _, o := range old {
			w.commands.finish(o, failed(o, o.tooOld()))
		}
		if !now.Before(end) {
			return
		}
		wake := end
		if !next.IsZero() && next.Before(end) {
			wake = next
		}
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return
		case <-w.back:
			return
		case <-w.more:
			if soonest.Before(end) {
				end = soonest
			}
		case <-timer.C:
		}
		now = time.Now()
	}
}
