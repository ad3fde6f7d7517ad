package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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

// receiver is a subscriber that counts and acknowledges.
type receiver struct {
	c        *client
	index    int             // among the receivers of its flows
	expected int             // messages, after which it ends; 0 = it is told to
	flows    []*flow         // whose messages it gets, with holes
	tallies  []*tally        // by publisher, with holes
	open     map[uint16]bool // QoS 2 messages received and not released
	delays   []time.Duration // publish to receipt; only where the rate is fixed
	skip     uint64          // the first messages are not timed
	timed    bool
	got      atomic.Int64 // packets of any kind, for the watch
}

// publisher sends the messages of one flow.
type publisher struct {
	c      *client
	flow   *flow
	count  int           // messages; 0 = as many as time allows
	lasts  time.Duration // that time
	form   template
	every  time.Duration  // between messages; 0 = as the window allows
	offset time.Duration  // of the first message
	sentAt []atomic.Int64 // by packet identifier; only where acks are timed
	delays []time.Duration
	skip   int
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

// connectReceivers connects the receivers and subscribes them. A durable one
// that the broker remembers is not subscribed again.
func (l *load) connectReceivers(addr string) error {
	for i := range l.traffic.receivers {
		c, err := dial(addr, fmt.Sprintf("%s-r%d", l.name, i), !l.durable)
		if err != nil {
			return err
		}
		r := &receiver{
			c: c, index: i, open: map[uint16]bool{},
			timed: l.rate > 0, skip: uint64(l.each() / 10),
			flows: make([]*flow, len(l.flows)), tallies: make([]*tally, len(l.flows)),
		}
		for p, f := range l.flows {
			if l.pairs && p != i {
				continue
			}
			r.flows[p], r.tallies[p] = f, new(tally)
		}
		if l.pairs {
			r.index = 0
		}
		l.receivers = append(l.receivers, r)
		if c.present {
			continue
		}
		if err := c.mustSubscribe(l.subscription(i), l.qos); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) connectPublishers(addr string) error {
	for i, f := range l.flows {
		c, err := dial(addr, fmt.Sprintf("%s-p%d", l.name, i), true)
		if err != nil {
			return err
		}
		p := &publisher{c: c, flow: f, count: l.each(), lasts: l.lasts, form: newTemplate(l.topic(i), l.qos, i, l.size), skip: l.each() / 10}
		if l.rate > 0 {
			p.every = time.Second * time.Duration(len(l.flows)) / time.Duration(l.rate)
			p.offset = p.every * time.Duration(i) / time.Duration(len(l.flows))
			if l.qos > 0 {
				p.sentAt = make([]atomic.Int64, 65536)
				p.delays = make([]time.Duration, 0, p.count)
			}
		}
		l.publishers = append(l.publishers, p)
	}
	return nil
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
