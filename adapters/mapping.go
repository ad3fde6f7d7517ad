package adapters

import (
	"math"
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
	if v, ok := m.exact(raw); ok {
		return v
	}
	f, _ := raw.Number()
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
	return Float(Round(f*m.scale()+m.Offset, digits))
}

// exact is raw·Scale + Offset where all of it is whole and fits 64 bits.
func (m *Mapping) exact(raw Value) (Value, bool) {
	if m.plain() {
		return raw, raw.kind != KindFloat
	}
	scale, offset, ok := m.whole()
	if !ok || raw.kind != KindInt {
		return Value{}, false
	}
	n := int64(raw.bits)
	product := n * scale
	sum := product + offset
	if product/scale != n || scale == -1 && n == math.MinInt64 || (sum < product) != (offset < 0) {
		return Value{}, false // too big
	}
	return Int(sum), true
}

// unscaled is the raw number that exact makes v of.
func (m *Mapping) unscaled(v Value) (Value, bool) {
	scale, offset, ok := m.whole()
	if !ok || v.kind != KindInt {
		return Value{}, false
	}
	n := int64(v.bits)
	product := n - offset
	if (product > n) != (offset < 0) || product%scale != 0 {
		return Value{}, false
	}
	return Int(product / scale), true
}

// whole gives Scale and Offset where both are whole numbers.
func (m *Mapping) whole() (scale, offset int64, ok bool) {
	const most = 1 << 53
	s, o := m.scale(), m.Offset
	if s != math.Trunc(s) || o != math.Trunc(o) || math.Abs(s) > most || math.Abs(o) > most {
		return 0, 0, false
	}
	return int64(s), int64(o), true
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
// word, or the inverse of scale and offset after the bounds of p. A point with
// words takes these and their numbers alone, and what is within its bounds where
// it has both.
func (m *Mapping) Invert(v Value, p *Point) (Value, error) {
	if n, known := p.number(v.text); known && v.kind == KindString {
		return Int(n), nil
	}
	number, ok := v.Number()
	if !ok {
		return Value{}, p.NotANumber(v)
	}
	clamped := number
	if p.Min != nil {
		clamped = max(clamped, *p.Min)
	}
	if p.Max != nil {
		clamped = min(clamped, *p.Max)
	}
	raw := m.Raw(v)
	if p.Names != nil {
		if n, named := p.named(raw); named {
			return Int(n), nil
		}
		if p.Min == nil || p.Max == nil || clamped != number {
			return Value{}, p.errNoName(v)
		}
	}
	if clamped != number {
		raw = m.Raw(Float(clamped))
	}
	return raw, nil
}

// Raw gives the raw number of a value that is a number.
func (m *Mapping) Raw(v Value) Value {
	if m.plain() {
		return v // with all its digits
	}
	if raw, ok := m.unscaled(v); ok {
		return raw
	}
	number, _ := v.Number()
	return Float((number - m.Offset) / m.scale())
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
