package sim

import (
	"fmt"
	"math"
	"slices"
)

type table uint8

const (
	coil table = iota
	discrete
	input
	holding
)

var tableNames = [...]string{"coil", "discrete", "input", "holding"}

func (t table) String() string { return tableNames[t] }

func (t table) writable() bool { return t == coil || t == holding }

func (t table) bits() bool { return t == coil || t == discrete }

func parseTable(s string) (table, error) {
	for i, name := range tableNames {
		if s == name {
			return table(i), nil
		}
	}
	return 0, fmt.Errorf("table %q is unknown, choose coil, discrete, input or holding", s)
}

// cell is the place of one word in a slave.
type cell struct {
	table   table
	address uint16
}

// order says how the bytes of a value lie on the wire.
type order struct{ swapWords, swapBytes bool }

func parseOrder(s string) (order, error) {
	switch s {
	case "", "ABCD":
		return order{}, nil
	case "CDAB":
		return order{swapWords: true}, nil
	case "BADC":
		return order{swapBytes: true}, nil
	case "DCBA":
		return order{swapWords: true, swapBytes: true}, nil
	}
	return order{}, fmt.Errorf("order %q is unknown, choose ABCD, CDAB, BADC or DCBA", s)
}

// valueType is how a number lies in registers.
type valueType struct {
	bits   int // 1, 16, 32 or 64
	signed bool
	float  bool
}

var valueTypes = map[string]valueType{
	"bool": {bits: 1},
	"u16":  {bits: 16},
	"i16":  {bits: 16, signed: true},
	"u32":  {bits: 32},
	"i32":  {bits: 32, signed: true},
	"u64":  {bits: 64},
	"i64":  {bits: 64, signed: true},
	"f32":  {bits: 32, float: true},
	"f64":  {bits: 64, float: true},
}

func parseType(s string, t table) (valueType, error) {
	if s == "" {
		if t.bits() {
			return valueTypes["bool"], nil
		}
		return valueTypes["u16"], nil
	}
	typ, ok := valueTypes[s]
	if !ok {
		return typ, fmt.Errorf("type %q is not simulated, choose bool, u16, i16, u32, i32, f32, u64, i64 or f64", s)
	}
	if t.bits() && typ.bits != 1 {
		return typ, fmt.Errorf("a %s holds a bool, not a %s", t, s)
	}
	return typ, nil
}

// words is the number of registers (or bits) that a value takes.
func (t valueType) words() int { return max(1, t.bits/16) }

// encode turns a raw number into words. What does not fit is clamped, or
// wraps around like a counter. NaN is 0 in whole numbers.
func (t valueType) encode(raw float64, o order, wrap bool) []uint16 {
	var bits uint64
	switch {
	case t.bits == 1:
		if raw != 0 {
			bits = 1
		}
	case t.float && t.bits == 32:
		bits = uint64(math.Float32bits(float32(raw)))
	case t.float:
		bits = math.Float64bits(raw)
	default:
		bits = t.whole(math.Round(raw), wrap)
	}
	n := t.words()
	words := make([]uint16, n)
	for i := range n {
		words[n-1-i] = uint16(bits >> (16 * i))
	}
	return o.apply(words, t)
}

// whole gives the two's complement of a whole number in t.bits bits.
func (t valueType) whole(raw float64, wrap bool) uint64 {
	if math.IsNaN(raw) {
		return 0
	}
	span := math.Ldexp(1, t.bits) // number of values
	low := 0.0
	if t.signed {
		low = -span / 2
	}
	switch {
	case raw >= low && raw < low+span:
	case wrap && !math.IsInf(raw, 0):
		if raw = math.Mod(raw-low, span); raw < 0 {
			raw += span
		}
		raw += low
	case raw < low:
		raw = low
	default:
		return ^uint64(0) >> (64 - t.bits) >> boolBit(t.signed)
	}
	if raw < 0 {
		return uint64(int64(raw)) & (^uint64(0) >> (64 - t.bits))
	}
	return uint64(raw)
}

func boolBit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// decode is the inverse of encode.
func (t valueType) decode(words []uint16, o order) float64 {
	words = o.apply(slices.Clone(words), t)
	var bits uint64
	for _, w := range words {
		bits = bits<<16 | uint64(w)
	}
	switch {
	case t.bits == 1:
		return float64(bits & 1)
	case t.float && t.bits == 32:
		return float64(math.Float32frombits(uint32(bits)))
	case t.float:
		return math.Float64frombits(bits)
	case t.signed:
		return float64(int64(bits<<(64-t.bits)) >> (64 - t.bits))
	}
	return float64(bits)
}

// apply brings words into or out of the order; it is its own inverse.
func (o order) apply(words []uint16, t valueType) []uint16 {
	if t.bits == 1 {
		return words
	}
	if o.swapWords {
		slices.Reverse(words)
	}
	if o.swapBytes {
		for i, w := range words {
			words[i] = w<<8 | w>>8
		}
	}
	return words
}
