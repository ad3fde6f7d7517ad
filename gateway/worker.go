package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice/adapters"
)

// worker carries out the commands of one device, one after the other. Of the
// commands that wait for one point only the newest counts.
type worker struct {
	commands *commands
	writer   adapters.Writer
	keep     bool // a command waits for a device that is away

	more chan struct{} // holds one token while orders wait
	back chan struct{} // holds one token when the device came back

	mu      sync.Mutex
	waiting []*order // at most one for each point
}

// retryEvery is how often a kept command is tried again for a device that
// hasn't reported back.
const retryEvery = 2 * time.Second

// push queues o and answers an older command for the same point.
func (w *worker) push(o *order) {
	var old *order
	w.mu.Lock()
	for i, other := range w.waiting {
		if other.target == o.target {
			old = other
			w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
			break
		}
	}
	w.waiting = append(w.waiting, o)
	w.mu.Unlock()
	if old != nil {
		w.commands.refuse(old, errors.New("replaced by a newer command"))
	}
	poke(w.more)
}

// deviceBack tells that the device answers again.
func (w *worker) deviceBack() { poke(w.back) }

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
	w.waiting = w.waiting[1:]
	return o
}

// replaced reports whether a newer command for the same point waits.
func (w *worker) replaced(o *order) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.waiting {
		if other.target == o.target {
			return true
		}
	}
	return false
}

func (w *worker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return // what waits is not acknowledged: it comes again after the start
		case <-w.more:
		}
		for o := w.pop(); o != nil && ctx.Err() == nil; o = w.pop() {
			w.carryOut(ctx, o)
		}
	}
}

// carryOut writes o, again and again while the device is away and the command
// is young enough, and answers it.
func (w *worker) carryOut(ctx context.Context, o *order) {
	deadline := o.at.Add(maxCommandAge)
	if age := time.Since(o.at); age > maxCommandAge {
		w.commands.refuse(o, fmt.Errorf("command is %s old, over the limit of %s", age.Round(time.Second), maxCommandAge))
		return
	}
	began := time.Now()
	for {
		once, cancel := context.WithDeadline(ctx, deadline)
		res := w.writer.Write(once, adapters.Command{Point: o.target.point.Name, Value: o.value})
		cancel()
		if ctx.Err() != nil && res.Err != nil {
			return
		}
		if res.Err == nil || !w.keep || !errors.Is(res.Err, adapters.ErrOffline) {
			res.Elapsed = time.Since(began)
			w.commands.answer(o, res)
			return
		}
		if w.replaced(o) {
			w.commands.refuse(o, errors.New("replaced by a newer command while the device was away"))
			return
		}
		wait := min(retryEvery, time.Until(deadline))
		if wait <= 0 {
			w.commands.refuse(o, fmt.Errorf("given up after %s: %w", maxCommandAge, res.Err))
			return
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-w.back:
			pause.Stop()
		case <-pause.C:
		}
	}
}
