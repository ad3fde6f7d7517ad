package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sluice/mqttcore/store"
	"sluice/mqttcore/topic"
)

// MaxLanes is how many lanes a [Consumer] can have.
const MaxLanes = 4

// A consumer has one lane, which is a queue of its own in the store, until its
// owner asks for another: see [Consumer.Split]. One lane takes in; the others
// hold what came before and are only read. A lane is never deleted while its
// consumer is there: a message that was on its way to it finds it, and its
// sequence numbers go on when it takes in again.

// consumerPrefix keeps consumers apart from clients in the store: no client
// identifier may hold U+0000.
const consumerPrefix = "\x00consumer/"

// laneName names a lane in the store: the first has the consumer's own name.
func laneName(consumer string, lane int) string {
	if lane == 1 {
		return consumerPrefix + consumer
	}
	return consumerPrefix + consumer + "#" + strconv.Itoa(lane)
}

// ConsumerLane is the name of the durable [Consumer] that a session in the store
// belongs to, and the number of the lane, from 1; false where it is a client's.
func ConsumerLane(client string) (consumer string, lane int, ok bool) {
	name, ok := strings.CutPrefix(client, consumerPrefix)
	if !ok {
		return "", 0, false
	}
	if base, number, cut := strings.Cut(name, "#"); cut {
		if n, err := strconv.Atoi(number); err == nil && n > 1 && n <= MaxLanes {
			return base, n, true
		}
	}
	return name, 1, true
}

// sid is the session in the store that takes in.
func (f *feed) sid() store.SID { return store.SID(f.live.Load()) }

// lane is the number of the lane that takes in. The caller holds Broker.mu.
func (f *feed) lane() int {
	for i, sid := range f.lanes {
		if sid == f.sid() {
			return i + 1
		}
	}
	return 1
}

// asksFor tells whether a filter is one of the feed's. The caller holds
// Broker.mu.
func (f *feed) asksFor(filter string) bool {
	for _, n := range f.filters {
		if n.Topic == filter {
			return true
		}
	}
	return false
}

// restoreLane lets a consumer's queue fill before its owner asks for it. The
// lane with subscriptions is the one that takes in. A Split that a crash or a
// full disk ended may have left two such: then it is the first, with the
// filters of both.
func (b *Broker) restoreLane(name string, lane int, o store.Session) {
	f := b.feeds[name]
	if f == nil {
		f = b.newFeed(name)
		f.live.Store(uint32(o.ID))
	}
	if f.lanes[lane-1] = o.ID; lane == 1 {
		f.inbox, f.note = b.newInbox(o.ID, o.Inbound), o.User
	}
	if len(f.filters) == 0 && len(o.Subs) > 0 {
		f.live.Store(uint32(o.ID))
	}
	for _, sub := range o.Subs {
		switch {
		case topic.ValidFilter(sub.Filter) != nil:
			continue
		case f.sid() != o.ID:
			b.st.DeleteSubscription(o.ID, sub.Filter, b.logged)
			b.st.PutSubscription(f.sid(), sub, b.logged)
		}
		if !f.asksFor(sub.Filter) {
			f.filters = append(f.filters, Filter{Topic: sub.Filter, QoS: sub.Options})
		}
		b.tree.Set(sub.Filter, &f.member, grant{options: sub.Options})
	}
	f.many.Store(len(f.filters) > 1)
}

// openLane opens the queue of a lane. The caller holds Broker.mu.
func (b *Broker) openLane(f *feed, lane int, wake chan struct{}) *Consumer {
	sid := f.lanes[lane-1]
	k := &Consumer{
		b: b, feed: f, lane: lane, wake: wake,
		limit: func(l Limit) { b.st.LimitSession(sid, l) },
	}
	if q := b.st.OpenQueue(sid, k.awake); q != nil {
		k.queue = q
	}
	return k
}

// Lane is the number of this lane, from 1 to MaxLanes: the same over restarts
// for as long as the lane holds anything.
func (k *Consumer) Lane() int { return k.lane }

// Others opens the consumer's other lanes, which are only read, in the order of
// their numbers. They share the channel of Wake with k.
func (k *Consumer) Others() []*Consumer {
	k.b.mu.Lock()
	defer k.b.mu.Unlock()
	var others []*Consumer
	for i, sid := range k.feed.lanes {
		if sid == 0 || i+1 == k.lane {
			continue
		}
		if o := k.b.openLane(k.feed, i+1, k.wake); o.queue != nil {
			others = append(others, o)
		}
	}
	return others
}

// ErrLanes is the error of [Consumer.Split] where each lane holds something.
var ErrLanes = errors.New("all lanes are in use")

// Split lets k, the lane that takes in, take in no more, and opens an empty lane
// that does instead: one more, or one that was emptied and is not open. All
// that was acknowledged before is in k; what is published meanwhile comes to
// one of the two. The new lane shares the channel of Wake with k. On an error
// (ErrLanes, ctx, or the store's) k goes on taking in.
func (k *Consumer) Split(ctx context.Context) (*Consumer, error) {
	b, f := k.b, k.feed
	b.mu.Lock()
	lane := 0
	for i, sid := range f.lanes {
		if queued, _ := b.st.Backlog(sid); i+1 != k.lane && queued == 0 {
			lane = i + 1
			break
		}
	}
	if lane == 0 {
		b.mu.Unlock()
		return nil, ErrLanes
	}
	// The new lane is on disk before anything is routed to it, and the old one
	// loses its subscriptions after: at no moment nobody has them.
	sid := f.lanes[lane-1]
	disk := make(chan error, len(f.filters)+1)
	note := func(err error) { disk <- err }
	waits := len(f.filters)
	if sid == 0 {
		waits++
		sid = b.st.CreateSession(laneName(f.name, lane), "", forever, note)
		f.lanes[lane-1] = sid
	}
	for _, n := range f.filters {
		b.st.PutSubscription(sid, store.Subscription{Filter: n.Topic, Options: n.QoS}, note)
	}
	b.mu.Unlock()
	for range waits {
		select {
		case err := <-disk:
			if err != nil {
				return nil, fmt.Errorf("another lane of consumer %s: %w", f.name, err)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("another lane of consumer %s: %w", f.name, ctx.Err())
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := f.sid()
	f.live.Store(uint32(sid))
	for _, n := range f.filters {
		b.st.DeleteSubscription(old, n.Topic, b.logged)
	}
	fresh := b.openLane(f, lane, k.wake)
	if fresh.queue == nil {
		return nil, fmt.Errorf("another lane of consumer %s: %w", f.name, store.ErrNoSession)
	}
	return fresh, nil
}
