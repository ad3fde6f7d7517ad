package sim

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"sluice/adapters"
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

// valueType is how a number, or a text, lies in registers. What is smaller than
// its registers is in their low bits.
type valueType struct {
	bits   int // 1 to 64; of text 16 for each register
	signed bool
	float  bool
	bcd    bool
	text   bool
}

var valueTypes = map[string]valueType{
	"bool": {bits: 1},
	"u8":   {bits: 8},
	"i8":   {bits: 8, signed: true},
	"u16":  {bits: 16},
	"i16":  {bits: 16, signed: true},
	"u24":  {bits: 24},
	"i24":  {bits: 24, signed: true},
	"u32":  {bits: 32},
	"i32":  {bits: 32, signed: true},
	"u48":  {bits: 48},
	"i48":  {bits: 48, signed: true},
	"u64":  {bits: 64},
	"i64":  {bits: 64, signed: true},
	"f16":  {bits: 16, float: true},
	"f32":  {bits: 32, float: true},
	"f64":  {bits: 64, float: true},
	// Binary coded decimal: four bits a digit.
	"bcd16":  {bits: 16, bcd: true},
	"bcd32":  {bits: 32, bcd: true},
	"string": {text: true}, // its bits by its length
}

func parseType(s string, length int, t table) (valueType, error) {
	if s == "" {
		if t.bits() {
			return valueTypes["bool"], nil
		}
		return valueTypes["u16"], nil
	}
	typ, ok := valueTypes[s]
	if !ok {
		names := slices.Sorted(maps.Keys(valueTypes))
		return typ, fmt.Errorf("type %q is not simulated, choose one of %s", s, strings.Join(names, ", "))
	}
	if typ.text {
		typ.bits = 16 * length
	}
	if typ.text && length < 1 {
		return typ, fmt.Errorf("a %s needs a length in registers", s)
	}
	if t.bits() && typ.bits != 1 {
		return typ, fmt.Errorf("a %s holds a bool, not a %s", t, s)
	}
	return typ, nil
}

// words is the number of registers (or bits) that a value takes.
func (t valueType) words() int { return (t.bits + 15) / 16 }

// encode turns a raw number into words. What does not fit is clamped, or
// wraps around like a counter. NaN is 0 in whole numbers.
func (t valueType) encode(raw float64, o order, wrap bool) []uint16 {
	var bits uint64
	switch {
	case t.bits == 1:
		if raw != 0 {
			bits = 1
		}
	case t.float && t.bits == 16:
		bits = half(raw)
	case t.float && t.bits == 32:
		bits = uint64(math.Float32bits(float32(raw)))
	case t.bcd:
		n := t.whole(math.Round(raw), wrap)
		for shift := 0; n > 0; shift += 4 {
			bits |= n % 10 << shift
			n /= 10
		}
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
	if t.bcd {
		span = math.Pow10(t.bits / 4)
	}
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
	case t.bcd:
		return uint64(span) - 1
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
	case t.float && t.bits == 16:
		if v, ok := adapters.TypeF16.Decode([]byte{byte(bits >> 8), byte(bits)}).Number(); ok {
			return v
		}
		return math.NaN()
	case t.float && t.bits == 32:
		return float64(math.Float32frombits(uint32(bits)))
	case t.text:
		return math.NaN()
	case t.bcd:
		v := 0.0
		for shift := t.bits - 4; shift >= 0; shift -= 4 {
			v = 10*v + float64(bits>>shift&0xF)
		}
		return v
	case t.float:
		return math.Float64frombits(bits)
	case t.signed:
		return float64(int64(bits<<(64-t.bits)) >> (64 - t.bits))
	}
	return float64(bits & (^uint64(0) >> (64 - t.bits)))
}

// half gives the nearest binary16 (IEEE 754-2019, 3.6).
func half(raw float64) uint64 {
	var b [2]byte
	switch {
	case math.IsNaN(raw):
		return 0x7E00
	case adapters.TypeF16.Encode(adapters.Float(raw), b[:]) != nil:
		return 0x7C00 | uint64(boolBit(raw < 0))<<15
	}
	return uint64(b[0])<<8 | uint64(b[1])
}

// textWords gives a text as words; what does not fit is cut.
func (t valueType) textWords(text string, o order) []uint16 {
	words := make([]uint16, t.words())
	for i := range min(len(text), 2*len(words)) {
		words[i/2] |= uint16(text[i]) << (8 * (1 - i%2))
	}
	return o.apply(words, t)
}

// apply brings words into or out of the order; it is its own inverse.
func (o order) apply(words []uint16, t valueType) []uint16 {
	if t.bits == 1 {
		return words
	}
	if o.swapWords && !t.text {
		slices.Reverse(words)
	}
	if o.swapBytes {
		for i, w := range words {
			words[i] = w<<8 | w>>8
		}
	}
	return words
}
