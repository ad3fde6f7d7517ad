package main

import (
	"context"
	"sync"
	"time"

	"sluice/adapters/line"
)

// proofEvery is how often each part is asked to prove that it gets on.
const proofEvery = 2 * time.Second

// progress asks the parts of the gateway for proof that they get on, and
// beats the watchdog for those that give it. A part that hangs gives none.
type progress struct {
	proofs []proof
	ready  chan struct{}
}

// proof comes back true when a part has got on. It may block for as long as
// the part does.
type proof struct {
	of   func(ctx context.Context) bool
	beat func()
}

func newProgress(g *gateway) *progress {
	p := &progress{ready: make(chan struct{})}
	add := func(name string, of func(context.Context) bool) {
		p.proofs = append(p.proofs, proof{of, g.watchdog.Add(name)})
	}
	for _, l := range g.lines {
		add(l.String(), func(ctx context.Context) bool {
			// A closed line refuses the job, which shows its owner at work too.
			_ = l.Do(ctx, line.Command, func(context.Context, *line.Conn) error { return nil })
			return true
		})
	}
	var commits uint64
	add("store", func(context.Context) bool {
		s := g.store.Stats()
		moved := s.Pending == 0 || s.Commits != commits
		commits = s.Commits
		return moved
	})
	var ended uint64
	add("readings", func(context.Context) bool {
		now := g.readings.accepted.Load() + g.readings.refused.Load()
		moved := len(g.readings.window) == 0 || now != ended
		ended = now
		return moved
	})
	add("broker", func(ctx context.Context) bool {
		g.health.beat(ctx)
		return true
	})
	return p
}

// String names the task.
func (p *progress) String() string { return "progress" }

// Ready is closed when the first proofs are asked for.
func (p *progress) Ready() <-chan struct{} { return p.ready }

// Run asks until ctx ends.
func (p *progress) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, pr := range p.proofs {
		wg.Go(func() {
			tick := time.NewTicker(proofEvery)
			defer tick.Stop()
			for {
				if pr.of(ctx) && ctx.Err() == nil {
					pr.beat()
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	close(p.ready)
	wg.Wait()
	return nil
}
