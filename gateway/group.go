package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// task is something that lives while the gateway runs. Run returns nil when
// ctx has ended and everything that it started has ended too.
type task interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{} // closed once the task does its work
	String() string
}

// group runs tasks in layers. A layer starts when the one below is ready and
// stops before it, so that whoever produces data ends before whoever keeps it.
type group struct {
	layers [][]task
	// stopLimit bounds the whole of an orderly stop.
	stopLimit time.Duration
}

// add puts tasks as the next layer on top.
func (g *group) add(tasks ...task) {
	if len(tasks) > 0 {
		g.layers = append(g.layers, tasks)
	}
}

// running is one layer at work.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
	mu     sync.Mutex
	alive  map[task]bool
}

// run starts all layers, calls ready when every task is, and stops them from
// the top when ctx ends or a task fails, after it has told stopping why. A signal is no error; a task that
// fails or ends by itself is, and names itself.
func (g *group) run(ctx context.Context, ready func(), stopping func(why error)) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	var layers []*running
	for _, tasks := range g.layers {
		layers = append(layers, start(ctx, fail, tasks))
		if !awaitReady(ctx, tasks) {
			break
		}
	}
	if ctx.Err() == nil {
		ready()
		<-ctx.Done()
	}
	stopping(context.Cause(ctx))

	late := time.NewTimer(g.stopLimit)
	defer late.Stop()
	for i := len(layers) - 1; i >= 0; i-- {
		layers[i].cancel()
		select {
		case <-layers[i].ended:
		case <-late.C:
			return errors.Join(failure(ctx), fmt.Errorf("stop took over %s: %s still busy", g.stopLimit, layers[i].names()))
		}
	}
	return failure(ctx)
}

// start launches one layer. Its tasks outlive ctx: they end when their layer's
// turn to stop has come.
func start(ctx context.Context, fail context.CancelCauseFunc, tasks []task) *running {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{cancel: cancel, ended: make(chan struct{}), alive: map[task]bool{}}
	var wg sync.WaitGroup
	for _, t := range tasks {
		r.alive[t] = true
		wg.Go(func() {
			err := t.Run(own)
			r.mu.Lock()
			delete(r.alive, t)
			r.mu.Unlock()
			switch {
			case err != nil:
				fail(fmt.Errorf("%s: %w", t, withHolder(err)))
			case own.Err() == nil:
				fail(fmt.Errorf("%s: ended by itself", t))
			}
		})
	}
	go func() {
		wg.Wait()
		cancel()
		close(r.ended)
	}()
	return r
}

// awaitReady reports whether all tasks became ready before ctx ended.
func awaitReady(ctx context.Context, tasks []task) bool {
	for _, t := range tasks {
		select {
		case <-t.Ready():
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (r *running) names() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for t := range r.alive {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// failure is why ctx ended, or nil if it was asked to.
func failure(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
