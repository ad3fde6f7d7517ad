package mqttcore

import (
	"time"

	"sluice/mqttcore/store"
)

// DiskFault is why nothing is kept until the program is started again; nil
// where that is not so. What needs no disk goes on.
func (b *Broker) DiskFault() error { return b.st.Err() }

// StoredConsumer opens the consumer of that name as an earlier run has left it:
// while there is a [Broker.DiskFault], what it holds can still be read, where
// the disk can. Release then fails, and what is settled is there again after the
// next start.
func (b *Broker) StoredConsumer(name string) *Consumer {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.feeds[name]
	if f == nil {
		f = b.newFeed(name)
		f.inbox = b.newInbox(0, nil)
	}
	k := b.openLane(f, f.lane(), make(chan struct{}, 1))
	if k.queue == nil {
		k.queue = noQueue{b}
	}
	k.awake()
	return k
}

// queue is what a consumer needs of a store.Queue.
type queue interface {
	Next(d *Delivery) (bool, error)
	Rewind()
	Ack(seq uint64)
	Release(seq uint64, done func(error))
	Drop(seq uint64, reason store.Reason)
	Base() uint64
	Released() uint64
	Len() (messages, bytes uint64)
	Oldest() time.Duration
	Dropped() uint64
	DroppedBy() map[store.Reason]uint64
	Close()
}

// noQueue is the queue of a consumer that the store does not have.
type noQueue struct{ b *Broker }

func (noQueue) Next(*Delivery) (bool, error)       { return false, nil }
func (noQueue) Rewind()                            {}
func (noQueue) Ack(uint64)                         {}
func (noQueue) Drop(uint64, store.Reason)          {}
func (noQueue) Base() uint64                       { return 0 }
func (noQueue) Released() uint64                   { return 0 }
func (noQueue) Len() (uint64, uint64)              { return 0, 0 }
func (noQueue) Oldest() time.Duration              { return 0 }
func (noQueue) Dropped() uint64                    { return 0 }
func (noQueue) DroppedBy() map[store.Reason]uint64 { return nil }
func (noQueue) Close()                             {}

func (q noQueue) Release(_ uint64, done func(error)) {
	if done != nil {
		done(q.b.DiskFault())
	}
}
