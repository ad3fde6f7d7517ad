package adapters

import (
	"encoding/hex"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		wire string // most significant byte first
		want Value
	}{
		{TypeBool, "0000", Bool(false)},
		{TypeBool, "0100", Bool(true)},
		{TypeU8, "ab12", Int(0x12)},
		{TypeU8, "12", Int(0x12)},
		{TypeI8, "00fb", Int(-5)},
		{TypeU16, "d431", Int(54321)},
		{TypeI16, "8000", Int(-32768)},
		{TypeU24, "ff123456", Int(0x123456)},
		{TypeU24, "123456", Int(0x123456)},
		{TypeI24, "00fffffe", Int(-2)},
		{TypeU32, "ffffffff", Int(4294967295)},
		{TypeI32, "fffffffe", Int(-2)},
		{TypeU48, "ffffffffffff", Int(1<<48 - 1)},
		{TypeI48, "800000000000", Int(-1 << 47)},
		{TypeU64, "ffffffffffffffff", Uint(math.MaxUint64)},
		{TypeU64, "7fffffffffffffff", Int(math.MaxInt64)},
		{TypeI64, "8000000000000000", Int(math.MinInt64)},
		{TypeF16, "3c00", Float(1)},
		{TypeF16, "4d5a", Float(21.4)},
		{TypeF16, "c000", Float(-2)},
		{TypeF16, "7bff", Float(65504)}, // although all from 65488 to 65520 read as that
		{TypeF16, "7002", Float(8208)},
		{TypeF16, "f002", Float(-8208)},
		{TypeF16, "0001", Float(6e-8)},
		{TypeF16, "7c00", Value{}},
		{TypeF16, "7e00", Value{}},
		{TypeF32, "41ab3333", Float(21.4)},
		{TypeF32, "5037f707", Float(12345678848)},
		{TypeF32, "4b800000", Float(16777216)},
		{TypeF32, "7fc00000", Value{}},
		{TypeF32, "ff800000", Value{}},
		{TypeF64, "403566666666666666"[:16], Float(21.4)},
		{TypeF64, "7ff8000000000000", Value{}},
		{TypeBCD16, "1234", Int(1234)},
		{TypeBCD16, "123a", Value{}},
		{TypeBCD32, "99999999", Int(99999999)},
		{TypeBCD32, "ffffffff", Value{}},
		{TypeString, "53444d20202000ff", String("SDM")},
		{TypeString, "c2b0432020", String("°C")},
		{TypeString, "0000", String("")},
		{TypeString, "ffff", Value{}},
	} {
		b, err := hex.DecodeString(c.wire)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.typ.Decode(b); got != c.want {
			t.Errorf("%v %s is %v, want %v", c.typ, c.wire, got, c.want)
		}
	}
}

// What is encoded in any order is decoded as it was, and no number passes for
// another one.
func TestEncodeReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(Types()).Draw(t, "type")
		order := rapid.SampledFrom([]Order{ABCD, CDAB, BADC, DCBA}).Draw(t, "order")
		var v Value
		fits := true
		switch {
		case typ == TypeBool:
			v = Bool(rapid.Bool().Draw(t, "value"))
		case typ == TypeString:
			v = String(rapid.StringMatching(`([a-z°]{0,4}[a-z])?`).Draw(t, "value"))
		case typ.Float():
			v = typ.shortest(typ.float(rapid.Uint64().Draw(t, "bits") >> (64 - 8*typ.Bytes())))
			if v.IsNone() {
				return
			}
		default:
			v = Int(rapid.Int64().Draw(t, "value") >> rapid.IntRange(0, 63).Draw(t, "shift"))
			if rapid.Bool().Draw(t, "beyond int64") {
				v = Uint(v.bits)
			}
			low, high := typ.Limits()
			fits = v.Within(low, high)
		}
		width := (typ.Bytes() + 1) / 2 * 2
		if typ == TypeString {
			width = 12
		}
		b, wire, back := make([]byte, width), make([]byte, width), make([]byte, width)
		if err := typ.Encode(v, b); (err == nil) != fits {
			t.Fatalf("%v of %v: %v", typ, v, err)
		}
		if !fits {
			return
		}
		order.Arrange(wire, b, typ)
		order.Arrange(back, wire, typ)
		if got := typ.Decode(back); got != v {
			t.Fatalf("%v came back as %v", v, got)
		}
	})
}

// What would not be read back is not written.
func TestEncodeRefuses(t *testing.T) {
	for _, test := range []struct {
		typ Type
		v   Value
	}{
		{TypeString, String("x\x00y")},
		{TypeString, String("\xff\xfe")},
		{TypeString, String("too long")},
		{TypeI64, Number("-9223372036854775809")},
		{TypeI64, Number("-9223372036854775999")},
		{TypeI64, Number("9223372036854775808")},
		{TypeU64, Number("18446744073709551616")},
		{TypeU64, Number("-1")},
	} {
		if err := test.typ.Encode(test.v, make([]byte, 6)); test.v.IsNone() || err == nil {
			t.Errorf("%v is taken for type %v", test.v, test.typ)
		}
	}
	for _, v := range []Value{Number("-9223372036854775808"), Number("9223372036854775807")} {
		if err := TypeI64.Encode(v, make([]byte, 8)); err != nil {
			t.Error(err)
		}
	}
}

func TestHalfIsNearest(t *testing.T) {
	for _, c := range []struct {
		f    float64
		want uint16
	}{
		{0, 0}, {math.Copysign(0, -1), 0x8000}, {1, 0x3C00}, {1.0 / 3, 0x3555}, {65504, 0x7BFF}, {65519, 0x7BFF},
		{65520, 0x7C00}, {1e9, 0x7C00}, {math.Inf(-1), 0xFC00}, {2049, 0x6800}, {2051, 0x6802}, // ties to even
		{math.Ldexp(1, -14), 0x0400}, {math.Ldexp(1, -24), 0x0001}, {math.Ldexp(1, -26), 0}, {0.00006103, 0x0400},
	} {
		if got := toHalf(c.f); got != c.want {
			t.Errorf("%v is %#04x, want %#04x", c.f, got, c.want)
		}
	}
	for n := range 0x7C00 {
		if got := toHalf(fromHalf(uint16(n))); got != uint16(n) {
			t.Fatalf("%#04x came back as %#04x", n, got)
		}
	}
	if _, err := ParseType("float"); err == nil {
		t.Error("float is a type")
	}
	for _, typ := range Types() {
		if back, err := ParseType(typ.String()); err != nil || back != typ {
			t.Errorf("%v does not parse back", typ)
		}
	}
}

func TestArrange(t *testing.T) {
	for _, c := range []struct {
		order     Order
		typ       Type
		wire, big string
	}{
		{ABCD, TypeU48, "112233445566", "112233445566"},
		{CDAB, TypeU48, "556633441122", "112233445566"},
		{BADC, TypeU48, "221144336655", "112233445566"},
		{DCBA, TypeU48, "665544332211", "112233445566"},
		{CDAB, TypeU64, "7788556633441122", "1122334455667788"},
		{BADC, TypeU64, "2211443366558877", "1122334455667788"},
		{DCBA, TypeU64, "8877665544332211", "1122334455667788"},
		{BADC, TypeU16, "2211", "1122"},
		{CDAB, TypeString, "6162636465", "6162636465"},
		{DCBA, TypeString, "62616463", "61626364"},
	} {
		wire, _ := hex.DecodeString(c.wire)
		wire = wire[:len(wire)/2*2]
		got := make([]byte, len(wire))
		c.order.Arrange(got, wire, c.typ)
		if want := c.big[:2*len(wire)]; hex.EncodeToString(got) != want {
			t.Errorf("%v %v %s is %x, want %s", c.typ, c.order, c.wire, got, want)
		}
	}
}
