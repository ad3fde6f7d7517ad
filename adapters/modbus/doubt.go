package modbus

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"sluice/adapters/line"
)

// Two things can make an answer pass for another's although the device owes
// nothing: a device that answers in another's name, and one that sends an old
// answer again. Neither can be told from a frame alone.

const (
	trustAfter = 150                   // answers of a line until its devices are taken to be honest
	grudge     = time.Hour             // for how long they are not, once one has answered in another's name
	standAside = 20 * time.Millisecond // until it is looked again whether another device has answered
)

// candor is how far the devices of a line are to be trusted to answer in
// their own names. It belongs to the line's owner goroutine.
type candor struct {
	answers int
	lied    time.Time
}

func (c *candor) answered() { c.answers = min(c.answers+1, trustAfter) }

// liars reports whether a device has answered in another's name.
func (c *candor) liars(now time.Time) bool { return !c.lied.IsZero() && now.Sub(c.lied) < grudge }

// doubtful reports whether they are liars, or too little is known of them.
func (c *candor) doubtful(now time.Time) bool { return c.answers < trustAfter || c.liars(now) }

// suspect looks whether err tells of a unit that answered although it was not
// asked and owes nothing.
func (d *device) suspect(err error) {
	var other stranger
	if !errors.As(err, &other) {
		return
	}
	for _, o := range d.poller.devices {
		if o.cfg.Unit == other.unit && len(o.debts.owed) > 0 {
			return // late, but honest
		}
	}
	d.poller.client.candor.lied = time.Now()
}

// impersonator is another device of a line that is not to be trusted which owes
// an answer that would look like the one to q; nil if there is none.
func (d *device) impersonator(q question, now time.Time) *device {
	candor := &d.poller.client.candor
	if !candor.doubtful(now) {
		return nil
	}
	liars := candor.liars(now)
	for _, o := range d.poller.devices {
		if o.state == offline && !liars {
			continue // the others need not wait for it
		}
		if o != d && o.debts.any(q) && now.Sub(o.debts.at) < o.hush() {
			return o
		}
	}
	return nil
}

// recent holds what a device answered last.
type recent struct {
	answers [8]struct {
		question
		data []byte
	}
	next int
}

func (m *recent) add(q question, data []byte) {
	a := &m.answers[m.next]
	a.question, a.data = q, append(a.data[:0], data...)
	m.next = (m.next + 1) % len(m.answers)
}

// has reports whether another question than q had the same answer.
func (m *recent) has(q question, data []byte) bool {
	for i := range m.answers {
		a := &m.answers[i]
		if a.question != q && a.bits() == q.bits() && len(a.data) > 0 && bytes.Equal(a.data, data) {
			return true
		}
	}
	return false
}

// had reports whether any question had that answer.
func (m *recent) had(bits bool, data []byte) bool {
	for i := range m.answers {
		if a := &m.answers[i]; a.bits() == bits && len(a.data) > 0 && bytes.Equal(a.data, data) {
			return true
		}
	}
	return false
}

// knows reports whether data was the answer to another question than q a moment
// ago, also of another device where devices answer in another's name.
func (d *device) knows(q question, data []byte) bool {
	if d.recent.has(q, data) {
		return true
	}
	if !d.poller.client.candor.liars(time.Now()) {
		return false
	}
	return slices.ContainsFunc(d.poller.devices, func(o *device) bool {
		return o != d && o.recent.had(q.bits(), data)
	})
}

// read asks for b. An answer that is exactly what another read gave a moment
// ago, and not what b gave last, may have been sent again: then b is asked
// until it does not look so, or comes twice in a row and so is what b holds.
func (d *device) read(c *line.Conn, b *block, timeout time.Duration) ([]byte, error) {
	var before []byte
	defer func() { d.drain = false }()
	for range confirmations {
		if d.drain = before != nil; d.drain && d.overtaken(c) { // drained, it does not come once more
			break
		}
		data, err := d.ask(c, b.question, timeout)
		if err != nil {
			return nil, err
		}
		twice := before != nil && bytes.Equal(data, before)
		switch {
		case twice:
			b.twins++
		case before != nil:
			d.replays++
		}
		if twice || bytes.Equal(data, b.last) || b.twins > 8+4*d.replays || !d.knows(b.question, data) {
			b.last = append(b.last[:0], data...)
			return data, nil
		}
		before = bytes.Clone(data)
		// If that was an old answer, the true one may still come.
		d.debts.add(b.question, time.Now())
		d.misses.suspect(b.question, time.Now())
	}
	return nil, errOwing
}

// confirmations is how often a block is asked until it is left for later.
const confirmations = 4
