package store

import (
	"maps"
	"slices"
)

// cursor is how far a session's queue is settled. Guarded by session.mu.
type cursor struct {
	base    uint64 // everything up to here is settled
	next    uint64 // to hand out next; base < next ≤ base+len(flight)+1
	sent    uint64 // newest handed out, ever
	maybe   uint64 // may have been handed out before a crash, up to here
	flight  window // what was read: base+1, base+2…
	from    LSN    // nothing unsettled is below
	settled uint64 // how many above base are settled
	marks   map[uint64]mark
	rel     uint64 // highest released
	dropped uint64 // given up, ever
	// Of those, the ones that never had a number: a full queue did not take them.
	unnumbered uint64
	acks       int  // since the cursor was written
	dirty      bool // newer than the disk, and in Store.dirty
}

// maxGap bounds what a gap in the log may take in memory.
const maxGap = 1 << 18

type mark uint8

// The states of a delivery above base.
const (
	markNone mark = iota
	markReleased
	markSettled
)

// entry is one delivery in flight: 24 bytes while it is.
type entry struct {
	lsn  LSN    // its frame
	time uint64 // store time, ms
	mark mark
}

// window is a queue of entries that reuses its memory.
type window struct {
	e    []entry
	head int
}

func (w *window) len() int        { return len(w.e) - w.head }
func (w *window) at(i int) *entry { return &w.e[w.head+i] }

func (w *window) push(e entry) {
	if w.head > 32 && w.head > len(w.e)/2 {
		w.e = w.e[:copy(w.e, w.e[w.head:])]
		w.head = 0
	}
	w.e = append(w.e, e)
}

func (w *window) pop() {
	if w.head++; w.head == len(w.e) {
		w.head = 0
		if cap(w.e) > 4096 {
			w.e = nil
		}
		w.e = w.e[:0]
	}
}

// handed is the newest sequence number in the window.
func (c *cursor) handed() uint64 { return c.base + uint64(c.flight.len()) }

// settle marks a delivery as done with, and says whether it was not before.
func (c *cursor) settle(seq, committed uint64) bool {
	if seq <= c.base || seq > committed || seq > c.base+maxWindow {
		return false
	}
	if seq > c.handed() {
		// Not read yet in this run: acknowledged from before a restart.
		if c.marks[seq] == markSettled {
			return false
		}
		c.setMark(seq, markSettled)
		c.settled++
		c.shift()
		return true
	}
	e := c.flight.at(int(seq - c.base - 1))
	if e.mark == markSettled {
		return false
	}
	e.mark = markSettled
	c.settled++
	c.shift()
	return true
}

func (c *cursor) setMark(seq uint64, m mark) {
	if c.marks == nil {
		c.marks = map[uint64]mark{}
	}
	c.marks[seq] = m
}

// shift moves base over what is settled in front.
func (c *cursor) shift() {
	for c.flight.len() > 0 && c.flight.at(0).mark == markSettled {
		c.pop()
		c.settled--
	}
	for c.flight.len() == 0 && c.marks[c.base+1] == markSettled {
		delete(c.marks, c.base+1)
		c.base++
		c.settled--
	}
	c.next = max(c.next, c.base+1)
	c.rel = max(c.rel, c.base)
}

func (c *cursor) pop() {
	c.from = max(c.from, c.flight.at(0).lsn)
	c.flight.pop()
	c.base++
}

// trim forgets what is said about deliveries above last.
func (c *cursor) trim(last uint64) {
	for seq, m := range c.marks {
		if seq > last || seq <= c.base {
			delete(c.marks, seq)
			if m == markSettled {
				c.settled--
			}
		}
	}
	c.rel = min(c.rel, max(last, c.base))
	c.shift()
}

// release marks a delivery as received by the other side, and says whether it
// was not before.
func (c *cursor) release(seq, committed uint64) bool {
	if seq <= c.base || seq > committed || seq > c.base+maxWindow {
		return false
	}
	c.rel = max(c.rel, seq)
	if seq > c.handed() {
		if c.marks[seq] != markNone {
			return false
		}
		c.setMark(seq, markReleased)
		return true
	}
	e := c.flight.at(int(seq - c.base - 1))
	if e.mark != markNone {
		return false
	}
	e.mark = markReleased
	return true
}

// unrelease takes back a release that did not get to the disk.
func (c *cursor) unrelease(seq uint64) {
	if i := seq - c.base - 1; seq > c.base && seq <= c.handed() {
		if e := c.flight.at(int(i)); e.mark == markReleased {
			e.mark = markNone
		}
	} else if c.marks[seq] == markReleased {
		delete(c.marks, seq)
	}
	if seq == c.rel {
		c.rel = c.base
		for i := range c.flight.len() {
			if c.flight.at(i).mark == markReleased {
				c.rel = c.base + 1 + uint64(i)
			}
		}
		for q, m := range c.marks {
			if m == markReleased {
				c.rel = max(c.rel, q)
			}
		}
	}
}

// reach appends an entry for the next delivery read.
func (c *cursor) reach(lsn LSN, time uint64) *entry {
	seq := c.handed() + 1
	c.flight.push(entry{lsn: lsn, time: time, mark: c.marks[seq]})
	delete(c.marks, seq)
	return c.flight.at(c.flight.len() - 1)
}

// skipTo notices deliveries before seq that the disk no longer has, from the
// next one on.
func (c *cursor) skipTo(seq uint64, lsn LSN, time uint64) (from, lost uint64) {
	from = c.next
	for c.next < seq {
		if c.handed() < c.next {
			if c.flight.len() == 0 || seq-c.next > maxGap {
				// Nothing in flight, or too many: no need to go one by one.
				lost += c.moveTo(seq - 1)
				break
			}
			c.reach(lsn, time)
		}
		e := c.flight.at(int(c.next - c.base - 1))
		if e.mark != markSettled {
			e.mark = markSettled
			c.settled++
			lost++
		}
		c.next++
		c.shift()
	}
	c.dropped += lost
	return from, lost
}

// take finds, or appends, the entry of seq, and says whether it is still to be
// delivered.
func (c *cursor) take(seq uint64, lsn LSN, time uint64) (deliver bool, m mark) {
	if c.handed() < seq {
		m = c.reach(lsn, time).mark
		c.shift()
	} else {
		m = c.flight.at(int(seq - c.base - 1)).mark
	}
	return m != markSettled, m
}

// moveTo moves base to seq, and returns how many were not settled before.
func (c *cursor) moveTo(seq uint64) (lost uint64) {
	for c.base < seq {
		if c.flight.len() > 0 {
			if c.flight.at(0).mark == markSettled {
				c.settled--
			} else {
				lost++
			}
			c.pop()
			continue
		}
		// Nothing was read beyond: jump, minding the marks on the way.
		lost += seq - c.base
		for q, m := range c.marks {
			if q <= seq {
				if m == markSettled {
					lost--
					c.settled--
				}
				delete(c.marks, q)
			}
		}
		c.base = seq
	}
	c.shift()
	return lost
}

// readFrom is where in the log to read on from base.
func (c *cursor) readFrom() LSN {
	if c.flight.len() > 0 {
		return c.flight.at(0).lsn
	}
	return c.from
}

// appendCur encodes the cursor. The caller holds both locks.
func (ses *session) appendCur(b []byte) []byte {
	b = appendUint(b, uint64(ses.id))
	b = appendUint(b, ses.base)
	b = appendUint(b, uint64(ses.readFrom()))
	b = appendUint(b, ses.last)
	b = appendUint(b, ses.sent)
	b = appendUint(b, ses.dropped)
	var settled, released []uint64
	for i := range ses.flight.len() {
		switch ses.flight.at(i).mark {
		case markSettled:
			settled = append(settled, ses.base+1+uint64(i))
		case markReleased:
			released = append(released, ses.base+1+uint64(i))
		}
	}
	for _, q := range slices.Sorted(maps.Keys(ses.marks)) {
		if ses.marks[q] == markSettled {
			settled = append(settled, q)
		} else {
			released = append(released, q)
		}
	}
	b = appendSeqs(appendSeqs(b, ses.base, settled), ses.base, released)
	return appendUint(b, ses.unnumbered)
}

func appendSeqs(b []byte, base uint64, seqs []uint64) []byte {
	b = appendUint(b, uint64(len(seqs)))
	for _, q := range seqs {
		b = appendUint(b, q-base)
		base = q
	}
	return b
}

// decodeCur takes a cursor over.
func (ses *session) decodeCur(d *decoder) {
	base, from, last := d.uint(), LSN(d.uint()), d.uint()
	sent, dropped := d.uint(), d.uint()
	marks := map[uint64]mark{}
	rel, settled := base, uint64(0)
	for _, m := range []mark{markSettled, markReleased} {
		seq := base
		for n := d.uint(); n > 0 && !d.bad; n-- {
			seq += d.uint()
			marks[seq] = m
			if m == markReleased {
				rel = seq
			} else {
				settled++
			}
		}
	}
	unnumbered := uint64(0)
	if len(d.b) > 0 { // not in older ones
		unnumbered = d.uint()
	}
	if d.bad {
		return
	}
	ses.cursor = cursor{unnumbered: unnumbered, base: base, next: base + 1, from: from, sent: sent, rel: rel, dropped: dropped, marks: marks, settled: settled}
	ses.last = max(ses.last, last)
}
