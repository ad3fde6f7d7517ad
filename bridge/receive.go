package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// receiveMaximum is how many messages the upstream may send before the first
// of them is durable here and acknowledged (MQTT 5.0, 3.1.2.11.3).
const receiveMaximum = 64

// arrival is a message or a PUBREL that came down and is not answered yet.
type arrival struct {
	id      uint16
	qos     byte
	reason  byte // for the acknowledgement
	release bool // it is a PUBREL
	known   bool // there was an exchange that it ends
	done    bool
	busy    bool  // PublishAsync has not returned
	err     error // what it said before that
}

// receiver takes what comes down on one connection to the local broker and
// acknowledges, in the order of arrival, what is durable there.
type receiver struct {
	l      *Link
	client client
	conn   *conn
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	mu      sync.Mutex
	queue   []*arrival // of QoS 1 and 2, and PUBREL; at most receiveMaximum
	failure error
	changed chan struct{}  // the head of queue or failure may have changed
	room    chan struct{}  // something was taken off queue
	pending sync.WaitGroup // publications that the local broker has not finished
	open    chan struct{}  // closed when the inbox is that of this session
}

func newReceiver(l *Link, c *conn) *receiver {
	r := &receiver{l: l, conn: c, changed: make(chan struct{}, 1), room: make(chan struct{}, 1), open: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// handle takes one message; the client calls it in the order of arrival. It
// does not wait for the disk, except where the upstream sends more at once than
// we want to hold: in MQTT 3.1.1 it cannot be told, and mosquitto does not heed
// it with what a resumed session has waiting.
func (r *receiver) handle(p inbound) {
	// What comes right behind a CONNACK must not be looked up among what the
	// session before it knew: it would be taken for known, and lost.
	select {
	case <-r.open:
	case <-r.conn.over:
	}
	select {
	case <-r.conn.over:
		return // it could not be acknowledged, so it will come again
	default:
	}
	a := &arrival{id: p.id, qos: p.qos}
	if p.qos > 0 {
		if !r.enqueue(a) {
			return
		}
		if p.qos == 2 && r.l.inbox.Has(p.id) {
			r.finish(a, 0) // we have it, and the upstream has not seen our PUBREC
			return
		}
	}
	local, ok := r.l.localName(p.topic)
	if !ok {
		r.l.ignored.Add(1)
		r.finish(a, 0)
		return
	}
	m := mqttcore.Message{
		Topic: local, Payload: p.payload, QoS: p.qos, Retain: p.retain,
		Properties: p.props, Origin: r.l.consumer(), Inbox: r.l.inbox, PacketID: p.id,
	}
	// An answer goes back where this came from: under the name that it has here.
	if answer := strings.TrimPrefix(m.Properties.ResponseTopic, r.l.cfg.Prefix); answer != "" {
		m.Properties.ResponseTopic = answer
	}
	if via := r.l.cfg.Via; via != "" {
		mark := mqttcore.UserProperty{Key: viaProperty, Value: via}
		for _, u := range m.Properties.User {
			if u == mark {
				r.l.looped.Add(1)
				r.finish(a, 0)
				return
			}
		}
		m.Properties.User = append(m.Properties.User, mark)
	}
	r.publish(a, m)
}

// enqueue puts an arrival into the order of answers, waiting where there is no
// room. False: the connection is over.
func (r *receiver) enqueue(a *arrival) bool {
	for {
		r.mu.Lock()
		full := len(r.queue) >= receiveMaximum
		if !full {
			r.queue = append(r.queue, a)
		}
		r.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-r.room:
		case <-r.conn.over:
			return false
		}
	}
}

// released ends a QoS 2 exchange: PUBREL came. It is answered when that is on
// disk, so that after a restart the next message of that identifier is not
// taken for this one.
func (r *receiver) released(id uint16) error {
	a := &arrival{id: id, release: true}
	if !r.enqueue(a) {
		return nil
	}
	r.l.inbox.Release(id, func(known bool, err error) {
		if err != nil {
			r.fail(fmt.Errorf("a release could not be stored: %w", err))
			return
		}
		a.known = known
		r.finish(a, 0)
	})
	return nil
}

// publish hands a message to the local broker. It waits only where the broker
// has no room, which holds up the upstream as it should.
func (r *receiver) publish(a *arrival, m mqttcore.Message) {
	r.pending.Add(1)
	a.busy = true
	err := r.l.broker.PublishAsync(m, func(err error) {
		defer r.pending.Done()
		r.mu.Lock()
		if err != nil && a.busy {
			a.err = err
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		r.published(a, m.Topic, err)
	})
	if err != nil {
		// It will not be better the next time, so the upstream is told.
		r.pending.Done()
		r.l.noteUnfit(m.Topic, err)
		r.finish(a, reasonImplementation)
		return
	}
	r.mu.Lock()
	a.busy = false
	again := a.err != nil
	r.mu.Unlock()
	if again {
		r.published(a, m.Topic, r.l.broker.Publish(r.ctx, m))
	}
}

// published notes what became of a message.
func (r *receiver) published(a *arrival, topic string, err error) {
	if err != nil && a.qos == 1 && r.l.broker.DiskFault() != nil && r.l.cfg.version() == packet.V5 {
		// It will not be better on another connection: the upstream is told.
		r.l.noteUnfit(topic, err)
		r.finish(a, reasonImplementation)
		return
	}
	if err != nil {
		r.fail(fmt.Errorf("the local broker could not keep a message: %w", err))
		return
	}
	r.l.received.Add(1)
	r.finish(a, 0)
}

// finish marks an arrival as ready for its acknowledgement. It does not wait.
func (r *receiver) finish(a *arrival, reason byte) {
	r.mu.Lock()
	a.done, a.reason = true, reason
	r.mu.Unlock()
	r.wake()
}

// fail ends the connection; what is not acknowledged comes again on the next.
func (r *receiver) fail(err error) {
	r.mu.Lock()
	if r.failure == nil {
		r.failure = err
	}
	r.mu.Unlock()
	r.wake()
}

func (r *receiver) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// settle waits until the local broker has finished what came down on the
// connection, so that nothing of it is taken for new on the next. The client
// has ended.
func (r *receiver) settle(ctx context.Context) {
	finished := make(chan struct{})
	go func() {
		r.pending.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
	}
}

// run acknowledges until the connection is over.
func (r *receiver) run() {
	for {
		select {
		case <-r.changed:
		case <-r.conn.over:
			return
		}
		for {
			r.mu.Lock()
			if r.failure != nil {
				err := r.failure
				r.mu.Unlock()
				r.conn.fail(err)
				return
			}
			if len(r.queue) == 0 || !r.queue[0].done {
				r.mu.Unlock()
				break
			}
			a := r.queue[0]
			r.queue = r.queue[1:]
			r.mu.Unlock()
			select {
			case r.room <- struct{}{}:
			default:
			}
			if r.answer(a) != nil {
				return // the connection is over
			}
		}
	}
}

func (r *receiver) answer(a *arrival) error {
	if a.release {
		return r.client.complete(a.id, a.known)
	}
	return r.client.acknowledge(a.id, a.qos, a.reason)
}

// localName returns the local name of a remote topic; false where it is not
// one of those that come down.
func (l *Link) localName(remote string) (string, bool) {
	local, ok := strings.CutPrefix(remote, l.cfg.Prefix)
	if !ok || local == "" || !l.Brings(local) {
		return "", false
	}
	return local, true
}

// Brings tells whether the topic, a local name, is one of those that come down.
func (l *Link) Brings(local string) bool {
	return slices.ContainsFunc(l.cfg.In, func(f string) bool { return topic.Match(f, local) })
}
