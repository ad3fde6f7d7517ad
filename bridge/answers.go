package bridge

import (
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// takeAnswers handles the answers that have come, without waiting.
func (f *forwarder) takeAnswers() {
	for {
		select {
		case a := <-f.session.answers:
			f.answer(a)
		default:
			return
		}
	}
}

// answer handles one PUBACK, PUBREC or PUBCOMP. Those that fit no message in
// flight are left over from earlier and say nothing.
func (f *forwarder) answer(a answer) {
	n := f.lane(a.id)
	if n == nil {
		return
	}
	seq, ok := n.w.find(a.id)
	if !ok {
		return
	}
	s := n.w.at(seq)
	switch {
	case a.kind == packets.PUBACK && s.stage == sent && s.qos == 1,
		a.kind == packets.PUBREC && s.stage == sent && s.qos == 2:
		f.progressAt = time.Now()
		f.answered(n, seq, a)
	case a.kind == packets.PUBREC && s.stage == released:
		f.out = appendPubrel(f.out, a.id)
	case a.kind == packets.PUBCOMP && s.stage == released:
		f.progressAt = time.Now()
		f.done(n, seq) // also where the upstream no longer knew it: 0x92
	}
}

func (f *forwarder) answered(n *lane, seq uint64, a answer) {
	s := n.w.at(seq)
	switch judge(a.reason, int(s.tries)+1) {
	case accepted:
		if s.qos == 2 {
			s.stage = received
			f.fresh = append(f.fresh, receipt{n, seq})
			n.progress = true
			return
		}
		f.done(n, seq)
	case retryLater:
		tries := n.w.refuse(seq)
		f.pausedUntil = time.Now().Add(retryAfter(tries))
		f.l.retried.Add(1)
		f.l.noteRefusal(reasonText(a.reason, a.text))
	case giveUp:
		f.giveUp(n, seq, s.topic, "refused by the upstream: "+reasonText(a.reason, ""),
			"refused by the upstream: "+reasonText(a.reason, a.text))
	}
}

// done settles a message that the upstream has taken.
func (f *forwarder) done(n *lane, seq uint64) {
	n.take(seq)
	n.progress = true
	f.l.forwarded.Add(1)
	f.reconsider()
}

// giveUp ends a message that the upstream will never take. The loss is
// recorded in the log with the class of its reason, of which there are few; why
// says more.
func (f *forwarder) giveUp(n *lane, seq uint64, topic []byte, class, why string) {
	f.l.noteDeadLetter(string(topic), why) // first: topic may be the queue's
	n.queue.Drop(seq, class)
	n.settle(seq)
	n.progress = true
	f.reconsider()
}

// receipt is a message for which PUBREC came.
type receipt struct {
	lane *lane
	seq  uint64
}

// release has the disk remember what the upstream has received, and sends
// PUBREL for what is remembered. What was received since the last time is one
// batch: the log keeps the order, so with its last record all are on disk that were
// not refused before.
func (f *forwarder) release() error {
	if err := f.failed.Load(); err != nil {
		return fmt.Errorf("a release could not be stored: %w", *err)
	}
	for f.told < f.durable.Load() {
		for _, r := range f.batches[0] {
			if w := r.lane.w; w.holds(r.seq) && w.at(r.seq).stage == received {
				w.at(r.seq).stage = released
				r.lane.renew(r.seq)
				f.out = appendPubrel(f.out, w.id(r.seq))
			}
		}
		f.batches = f.batches[1:]
		f.told++
	}
	if len(f.fresh) == 0 {
		return nil
	}
	refused := func(err error) {
		if err != nil {
			f.failed.Store(&err)
		}
	}
	last := len(f.fresh) - 1
	for _, r := range f.fresh[:last] {
		r.lane.queue.Release(r.seq, refused)
	}
	f.fresh[last].lane.queue.Release(f.fresh[last].seq, func(err error) {
		if refused(err); err == nil {
			f.durable.Add(1)
		}
		select {
		case f.releases <- struct{}{}:
		default:
		}
	})
	f.batches, f.fresh = append(f.batches, f.fresh), nil
	return nil
}

// appendPubrel appends a PUBREL packet (MQTT 5.0, 3.6).
func appendPubrel(dst []byte, id uint16) []byte {
	return append(dst, 6<<4|2, 2, byte(id>>8), byte(id))
}
