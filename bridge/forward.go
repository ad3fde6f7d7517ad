package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
)

const (
	// batchMessages and batchBytes bound what is written before answers are
	// looked at again.
	batchMessages = 256
	batchBytes    = 32 << 10
	// drainLimit is how long an orderly stop waits for acknowledgements.
	drainLimit = time.Second
	// limitEvery is how often the bound of the queue is divided anew among the
	// lanes.
	limitEvery = 5 * time.Second
)

// errNoAnswer ends a connection on which messages are in flight and nothing
// is acknowledged. MQTT 5 sends a message again only on a new connection.
var errNoAnswer = errors.New("the upstream acknowledges nothing")

// forwarder carries the queues up one connection. It is the one owner of the
// lanes and runs on one goroutine; what others have to say comes through
// channels.
type forwarder struct {
	l       *Link
	lanes   []*lane // the one that takes in last
	session *session
	conn    *conn
	lim     limits
	resumed bool // the upstream has kept our session
	live    <-chan mqttcore.Message

	resuming bool  // what the upstream may hold of an earlier connection goes first
	strict   bool  // a lane begins when those before it are empty
	alone    *lane // the lane with a suspect: no other sends
	turn     int   // messages of the live lane since the backlog had one

	aliases  *aliases
	name     []byte                // of a topic, for put
	props    []byte                // for put
	out      []byte                // packets to be written together
	fresh    []receipt             // received, and not given to the disk
	batches  [][]receipt           // given to the disk, in order
	told     uint64                // batches that were taken off
	durable  atomic.Uint64         // batches that are on disk
	failed   atomic.Pointer[error] // why a batch is not
	releases chan struct{}         // durable or failed has changed

	pausedUntil time.Time // a refused message waits; zero: no
	quietUntil  time.Time // nothing is sent before
	paceUntil   time.Time // the rate allows nothing before; zero: it does
	progressAt  time.Time // the last answer, or the first send after none was in flight
	sentAt      time.Time // the last PUBLISH
}

func newForwarder(l *Link, s *session, c *conn, lim limits, resumed bool) *forwarder {
	f := &forwarder{
		l: l, lanes: l.all(), session: s, conn: c, lim: lim, resumed: resumed,
		strict: l.cfg.Order != LiveFirst, aliases: newAliases(lim.aliases), releases: make(chan struct{}, 1),
	}
	// A session that was kept has places taken by QoS 2 messages that were cut
	// short. Those go first, or what is new would be more than the upstream takes.
	held := 0
	if f.resuming = resumed && lim.qos == 2; f.resuming {
		held = l.cfg.Window
	}
	for _, n := range f.lanes {
		n.begin(lim.window, held)
	}
	if f.alone = suspected(f.lanes); f.alone != nil {
		if q := f.alone.suspect.quiet(); q > 0 {
			f.quietUntil = time.Now().Add(q)
		}
	}
	return f
}

// progress tells whether anything was acknowledged.
func (f *forwarder) progress() bool {
	return slices.ContainsFunc(f.lanes, func(n *lane) bool { return n.progress })
}

// run forwards until the connection is lost, which it returns as an error,
// or ctx ends and what was in flight is acknowledged or given its time.
func (f *forwarder) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stop := ctx.Done()
	var stopAt time.Time // zero: not stopping
	queue := f.lanes[len(f.lanes)-1].queue
	defer f.limited(false)
	var share <-chan time.Time
	if len(f.lanes) > 1 {
		ticker := time.NewTicker(limitEvery)
		defer ticker.Stop()
		share = ticker.C
	}
	for {
		f.takeAnswers()
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
		flying := f.flying()
		f.l.inFlight.Store(int64(flying))
		f.l.noteAliases(f.aliases)

		now := time.Now()
		switch {
		case !stopAt.IsZero() && (flying == 0 || now.After(stopAt)):
			return nil
		case flying > 0 && now.Sub(f.progressAt) > f.l.answerTimeout():
			return fmt.Errorf("%w for %v with %d messages in flight", errNoAnswer, f.l.answerTimeout(), flying)
		}
		if more {
			continue
		}
		live := f.live
		f.paceUntil = time.Time{}
		if wait := f.l.pace.wait(); wait > 0 {
			live, f.paceUntil = nil, now.Add(wait)
		}
		timer.Reset(f.wait(now, stopAt))
		select {
		case a := <-f.session.answers:
			f.answer(a)
		case <-queue.Wake():
			for _, n := range f.lanes {
				n.idle = false
			}
		case m := <-live:
			f.sendLive(&m)
		case <-share:
			f.l.shareLimit()
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
	f.takeAnswers()
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
	until(f.paceUntil)
	if f.flying() > 0 {
		until(f.progressAt.Add(f.l.answerTimeout()))
	}
	return d
}

// fill sends what the queues have and window and rate allow; more tells that it
// stopped only to look at answers.
func (f *forwarder) fill() (more bool, err error) {
	now := time.Now()
	if now.Before(f.quietUntil) {
		return false, nil
	}
	f.quietUntil = time.Time{}
	if f.lim.qos == 2 && f.l.broker.DiskFault() != nil {
		return false, nil // PUBREL may not be sent before the disk knows: they wait
	}
	if !f.pausedUntil.IsZero() {
		if now.Before(f.pausedUntil) {
			return false, nil
		}
		f.pausedUntil = time.Time{}
		for _, n := range f.lanes {
			n.rewind()
		}
	}
	for range batchMessages {
		if len(f.out) >= batchBytes {
			return true, nil
		}
		n, err := f.pick()
		if err != nil {
			return false, err
		}
		if n == nil {
			f.limited(false)
			return false, nil
		}
		if f.l.pace.wait() > 0 {
			f.limited(true)
			return false, nil
		}
		n.held = false
		f.send(n)
	}
	return true, nil
}

// limited notes whether messages wait for the rate.
func (f *forwarder) limited(is bool) {
	since := f.l.limitedSince.Load()
	if is == (since != 0) {
		return
	}
	age := max(1, int64(time.Since(f.l.born)))
	if is {
		f.l.limitedSince.Store(age)
		return
	}
	f.l.limitedFor.Add(age - since)
	f.l.limitedSince.Store(0)
}

// send puts the message that a lane holds on its way.
func (f *forwarder) send(n *lane) {
	d, w := &n.d, n.w
	switch {
	case d.Released && n.releasedNow(d.Seq) && !w.waiting(d.Seq):
		f.begin()
		w.restore(d.Seq, d.Topic)
		f.out = appendPubrel(f.out, w.id(d.Seq))
		return
	case f.l.staysHere(d.Topic):
		n.take(d.Seq)
		return
	case f.l.wasHere(d.Props):
		f.l.looped.Add(1)
		n.take(d.Seq)
		return
	}
	old := !f.strict && n != f.lanes[len(f.lanes)-1]
	// What is no longer the newest of its topic must not take the place of what
	// went before it.
	retain := d.Retain && f.lim.retain && (!old || f.l.broker.IsRetained(string(d.Topic), d.Payload))
	if f.l.cfg.Rewrite != nil {
		f.l.cfg.Rewrite(d)
	}
	// What was kept for the upstream goes at the QoS that is configured for
	// it, whatever its publisher used on the way in.
	out := packet.Outgoing{QoS: f.lim.qos, PacketID: w.id(d.Seq), Retain: retain,
		HasExpiry: d.HasExpiry, Expiry: d.Expiry, Props: d.Props}
	if old {
		f.props = appendBacklogMark(append(f.props[:0], d.Props...))
		out.Props = f.props
	}
	out.Props = f.marked(out.Props)
	if class, why := f.unsendable(d.Topic, d.Payload, &out); why != "" {
		f.giveUp(n, d.Seq, d.Topic, class, why)
		return
	}
	again := n.triedBefore(d.Seq) && !w.waiting(d.Seq)
	if d.Seq <= n.sentTo && !w.waiting(d.Seq) {
		f.l.resent.Add(1)
		if out.QoS == 2 && !f.resumed {
			f.l.downgraded.Add(1)
		}
	}
	n.sentTo = max(n.sentTo, d.Seq)
	// DUP is only for a session that knows the first attempt (MQTT 5.0,
	// 3.3.1.1), and never for what the upstream has answered.
	out.Dup = again && f.resumed && out.QoS > 0
	f.put(d.Payload, &out)
	f.sentAt = time.Now()
	if out.QoS == 0 {
		f.done(n, d.Seq)
		return
	}
	f.begin()
	w.send(d.Seq, out.QoS, d.Topic)
}

// begin starts the clock of answerTimeout where nothing was in flight.
func (f *forwarder) begin() {
	if f.flying() == 0 {
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
