package mqttcore

import (
	"errors"
	"sync"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// ackQueue keeps a connection's answers in the order of what they answer
// (MQTT 5.0, 4.6), although some of them wait for the disk. It is bounded:
// the reader stops at Config.ReceiveMaximum open ones.
type ackQueue struct {
	mu    sync.Mutex
	wait  []*ack // oldest first
	free  []*ack
	quota int           // QoS 1 and 2 messages of the client that are not answered for good
	space chan struct{} // made by a reader that waits; room for one: look again
}

const acksKept = 64

// ack is one answer.
type ack struct {
	c      *conn
	typ    packet.Type
	pid    uint16
	reason packet.Reason
	seq    uint64 // PUBREL: the message's number
	marks  int    // changes of session.inbound that this decides on
	waits  bool   // who asked asks again where the store has no room just now
	busy   bool   // and is to
	ready  bool
	err    error
	settle func(error) // = settled, bound once
}

// settled is what the store calls. It never waits.
func (a *ack) settled(err error) {
	if err == store.ErrBusy && a.waits { // said before Append returns: see onPublish
		a.busy = true
		return
	}
	q := &a.c.acks
	q.mu.Lock()
	a.ready, a.err = true, err
	first := len(q.wait) > 0 && q.wait[0] == a
	q.mu.Unlock()
	if first {
		a.c.b.jobs.push(a.c)
	}
}

// later puts an answer into the queue that leaves after settle was called.
func (c *conn) later(typ packet.Type, pid uint16, reason packet.Reason) *ack {
	q := &c.acks
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.push(c, typ, pid, reason)
}

func (q *ackQueue) push(c *conn, typ packet.Type, pid uint16, reason packet.Reason) *ack {
	var a *ack
	if n := len(q.free); n > 0 {
		a, q.free = q.free[n-1], q.free[:n-1]
	} else {
		a = &ack{c: c}
		a.settle = a.settled
	}
	a.typ, a.pid, a.reason, a.seq, a.marks, a.ready, a.waits, a.busy, a.err = typ, pid, reason, 0, 0, false, false, false, nil
	q.wait = append(q.wait, a)
	return a
}

// answer sends an answer that waits for nothing but its turn.
func (c *conn) answer(typ packet.Type, pid uint16, reason packet.Reason) {
	q := &c.acks
	q.mu.Lock()
	if len(q.wait) > 0 {
		q.push(c, typ, pid, reason).ready = true
	} else {
		q.leave(c, typ, pid, reason)
	}
	q.mu.Unlock()
}

// leave hands an answer to the outbound buffer.
func (q *ackQueue) leave(c *conn, typ packet.Type, pid uint16, reason packet.Reason) {
	if q.quota > 0 && (typ == packet.PUBACK || typ == packet.PUBCOMP || typ == packet.PUBREC && reason.Failed()) {
		q.quota--
	}
	var room [8]byte
	a := packet.Ack{Type: typ, PacketID: pid, Reason: reason}
	c.append(a.Append(room[:0], c.version))
	c.b.count.messagesSent.add(1)
}

// releaseAcks sends the answers whose turn has come.
func (c *conn) releaseAcks() {
	q := &c.acks
	q.mu.Lock()
	n := 0
	for _, a := range q.wait {
		if !a.ready {
			break
		}
		n++
		c.conclude(q, a)
		if len(q.free) < acksKept {
			q.free = append(q.free, a)
		}
	}
	if n > 0 {
		q.wait = q.wait[:copy(q.wait, q.wait[n:])]
		if q.space != nil {
			select {
			case q.space <- struct{}{}:
			default:
			}
		}
	}
	q.mu.Unlock()
}

// conclude sends an answer the disk has decided on.
func (c *conn) conclude(q *ackQueue, a *ack) {
	s := c.sess
	if a.marks > 0 {
		s.committing(-a.marks)
	}
	switch {
	case a.err == nil && a.typ == packet.PUBREL:
		s.released(a.seq)
	case a.err != nil:
		c.b.storeRefused(a.err)
		switch {
		case a.typ == packet.PUBREC:
			s.forget(a.pid)
		case a.typ == packet.PUBCOMP && a.marks > 0:
			// The disk still has the identifier: the next PUBREL must end it there,
			// or after a restart a new message would be taken for this one.
			s.received(a.pid)
		}
		// What a failed disk refuses may be found on it at the next start, and
		// a PUBREC that says no would free its identifier, which is with it.
		unsure := a.typ == packet.PUBREC && s.sid != 0 && errors.Is(a.err, store.ErrFailed)
		if a.typ == packet.PUBREL || a.typ == packet.PUBCOMP || c.version != packet.V5 || unsure {
			// There is no word for it: the client must come again.
			c.evict(packet.ImplementationSpecificError, "store: "+a.err.Error())
			return
		}
		a.reason = storeReason(a.err)
	}
	q.leave(c, a.typ, a.pid, a.reason)
}

// waitAcks holds the reading of a client that is ahead of the disk. It ends
// when the store answers, and that it does, or with the connection.
func (c *conn) waitAcks() error {
	q := &c.acks
	for {
		q.mu.Lock()
		if len(q.wait) < int(c.b.cfg.ReceiveMaximum) {
			q.mu.Unlock()
			return nil
		}
		if q.space == nil {
			q.space = make(chan struct{}, 1)
		}
		q.mu.Unlock()
		select {
		case <-q.space:
		case <-c.dead:
			return nil
		}
		c.heard = time.Now() // the silence was ours
	}
}

// admit counts a QoS 1 or 2 message of the client against our Receive Maximum
// (MQTT 5.0, 3.3.4).
func (c *conn) admit() error {
	q := &c.acks
	q.mu.Lock()
	q.quota++
	over := q.quota > int(c.b.cfg.ReceiveMaximum)
	q.mu.Unlock()
	if over && c.version == packet.V5 {
		return bye(packet.ReceiveMaximumExceeded, "client sent more than it may before an answer")
	}
	return nil
}
