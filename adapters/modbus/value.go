package modbus

import (
	"fmt"
	"time"

	"sluice/adapters"
)

// point is a PointConfig made ready to decode and encode.
type point struct {
	PointConfig
	told  adapters.Quality // what was published last
	known bool             // anything was published

	due     time.Time // it is published from then on; the zero time is at once
	missing bool      // the device says that it has no such register
	held    bool      // the device has answered for it
	trial   *trial    // of reading it apart from others
	failed  bool      // in that the device failed to give it alone
}

// spoil adds to readings that pt has no value, unless that was told last.
func (pt *point) spoil(readings []adapters.Reading, quality adapters.Quality, now time.Time) []adapters.Reading {
	if pt.known && pt.told == quality {
		return readings
	}
	pt.told, pt.known = quality, true
	return append(readings, adapters.Reading{Point: pt.Point, Quality: quality, Time: now})
}

// newPoints makes the points of a device ready.
func newPoints(c DeviceConfig) []*point {
	points := make([]*point, 0, len(c.Points))
	for _, pc := range c.Points {
		if pc.Every == 0 {
			pc.Every = c.Every
		}
		pc.Wide = c.Wide
		points = append(points, newPoint(pc))
	}
	return points
}

func newPoint(c PointConfig) *point {
	p := &point{PointConfig: c}
	if p.Bad = nil; p.Field.Bits > 0 {
		p.Type = p.Type.Unsigned() // its bits alone matter
	}
	for _, v := range c.Bad {
		p.Bad = append(p.Bad, p.Type.Sentinel(v, p.Field))
	}
	return p
}

// question is the read of this point alone.
func (p *point) question() question {
	return question{p.Table.reads(), p.Address, uint16(p.Width()), p.Wide}
}

// decode gives the value of the point from data, the answer to q, which
// covers it.
func (p *point) decode(q question, data []byte) (adapters.Value, adapters.Quality) {
	at := int(p.Address - q.address)
	if p.Table.bits() {
		return p.Apply(adapters.Bool(data[at/8]>>(at%8)&1 != 0), p.Point.Names)
	}
	n := q.width()
	raw := p.Field.Of(p.raw(data[n*at : n*(at+p.Width())]))
	if p.Bit {
		raw = adapters.Bool(raw == adapters.Int(1))
	}
	return p.Apply(raw, p.Point.Names)
}

// raw gives what the registers on the wire hold.
func (p *point) raw(wire []byte) adapters.Value {
	var room [8]byte
	b := room[:]
	if len(wire) > len(b) {
		b = make([]byte, len(wire))
	}
	b = b[:len(wire)]
	p.Order.Arrange(b, wire, p.Type)
	return p.Type.Decode(b)
}

// holds reports whether registers read back are those written. Bytes that do
// not belong to the value do not count, nor do those behind the end of a text.
func (p *point) holds(read, written []byte) bool {
	if p.Table.bits() {
		return read[0]&1 == written[0]
	}
	return p.Field.Of(p.raw(read)) == p.Field.Of(p.raw(written))
}

// merge gives the registers to write so that only the bits of the point change.
func (p *point) merge(held, written []byte) ([]byte, error) {
	raw := p.Field.Put(p.raw(held), p.Field.Of(p.raw(written)))
	return p.registers(raw, raw)
}

// encode gives the registers of a commanded value, or one byte, 0 or 1, for
// a coil. A number is clamped to the point's Min and Max first.
func (p *point) encode(v adapters.Value) ([]byte, error) {
	raw, err := v, error(nil)
	switch {
	case p.Type == Bool || p.Bit:
		raw, err = p.Point.Switch(v)
	case p.Type != String:
		raw, err = p.Invert(v, p.Point)
	}
	if err != nil {
		return nil, err
	}
	if p.Table == Coil {
		return []byte{byte(truthBit(raw))}, nil
	}
	if f := p.Field; f.Bits > 0 {
		if p.Bit {
			raw = adapters.Int(truthBit(raw))
		}
		if !f.Fits(raw) {
			return nil, fmt.Errorf("value %v is %v in the register, more than %d bits hold", v, raw, f.Bits)
		}
		raw = f.Put(adapters.Int(0), raw)
	}
	return p.registers(v, raw)
}

func truthBit(v adapters.Value) int64 {
	if v.Bool() {
		return 1
	}
	return 0
}

// registers gives a raw value as it is sent.
func (p *point) registers(v, raw adapters.Value) ([]byte, error) {
	wire := make([]byte, 2*p.Width())
	b := make([]byte, len(wire))
	if err := p.Type.Encode(raw, b); err != nil {
		if v != raw {
			return nil, fmt.Errorf("value %v: raw %w", v, err)
		}
		return nil, fmt.Errorf("value %w", err)
	}
	p.Order.Arrange(wire, b, p.Type)
	return wire, nil
}
