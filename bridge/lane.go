package bridge

import (
	"fmt"

	"sluice/mqttcore"
)

// lane is one queue of a link on its way up, in its own order. A link has one,
// or with the order "live-first" some: the last of its lanes takes in, the
// others hold what outages have left. It is owned by Link.Run.
type lane struct {
	queue *mqttcore.Consumer

	// What was tried: in this run all up to sentTo; in an earlier one perhaps
	// all before fresh, which the queue gave as never read. Zero: not known.
	sentTo, fresh uint64
	untried       bool // the first message of the queue was never read before this run
	// Releases on record up to forgotten were for a session that the upstream
	// has lost, but for those that were made anew for the present one.
	forgotten uint64
	renewed   map[uint64]struct{}
	suspect   suspicion

	// Of the present connection.
	w        *window
	again    uint64 // what the upstream may hold of an earlier one is up to here
	idle     bool   // the queue had no more when it was asked last
	held     bool   // d was read and not sent yet
	d        mqttcore.Delivery
	progress bool // a message was acknowledged
}

func newLane(queue *mqttcore.Consumer) *lane {
	return &lane{queue: queue, renewed: map[uint64]struct{}{}}
}

// look reads the first message, to know whether the queue was ever used.
func (n *lane) look() error {
	var d mqttcore.Delivery
	ok, err := n.queue.Next(&d)
	if err != nil {
		return err
	}
	if ok {
		n.seen(&d)
	}
	n.untried = !ok || !d.Sent
	return nil
}

// isNew tells whether nothing of the queue was ever sent.
func (n *lane) isNew() bool {
	return n.untried && n.queue.Base() == 0 && n.queue.Released() == 0
}

// begin starts a connection. Between the oldest and the newest message in
// flight there may be span others. The upstream may hold messages of held
// sequence numbers from an earlier one.
func (n *lane) begin(span, held int) {
	n.w = newWindow(n.queue.Lane(), n.queue.Base(), span)
	n.again = n.queue.Base() + uint64(held)
	n.progress = false
	n.rewind()
}

// rewind goes back to the first message that is not settled.
func (n *lane) rewind() {
	n.queue.Rewind()
	n.idle, n.held = false, false
}

// load sees to it that d is the next message to send; false: there is none.
func (n *lane) load() (bool, error) {
	for !n.held && !n.idle {
		ok, err := n.queue.Next(&n.d)
		if err != nil {
			return false, fmt.Errorf("the queue cannot be read: %w", err)
		}
		if !ok {
			n.idle = true
			break
		}
		n.seen(&n.d)
		n.held = n.w.wants(n.d.Seq)
	}
	return n.held, nil
}

// forget notes that the upstream has lost our session.
func (n *lane) forget() {
	n.forgotten = n.queue.Released()
	clear(n.renewed)
}

// seen notes whether an earlier run may have sent a message.
func (n *lane) seen(d *mqttcore.Delivery) {
	if !d.Sent && (n.fresh == 0 || d.Seq < n.fresh) {
		n.fresh = d.Seq
	}
}

// triedBefore tells whether a message may have been sent before. The queue's
// own word does not do: it counts what was read.
func (n *lane) triedBefore(seq uint64) bool {
	return seq <= n.sentTo || n.fresh == 0 || seq < n.fresh
}

// releasedNow tells whether a release on record is for the session that the
// upstream has now. Where it has lost the one that a message was received in,
// that message is sent anew: the upstream may have lost it as well, and twice
// is better than never.
func (n *lane) releasedNow(seq uint64) bool {
	_, renewed := n.renewed[seq]
	return seq > n.forgotten || renewed
}

// renew notes a release for the present session.
func (n *lane) renew(seq uint64) {
	if seq <= n.forgotten {
		n.renewed[seq] = struct{}{}
	}
}

// settle ends a message in the window, which the queue knows of already.
func (n *lane) settle(seq uint64) {
	n.w.settle(seq)
	n.w.advance()
	n.suspect.settled(seq)
}

// take settles a message that was taken by the upstream, or needs not be.
func (n *lane) take(seq uint64) {
	n.queue.Ack(seq)
	n.settle(seq)
	delete(n.renewed, seq)
}
