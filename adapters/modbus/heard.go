package modbus

import (
	"iter"
	"slices"
	"time"

	"sluice/adapters/line"
)

// hear judges what came when nobody waited for it: since the last request,
// which went to p.asked. The caller holds p.mu.
func (p *Poller) hear(thrown []byte, now time.Time) {
	if len(thrown) == 0 || p.asked == nil {
		return
	}
	frames := 0
	for frame, question := range p.frames(thrown) {
		frames++
		p.stray(frame, question, now)
	}
	if frames == 0 {
		p.asked.stats.Garbage += uint64(len(thrown))
	}
}

// frames are the valid frames in b, whatever lies between them: unit and
// protocol data unit, and whether it is a question. Some writes look the same
// from both sides.
func (p *Poller) frames(b []byte) iter.Seq2[[]byte, bool] {
	return func(yield func([]byte, bool) bool) {
		for rest := b; len(rest) > 0; {
			frame, size, question := rtuFrame(rest)
			if p.ascii() {
				frame, size, question = asciiFrame(rest)
			}
			if size == 0 {
				size = 1
			} else if !yield(frame, question) {
				return
			}
			rest = rest[size:]
		}
	}
}

func (p *Poller) ascii() bool { return p.cfg.Kind == line.ASCII || p.cfg.Kind == line.ASCIITCP }

// rtuFrame gives the valid frame with which b begins without its checksum, its
// length, 0 if there is none, and whether it is a question.
func rtuFrame(b []byte) (frame []byte, size int, question bool) {
	if size = wholeFrame(b); size == 0 && len(b) >= 8 && b[1] >= readCoils && b[1] <= readInput && checksumFits(b[:8]) {
		size, question = 8, true
	}
	return b[:max(0, size-2)], size, question
}

// asciiFrame is rtuFrame for Modbus ASCII.
func asciiFrame(b []byte) (frame []byte, size int, question bool) {
	unit, pdu, size := wholeASCII(b)
	if size == 0 {
		return nil, 0, false
	}
	function := pdu[0]
	question = function >= readCoils && function <= readInput && len(pdu) == 5 && int(pdu[1]) != len(pdu)-2
	return append([]byte{unit}, pdu...), size, question
}

// stray counts a valid frame of a unit that nobody waited for.
func (p *Poller) stray(frame []byte, question bool, now time.Time) {
	unit := frame[0]
	for _, d := range slices.Concat(p.devices, p.guests) {
		if question || d.cfg.Unit != unit {
			continue
		}
		if d.misses.open > 0 && len(d.debts.owed) == 0 {
			d.mixed(now) // it came behind that of a fence
		}
		if !d.twice(now) { // else it may be a second answer
			d.misses.came()
		}
		if took, late := d.overtime.late(now); late {
			d.tardyAt = now
			d.tardy(took, 8+len(frame)+2)
			return
		}
		if d != p.asked || p.heeded {
			d.twiceAt = now
			d.stats.Again++
			return
		}
	}
	if question || p.asked.cfg.Unit != unit { // asked through the door, it is known to no one
		p.foreign++
	}
}

// tardy counts an answer that came too late, and what it took where that is
// known: size bytes of it and of its request were on the wire. The caller holds
// the lock.
func (d *device) tardy(took time.Duration, size int) {
	d.stats.Late++
	if took > 0 {
		d.latency.Add(took)
		d.waits.Add(max(0, took-d.onWire(size)))
	}
}

// onWire is how long so many bytes take on the wire.
func (d *device) onWire(size int) time.Duration {
	return time.Duration(size) * d.poller.cfg.Serial.CharTime()
}

// Foreign tells how many valid frames came that neither asked anything for us
// nor answered: those of another master, and the answers to it.
func (p *Poller) Foreign() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.foreign
}

// overtime finds out how long answers take that come too late. The first one
// after a silence passes for the answer to the question that was asked again.
// That it was not is known when one more comes, or when it is so every time: a
// device that knows one question at a time answers the second no more.
type overtime struct {
	begin time.Time     // of the first request that met silence
	last  time.Time     // end of the last
	owed  int           // requests that met silence and whose answers did not come
	took  time.Duration // from begin to the first answer after it
	row   int           // answers in a row that came after a silence
}

// everyTime is after how many in a row it is so every time: that so many
// questions in a row were lost is less likely.
const everyTime = 5

// asked notes a request and whether it was answered. It gives what an answer
// took that was too late for the request before this one, 0 if it was not.
func (o *overtime) asked(begin, end time.Time, answered bool) (late time.Duration) {
	switch {
	case !answered:
		if o.begin.IsZero() {
			o.begin, o.took = begin, 0
		}
		o.owed, o.last = min(o.owed+1, mostDebts), end
	case o.begin.IsZero():
		o.row = 0
	default:
		o.took, o.begin = end.Sub(o.begin), time.Time{}
		if o.row++; o.row >= everyTime {
			late, o.took, o.owed = o.took, 0, 0
		}
	}
	return late
}

// late reports whether an answer that comes now is one that is owed, and what
// it took as far as that is known.
func (o *overtime) late(now time.Time) (took time.Duration, is bool) {
	if o.owed == 0 || now.Sub(o.last) > debtLife {
		o.owed = 0
		return 0, false
	}
	o.owed--
	return o.took, true
}
