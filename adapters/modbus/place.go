package modbus

import (
	"bytes"
	"math"
	"slices"
	"time"
)

// place tells whether the answers of a unit are each in its place, after the
// request that it answers, or each in that of the next. If they are in place,
// the time from the request is what the unit needs for an answer; if not, the
// unit was at it ever since it spoke last, and the time from there is. And what
// comes resembles what came before for that request, or for another one.
type place struct {
	odds  float64 // so many times as likely is it that all are in place
	least float64 // that these have been
	took  []time.Duration
	next  int       // of took, once it is full
	known []content // the last certain answers
	old   int       // of known, once it is full
}

// content is an answer and the protocol data unit that asked for it.
type content struct{ pdu, frame []byte }

const (
	mostTook    = 128
	mostContent = 32
	// mostTold is the most that one answer tells, proof are the odds that are
	// wanted, and proofLate those of a unit that is known to be late at times.
	mostTold  = 64
	proof     = 400
	proofLate = 1e5
	// blur is what two times may differ by although they are the same.
	blur = 500 * time.Microsecond
)

// finding says what the odds tell.
type finding uint8

const (
	open       finding = iota
	inPlace            // all are
	outOfPlace         // this one and those before it seem to be
)

func (p *place) begin() { p.odds, p.least = 1, 1 }

// lost reports whether the answers look out of place as clearly as can be.
func (p *place) lost() bool { return p.odds <= 1.0/proof }

// weigh takes an answer to r that came so long after it and after the frame
// before, or to one of the requests owed. wary is whether the unit was late.
func (p *place) weigh(r *request, owed []*request, frame []byte, fromRequest, fromFrame time.Duration, wary bool) finding {
	if len(p.took) < learnFrom {
		return open
	}
	factor := float64(1+p.near(fromRequest)) / float64(1+p.near(fromFrame))
	more := p.resembles(r, owed, frame)
	factor = min(factor*math.Pow(4, float64(max(-3, min(more, 3)))), mostTold)
	p.odds = max(factor*p.odds, 1.0/proof)
	switch {
	case p.odds >= proofLate, p.odds >= proof && !wary:
		return inPlace
	case p.odds <= p.least && p.odds < 1:
		p.least = p.odds
		return outOfPlace
	case more < 0:
		return outOfPlace
	}
	return open
}

// near tells how many answers took about as long as d.
func (p *place) near(d time.Duration) (n int) {
	sorted := slices.Clone(p.took)
	slices.Sort(sorted)
	last := len(sorted) - 1
	reach := max(blur, (sorted[last*3/4]-sorted[last/4])/2)
	for _, took := range sorted {
		if (took - d).Abs() <= reach {
			n++
		}
	}
	return n
}

// resembles tells how many bytes more frame has in common with the last answer
// to r than with that to any other request owed; 0 if one is not known.
func (p *place) resembles(r *request, owed []*request, frame []byte) (more int) {
	here, there := alike(frame, p.last(r)), -1
	for _, other := range owed {
		if !other.next || other.same(r) || !other.fits(frame) {
			continue
		}
		n := alike(frame, p.last(other))
		if n == 0 {
			return 0
		}
		there = max(there, n)
	}
	if here == 0 || there < 0 {
		return 0
	}
	return here - there
}

// alike counts the bytes that two frames of one unit have in common, at least
// those that they begin with.
func alike(a, b []byte) (n int) {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			n++
		}
	}
	return n
}

// last gives the last certain answer to r, nil if there is none.
func (p *place) last(r *request) []byte {
	if i := p.find(r); i >= 0 {
		return p.known[i].frame
	}
	return nil
}

func (p *place) find(r *request) int {
	return slices.IndexFunc(p.known, func(c content) bool { return bytes.Equal(c.pdu, r.pdu) })
}

// learn takes a certain answer to r, and what it took.
func (p *place) learn(r *request, frame []byte, took time.Duration) {
	if p.add(took); frame[1]&exceptionBit != 0 {
		return
	}
	i := p.find(r)
	switch {
	case i >= 0:
	case len(p.known) < mostContent:
		i, p.known = len(p.known), append(p.known, content{pdu: r.pdu})
	default:
		i, p.old = p.old, (p.old+1)%mostContent
		p.known[i] = content{pdu: r.pdu}
	}
	p.known[i].frame = append(p.known[i].frame[:0], frame[:len(frame)-2]...)
}

// glimpse takes what an answer took that is in doubt: it is only believed if
// too little is known, or the unit may have become slower.
func (p *place) glimpse(took time.Duration) {
	if len(p.took) < learnFrom || took > p.longest() {
		p.add(took)
	}
}

func (p *place) add(took time.Duration) {
	if len(p.took) < mostTook {
		p.took = append(p.took, took)
		return
	}
	p.took[p.next] = took
	p.next = (p.next + 1) % mostTook
}

// longest is the most that one of the last answers took, as far as is known.
func (p *place) longest() time.Duration {
	if len(p.took) < learnFrom {
		return debtLife
	}
	return slices.Max(p.took)
}
