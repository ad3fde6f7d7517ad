package modbus

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"sluice/adapters"
)

// point is a PointConfig made ready to decode and encode.
type point struct {
	PointConfig
	decimals int // -1: no rounding
	plain    bool
	told     adapters.Quality // what was published last
	known    bool             // anything was published
}

func newPoint(c PointConfig) *point {
	if c.Scale == 0 {
		c.Scale = 1
	}
	p := &point{PointConfig: c, decimals: c.Decimals, plain: c.Scale == 1 && c.Offset == 0}
	if p.decimals < 0 && c.Type != F32 {
		p.decimals = max(adapters.Decimals(c.Scale), adapters.Decimals(c.Offset))
	}
	return p
}

// question is the read of this point alone.
func (p *point) question() question {
	return question{p.Table.reads(), p.Address, uint16(p.Type.Width())}
}

// shuffle brings the bytes of a value from the wire to the order ABCD, or back.
func shuffle(dst, src []byte, order Order) {
	words := len(src) / 2
	for i := range src {
		word, half := i/2, i%2
		if order == CDAB || order == DCBA {
			word = words - 1 - word
		}
		if order == BADC || order == DCBA {
			half = 1 - half
		}
		dst[i] = src[word*2+half]
	}
}

// decode gives the value of the point from data, the answer to q, which
// covers it.
func (p *point) decode(q question, data []byte) (adapters.Value, adapters.Quality) {
	at := int(p.Address - q.address)
	if p.Table.bits() {
		return p.boolean(data[at/8]>>(at%8)&1 != 0), adapters.Good
	}
	var raw [4]byte
	width := 2 * p.Type.Width()
	shuffle(raw[:width], data[2*at:2*at+width], p.Order)
	word := uint16(raw[0])<<8 | uint16(raw[1])
	double := uint32(word)<<16 | uint32(raw[2])<<8 | uint32(raw[3])
	switch p.Type {
	case Bool:
		return p.boolean(word != 0), adapters.Good
	case U16:
		return p.integer(int64(word)), adapters.Good
	case I16:
		return p.integer(int64(int16(word))), adapters.Good
	case U32:
		return p.integer(int64(double)), adapters.Good
	case I32:
		return p.integer(int64(int32(double))), adapters.Good
	}
	return p.float(math.Float32frombits(double))
}

func (p *point) boolean(on bool) adapters.Value {
	n := int64(0)
	if on {
		n = 1
	}
	if word, ok := p.Point.Names[n]; ok {
		return adapters.String(word)
	}
	return adapters.Bool(on)
}

func (p *point) integer(raw int64) adapters.Value {
	if word, ok := p.Point.Names[raw]; ok {
		return adapters.String(word)
	}
	if p.plain {
		return adapters.Int(raw)
	}
	return adapters.Float(adapters.Round(float64(raw)*p.Scale+p.Offset, p.decimals))
}

// float treats f as the shortest decimal number that is nearest to it: the
// device means 21.4, not 21.399999618530273.
func (p *point) float(f float32) (adapters.Value, adapters.Quality) {
	if f64 := float64(f); math.IsNaN(f64) || math.IsInf(f64, 0) {
		return adapters.Value{}, adapters.Invalid
	}
	var buf [32]byte
	text := string(strconv.AppendFloat(buf[:0], float64(f), 'e', -1, 32))
	meant, _ := strconv.ParseFloat(text, 64) // what AppendFloat wrote always parses
	digits := p.decimals
	if !p.plain {
		if digits < 0 {
			digits = adapters.Decimals(meant) + adapters.Decimals(p.Scale) + adapters.Decimals(p.Offset)
		}
		meant = meant*p.Scale + p.Offset
	}
	v := adapters.Float(adapters.Round(meant, digits))
	if v.IsNone() {
		return v, adapters.Invalid
	}
	return v, adapters.Good
}

// encode gives the registers of a commanded value, or one byte, 0 or 1, for
// a coil. A number is clamped to the point's Min and Max first.
func (p *point) encode(v adapters.Value) ([]byte, error) {
	if p.Type == Bool {
		on, err := p.truth(v)
		if err != nil {
			return nil, err
		}
		n := byte(0)
		if on {
			n = 1
		}
		if p.Table == Coil {
			return []byte{n}, nil
		}
		return p.registers(uint32(n), 2), nil
	}
	raw, err := p.raw(v)
	if err != nil {
		return nil, err
	}
	if p.Type == F32 {
		f := float32(raw)
		if math.IsInf(float64(f), 0) {
			return nil, fmt.Errorf("value %v is too big for type %v", v, p.Type)
		}
		return p.registers(math.Float32bits(f), 4), nil
	}
	low, high := limits(p.Type)
	whole := math.Round(raw)
	if whole < low || whole > high {
		return nil, fmt.Errorf("value %v is %v in the register, outside %v to %v of type %v", v, whole, low, high, p.Type)
	}
	return p.registers(uint32(int64(whole)), 2*p.Type.Width()), nil
}

func limits(t Type) (low, high float64) {
	switch t {
	case U16:
		return 0, math.MaxUint16
	case I16:
		return math.MinInt16, math.MaxInt16
	case U32:
		return 0, math.MaxUint32
	}
	return math.MinInt32, math.MaxInt32
}

func (p *point) registers(n uint32, width int) []byte {
	raw := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	wire := make([]byte, width)
	shuffle(wire, raw[4-width:], p.Order)
	return wire
}

// raw gives the number to write for v: one of the point's names, or the
// inverse of scale and offset.
func (p *point) raw(v adapters.Value) (float64, error) {
	if v.Kind() == adapters.KindString {
		for n, word := range p.Point.Names {
			if word == v.String() {
				return float64(n), nil
			}
		}
		if len(p.Point.Names) == 0 {
			return 0, fmt.Errorf("%q is not a number", v.String())
		}
		return 0, fmt.Errorf("%q is not one of the words of the point", v.String())
	}
	number, ok := v.Number()
	if !ok {
		return 0, errors.New("the value is not a number")
	}
	if p.Point.Min != nil {
		number = max(number, *p.Point.Min)
	}
	if p.Point.Max != nil {
		number = min(number, *p.Point.Max)
	}
	return (number - p.Offset) / p.Scale, nil
}

func (p *point) truth(v adapters.Value) (bool, error) {
	switch v.Kind() {
	case adapters.KindBool:
		return v.Bool(), nil
	case adapters.KindString:
		raw, err := p.raw(v)
		return raw != 0, err
	}
	number, ok := v.Number()
	if !ok || number != 0 && number != 1 {
		return false, fmt.Errorf("the value %v is neither on nor off", v)
	}
	return number != 0, nil
}
