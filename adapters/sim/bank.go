package sim

import (
	"math"
	"slices"
	"time"
)

// epoch is when all waves begin. It is fixed, so that counters go on over a
// restart of the simulation.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// calendar turns times into time since the epoch. It goes by the monotonic
// clock from its making on, so that a step of the wall clock moves no value.
type calendar struct {
	made   time.Time
	offset time.Duration
}

func newCalendar(now time.Time) calendar { return calendar{made: now, offset: now.Sub(epoch)} }

func (c calendar) since(t time.Time) time.Duration { return c.offset + t.Sub(c.made) }

// point is one value with its past.
type point struct {
	name     string
	typ      valueType
	text     string
	order    order
	scale    float64
	offset   float64
	wave     Wave
	writable bool
	settled  bool // stands at its wave's Base instead of following it

	changes []change // oldest first
	lost    bool     // changes older than changes[0] were forgotten
}

// change is a moment at which a point got other words, or (nil) went back to
// what it was at first.
type change struct {
	at    time.Time
	words []uint16
}

// maxChanges bounds the memory of a point.
const maxChanges = 1000

func newPoint(c *PointConfig) *point {
	t, _ := parseTable(c.Table)
	typ, _ := parseType(c.Type, c.Length, t)
	o, _ := parseOrder(c.Order)
	scale := c.Scale
	if scale == 0 {
		scale = 1
	}
	return &point{name: c.Name, typ: typ, text: c.Text, order: o, scale: scale, offset: c.Offset, wave: c.Wave,
		writable: c.Writable, settled: c.Writable}
}

// encode gives the words of an engineering value.
func (p *point) encode(v float64) []uint16 {
	raw := (v - p.offset) / p.scale
	if p.typ.bits == 1 {
		raw = v
		if p.wave.Shape != Const && p.wave.Shape != Toggle && v <= p.wave.Base {
			raw = 0 // a bit that follows a swinging value is on above its middle
		}
	}
	return p.typ.encode(raw, p.order, p.wave.Shape == Ramp)
}

// decode gives the engineering value of words.
func (p *point) decode(words []uint16) float64 {
	return p.typ.decode(words, p.order)*p.scale + p.offset
}

// words gives what the point holds at a time.
func (p *point) words(c calendar, at time.Time) []uint16 {
	for i := len(p.changes) - 1; i >= 0; i-- {
		if ch := &p.changes[i]; !ch.at.After(at) {
			if ch.words != nil {
				return ch.words
			}
			break
		}
	}
	return p.born(c.since(at))
}

// born gives the words that the point has of itself.
func (p *point) born(d time.Duration) []uint16 {
	if p.typ.text {
		return p.typ.textWords(p.text, p.order)
	}
	if p.settled {
		return p.encode(p.wave.Base)
	}
	return p.encode(p.wave.At(d))
}

// set gives the point words from at on (nil: its own), or from its last change
// on if that was later.
func (p *point) set(at time.Time, words []uint16) {
	if n := len(p.changes); n > 0 && p.changes[n-1].at.After(at) {
		at = p.changes[n-1].at
	}
	if len(p.changes) == maxChanges {
		p.changes = slices.Delete(p.changes, 0, maxChanges/4)
		p.lost = true
	}
	p.changes = append(p.changes, change{at, words})
}

// held reports whether the point had words that match at some time in
// [from, to], as far back as its changes are known.
func (p *point) held(c calendar, from, to time.Time, match func(words []uint16) bool) bool {
	for i := -1; i < len(p.changes); i++ {
		if i < 0 && p.lost {
			continue
		}
		begin, end := from, to
		var words []uint16
		if i >= 0 {
			words = p.changes[i].words
			if at := p.changes[i].at; at.After(begin) {
				begin = at
			}
		}
		if i+1 < len(p.changes) {
			if at := p.changes[i+1].at; at.Before(end) {
				end = at
			}
		}
		if end.Before(begin) {
			continue
		}
		if words != nil {
			if match(words) {
				return true
			}
			continue
		}
		if p.settled || p.wave.Shape == Const {
			if match(p.born(0)) {
				return true
			}
			continue
		}
		last := c.since(end)
		for d := p.wave.hold(c.since(begin)); d <= last; d += p.wave.step() {
			if match(p.born(d)) {
				return true
			}
		}
	}
	return false
}

// place is one word of a point.
type place struct {
	point *point
	word  int
}

// bank is the memory of a slave. It is not safe for concurrent use.
type bank struct {
	calendar calendar
	cells    map[cell]place
	points   []*point
	most     int  // registers in one request; 0: what the protocol allows
	wide     bool // see SlaveConfig
}

func newBank(c calendar, points []PointConfig, wide bool) *bank {
	b := &bank{calendar: c, cells: map[cell]place{}, wide: wide}
	for i := range points {
		t, _ := parseTable(points[i].Table)
		b.add(cell{t, points[i].Address}, newPoint(&points[i]))
	}
	return b
}

func (b *bank) add(at cell, p *point) {
	b.points = append(b.points, p)
	step := b.step(at.table)
	for w := 0; w < p.typ.words(); w += step {
		b.cells[cell{at.table, at.address + uint16(w/step)}] = place{p, w}
	}
}

// step is how many words there are at one address.
func (b *bank) step(t table) int {
	if b.wide && !t.bits() {
		return 2
	}
	return 1
}

func (b *bank) point(name string) *point {
	for _, p := range b.points {
		if p.name == name {
			return p
		}
	}
	return nil
}

// read gives the words of n addresses; ok is false if one of them does not
// exist. Words of one point are always of one moment.
func (b *bank) read(at time.Time, from cell, n int) (words []uint16, ok bool) {
	step := b.step(from.table)
	words = make([]uint16, 0, n*step)
	var last *point
	var held []uint16
	for i := range n {
		pl, ok := b.cells[cell{from.table, from.address + uint16(i)}]
		if !ok || int(from.address)+i > math.MaxUint16 {
			return nil, false
		}
		if pl.point != last {
			last, held = pl.point, pl.point.words(b.calendar, at)
		}
		words = append(words, held[pl.word:pl.word+step]...)
	}
	return words, true
}

// write puts words if all of them exist and may be written, else none.
func (b *bank) write(at time.Time, from cell, words []uint16) bool {
	for i := range words {
		pl, ok := b.cells[cell{from.table, from.address + uint16(i)}]
		if !ok || !pl.point.writable {
			return false
		}
	}
	b.put(at, from, words)
	return true
}

// put sets words wherever they are; missing registers are made.
func (b *bank) put(at time.Time, from cell, words []uint16) {
	step := b.step(from.table)
	for i := 0; i < len(words); {
		c := cell{from.table, from.address + uint16(i/step)}
		pl, ok := b.cells[c]
		if !ok {
			typ := valueTypes["u16"]
			switch {
			case c.table.bits():
				typ = valueTypes["bool"]
			case step == 2:
				typ = valueTypes["u32"]
			}
			p := &point{typ: typ, scale: 1, writable: c.table.writable(), settled: true}
			b.add(c, p)
			pl = place{p, 0}
		}
		all := slices.Clone(pl.point.words(b.calendar, at))
		i += copy(all[pl.word:], words[i:])
		if pl.point.typ.bits == 1 {
			all[0] = uint16(boolBit(all[0] != 0))
		}
		pl.point.set(at, all)
	}
}

// reset takes every point back to what it was at first.
func (b *bank) reset(at time.Time) {
	for _, p := range b.points {
		if len(p.changes) > 0 {
			p.set(at, nil)
		}
	}
}
