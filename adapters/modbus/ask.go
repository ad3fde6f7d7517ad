package modbus

import (
	"bytes"
	"errors"
	"time"

	"sluice/adapters/line"
)

// ask reads q, behind a fence where one is needed.
func (d *device) ask(c *line.Conn, q question, timeout time.Duration) ([]byte, error) {
	if d.poller.cfg.Kind == line.TCP {
		return d.askOnce(c, q, timeout) // transaction numbers tell late answers
	}
	now := time.Now()
	fence, verdict := d.debts.before(q, d.known(), now)
	if verdict == hushed {
		if rest := time.Until(d.debts.at.Add(d.hush())); rest > 0 {
			d.rested = time.Now().Add(rest)
			return nil, errOwing
		}
		d.debts.forget()
	}
	if verdict == fenced {
		err := d.askFence(c, fence, timeout)
		if err != nil && !errors.Is(err, line.ErrClosed) {
			err = d.askFence(c, fence, timeout) // rather than begin again for one that was lost
		}
		if err != nil {
			return nil, err
		}
		if d.overtaken(c) {
			return nil, d.notSure()
		}
	}
	doubted, err := d.doubted(q, time.Now())
	if err != nil {
		return nil, err
	}
	witness, found := question{}, false
	if doubted {
		if witness, found = d.witnessFor(q); !found {
			return nil, unsettled{now.Add(d.hush())}
		}
	}
	twice := d.twice(now)
	data, err := d.askOnce(c, q, timeout)
	switch {
	case err != nil:
	case doubted:
		data = bytes.Clone(data)
		if err := d.witness(c, q, witness, data, timeout); err != nil {
			return nil, err
		}
	case d.ambiguous(c, q, data, twice):
		return nil, d.notSure()
	}
	if errors.As(err, new(Exception)) && d.debts.other(q) {
		// It may have been for the other question: once more.
		d.debts.forget()
		d.debts.add(q, time.Now())
		data, err = d.askOnce(c, q, timeout)
	}
	if err == nil && len(d.debts.owed) > 0 && d.poller.client.candor.liars(time.Now()) {
		// The others wait for what this device owes.
		if fence, verdict := d.debts.fence(q, append(d.known(), q)); verdict == fenced {
			data = bytes.Clone(data)
			err := d.askFence(c, fence, timeout) // in vain: they wait longer
			if d.belied(c, q, data, err) {
				return nil, d.notSure()
			}
		}
	}
	return data, err
}

// askFence asks what draws a line under all that is owed.
func (d *device) askFence(c *line.Conn, fence question, timeout time.Duration) error {
	late := d.stats.Late // only this goroutine writes
	_, err := d.askOnce(c, fence, timeout)
	switch {
	case err == nil || errors.As(err, new(Exception)):
		d.debts.heard(fence)
		if d.stats.Late > late {
			d.orderly = min(d.orderly+1, orderlyAfter)
		}
		return nil
	case errors.Is(err, line.ErrTimeout):
		d.debts.unheard(fence)
	}
	return err
}

// errOwing tells that a device must be left alone for a while, since an
// earlier answer may still come and pass for that to the next question.
var errOwing = errors.New("the device still owes earlier answers")

// hush is how long a device is left alone then.
func (d *device) hush() time.Duration { return max(time.Second, 4*d.poller.cfg.Timeout) }

// known are the planned reads that the device has answered, while it owes
// answers.
func (d *device) known() []question {
	if len(d.debts.owed) == 0 {
		return nil // nobody will want them
	}
	return d.heeded()
}

func (d *device) askOnce(c *line.Conn, q question, timeout time.Duration) ([]byte, error) {
	begin := time.Now()
	c.Quiet(d.restBefore(q, begin))
	data, err := d.poller.client.read(c, d.cfg.Unit, q, timeout)
	d.asked(c, begin, err)
	var frame *line.FrameError
	switch {
	case err == nil:
		d.debts.answered(q)
		d.previous, d.previousAt = q, time.Now()
		d.recent.add(q, data)
		d.poller.client.candor.answered()
	case errors.Is(err, line.ErrClosed):
	case errors.As(err, new(Exception)):
		// It does not say what is refused: if it was sent twice, the answer may
		// still come.
		if now := time.Now(); now.Sub(d.refusedAt) < soonAfter {
			d.misses.suspect(q, now)
		}
		d.refusedAt = time.Now()
	case errors.As(err, &frame) && frame.Fault == line.Checksum && d.replays == 0 && d.overdue(begin, q):
		// An answer came, though broken. Where it only broke off, or answers
		// are sent twice, more of it may come.
	default:
		d.debts.add(q, time.Now())
		d.misses.add(q, time.Now())
		d.suspect(err)
	}
	return data, err
}

// overdue reports whether the answer to q, asked at begin, would be there by
// now: what came instead was the answer, spoilt.
func (d *device) overdue(begin time.Time, q question) bool {
	wire := time.Duration(2*rtuException+rtuExtra+q.size()) * d.poller.cfg.Serial.CharTime()
	if kind := d.poller.cfg.Kind; kind == line.ASCII || kind == line.ASCIITCP {
		wire *= 2 // a byte is two digits
	}
	return d.slowest > 0 && time.Since(begin) > wire+d.slowest
}
