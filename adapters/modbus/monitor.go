package modbus

import (
	"bytes"
	"encoding/binary"
	"time"
)

// monitor makes requests and answers of the bytes on a bus that others use
// (Modbus over Serial Line V1.02, 2.5.1). Silences don't part frames here: an
// adapter hands over bytes in heaps. Lengths and checksums do, and an answer
// is one only to the request just before it.
type monitor struct {
	buf    []byte
	last   time.Time // when the last byte came
	asked  *request  // waits for its answer
	stray  int       // bytes that belong to no frame since a request or its answer
	owed   map[byte]*owing
	counts map[byte]*TapStats // by unit
	noise  uint64             // bytes that belong to no frame
	wide   map[byte]bool      // units that are DeviceConfig.Wide
	char   time.Duration      // of one character

	// heard is told of each valid answer: data is nil unless it is the answer
	// to a read and certainly no other's, or certainly confirms a write: then q
	// is the read that would give what was written. It must not keep data.
	heard func(unit byte, q question, data []byte, at time.Time)
	wrote bool // what heard is told of was written
}

// request is what another master asked.
type request struct {
	unit byte
	pdu  []byte
	wide bool      // as in question
	at   time.Time // when it was complete
	// spoilt tells that the answer came, though broken: it can't come later.
	spoilt bool
	// next tells that the unit is at this one if it owes it at all, and stood
	// how old the request then was whose answer came in place of this one's.
	next  bool
	stood time.Duration
}

// question gives what a read asks for.
func (r *request) question() (question, bool) {
	switch function := r.pdu[0]; function {
	case readWrite:
		function = readHolding
		fallthrough
	case readCoils, readDiscrete, readHolding, readInput:
		return question{function, binary.BigEndian.Uint16(r.pdu[1:]), binary.BigEndian.Uint16(r.pdu[3:]), r.wide}, true
	}
	return question{}, false
}

// TapStats is what was overheard of one unit. Counters never go back.
type TapStats struct {
	Requests   uint64
	Answers    uint64 // exceptions included
	Exceptions uint64
	Codes      [12]uint64 // as in DeviceStats
	Unanswered uint64
	Spoilt     uint64 // answers whose checksum is wrong, or that broke off
	Doubtful   uint64 // answers that may be late ones to another question
}

const (
	// pauseLimit is the longest pause inside a frame.
	pauseLimit = 50 * time.Millisecond
	// strayLimit is how many bytes before an answer are taken for noise. More
	// may have been another request, whose answer that is.
	strayLimit = 3
)

func newMonitor(heard func(unit byte, q question, data []byte, at time.Time)) *monitor {
	return &monitor{owed: make(map[byte]*owing), counts: make(map[byte]*TapStats), heard: heard}
}

// forget starts anew, as after a gap of unknown length.
func (m *monitor) forget() {
	m.buf, m.asked = m.buf[:0], nil
	for _, o := range m.owed {
		o.forget()
		o.writes = nil
	}
}

func (m *monitor) of(unit byte) *TapStats {
	s := m.counts[unit]
	if s == nil {
		s = &TapStats{}
		m.counts[unit] = s
	}
	return s
}

// feed takes in what came at the time given.
func (m *monitor) feed(chunk []byte, at time.Time) {
	if len(m.buf) > 0 && at.Sub(m.last) > pauseLimit {
		m.scan(true)
	}
	m.buf, m.last = append(m.buf, chunk...), at
	m.scan(false)
}

// found says whether bytes begin with a frame.
type found uint8

const (
	absent  found = iota
	partial       // of one that is not complete
	spoilt        // one whose checksum is wrong
	complete
)

// scan takes frames off the buffer as far as it goes. over tells that what has
// only begun is not gone on with, so that a whole frame behind it counts.
func (m *monitor) scan(over bool) {
	rest := m.buf
	for len(rest) > 0 {
		n, what, f := m.parse(rest)
		switch f {
		case complete:
			what(rest[:n])
		case absent:
			n = 1
			m.skip(n)
		case partial:
			n = 0
			for i := 1; over && i < len(rest) && n == 0; i++ {
				if _, _, f := m.parse(rest[i:]); f == complete {
					n = i
				}
			}
			if n > 0 {
				if _, f := m.asAnswer(rest); f == spoilt || f == partial && len(rest) > 2 {
					m.spoil()
				}
				m.skip(n)
			}
		}
		if n == 0 {
			break
		}
		rest = rest[n:]
	}
	m.buf = m.buf[:copy(m.buf, rest)]
}

// parse looks what b begins with, and what is to be done with that.
func (m *monitor) parse(b []byte) (n int, take func(frame []byte), f found) {
	size, answer := m.asAnswer(b)
	if answer == complete {
		return size, m.answered, complete
	}
	size, asked := asRequest(b)
	if asked == complete {
		return size, m.requested, complete
	}
	if n := wholeFrame(b); n > 0 {
		return n, m.unasked, complete
	}
	if asked == absent && answer == spoilt {
		m.spoil()
		return 0, nil, absent
	}
	return 0, nil, max(min(answer, partial), asked)
}

// asAnswer looks whether b begins with the answer to what was asked last.
func (m *monitor) asAnswer(b []byte) (size int, f found) {
	r := m.asked
	if r == nil || b[0] != r.unit {
		return 0, absent
	}
	size, ok := check(r.pdu, b[1:], r.wide)
	size += rtuExtra
	switch {
	case !ok:
		return 0, absent
	case len(b) < size:
		return size, partial
	case checksumFits(b[:size]):
		return size, complete
	}
	if b[1] == r.pdu[0] { // unit, function and length are those of the answer
		return 0, spoilt
	}
	return 0, absent
}

func (m *monitor) spoil() {
	if r := m.asked; !r.spoilt {
		r.spoilt = true
		m.of(r.unit).Spoilt++
	}
}

// asRequest looks whether b begins with a request.
func asRequest(b []byte) (size int, f found) {
	if b[0] > 247 {
		return 0, absent
	}
	if len(b) < 2 {
		return 0, partial
	}
	at := 0 // where the number of bytes that follow is, if it is told
	switch b[1] {
	case readCoils, readDiscrete, readHolding, readInput, writeCoil, writeRegister, 8:
		size = 8
	case 7, 11, 12, 17: // those of serial lines only
		size = 4
	case 20, 21:
		size, at = 5, 2
	case writeCoils, writeRegisters:
		size, at = 9, 6
	case maskWrite:
		size = 10
	case readWrite:
		size, at = 13, 10
	case 24:
		size = 6
	case identification:
		size = 7
	default:
		return 0, absent
	}
	if at > 0 {
		if len(b) <= at {
			return 0, partial
		}
		size += int(b[at])
	}
	switch {
	case len(b) < size:
		return size, partial
	case checksumFits(b[:size]):
		return size, complete
	}
	return 0, absent
}

// requested notes what a master asks.
func (m *monitor) requested(frame []byte) {
	m.missed()
	r := &request{unit: frame[0], pdu: bytes.Clone(frame[1 : len(frame)-2]), wide: m.wide[frame[0]], at: m.last}
	if o := m.owed[r.unit]; o != nil && m.last.Sub(o.spoke) >= settled && o.spoke.After(o.since) {
		o.writes = nil
	}
	m.of(r.unit).Requests++
	if r.unit != 0 && objection(r.pdu) == 0 { // nobody answers to all, and of other functions nothing is wanted
		m.asked, m.stray = r, 0
	}
}

// missed notes that what was asked last has found no answer.
func (m *monitor) missed() {
	r := m.asked
	if m.asked = nil; r == nil {
		return
	}
	o := m.owing(r.unit)
	if !r.spoilt {
		m.of(r.unit).Unanswered++
		if _, writes := written(r.pdu); writes {
			o.miss(r.pdu, m.last)
		}
	} else if len(o.owed) == 0 {
		return // else the spoilt one may have been that to an older one
	}
	if _, reads := r.question(); reads {
		o.silent(r, m.last)
	}
}

// unasked deals with an answer that nobody waits for.
func (m *monitor) unasked(frame []byte) { m.owing(frame[0]).stray(frame, m.last) }

// owing gives what a unit may still answer late.
func (m *monitor) owing(unit byte) *owing {
	o := m.owed[unit]
	if o == nil {
		o = newOwing(m.of(unit))
		m.owed[unit] = o
	}
	return o
}

// answered deals with the answer to what was asked last.
func (m *monitor) answered(frame []byte) {
	r, s, o := m.asked, m.of(frame[0]), m.owing(frame[0])
	m.asked, m.stray = nil, 0
	s.Answers++
	q, reads := r.question()
	is := certain
	if reads {
		var proven []reading
		is, proven = o.answered(r, frame, m.last)
		m.wrote = false
		for _, a := range proven {
			m.heard(r.unit, a.question, a.data, a.at)
		}
	}
	var data []byte
	switch {
	case frame[1]&exceptionBit != 0:
		s.Exceptions++
		s.Codes[min(int(frame[2]), len(s.Codes)-1)]++
	case reads && is == unproven:
		o.hold(reading{q, frame[3 : len(frame)-2], m.last})
	case reads && is == uncertain:
		s.Doubtful++
	case reads:
		data = frame[3 : len(frame)-2]
		o.cleared(m.took(r, frame))
	case m.confirmed(o, r, frame):
		o.spoke = m.last
		o.forget()
		q, data = r.change()
	default:
		o.begin() // it may have come from either side
	}
	if reads && data != nil {
		if change, values := r.change(); values != nil { // written before it was read
			m.wrote = true
			m.heard(r.unit, change, values, m.last)
		}
	}
	m.wrote = !reads
	m.heard(r.unit, q, data, m.last)
}

// took is how long a unit was silent between a request and its answer.
func (m *monitor) took(r *request, frame []byte) time.Duration {
	return max(0, m.last.Sub(r.at)-time.Duration(len(frame))*m.char)
}

// skip passes over bytes that belong to no frame. They may have been one.
func (m *monitor) skip(n int) {
	m.noise += uint64(n)
	if m.stray += n; m.stray <= strayLimit || m.stray-n > strayLimit {
		return
	}
	m.missed()
	for _, o := range m.owed {
		o.begin()
	}
}
