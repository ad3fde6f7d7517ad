package adapters

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Kind is the kind of a Value.
type Kind uint8

// The kinds of Value.
const (
	KindNone Kind = iota
	KindBool
	KindInt
	KindUint
	KindFloat
	KindString
)

// Value is a number, a boolean, a string or nothing. The zero Value is None.
// Values are comparable with ==, except that a float NaN cannot be made.
type Value struct {
	kind Kind
	bits uint64
	text string
}

// Bool makes a boolean value.
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.bits = 1
	}
	return v
}

// Int makes a whole number.
func Int(n int64) Value { return Value{kind: KindInt, bits: uint64(n)} }

// Uint makes a whole number that may exceed the range of int64.
func Uint(n uint64) Value {
	if n <= math.MaxInt64 {
		return Int(int64(n))
	}
	return Value{kind: KindUint, bits: n}
}

// Float makes a number. NaN and infinities are no numbers: they give None; and
// -0 is 0.
func Float(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	if f == 0 {
		f = 0 // not -0
	}
	return Value{kind: KindFloat, bits: math.Float64bits(f)}
}

// String makes a text value.
func String(s string) Value { return Value{kind: KindString, text: s} }

// Kind tells what the value is.
func (v Value) Kind() Kind { return v.kind }

// IsNone reports whether there is no value.
func (v Value) IsNone() bool { return v.kind == KindNone }

// Bool gives the boolean; false for other kinds.
func (v Value) Bool() bool { return v.kind == KindBool && v.bits != 0 }

// Number gives the value as a float64 and whether it is a number at all.
// Whole numbers beyond 2^53 lose digits.
func (v Value) Number() (float64, bool) {
	switch v.kind {
	case KindInt:
		return float64(int64(v.bits)), true
	case KindUint:
		return float64(v.bits), true
	case KindFloat:
		return math.Float64frombits(v.bits), true
	}
	return 0, false
}

// String gives the value as bare text: the shortest number that reads back
// the same, true or false, the text itself, or "" for None.
func (v Value) String() string {
	if v.kind == KindString {
		return v.text
	}
	if v.kind == KindNone {
		return ""
	}
	return string(v.AppendJSON(nil))
}

// AppendJSON appends the value as JSON: a number, true, false, a string or null.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case KindBool:
		return strconv.AppendBool(dst, v.bits != 0)
	case KindInt:
		return strconv.AppendInt(dst, int64(v.bits), 10)
	case KindUint:
		return strconv.AppendUint(dst, v.bits, 10)
	case KindFloat:
		f := math.Float64frombits(v.bits)
		format := byte('f')
		if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
			format = 'e'
		}
		return strconv.AppendFloat(dst, f, format, -1, 64)
	case KindString:
		quoted, _ := json.Marshal(v.text) // a string always marshals
		return append(dst, quoted...)
	}
	return append(dst, "null"...)
}

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }

// Decimals counts the digits after the point of the shortest way to write f.
func Decimals(f float64) int {
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if dot := strings.IndexByte(text, '.'); dot >= 0 {
		return len(text) - dot - 1
	}
	return 0
}

// Round rounds to n digits after the point, so that 214×0.1 is 21.4. Below 0
// and beyond 15 digits there is nothing to round.
func Round(f float64, n int) float64 {
	if n < 0 || n > 15 {
		return f
	}
	power := math.Pow10(n)
	if scaled := f * power; math.Abs(scaled) < 1<<53 {
		return math.Round(scaled) / power
	}
	return f
}
