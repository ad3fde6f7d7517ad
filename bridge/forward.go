package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"sluice/mqttcore"
)

const (
	// batchMessages and batchBytes bound what is written before answers are
	// looked at again.
	batchMessages = 256
	batchBytes    = 32 << 10
	// drainLimit is how long an orderly stop waits for acknowledgements.
	drainLimit = time.Second
)

// errNoAnswer ends a connection on which messages are in flight and nothing
// is acknowledged. MQTT 5 sends a message again only on a new connection.
var errNoAnswer = errors.New("the upstream acknowledges nothing")

// forwarder carries the queue up one connection. It is the one owner of the
// consumer and runs on one goroutine; what others have to say comes through
// channels.
type forwarder struct {
	l       *Link
	queue   *mqttcore.Consumer
	session *session
	conn    *conn
	lim     limits
	resumed bool // the upstream has kept our session
	live    <-chan mqttcore.Message

	w        *window
	held     bool // d was read and does not fit in the window yet
	d        mqttcore.Delivery
	out      []byte                // packets to be written together
	fresh    []uint64              // received, and not given to the disk
	batches  [][]uint64            // given to the disk, in order
	told     uint64                // batches that were taken off
	durable  atomic.Uint64         // batches that are on disk
	failed   atomic.Pointer[error] // why a batch is not
	releases chan struct{}         // durable or failed has changed

	pausedUntil time.Time // a refused message waits; zero: no
	quietUntil  time.Time // nothing is sent before
	progressAt  time.Time // the last answer, or the first send after none was in flight
	sentAt      time.Time // the last PUBLISH
	progress    bool      // a message was acknowledged
}

func newForwarder(l *Link, queue *mqttcore.Consumer, s *session, c *conn, lim limits, resumed bool) *forwarder {
	f := &forwarder{
		l: l, queue: queue, session: s, conn: c, lim: lim, resumed: resumed,
		w:        newWindow(queue.Base(), lim.window),
		releases: make(chan struct{}, 1),
	}
	f.w.limit = l.suspect.limit(lim.window)
	if q := l.suspect.quiet(); q > 0 {
		f.quietUntil = time.Now().Add(q)
	}
	queue.Rewind()
	return f
}

// run forwards until the connection is lost, which it returns as an error,
// or ctx ends and what was in flight is acknowledged or given its time.
func (f *forwarder) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stop := ctx.Done()
	var stopAt time.Time // zero: not stopping
	for {
		if err := f.takeAnswers(); err != nil {
			return err
		}
		if err := f.release(); err != nil {
			return err
		}
		more := false
		if stopAt.IsZero() {
			var err error
			if more, err = f.fill(); err != nil {
				return err
			}
		}
		f.flush()
		f.l.inFlight.Store(int64(f.w.flying))

		now := time.Now()
		switch {
		case !stopAt.IsZero() && (f.w.flying == 0 || now.After(stopAt)):
			return nil
		case f.w.flying > 0 && now.Sub(f.progressAt) > f.l.answerTimeout():
			return fmt.Errorf("%w for %v with %d messages in flight", errNoAnswer, f.l.answerTimeout(), f.w.flying)
		}
		if more {
			continue
		}
		timer.Reset(f.wait(now, stopAt))
		select {
		case a := <-f.session.answers:
			if err := f.answer(a); err != nil {
				return err
			}
		case <-f.queue.Wake():
		case m := <-f.live:
			f.sendLive(&m)
		case <-f.releases:
		case <-timer.C:
		case <-stop:
			stop, stopAt = nil, time.Now().Add(drainLimit)
		case <-f.session.lost:
			return f.over()
		case <-f.conn.over:
			return f.over()
		}
	}
}

// over takes what was answered before the connection ended, so that it is not
// sent twice, and returns why it ended.
func (f *forwarder) over() error {
	if err := f.takeAnswers(); err != nil {
		return err
	}
	return f.conn.cause()
}

// wait returns how long nothing may happen.
func (f *forwarder) wait(now, stopAt time.Time) time.Duration {
	d := time.Hour
	until := func(t time.Time) {
		if !t.IsZero() {
			d = min(d, max(t.Sub(now), 0)+time.Millisecond)
		}
	}
	until(stopAt)
	until(f.pausedUntil)
	until(f.quietUntil)
	if f.w.flying > 0 {
		until(f.progressAt.Add(f.l.answerTimeout()))
	}
	return d
}

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
	f.queue.Drop(seq, reason)
	f.w.settle(seq)
	f.w.advance()
	f.progress = true
	f.l.noteDeadLetter(string(topic), reason)
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

// fill sends what the queue has and the window allows; more tells that it
// stopped only to look at answers.
func (f *forwarder) fill() (more bool, err error) {
	now := time.Now()
	if now.Before(f.quietUntil) {
		return false, nil
	}
	f.quietUntil = time.Time{}
	if !f.pausedUntil.IsZero() {
		if now.Before(f.pausedUntil) {
			return false, nil
		}
		f.pausedUntil = time.Time{}
		f.queue.Rewind()
		f.held = false
	}
	for range batchMessages {
		if !f.w.open() || len(f.out) >= batchBytes {
			return f.w.open(), nil
		}
		if !f.held {
			ok, err := f.queue.Next(&f.d)
			if err != nil {
				return false, fmt.Errorf("the queue cannot be read: %w", err)
			}
			if !ok {
				return false, nil
			}
			f.l.seen(&f.d)
		}
		f.held = false
		if !f.w.wants(f.d.Seq) {
			continue
		}
		if !f.w.fits(f.d.Seq) {
			f.held = true
			return false, nil
		}
		f.send()
	}
	return true, nil
}

// send puts the delivery that was read on its way.
func (f *forwarder) send() {
	d := &f.d
	id := packetID(d.Seq)
	switch {
	case d.Released && f.l.releasedNow(d.Seq) && !f.w.waiting(d.Seq):
		f.begin()
		f.w.restore(d.Seq, d.Topic)
		f.out = appendPubrel(f.out, id)
		return
	case f.l.ownTopic(d.Topic): // the will and the birth say it better
		f.queue.Ack(d.Seq)
		f.w.settle(d.Seq)
		f.w.advance()
		return
	}
	qos := min(d.QoS, f.lim.qos)
	if why := unsendable(f.l.cfg.Prefix, d, qos, f.lim.packet); why != "" {
		f.giveUp(d.Seq, d.Topic, why)
		return
	}
	again := f.l.triedBefore(d.Seq) && !f.w.waiting(d.Seq)
	if d.Seq <= f.l.sentTo && !f.w.waiting(d.Seq) {
		f.l.resent.Add(1)
		if qos == 2 && !f.resumed {
			f.l.downgraded.Add(1)
		}
	}
	f.l.sentTo = max(f.l.sentTo, d.Seq)
	// DUP is only for a session that knows the first attempt (MQTT 5.0,
	// 3.3.1.1), and never for what the upstream has answered.
	f.out = appendPublish(f.out, f.l.cfg.Prefix, d, id, qos, again && f.resumed && qos > 0, d.Retain && f.lim.retain)
	f.sentAt = time.Now()
	if qos == 0 {
		f.queue.Ack(d.Seq)
		f.w.settle(d.Seq)
		f.w.advance()
		f.progress = true
		f.l.forwarded.Add(1)
		return
	}
	f.begin()
	f.w.send(d.Seq, qos, d.Topic)
}

// begin starts the clock of answerTimeout where nothing was in flight.
func (f *forwarder) begin() {
	if f.w.flying == 0 {
		f.progressAt = time.Now()
	}
}

// flush writes what was gathered. Errors show as the end of the connection.
func (f *forwarder) flush() {
	if len(f.out) == 0 {
		return
	}
	f.conn.Lock()
	_, _ = f.conn.Write(f.out)
	f.conn.Unlock()
	if f.out = f.out[:0]; cap(f.out) > 4*batchBytes {
		f.out = nil
	}
}

// ending tells what the loss of the connection says about the messages.
func (f *forwarder) ending(cause error) ending {
	e := ending{progress: f.progress, afterSend: time.Since(f.sentAt)}
	if seq, ok := f.w.oldest(); ok && f.w.at(seq).stage == sent {
		e.head = seq
	}
	if d := f.session.goodbye(); d != nil {
		e.told = d.ReasonCode
	} else {
		e.bare = closedByPeer(cause)
	}
	return e
}

// appendPubrel appends a PUBREL packet (MQTT 5.0, 3.6).
func appendPubrel(dst []byte, id uint16) []byte {
	return append(dst, 6<<4|2, 2, byte(id>>8), byte(id))
}
