package bridge

import (
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// takeAnswers handles the answers that have come, without waiting.
func (f *forwarder) takeAnswers() error {
	for {
		select {
		case a := <-f.session.answers:
			if err := f.answer(a); err != nil {
				return err
			}
		default:
			f.w.advance()
			return nil
		}
	}
}

// answer handles one PUBACK, PUBREC or PUBCOMP. Those that fit no message in
// flight are left over from earlier and say nothing.
func (f *forwarder) answer(a answer) error {
	seq, ok := f.w.find(a.id)
	if !ok {
		return nil
	}
	s := f.w.at(seq)
	switch {
	case a.kind == packets.PUBACK && s.stage == sent && s.qos == 1,
		a.kind == packets.PUBREC && s.stage == sent && s.qos == 2:
		f.progressAt = time.Now()
		return f.answered(seq, a)
	case a.kind == packets.PUBREC && s.stage == released:
		f.out = appendPubrel(f.out, a.id)
	case a.kind == packets.PUBCOMP && s.stage == released:
		f.progressAt = time.Now()
		f.done(seq) // also where the upstream no longer knew it: 0x92
	}
	return nil
}

func (f *forwarder) answered(seq uint64, a answer) error {
	s := f.w.at(seq)
	switch judge(a.reason, int(s.tries)+1) {
	case accepted:
		if s.qos == 2 {
			s.stage = received
			f.fresh = append(f.fresh, seq)
			f.progress = true
			return nil
		}
		f.done(seq)
	case retryLater:
		tries := f.w.refuse(seq)
		f.pausedUntil = time.Now().Add(retryAfter(tries))
		f.l.retried.Add(1)
		f.l.noteRefusal(reasonText(a.reason, a.text))
	case giveUp:
		f.giveUp(seq, s.topic, "refused by the upstream: "+reasonText(a.reason, a.text))
	}
	return nil
}

// done settles a message that the upstream has taken.
func (f *forwarder) done(seq uint64) {
	f.queue.Ack(seq)
	f.w.settle(seq)
	f.w.advance()
	f.progress = true
	f.l.forwarded.Add(1)
	delete(f.l.renewed, seq)
	f.l.suspect.settled(seq)
	f.w.limit = f.l.suspect.limit(f.lim.window)
}

// giveUp ends a message that the upstream will never take. The loss is
// recorded in the log.
func (f *forwarder) giveUp(seq uint64, topic []byte, reason string) {
	f.l.noteDeadLetter(string(topic), reason) // first: topic may be the queue's
	f.queue.Drop(seq, reason)
	f.w.settle(seq)
	f.w.advance()
	f.progress = true
}

// release has the disk remember what the upstream has received, and sends
// PUBREL for what is remembered. What was received since the last time is one
// batch: the log keeps the order, so its last record speaks for all.
func (f *forwarder) release() error {
	if err := f.failed.Load(); err != nil {
		return fmt.Errorf("a release could not be stored: %w", *err)
	}
	for f.told < f.durable.Load() {
		for _, seq := range f.batches[0] {
			if f.w.holds(seq) && f.w.at(seq).stage == received {
				f.w.at(seq).stage = released
				f.l.renew(seq)
				f.out = appendPubrel(f.out, packetID(seq))
			}
		}
		f.batches = f.batches[1:]
		f.told++
	}
	if len(f.fresh) == 0 {
		return nil
	}
	last := len(f.fresh) - 1
	for _, seq := range f.fresh[:last] {
		f.queue.Release(seq, nil)
	}
	f.queue.Release(f.fresh[last], func(err error) {
		if err != nil {
			f.failed.Store(&err)
		} else {
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
