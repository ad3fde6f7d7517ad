package adapters

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Mapping turns what a device holds into what is published, and back:
// value = raw·Scale + Offset.
type Mapping struct {
	Scale    float64 // 0 means 1
	Offset   float64
	Decimals int     // digits after the point; -1: as many as the raw number, Scale and Offset imply
	Bad      []Value // raw values that stand for none, such as -32768 for a broken sensor
	Range    *Range  // what the value can be; nil: anything
}

// Range is a closed interval.
type Range struct{ Low, High float64 }

func (m *Mapping) scale() float64 {
	if m.Scale == 0 {
		return 1
	}
	return m.Scale
}

func (m *Mapping) plain() bool { return m.scale() == 1 && m.Offset == 0 }

// Apply gives what is published for raw. names are the words for raw numbers. A
// raw value that is None, or one of Bad, is invalid.
func (m *Mapping) Apply(raw Value, names map[int64]string) (Value, Quality) {
	if raw.IsNone() || slices.ContainsFunc(m.Bad, raw.equal) {
		return Value{}, Invalid
	}
	if n, ok := raw.ordinal(); ok && names != nil {
		if word, named := names[n]; named {
			return String(word), Good
		}
	}
	if !raw.isNumber() {
		return raw, Good
	}
	value := m.scaled(raw)
	number, ok := value.Number()
	switch {
	case !ok:
		return Value{}, Invalid
	case m.Range != nil && (number < m.Range.Low || number > m.Range.High):
		return Value{}, OutOfRange
	}
	return value, Good
}

// scaled keeps whole numbers whole where it can, with all their digits.
func (m *Mapping) scaled(raw Value) Value {
	f, _ := raw.Number()
	if raw.kind != KindFloat && m.Decimals < 0 {
		if v, ok := m.exact(raw); ok {
			return v
		}
	}
	digits := m.Decimals
	switch {
	case digits >= 0:
	case raw.kind != KindFloat:
		digits = max(Decimals(m.scale()), Decimals(m.Offset))
	case m.plain():
		return raw
	default:
		digits = Decimals(f) + Decimals(m.scale()) + Decimals(m.Offset)
	}
	if m.plain() && raw.kind != KindFloat {
		return raw
	}
	return Float(Round(f*m.scale()+m.Offset, digits))
}

// exact is raw·Scale + Offset where all of it is whole and fits 64 bits.
func (m *Mapping) exact(raw Value) (Value, bool) {
	if m.plain() {
		return raw, true
	}
	const most = 1 << 53
	scale, offset := m.scale(), m.Offset
	if scale != math.Trunc(scale) || offset != math.Trunc(offset) || math.Abs(scale) > most || math.Abs(offset) > most {
		return Value{}, false
	}
	if raw.kind == KindUint {
		return Value{}, false
	}
	n, by := int64(raw.bits), int64(scale)
	high, low := bits.Mul64(magnitude(n), magnitude(by))
	if high != 0 || low > math.MaxInt64-most {
		return Value{}, false
	}
	return Int(n*by + int64(offset)), true
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// equal is == for which 1.0 is 1.
func (v Value) equal(w Value) bool {
	if v.isNumber() && w.isNumber() && v.kind != w.kind {
		a, _ := v.Number()
		b, _ := w.Number()
		return a == b
	}
	return v == w
}

func (v Value) isNumber() bool { return v.kind == KindInt || v.kind == KindUint || v.kind == KindFloat }

// ordinal gives the number by which a map names a value.
func (v Value) ordinal() (int64, bool) {
	switch v.kind {
	case KindInt, KindBool:
		return int64(v.bits), true
	case KindFloat:
		f := math.Float64frombits(v.bits)
		return int64(f), f == math.Trunc(f) && math.Abs(f) < 1<<53
	}
	return 0, false
}

// Invert gives the raw number that stands for a commanded value of p: that of a
// word, or the inverse of scale and offset after the bounds of p.
func (m *Mapping) Invert(v Value, p *Point) (Value, error) {
	if v.kind == KindString {
		for n, word := range p.Names {
			if word == v.text {
				return Int(n), nil
			}
		}
		if len(p.Names) == 0 {
			return Value{}, fmt.Errorf("%q is not a number", v.text)
		}
		return Value{}, fmt.Errorf("%q is not one of the words of the point", v.text)
	}
	number, ok := v.Number()
	if !ok {
		return Value{}, errors.New("the value is not a number")
	}
	clamped := number
	if p.Min != nil {
		clamped = max(clamped, *p.Min)
	}
	if p.Max != nil {
		clamped = min(clamped, *p.Max)
	}
	if m.plain() && clamped == number {
		return v, nil // with all its digits
	}
	return Float((clamped - m.Offset) / m.scale()), nil
}

// Check reports what is wrong with the mapping, each with the key it is about.
func (m *Mapping) Check(bad func(key, format string, args ...any)) {
	if math.IsNaN(m.Scale) || math.IsInf(m.Scale, 0) {
		bad("scale", "scale is not a number")
	}
	if math.IsNaN(m.Offset) || math.IsInf(m.Offset, 0) {
		bad("offset", "offset is not a number")
	}
	if m.Decimals < -1 || m.Decimals > 15 {
		bad("decimals", "decimals %d is outside 0 to 15", m.Decimals)
	}
	if r := m.Range; r != nil && !(r.Low <= r.High) {
		bad("range", "range begins with %v, above its end %v", r.Low, r.High)
	}
}
