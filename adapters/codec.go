package adapters

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Type is how a value lies in the bytes of a device.
type Type uint8

// The types. A value smaller than its registers lies in their low bytes, and
// the others mean nothing.
const (
	TypeBool Type = iota // what is not 0 is true
	TypeU8
	TypeI8
	TypeU16
	TypeI16
	TypeU24
	TypeI24
	TypeU32
	TypeI32
	TypeU48
	TypeI48
	TypeU64
	TypeI64
	TypeF16 // IEEE 754 binary16, 32 and 64
	TypeF32
	TypeF64
	TypeBCD16  // four decimal digits, a nibble each
	TypeBCD32  // eight
	TypeString // UTF-8, ends with the first NUL
)

var codecs = [...]struct {
	name   string
	bytes  int
	signed bool
}{
	{"bool", 2, false}, {"u8", 1, false}, {"i8", 1, true}, {"u16", 2, false}, {"i16", 2, true}, {"u24", 3, false},
	{"i24", 3, true}, {"u32", 4, false}, {"i32", 4, true}, {"u48", 6, false}, {"i48", 6, true}, {"u64", 8, false},
	{"i64", 8, true}, {"f16", 2, true}, {"f32", 4, true}, {"f64", 8, true}, {"bcd16", 2, false}, {"bcd32", 4, false},
	{"string", 0, false},
}

// Types gives all types, in the order in which people are told of them.
func Types() []Type {
	all := make([]Type, len(codecs))
	for i := range all {
		all[i] = Type(i)
	}
	return all
}

// ParseType reads what String gives.
func ParseType(s string) (Type, error) {
	names := make([]string, len(codecs))
	for i, c := range codecs {
		if names[i] = c.name; c.name == s {
			return Type(i), nil
		}
	}
	return 0, fmt.Errorf("unknown type %q; use one of %s", s, strings.Join(names, ", "))
}

// Known reports whether t is one of the types.
func (t Type) Known() bool { return int(t) < len(codecs) }

// String gives the type as a configuration names it.
func (t Type) String() string {
	if !t.Known() {
		return fmt.Sprintf("unknown (%d)", t)
	}
	return codecs[t].name
}

// Bytes is how many bytes a value takes; 0 for text, whose length is the
// device's.
func (t Type) Bytes() int { return codecs[t].bytes }

// Unsigned gives the type without a sign of the same size, for a whole number.
func (t Type) Unsigned() Type {
	if t.Integer() && codecs[t].signed {
		return t - 1
	}
	return t
}

// Integer reports whether the type is a whole number in binary.
func (t Type) Integer() bool { return t >= TypeU8 && t <= TypeI64 }

// Float reports whether the type is one of IEEE 754.
func (t Type) Float() bool { return t >= TypeF16 && t <= TypeF64 }

// BCD reports whether the type is made of decimal digits.
func (t Type) BCD() bool { return t == TypeBCD16 || t == TypeBCD32 }

// Number reports whether the type is a number.
func (t Type) Number() bool { return t != TypeBool && t != TypeString }

// Decode gives the value in b, most significant byte first; where b is longer
// than the type, its last bytes count. It is None where b holds no number: NaN,
// an infinity, a digit above 9; and where text is not UTF-8.
func (t Type) Decode(b []byte) Value {
	if t == TypeString {
		return decodeText(b)
	}
	n := uint64(0)
	for _, c := range b[max(0, len(b)-t.Bytes()):] {
		n = n<<8 | uint64(c)
	}
	switch {
	case t == TypeBool:
		return Bool(n != 0)
	case t.BCD():
		return decodeBCD(n)
	case t.Float():
		return t.shortest(t.float(n))
	case codecs[t].signed:
		unused := 64 - 8*t.Bytes()
		return Int(int64(n<<unused) >> unused)
	}
	return Uint(n)
}

// Encode writes v into b, most significant byte first, as Decode reads it; a
// number is rounded to what the type can hold. b is as long as the type's
// registers.
func (t Type) Encode(v Value, b []byte) error {
	if t == TypeString {
		return encodeText(v, b)
	}
	var n uint64
	switch {
	case t == TypeBool:
		if v.Bool() {
			n = 1
		}
	case t.Float():
		f, ok := v.Number()
		if n, ok = t.floatBits(f), ok && !math.IsInf(t.float(t.floatBits(f)), 0); !ok {
			return fmt.Errorf("%v is too big for type %v", v, t)
		}
	default:
		whole, ok := v.whole()
		low, high := t.Limits()
		if !ok || !whole.Within(low, high) {
			return fmt.Errorf("%v is outside %v to %v of type %v", v, low, high, t)
		}
		if n = whole.bits; t.BCD() {
			n = bcdDigits(n)
		}
	}
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	return nil
}

// Limits gives the least and the greatest whole number that fits a type of
// whole numbers.
func (t Type) Limits() (low, high Value) {
	width := 8 * t.Bytes()
	switch {
	case t == TypeBCD16:
		return Int(0), Int(9999)
	case t == TypeBCD32:
		return Int(0), Int(99_999_999)
	case codecs[t].signed:
		return Int(-1 << (width - 1)), Int(1<<(width-1) - 1)
	}
	return Int(0), Uint(math.MaxUint64 >> (64 - width))
}

// Wrap gives the whole number whose bits in a type of whole numbers are those
// of v, as registers that overflow do.
func (t Type) Wrap(v Value) Value {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v.bits)
	return t.Decode(b[:])
}

// Sentinel gives the raw value that v of a configuration stands for: 65535 and
// -1 are one for 16 bits, and a number with a point is the nearest that the
// device can mean.
func (t Type) Sentinel(v Value, f Field) Value {
	switch {
	case f.Bits > 0:
		return f.Of(f.Put(Int(0), v))
	case t.Integer():
		return t.Wrap(v)
	case t.Float():
		raw := make([]byte, t.Bytes())
		if t.Encode(v, raw) == nil {
			return t.Decode(raw)
		}
	}
	return v
}

// whole gives a number as a whole one, rounded; false where it is none, or
// none that 64 bits hold.
func (v Value) whole() (Value, bool) {
	switch v.kind {
	case KindInt, KindUint:
		return v, true
	case KindFloat:
		f := math.Round(math.Float64frombits(v.bits))
		switch {
		case f > -1<<63 && f < 1<<63: // what is further out is rounded to -1<<63 as well
			return Int(int64(f)), true
		case f >= 0 && f < 1<<64:
			return Uint(uint64(f)), true
		}
	}
	return Value{}, false
}

// Within reports whether low ≤ v ≤ high; all three must be whole numbers.
func (v Value) Within(low, high Value) bool {
	return compareWhole(low, v) <= 0 && compareWhole(v, high) <= 0
}

func compareWhole(a, b Value) int {
	switch {
	case a.kind == b.kind && a.kind == KindInt:
		return cmp.Compare(int64(a.bits), int64(b.bits))
	case a.kind == b.kind:
		return cmp.Compare(a.bits, b.bits)
	case a.kind == KindUint:
		return 1 // an Uint is beyond every Int
	}
	return -1
}

func decodeText(b []byte) Value {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	if b = bytes.TrimRight(b, " "); !utf8.Valid(b) {
		return Value{}
	}
	return String(string(b))
}

func encodeText(v Value, b []byte) error {
	text := v.String()
	switch {
	case strings.Contains(text, "\x00") || !utf8.ValidString(text):
		return fmt.Errorf("%q cannot be read back: expected text in UTF-8 without NUL", text)
	case len(text) > len(b):
		return fmt.Errorf("%q takes %d bytes, the device has room for %d", text, len(text), len(b))
	}
	clear(b[copy(b, text):])
	return nil
}

func decodeBCD(n uint64) Value {
	number := int64(0)
	for shift := 28; shift >= 0; shift -= 4 {
		digit := int64(n>>shift) & 0xF
		if digit > 9 {
			return Value{}
		}
		number = 10*number + digit
	}
	return Int(number)
}

func bcdDigits(n uint64) (digits uint64) {
	for shift := 0; n > 0; shift += 4 {
		digits |= n % 10 << shift
		n /= 10
	}
	return digits
}

// float gives the number whose bits are n.
func (t Type) float(n uint64) float64 {
	switch t {
	case TypeF16:
		return fromHalf(uint16(n))
	case TypeF32:
		return float64(math.Float32frombits(uint32(n)))
	}
	return math.Float64frombits(n)
}

// floatBits gives the bits of the number of the type that is nearest to f.
func (t Type) floatBits(f float64) uint64 {
	switch t {
	case TypeF16:
		return uint64(toHalf(f))
	case TypeF32:
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}

// shortest treats f as the shortest decimal number that is nearest to it among
// those of the type: the device means 21.4, not 21.399999618530273. A whole
// number is meant as it is: 8208, not 8210.
func (t Type) shortest(f float64) Value {
	var buf [32]byte
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return Value{}
	case f == math.Trunc(f):
		return Float(f)
	}
	switch t {
	case TypeF16:
		for digits := range 5 { // five tell all numbers of 11 bits apart
			meant, _ := strconv.ParseFloat(string(strconv.AppendFloat(buf[:0], f, 'e', digits, 64)), 64)
			if fromHalf(toHalf(meant)) == f {
				return Float(meant)
			}
		}
	case TypeF32:
		meant, _ := strconv.ParseFloat(string(strconv.AppendFloat(buf[:0], f, 'e', -1, 32)), 64) // always parses
		return Float(meant)
	}
	return Float(f)
}

// fromHalf reads a binary16 (IEEE 754-2019, 3.6).
func fromHalf(n uint16) float64 {
	sign, exponent, fraction := n>>15, int(n>>10&0x1F), float64(n&0x3FF)
	f := 0.0
	switch exponent {
	case 0:
		f = math.Ldexp(fraction, -24)
	case 0x1F:
		if f = math.Inf(1); fraction != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(1024+fraction, exponent-25)
	}
	if sign != 0 {
		return -f
	}
	return f
}

// toHalf gives the binary16 that is nearest to f, ties to even.
func toHalf(f float64) uint16 {
	sign := uint16(0)
	if math.Signbit(f) {
		sign = 1 << 15
	}
	f = math.Abs(f)
	if f < math.Ldexp(1, -14) {
		return sign | uint16(math.RoundToEven(math.Ldexp(f, 24)))
	}
	fraction, exponent := math.Frexp(f)
	n := int(math.RoundToEven(math.Ldexp(fraction, 11))) // 1024 to 2048; the latter is the next exponent
	n += (exponent + 13) << 10
	if math.IsInf(f, 0) || n >= 0x7C00 {
		return sign | 0x7C00
	}
	return sign | uint16(n)
}

// Order is the order of the bytes of a value on the wire, A being its most
// significant one, told by that of two registers: words in order or reversed,
// bytes in order or swapped. Values of one register know two orders only: ABCD
// and CDAB are high byte first as the Modbus specification says, BADC and DCBA
// low byte first.
type Order uint8

// The orders, as manuals print them.
const (
	ABCD Order = iota
	CDAB
	BADC
	DCBA
)

var orderNames = []string{"ABCD", "CDAB", "BADC", "DCBA"}

// ParseOrder reads ABCD, CDAB, BADC or DCBA.
func ParseOrder(s string) (Order, error) {
	i := slices.Index(orderNames, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown order %q; use one of %s", s, strings.Join(orderNames, ", "))
	}
	return Order(i), nil
}

// Known reports whether o is one of the orders.
func (o Order) Known() bool { return int(o) < len(orderNames) }

// String gives the word that ParseOrder reads.
func (o Order) String() string {
	if !o.Known() {
		return fmt.Sprintf("unknown (%d)", o)
	}
	return orderNames[o]
}

// Arrange brings the bytes of whole registers from the wire to the order ABCD,
// or back. Text keeps the order of its registers: only its bytes are swapped.
func (o Order) Arrange(dst, src []byte, t Type) {
	words := len(src) / 2
	for i := range src {
		word, half := i/2, i%2
		if (o == CDAB || o == DCBA) && t != TypeString {
			word = words - 1 - word
		}
		if o == BADC || o == DCBA {
			half = 1 - half
		}
		dst[i] = src[word*2+half]
	}
}

// Field is a run of bits of a whole number: Bits of them, from bit Shift on,
// bit 0 being the least significant one. The zero Field is all of it.
type Field struct{ Shift, Bits uint8 }

// Mask gives the bits of the field in place.
func (f Field) Mask() uint64 {
	if f.Bits == 0 {
		return math.MaxUint64
	}
	return (1<<f.Bits - 1) << f.Shift
}

// Of gives the field of a whole number.
func (f Field) Of(v Value) Value {
	if f.Bits == 0 {
		return v
	}
	return Uint(v.bits & f.Mask() >> f.Shift)
}

// Put gives whole with the field set to n, which must fit.
func (f Field) Put(whole, n Value) Value {
	n, _ = n.whole()
	return Uint(whole.bits&^f.Mask() | n.bits<<f.Shift&f.Mask())
}

// Most gives the greatest number that fits the field.
func (f Field) Most() Value { return Uint(f.Mask() >> f.Shift) }

// Fits reports whether n fits the field.
func (f Field) Fits(n Value) bool {
	n, ok := n.whole()
	return ok && n.Within(Int(0), f.Most())
}
