package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// traffic describes what a load sends and who gets it.
type traffic struct {
	publishers, receivers int
	pairs                 bool // publisher i sends to receiver i alone; otherwise every receiver gets all
	qos                   byte
	size                  int  // payload, bytes
	count                 int  // messages published, by all publishers together; 0 = as many as -time allows
	window                int  // undelivered messages, of all publishers together; 0 = the option
	rate                  int  // messages/s, of all publishers together; 0 = as the window allows
	durable               bool // receivers have sessions that outlive the connection
}

// each gives how many messages one publisher sends; 0 = as time allows.
func (t traffic) each() int { return t.count / t.publishers }

func (t traffic) subscription(receiver int) string {
	switch {
	case t.pairs:
		return t.topic(receiver)
	case t.publishers == 1:
		return t.topic(0)
	}
	return "bench/#"
}

func (t traffic) topic(publisher int) string { return fmt.Sprintf("bench/%02d", publisher) }

// load is a traffic under way.
type load struct {
	traffic
	name       string // part of the client identifiers
	flows      []*flow
	publishers []*publisher
	receivers  []*receiver
	lasts      time.Duration
	stalled    bool // given up because nothing moved any more
}

// epoch is what times in payloads count from.
var epoch = time.Now()

func now() int64 { return int64(time.Since(epoch)) }

// newLoad prepares a load without connecting anybody.
func newLoad(name string, t traffic, o options) *load {
	if t.window == 0 {
		t.window = o.window
	}
	l := &load{traffic: t, name: name, lasts: o.time}
	readers := t.receivers
	if t.pairs {
		readers = 1
	}
	for range t.publishers {
		l.flows = append(l.flows, newFlow(max(t.window/t.publishers, 1), readers, t.qos > 0))
	}
	return l
}

// close disconnects all clients.
func (l *load) close() {
	for _, p := range l.publishers {
		_ = p.c.Close()
	}
	for _, r := range l.receivers {
		_ = r.c.Close()
	}
}

// run publishes and receives until all is through or nothing has moved for
// the time of a stall. It returns how long that took, the stall left out.
func (l *load) run(ctx context.Context, stall time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var senders, readers sync.WaitGroup
	work := func(group *sync.WaitGroup, f func() error) {
		group.Go(func() {
			if err := f(); err != nil {
				cancel(err)
			}
		})
	}
	for _, r := range l.receivers {
		work(&readers, r.receive)
	}
	for _, p := range l.publishers {
		work(&senders, func() error { return p.publish(ctx) })
		if l.qos > 0 {
			work(&readers, p.collect)
		}
	}
	over := make(chan struct{})
	go func() {
		senders.Wait()
		if len(l.publishers) > 0 && ctx.Err() == nil { // all is through: nobody need read on
			l.endReading()
		}
		readers.Wait()
		close(over)
	}()
	last := l.watch(ctx, over, stall)
	took := time.Since(began)
	if l.stalled {
		took = last.Sub(began)
	}
	cause := context.Cause(ctx)
	select {
	case <-over:
	default:
		cancel(nil)
		l.close() // ends those who wait
		<-over
	}
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return took, cause
	}
	return took, nil
}

// endReading ends those who read.
func (l *load) endReading() {
	past := time.Unix(1, 0)
	for _, p := range l.publishers {
		_ = p.c.SetReadDeadline(past)
	}
	for _, r := range l.receivers {
		_ = r.c.SetReadDeadline(past)
	}
}

// watch waits until the work is over, failed or stalled, and gives the time of
// the last progress seen.
func (l *load) watch(ctx context.Context, over <-chan struct{}, stall time.Duration) time.Time {
	tick := time.NewTicker(stall / 30)
	defer tick.Stop()
	last, moved := int64(-1), time.Now()
	for {
		select {
		case <-over:
			return moved
		case <-ctx.Done():
			return moved
		case at := <-tick.C:
			if n := l.moved(); n != last {
				last, moved = n, at
			} else if at.Sub(moved) > stall {
				l.stalled = true
				return moved
			}
		}
	}
}

// moved counts everything that happens, to notice when nothing does.
func (l *load) moved() int64 {
	var n int64
	for _, f := range l.flows {
		n += f.sent.Load() + f.acked.Load()
	}
	for _, r := range l.receivers {
		n += r.got.Load()
	}
	return n
}

// sums adds up what the receivers counted. lost is what was published (from
// QoS 1 on: acknowledged) and has not come.
func (l *load) sums() (delivered, lost, dup, late int) {
	for _, r := range l.receivers {
		for p, t := range r.tallies {
			if t == nil {
				continue
			}
			delivered += t.got
			dup += t.dup
			late += t.late
			promised := int(l.flows[p].sent.Load())
			if l.qos > 0 {
				promised = int(l.flows[p].acked.Load())
			}
			lost += max(promised-t.got, 0)
		}
	}
	return delivered, lost, dup, late
}
