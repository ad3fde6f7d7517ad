package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// idle connects many clients with one QoS 1 subscription each and looks at
// what they cost while nothing happens.
func idle(ctx context.Context, b *process, o options) (sample, error) {
	const dialers = 10
	stopProfile, err := b.profile(o, "")
	if err != nil {
		return nil, err
	}
	before, _ := b.rss()
	cpu, began := b.cpu(), time.Now()
	var (
		wait    sync.WaitGroup
		mu      sync.Mutex
		clients []*client
		refused int
		failed  error
	)
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}()
	for d := range dialers {
		wait.Go(func() {
			for i := d; i < o.idle && ctx.Err() == nil; i += dialers {
				c, err := dialSized(b.addr, fmt.Sprintf("idle-%d", i), true, 64)
				granted := byte(0)
				if err == nil {
					granted, err = c.subscribe(fmt.Sprintf("idle/%d", i), 1)
				}
				mu.Lock()
				if c != nil {
					clients = append(clients, c)
				}
				if granted != 1 {
					refused++
				}
				if failed == nil {
					failed = err
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wait.Wait()
	if failed != nil {
		return nil, fmt.Errorf("after %d connections: %w", len(clients), failed)
	}
	took := time.Since(began)
	spent := b.cpu() - cpu
	settle := time.NewTimer(o.settle)
	defer settle.Stop()
	select {
	case <-settle.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rest := b.cpu()
	after, peak := b.rss()
	if err := stopProfile(); err != nil {
		return nil, err
	}
	n := float64(max(len(clients), 1))
	return sample{
		"B/conn":        float64(after-before) / n,
		"rss MB":        mega(after),
		"peak MB":       mega(peak),
		"connects/s":    n / took.Seconds(),
		"connect µs":    float64(spent.Microseconds()) / n,
		"settle cpu ms": float64((rest - cpu - spent).Microseconds()) / 1e3,
		"no sub":        float64(refused),
	}, nil
}
