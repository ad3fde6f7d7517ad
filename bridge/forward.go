package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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
	case f.l.staysHere(d.Topic):
		f.queue.Ack(d.Seq)
		f.w.settle(d.Seq)
		f.w.advance()
		return
	}
	// What was kept for the upstream goes at the QoS that is configured for
	// it, whatever its publisher used on the way in.
	qos := f.lim.qos
	if why := unsendable(f.lim.version, f.l.cfg.Prefix, d, qos, f.lim.packet); why != "" {
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
	f.out = appendPublish(f.out, f.lim.version, f.l.cfg.Prefix, d, id, qos, again && f.resumed && qos > 0, d.Retain && f.lim.retain)
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
		e.told = d.reason
	} else {
		e.bare = closedByPeer(cause)
	}
	return e
}
