package sim

import (
	"context"
	"sync"
)

// watch wakes those who wait for something to change. It is guarded by the
// mutex of what it watches.
type watch struct{ changed chan struct{} }

// tell wakes all waiters.
func (w *watch) tell() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

func (w *watch) wait(ctx context.Context, mu *sync.Mutex, cond func() bool) error {
	for {
		mu.Lock()
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
