package mqttcore

import (
	"context"
	"sync"
)

// workQueue holds the connections that have something to do which did not
// come from their client: messages committed for them, acknowledgements that
// the disk allowed, room in a socket again. A connection is in it once at
// most, so it is bounded by their number.
type workQueue struct {
	mu         sync.Mutex
	head, tail *conn
	more       chan struct{} // room for one: the queue may not be empty
}

// push queues c unless it is queued already. It never blocks.
func (q *workQueue) push(c *conn) {
	q.mu.Lock()
	if c.queued {
		q.mu.Unlock()
		return
	}
	c.queued = true
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.nextWork = c
	}
	q.tail = c
	q.mu.Unlock()
	q.signal()
}

func (q *workQueue) signal() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// pop takes the oldest; nil: empty.
func (q *workQueue) pop() *conn {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.head
	if c == nil {
		return nil
	}
	q.head, c.nextWork, c.queued = c.nextWork, nil, false
	if q.head == nil {
		q.tail = nil
	} else {
		q.signal() // another worker may help
	}
	return c
}

// work serves the queue until ctx ends. Several may run.
func (b *Broker) work(ctx context.Context) {
	for {
		c := b.jobs.pop()
		if c != nil {
			c.service()
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-b.jobs.more:
		}
	}
}

// service does what other goroutines left for the connection to do. The
// connection's client is only one of many: a fault here ends that client.
func (c *conn) service() {
	defer c.survive()
	c.releaseAcks()
	if s := c.sess; s != nil {
		s.pump(c)
	}
	c.flush()
}
