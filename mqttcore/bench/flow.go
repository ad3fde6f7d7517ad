package main

import (
	"context"
	"sync/atomic"
)

// flow is the window of one publisher: what it has sent and what has not yet
// come out at every receiver and been acknowledged. The publisher alone calls
// room; receivers count and call progress.
type flow struct {
	window int64
	sent   atomic.Int64
	acked  atomic.Int64   // by PUBACK or PUBCOMP; unused at QoS 0
	got    []atomic.Int64 // per receiver
	acks   bool           // whether acked counts

	waiting atomic.Bool
	wake    chan struct{} // holds one
}

func newFlow(window, receivers int, acks bool) *flow {
	return &flow{window: int64(window), got: make([]atomic.Int64, receivers), acks: acks, wake: make(chan struct{}, 1)}
}

// done is how many messages are through everywhere.
func (f *flow) done() int64 {
	n := f.sent.Load()
	if f.acks {
		n = min(n, f.acked.Load())
	}
	for i := range f.got {
		n = min(n, f.got[i].Load())
	}
	return n
}

// room waits until messages may be sent and gives how many. Zero means that
// ctx has ended.
func (f *flow) room(ctx context.Context) int {
	return int(f.window - f.atMost(ctx, f.window-1))
}

// drain waits until all is through, or ctx has ended.
func (f *flow) drain(ctx context.Context) { f.atMost(ctx, 0) }

// atMost waits until no more than n messages are on their way and gives how
// many are; when ctx ends first, it gives the whole window.
func (f *flow) atMost(ctx context.Context, n int64) int64 {
	for {
		if under := f.sent.Load() - f.done(); under <= n {
			return under
		}
		f.waiting.Store(true)
		if f.sent.Load()-f.done() <= n { // since the look before
			f.waiting.Store(false)
			continue
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return f.window
		}
	}
}

// progress wakes the publisher if it waits.
func (f *flow) progress() {
	if f.waiting.Load() && f.waiting.CompareAndSwap(true, false) {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// tally notes which of a publisher's messages a receiver has got. One
// goroutine at a time.
type tally struct {
	seen []uint64
	top  uint64 // one above the highest number seen
	got  int    // different messages
	dup  int    // messages seen again
	late int    // messages seen after one with a higher number
}

// note counts a message and says whether it is the first of its number. It
// keeps a bit for every number up to seq, which must be one that was sent.
func (t *tally) note(seq uint64) bool {
	if need := int(seq/64) + 1 - len(t.seen); need > 0 {
		t.seen = append(t.seen, make([]uint64, need)...)
	}
	word, bit := &t.seen[seq/64], uint64(1)<<(seq%64)
	if *word&bit != 0 {
		t.dup++
		return false
	}
	*word |= bit
	t.got++
	if seq < t.top {
		t.late++
	} else {
		t.top = seq + 1
	}
	return true
}
