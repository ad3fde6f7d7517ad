package modbus

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"sluice/adapters/line"
)

// Where an answer might be another's although nothing stands against asking,
// it is believed only after a witness: a question whose answer looks unlike it
// is asked at once. If what came first was not the answer, the true one comes
// before that of the witness; so when no other frame has come that would have
// done as well, it was the answer.

const (
	sureAfter = 4                      // witnessed answers until a device is taken to answer once
	soonAfter = 100 * time.Millisecond // an answer: a second one may still come
	// For how long an answer may come behind that of a fence: four timeouts, but
	overdueLeast = 400 * time.Millisecond
	overdueMost  = 2 * time.Second
	twiceRest    = 50 * time.Millisecond // for devices that answer twice, until all has come
	tardyFor     = 10 * time.Minute      // a device that was late may be so again
	orderlyAfter = 3                     // late answers that came in order until a device is taken to answer so
	lossyAfter   = 3                     // lost answers in a row until a device is taken to lose them and not to be late
	mixedFor     = 10 * time.Minute      // a device that answered out of order may do so again
)

// missed is a question that was asked in vain.
type missed struct {
	question
	at    time.Time // it was asked last
	again bool      // it was asked once more
}

// misses are the questions asked in vain of late, also those behind which a
// fence has been answered: a gateway may answer out of order.
type misses struct {
	list []missed // at most mostDebts
	open int      // how many answers to them may still come, at most
	lost int      // answers in a row that did not, up to lossyAfter
}

// add notes that q was asked in vain.
func (m *misses) add(q question, now time.Time) {
	m.suspect(q, now)
	m.open = min(m.open+1, mostDebts)
}

// suspect notes that the answer to q may still come, though it is not likely.
func (m *misses) suspect(q question, now time.Time) {
	if len(m.list) == mostDebts {
		m.list = append(m.list[:0], m.list[1:]...)
	}
	m.list = append(m.list, missed{question: q, at: now})
}

// came notes an answer that nobody waited for.
func (m *misses) came() {
	m.lost = 0
	if m.open--; m.open <= 0 {
		m.forget()
	}
}

func (m *misses) forget() { m.list, m.open = m.list[:0], 0 }

// expire forgets the questions asked before since: their answers are lost.
func (m *misses) expire(since time.Time) {
	m.list = slices.DeleteFunc(m.list, func(old missed) bool { return old.at.Before(since) })
	if gone := m.open - len(m.list); gone > 0 {
		m.open, m.lost = len(m.list), min(m.lost+gone, lossyAfter)
	}
}

// last is when the last question was asked in vain that is not q and whose
// answer would pass for that to q; the zero time if none was.
func (m *misses) last(q question) (at time.Time) {
	for _, old := range m.list {
		if old.question != q && old.looksLike(q) {
			at = old.at
		}
	}
	return at
}

// repeat notes that q is asked again, if it was asked in vain; again tells that
// it was asked once more already, and at when. What came then may have been the
// answer to the first, and the second be owed still: so it could go on for ever.
func (m *misses) repeat(q question, now time.Time) (at time.Time, again bool) {
	for i := range m.list {
		old := &m.list[i]
		if old.question != q {
			continue
		}
		if old.again {
			return old.at, true
		}
		old.again, old.at = true, now
	}
	return at, false
}

// unsettled tells until when a question is not to be asked.
type unsettled struct{ until time.Time }

func (unsettled) Error() string        { return errOwing.Error() }
func (unsettled) Is(target error) bool { return target == errOwing }

// doubted reports whether an answer to q has to be witnessed, or an error if it
// must not be asked yet.
func (d *device) doubted(q question, now time.Time) (bool, error) {
	o := d.impersonator(q, now)
	switch {
	case o == nil:
		d.aside = time.Time{}
	case d.poller.client.candor.liars(now):
		if d.aside.IsZero() {
			d.aside = now
		} else if now.Sub(d.aside) > o.hush() {
			o.rested = later(o.rested, o.debts.at.Add(o.hush()+standAside)) // its turn is over
		}
		return false, d.notSure()
	}
	overdue := min(max(overdueLeast, 4*d.poller.cfg.Timeout), overdueMost)
	d.misses.expire(now.Add(-overdue))
	strict := d.misses.open > 0 && d.mayMix(now)
	if at := d.misses.last(q); !at.IsZero() {
		if strict {
			return false, unsettled{at.Add(overdue)}
		}
		return true, nil
	}
	if strict && d.hasAlike(q) {
		if at, again := d.misses.repeat(q, now); again {
			return false, unsettled{at.Add(overdue)}
		}
	}
	alike := d.sure < sureAfter && !d.twice(now) && d.followsAlike(q) && now.Sub(d.previousAt) < soonAfter
	return o != nil || alike, nil
}

// mixed notes that the device answered out of order.
func (d *device) mixed(now time.Time) { d.mixedAt, d.orderly = now, 0 }

// mayMix reports whether answers may come late and out of order: what is owed
// must then come, or its time be over, before anything like it is asked. So it
// is until more is known of the device.
func (d *device) mayMix(now time.Time) bool {
	switch {
	case now.Sub(d.mixedAt) < mixedFor || d.twice(now):
		return true
	case now.Sub(d.tardyAt) < tardyFor:
		return d.orderly < orderlyAfter
	}
	return d.misses.lost < lossyAfter
}

// ambiguous reports whether something that came with data, the answer to q, may
// be the true one. Of a device that always answers twice it is the first.
func (d *device) ambiguous(c *line.Conn, q question, data []byte, twice bool) bool {
	return !twice && d.poller.holdsOther(c.Beside(), d.cfg.Unit, q, data, true)
}

// hasAlike reports whether other reads of the device have answers like that to q.
// What other masters ask is not known.
func (d *device) hasAlike(q question) bool {
	return len(d.blocks) == 0 || slices.ContainsFunc(d.blocks, func(b *block) bool { return b.question != q && b.looksLike(q) })
}

// followsAlike reports whether the answer before may pass for that to q.
func (d *device) followsAlike(q question) bool {
	return d.previous.count > 0 && d.previous != q && d.previous.looksLike(q)
}

// twice reports whether the device has given second answers.
func (d *device) twice(now time.Time) bool { return now.Sub(d.twiceAt) < grudge }

// restBefore is how long the line must be silent before q: a second answer to the
// question before has come by then.
func (d *device) restBefore(q question, now time.Time) time.Duration {
	if d.drain || d.twice(now) && d.followsAlike(q) && now.Sub(d.previousAt) < twiceRest {
		return max(d.cfg.Delay, twiceRest)
	}
	return d.cfg.Delay
}

// witnessFor finds the question that is to witness the answer to q; ok is
// false if there is none that the device might answer.
func (d *device) witnessFor(q question) (w question, ok bool) {
	apart := debts{owed: []question{q}, deaf: d.debts.deaf}
	apart.owed = append(apart.owed, d.debts.owed...)
	for _, m := range d.misses.list {
		apart.owed = append(apart.owed, m.question)
	}
	w, verdict := apart.fence(q, append(d.heeded(), q))
	return w, verdict == fenced
}

// witness asks w to make sure that data, which just came, was the answer to q.
func (d *device) witness(c *line.Conn, q, w question, data []byte, timeout time.Duration) error {
	if d.poller.holdsOther(c.Beside(), d.cfg.Unit, q, data, true) {
		d.mixed(time.Now())
		return d.notSure()
	}
	if d.overtaken(c) {
		return d.notSure()
	}
	for range 2 {
		_, err := d.askOnce(c, w, timeout)
		if d.belied(c, q, data, err) {
			d.mixed(time.Now())
			return d.notSure()
		}
		if err == nil || errors.As(err, new(Exception)) {
			d.debts.heard(w)
			d.sure = min(d.sure+1, sureAfter)
			return nil
		}
		if errors.Is(err, line.ErrClosed) {
			return err
		}
		d.debts.unheard(w)
	}
	return d.notSure()
}

// belied reports whether what came before or with the answer to the question
// after q, which ended with err, makes data, taken for the answer to q, doubtful.
func (d *device) belied(c *line.Conn, q question, data []byte, err error) bool {
	// A spoilt refusal is that of the question itself.
	refusals := err == nil || errors.As(err, new(Exception))
	return d.poller.holdsOther(c.Thrown(), d.cfg.Unit, q, data, true) ||
		d.poller.holdsOther(c.Beside(), d.cfg.Unit, q, data, refusals)
}

// overtaken reports whether a poll should end since a command waits.
func (d *device) overtaken(c *line.Conn) bool { return d.polled && c.Waits(line.Command) }

func (d *device) notSure() error {
	d.rested = later(d.rested, time.Now().Add(standAside))
	return errOwing
}

// heeded are the planned reads that the device has answered.
func (d *device) heeded() (known []question) {
	for _, b := range d.blocks {
		if b.known && b.silent == 0 && !b.bad {
			known = append(known, b.question)
		}
	}
	return known
}

// holdsOther reports whether b, which came with data, the answer of unit to q,
// makes it doubtful: it holds what would do as well, spoilt or not, and says
// something else, or the same in another unit's name. Where refusals count, an
// exception would do.
func (p *Poller) holdsOther(b []byte, unit byte, q question, data []byte, refusals bool) bool {
	size := q.size()
	for i := range b {
		frame := b[i:]
		if p.ascii() {
			if frame[0] != asciiStart {
				continue
			}
			frame = asciiBytes(frame)
		}
		switch {
		case len(frame) < 3:
		case frame[0] != unit:
			if frame[1] == q.function && int(frame[2]) == size && bytes.HasPrefix(frame[3:], data) {
				return true
			}
		case refusals && frame[1] == q.function|exceptionBit && len(frame) >= rtuException-1:
			return true
		case frame[1] == q.function && int(frame[2]) == size && !bytes.HasPrefix(frame[3:], data):
			return true
		}
	}
	return false
}
