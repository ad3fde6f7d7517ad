package mqttcore

import (
	"sync"
	"sync/atomic"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// member is what the topic tree holds: someone who gets messages. Exactly one
// of the pointers is set.
type member struct {
	id    uint32      // order in which overlapping matches are merged
	many  atomic.Bool // it has, or had, more than one subscription
	sess  *session
	feed  *feed
	live  *observer
	share *share
}

// grant is a subscription as the tree holds it.
type grant struct {
	options byte   // as in SUBSCRIBE of MQTT 5
	id      uint32 // subscription identifier, 0: none
}

func (g grant) qos() byte     { return g.options & 3 }
func (g grant) noLocal() bool { return g.options&4 != 0 }
func (g grant) asSent() bool  { return g.options&8 != 0 }

// session is the state of one client (MQTT 5.0, 4.1). It is durable if sid is
// set: then queued messages, subscriptions and received QoS 2 identifiers are
// in the store as well.
type session struct {
	member
	client string
	sid    store.SID
	rights atomic.Pointer[rights] // of its user; nil: all

	conn atomic.Pointer[conn] // who may be sent messages: connected and told so

	// Guarded by Broker.mu.
	user    string        // whose it is; "": anonymous
	owner   *conn         // the connection that has the session, or is about to
	round   atomic.Uint64 // counts attach and detach: what a timer was set for
	expiry  uint32        // seconds, when it was left
	left    time.Duration // when it was left, on the broker's clock
	will    *will         // delayed: to be published while nobody is connected
	filters filterSet     // of all its subscriptions

	mu          sync.Mutex
	win         window
	queue       *store.Queue // of a durable session while it is connected
	wait        []queued     // of others: messages beyond the window, oldest first
	waitBytes   int
	dropped     uint64 // deliveries for which wait had no room
	pumper      *conn  // whose goroutine pumps from the log now
	pumpMore    bool   // it is to go on
	inbound     pidSet // QoS 2 identifiers received and not released
	uncommitted int    // changes of inbound that are not on disk yet
}

// queued is a message in memory that waits for the window of its session.
type queued struct {
	m      *kept
	qos    byte
	retain bool
	subIDs []uint32
	cost   int // bytes, as counted against Config.MaxQueuedBytes
}

// What a queued message takes beside its bytes, roughly: without it a flood of
// empty messages would not be bounded. heldCost is for one that is in memory in
// any case, as retained ones are.
const (
	queuedCost = 200
	heldCost   = 64
)

// deliver sends a QoS 1 or 2 message to a session in memory, now or when its
// window opens. It tells what became of it.
func (s *session) deliver(c *conn, r *router, p *publication, qos byte, retain bool, subIDs []uint32) fate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn.Load() != c {
		return dropped
	}
	out := packet.Outgoing{Retain: retain, QoS: qos, SubIDs: subIDs, HasExpiry: p.hasExpiry, Expiry: p.expiry, Props: p.props}
	size := packet.PublishSize(c.version, len(p.topic), len(p.payload), &out)
	if size > c.maxPacket && !fits(c, p.topic, len(p.payload), &out) {
		return tooLarge
	}
	if len(s.wait) == 0 && !s.win.full() && !c.congested() {
		send(s, c, p.topic, p.payload, &out)
		return sent
	}
	q := queued{qos: qos, retain: retain, cost: size + queuedCost}
	q.m = r.keep(p)
	if p.held != nil {
		q.cost = heldCost
	}
	if s.waitBytes+q.cost > c.b.cfg.MaxQueuedBytes || !c.b.queueMemory(q.m) {
		s.dropped++
		return dropped
	}
	if len(subIDs) > 0 {
		q.subIDs = append([]uint32(nil), subIDs...)
	}
	s.wait = append(s.wait, q)
	s.waitBytes += q.cost
	return waiting
}

// send gives a message the next number and hands it to the connection.
func send[T ~string | ~[]byte](s *session, c *conn, topic T, payload []byte, out *packet.Outgoing) {
	seq := s.win.next()
	p := awaitPuback
	if out.QoS == 2 {
		p = awaitPubrec
	}
	s.win.sent(seq, p)
	out.PacketID = packetID(seq)
	post(c, topic, payload, out)
}

// pump sends what the window allows. It is called when something was
// acknowledged, committed or written. One goroutine does it at a time; others
// leave it to that one.
func (s *session) pump(c *conn) {
	for first := true; ; first = false {
		rel, q, more, err := s.pumpSome(c, first)
		if err != nil {
			c.b.storeRefused(err)
			c.evict(packet.ImplementationSpecificError, "queue: "+err.Error())
		}
		if !more {
			return
		}
		switch {
		case rel.seq == 0:
		case rel.onDisk:
			c.answer(packet.PUBREL, packetID(rel.seq), packet.Success)
		default:
			c.release(q, rel.seq)
		}
	}
}

// pubrel is a PUBREL owed. If not onDisk it waits for the disk once more, as
// the connection that waited for it is gone.
type pubrel struct {
	seq    uint64
	onDisk bool
}

// pumpSome sends up to the next PUBREL, which it leaves to the caller: its
// queue may not be entered with mu held. more asks for another call.
func (s *session) pumpSome(c *conn, first bool) (rel pubrel, q *store.Queue, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn.Load() != c {
		return rel, nil, false, nil
	}
	if s.sid == 0 {
		s.pumpMemory(c)
		return rel, nil, false, nil
	}
	if first && s.pumper == c {
		s.pumpMore = true
		return rel, nil, false, nil
	}
	if s.queue == nil {
		return rel, nil, false, nil
	}
	s.pumper = c
	rel, err = s.pumpLog(c)
	more = err == nil && (rel.seq != 0 || s.pumpMore)
	if rel.seq == 0 {
		s.pumpMore = false
	}
	if !more {
		s.pumper = nil
	}
	return rel, s.queue, more, err
}

func (s *session) pumpMemory(c *conn) {
	n := 0
	for ; n < len(s.wait) && !s.win.full() && !c.congested(); n++ {
		q := &s.wait[n]
		out := packet.Outgoing{Retain: q.retain, QoS: q.qos, SubIDs: q.subIDs, HasExpiry: q.m.hasExpiry, Props: q.m.props}
		s.waitBytes -= q.cost
		c.b.unqueueMemory(q.m)
		if q.m.hasExpiry {
			var alive bool
			if out.Expiry, alive = q.m.remaining(c.b.clock()); !alive {
				c.b.count.expired.add(1)
				continue
			}
		}
		if !mayRead(s.rights.Load(), q.m.topic) { // no longer
			c.b.count.deniedDeliveries.add(1)
			continue
		}
		send(s, c, q.m.topic, q.m.payload, &out)
		c.b.count.published(len(q.m.payload))
	}
	if n == 0 {
		return
	}
	left := copy(s.wait, s.wait[n:])
	clear(s.wait[left:])
	s.wait = s.wait[:left]
	if left == 0 {
		s.wait, s.waitBytes = nil, 0
	}
}

// pumpLog sends from the log, until a PUBREL is owed.
func (s *session) pumpLog(c *conn) (rel pubrel, err error) {
	var d store.Delivery
	for !s.win.full() && !c.congested() {
		ok, err := s.queue.Next(&d)
		if err != nil || !ok {
			return rel, err
		}
		was := s.win.phase(d.Seq)
		switch {
		case d.Seq <= s.win.last && was == settled:
			s.win.sent(d.Seq, settled)
			s.queue.Ack(d.Seq)
			continue
		case was == releasing:
			s.win.sent(d.Seq, releasing)
			return pubrel{d.Seq, false}, nil
		case was == awaitPubcomp || d.Released:
			s.win.sent(d.Seq, awaitPubcomp)
			return pubrel{d.Seq, true}, nil
		}
		if !mayRead(s.rights.Load(), d.Topic) { // no longer
			s.win.sent(d.Seq, settled)
			s.queue.Drop(d.Seq, reasonDenied)
			c.b.count.deniedDeliveries.add(1)
			continue
		}
		out := packet.Outgoing{Dup: d.Sent, Retain: d.Retain, QoS: d.QoS, PacketID: packetID(d.Seq),
			SubIDs: d.SubIDs, HasExpiry: d.HasExpiry, Expiry: d.Expiry, Props: d.Props}
		if packet.PublishSize(c.version, len(d.Topic), len(d.Payload), &out) > c.maxPacket &&
			!fits(c, d.Topic, len(d.Payload), &out) {
			s.win.sent(d.Seq, settled)
			s.queue.Drop(d.Seq, reasonTooLarge)
			c.b.count.tooLarge.add(1)
			continue
		}
		switch d.QoS {
		case 0:
			s.win.sent(d.Seq, settled)
			s.queue.Ack(d.Seq)
		case 1:
			s.win.sent(d.Seq, awaitPuback)
		default:
			s.win.sent(d.Seq, awaitPubrec)
		}
		post(c, d.Topic, d.Payload, &out)
		c.b.count.published(len(d.Payload))
	}
	return rel, nil
}

const (
	reasonTooLarge store.Reason = "larger than the client's maximum packet size"
	reasonDenied   store.Reason = "no longer allowed to its user"
)

// settle ends a handshake: the client has the message, or refused it.
func (s *session) settle(seq uint64) {
	s.win.move(seq, settled)
	if s.queue != nil {
		s.queue.Ack(seq)
	}
}

// puback and pubcomp end the handshake of a message.
func (s *session) puback(pid uint16)  { s.end(pid, awaitPuback) }
func (s *session) pubcomp(pid uint16) { s.end(pid, awaitPubcomp) }

func (s *session) end(pid uint16, p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq, ok := s.win.find(pid, p); ok {
		s.settle(seq)
	}
}

// pubrec answers PUBREC: with PUBREL, which of a durable session leaves only
// after the disk knows that it does.
func (s *session) pubrec(c *conn, pid uint16, reason packet.Reason) {
	s.mu.Lock()
	seq, ok := s.win.find(pid, awaitPubrec)
	if ok && reason.Failed() {
		s.settle(seq)
		s.mu.Unlock()
		return
	}
	if ok && s.queue != nil {
		s.win.move(seq, releasing)
		q := s.queue
		s.mu.Unlock()
		c.release(q, seq)
		return
	}
	if ok {
		s.win.move(seq, awaitPubcomp)
	} else if _, ok = s.win.find(pid, releasing); ok {
		s.mu.Unlock()
		return // its PUBREL is under way
	} else {
		_, ok = s.win.find(pid, awaitPubcomp)
	}
	s.mu.Unlock()
	if ok {
		c.answer(packet.PUBREL, pid, packet.Success)
	} else if !reason.Failed() {
		c.answer(packet.PUBREL, pid, packet.PacketIdentifierNotFound)
	}
}

// release sends PUBREL when the disk knows that PUBREC came.
func (c *conn) release(q *store.Queue, seq uint64) {
	a := c.later(packet.PUBREL, packetID(seq), packet.Success)
	a.seq = seq
	q.Release(seq, a.settle)
}

// released says that PUBREL may leave, and leaves.
func (s *session) released(seq uint64) {
	s.mu.Lock()
	if s.win.phase(seq) == releasing {
		s.win.move(seq, awaitPubcomp)
	}
	s.mu.Unlock()
}

// received enters the identifier of a QoS 2 message; known says that it was
// there already, and pending that what is there may not be on disk yet.
func (s *session) received(pid uint16) (known, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inbound.has(pid) {
		return true, s.uncommitted > 0
	}
	s.inbound.add(pid)
	return false, s.uncommitted > 0
}

// underWay says that a QoS 2 message was received and is not released.
func (s *session) underWay(pid uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbound.has(pid)
}

// forget takes an identifier out again.
func (s *session) forget(pid uint16) (known, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbound.remove(pid), s.uncommitted > 0
}

// committing counts the changes of inbound that wait for the disk.
func (s *session) committing(by int) {
	s.mu.Lock()
	s.uncommitted += by
	s.mu.Unlock()
}
