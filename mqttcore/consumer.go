package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"sluice/mqttcore/store"
	"sluice/mqttcore/topic"
)

// Filter is a subscription of a [Consumer].
type Filter struct {
	Topic string
	QoS   byte // 1 or 2: the most that is delivered
}

// Delivery is one message read from a durable queue; see [store.Delivery].
type Delivery = store.Delivery

// Consumer is a durable in-process subscriber: like a client with a session
// that never expires, it gets each QoS 1 and 2 message that its filters match,
// over restarts. QoS 0 messages are not for it: see [Broker.Subscribe]. RETAIN
// is delivered as it was published. It has one owner: all methods but Backlog
// are called from one goroutine at a time.
type Consumer struct {
	b     *Broker
	feed  *feed
	lane  int
	queue queue
	wake  chan struct{} // of all lanes
	limit func(Limit)
}

// Limit bounds a durable queue; see [store.Limit].
type Limit = store.Limit

// WhenFull is a policy of a Limit.
type WhenFull = store.WhenFull

// What becomes of messages that a full queue has no room for.
const (
	DropOldest = store.DropOldest // the oldest go
	DropNewest = store.DropNewest // they are not queued
	Reject     = store.Reject     // they are refused: [store.ErrQuota]
)

// feed is the side of a consumer that the topic tree knows: it is there
// whether somebody has opened the consumer or not.
type feed struct {
	member
	name    string
	prompt  atomic.Bool
	live    atomic.Uint32       // store.SID of the lane that takes in
	lanes   [MaxLanes]store.SID // guarded by Broker.mu; 0: there is none yet
	filters []Filter            // guarded by Broker.mu
	inbox   *Inbox              // of the first lane
	note    string              // guarded by Broker.mu; of the first lane
}

func (b *Broker) newFeed(name string) *feed {
	f := &feed{name: name}
	f.member.feed = f
	f.member.id = b.memberID()
	b.feeds[name] = f
	return f
}

// Consumer opens the durable consumer of that name, creating it if needed.
// Its filters replace the previous ones. When it returns they are on disk. A
// consumer that was open under that name is no longer served.
func (b *Broker) Consumer(ctx context.Context, name string, filters []Filter) (*Consumer, error) {
	for _, f := range filters {
		if err := topic.ValidFilter(f.Topic); err != nil {
			return nil, fmt.Errorf("consumer %s: filter %q: %w", name, f.Topic, err)
		}
		if f.QoS != 1 && f.QoS != 2 {
			return nil, fmt.Errorf("consumer %s: filter %q: QoS %d: use 1 or 2", name, f.Topic, f.QoS)
		}
	}
	disk := make(chan error, 1)
	b.mu.Lock()
	f := b.feeds[name]
	if f == nil {
		f = b.newFeed(name)
	}
	if f.lanes[0] == 0 {
		f.lanes[0] = b.st.CreateSession(laneName(name, 1), "", forever, nil)
		f.inbox = b.newInbox(f.lanes[0], nil)
	}
	if f.sid() == 0 {
		f.live.Store(uint32(f.lanes[0]))
	}
	b.refeedLocked(f, filters)
	b.st.UpdateSession(f.sid(), forever, nil, func(err error) { disk <- err })
	k := b.openLane(f, f.lane(), make(chan struct{}, 1))
	b.mu.Unlock()
	select {
	case err := <-disk:
		if err != nil {
			return nil, fmt.Errorf("consumer %s: %w", name, err)
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("consumer %s: %w", name, ctx.Err())
	}
	if k.queue == nil {
		return nil, fmt.Errorf("consumer %s: %w", name, store.ErrNoSession)
	}
	k.awake()
	return k, nil
}

// consumerRetry is how long AwaitConsumer waits between two tries.
const consumerRetry = 2 * time.Second

// AwaitConsumer is [Broker.Consumer] for an owner that can wait for the disk:
// where the store has no room now it tries again, every two seconds until ctx
// ends. waiting is called once, with the reason, before the first wait.
func (b *Broker) AwaitConsumer(ctx context.Context, name string, filters []Filter, waiting func(why error)) (*Consumer, error) {
	for {
		k, err := b.Consumer(ctx, name, filters)
		if errors.Is(err, store.ErrFailed) || !errors.Is(err, store.ErrFull) && !errors.Is(err, store.ErrBusy) {
			return k, err
		}
		if waiting != nil {
			waiting(err)
			waiting = nil
		}
		select {
		case <-time.After(consumerRetry):
		case <-ctx.Done():
			return nil, fmt.Errorf("consumer %s: %w", name, ctx.Err())
		}
	}
}

// refeedLocked replaces the filters of a consumer.
func (b *Broker) refeedLocked(f *feed, filters []Filter) {
	old := f.filters
	f.filters = nil
	for _, n := range filters {
		f.filters = append(f.filters, n)
		if len(f.filters) > 1 {
			f.many.Store(true)
		}
		b.tree.Set(n.Topic, &f.member, grant{options: n.QoS})
		b.st.PutSubscription(f.sid(), store.Subscription{Filter: n.Topic, Options: n.QoS}, nil)
	}
	for _, o := range old {
		if !f.asksFor(o.Topic) {
			b.tree.Delete(o.Topic, &f.member)
			b.st.DeleteSubscription(f.sid(), o.Topic, nil)
		}
	}
}

// RemoveConsumers deletes all consumers but those named, with all their lanes
// and what is queued in them, which is logged.
func (b *Broker) RemoveConsumers(keep ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, k := range b.feeds {
		if slices.Contains(keep, name) {
			continue
		}
		for _, f := range k.filters {
			b.tree.Delete(f.Topic, &k.member)
		}
		queued := uint64(0)
		for _, sid := range k.lanes {
			if sid != 0 {
				n, _ := b.st.Backlog(sid)
				queued += n
				b.st.DeleteSession(sid, b.logged)
			}
		}
		delete(b.feeds, name)
		if queued > 0 {
			b.log.Warn("what waited for a consumer that is no longer configured is deleted", "consumer", name, "messages", queued)
		}
	}
}

func (k *Consumer) awake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Wake receives after something was committed for the consumer, and once at
// the start. It has room for one: drain Next until false before waiting again.
func (k *Consumer) Wake() <-chan struct{} { return k.wake }

// Next fills d with the next message; false: none is committed yet. What d
// points to is valid until the next call. An error means that the disk could
// not be read; Next may be called again.
func (k *Consumer) Next(d *Delivery) (bool, error) { return k.queue.Next(d) }

// Rewind makes Next start again after Base: for a new upstream connection.
func (k *Consumer) Rewind() { k.queue.Rewind() }

// Ack settles a message that was handed out: it was acknowledged for good
// (PUBACK, PUBCOMP). The disk learns it lazily, so a crash may bring some back.
func (k *Consumer) Ack(seq uint64) { k.queue.Ack(seq) }

// Release records that the receiver has a QoS 2 message (PUBREC); done is
// called when that is on disk, before which PUBREL must not be sent.
func (k *Consumer) Release(seq uint64, done func(error)) { k.queue.Release(seq, done) }

// Drop settles a message that can never be delivered and records why.
func (k *Consumer) Drop(seq uint64, reason string) { k.queue.Drop(seq, store.Reason(reason)) }

// Base is the sequence number up to which all is settled.
func (k *Consumer) Base() uint64 { return k.queue.Base() }

// Released is the highest sequence number given to Release, not below Base.
func (k *Consumer) Released() uint64 { return k.queue.Released() }

// Backlog tells what is queued in this lane, including what is in flight, and
// the age of the oldest of it.
func (k *Consumer) Backlog() (messages, bytes uint64, oldest time.Duration) {
	messages, bytes = k.queue.Len()
	return messages, bytes, k.queue.Oldest()
}

// Dropped counts the messages that were given up for the consumer, ever:
// expired, over a quota, damaged, or by Drop.
func (k *Consumer) Dropped() uint64 { return k.queue.Dropped() }

// DroppedBy counts those of them since the store was opened by their reasons:
// the store's own, see [store.Reason], or what was said to Drop.
func (k *Consumer) DroppedBy() map[string]uint64 {
	by := map[string]uint64{}
	for reason, count := range k.queue.DroppedBy() {
		by[string(reason)] = count
	}
	return by
}

// Limit bounds what is queued for the consumer; what goes beyond it is counted
// and recorded by the store. See [store.Limit].
func (k *Consumer) Limit(l Limit) { k.limit(l) }

// Prompt has what comes for the consumer from now on committed without delay,
// however long the store lets its commits gather: somebody waits for it.
func (k *Consumer) Prompt() { k.feed.prompt.Store(true) }

// Inbox is the consumer's memory of QoS 2 messages that its owner publishes.
func (k *Consumer) Inbox() *Inbox { return k.feed.inbox }

// Note is the text that SetNote left last, also in an earlier run. Lanes have
// one together.
func (k *Consumer) Note() string {
	k.b.mu.Lock()
	defer k.b.mu.Unlock()
	return k.feed.note
}

// SetNote keeps a text with the queue, for whatever its owner must know after
// a restart. done is called once, when it is on disk, and must not block.
func (k *Consumer) SetNote(note string, done func(error)) {
	k.b.mu.Lock()
	k.feed.note = note
	first := k.feed.lanes[0]
	k.b.mu.Unlock()
	k.b.st.OwnSession(first, note, done) // a consumer's session has no user
}

// Close gives the consumer back; its queue stays and goes on filling.
func (k *Consumer) Close() { k.queue.Close() }
