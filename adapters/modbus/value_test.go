package modbus

import (
	"encoding/hex"
	"testing"

	"sluice/adapters"
)

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		typ           Type
		order         Order
		scale, offset float64
		decimals      int
		wire          string
		want          string // text of the value, or the quality
	}{
		{U16, ABCD, 0, 0, -1, "1234", "4660"},
		{U16, CDAB, 0, 0, -1, "1234", "4660"},
		{U16, BADC, 0, 0, -1, "3412", "4660"},
		{U16, DCBA, 0, 0, -1, "3412", "4660"},
		{I16, ABCD, 0, 0, -1, "ffff", "-1"},
		{I16, ABCD, 0.1, 0, -1, "00d6", "21.4"},
		{I16, ABCD, 0.1, 0, -1, "ff2a", "-21.4"},
		{U16, ABCD, 0.01, -40, -1, "1770", "20"},
		{U16, ABCD, 0.1, 0.05, -1, "0003", "0.35"},
		{U16, ABCD, 0.1, 0, 0, "00d6", "21"},
		{U16, ABCD, 1. / 3, 0, 2, "0001", "0.33"},
		{U16, ABCD, 1e-9, 0, -1, "0001", "1e-09"},
		{U32, ABCD, 0, 0, -1, "00010002", "65538"},
		{U32, CDAB, 0, 0, -1, "00020001", "65538"},
		{U32, BADC, 0, 0, -1, "01000200", "65538"},
		{U32, DCBA, 0, 0, -1, "02000100", "65538"},
		{U32, ABCD, 0.001, 0, -1, "ffffffff", "4294967.295"},
		{I32, ABCD, 0, 0, -1, "fffffffe", "-2"},
		{I32, CDAB, 0.5, 0, -1, "fffeffff", "-1"},
		{F32, ABCD, 0, 0, -1, "41ab3333", "21.4"},
		{F32, CDAB, 0, 0, -1, "333341ab", "21.4"},
		{F32, BADC, 0, 0, -1, "ab413333", "21.4"},
		{F32, DCBA, 0, 0, -1, "3333ab41", "21.4"},
		{F32, ABCD, 0.1, 0, -1, "41ab3333", "2.14"},
		{F32, ABCD, 10, 0, -1, "41ab3333", "214"},
		{F32, ABCD, 0, 0, 1, "3eaaaaab", "0.3"},
		{F32, ABCD, 0, 0, -1, "7fc00000", "invalid"},
		{F32, ABCD, 0, 0, -1, "7f800000", "invalid"},
		{F32, ABCD, 0, 0, -1, "ff800000", "invalid"},
		{Bool, ABCD, 0, 0, -1, "0000", "false"},
		{Bool, ABCD, 0, 0, -1, "0100", "true"},
	} {
		c := on("d", "p", Holding, 7, test.typ)
		c.Order, c.Scale, c.Offset, c.Decimals = test.order, test.scale, test.offset, test.decimals
		pt := newPoint(c)
		// The value lies behind another register in the answer.
		data, err := hex.DecodeString("eeee" + test.wire)
		if err != nil {
			t.Fatal(err)
		}
		value, quality := pt.decode(question{readHolding, 6, uint16(len(data) / 2), false}, data)
		got := value.String()
		if quality != adapters.Good {
			got = quality.String()
		}
		if got != test.want {
			t.Errorf("%v %v ·%v +%v of %s: got %s, want %s", test.typ, test.order, test.scale, test.offset, test.wire, got, test.want)
		}
	}
}

func TestDecodeBits(t *testing.T) {
	data := []byte{0b0000_0001, 0b0000_0100}
	for address, want := range map[uint16]bool{100: true, 101: false, 109: false, 110: true} {
		value, _ := newPoint(on("d", "p", Coil, address, Bool)).decode(question{readCoils, 100, 16, false}, data)
		if value != adapters.Bool(want) {
			t.Errorf("bit %d: got %v", address, value)
		}
	}
}

func TestNames(t *testing.T) {
	c := on("d", "mode", Holding, 0, U16)
	c.Point.Names = map[int64]string{0: "off", 2: "heat"}
	pt := newPoint(c)
	q := pt.question()
	if v, _ := pt.decode(q, []byte{0, 2}); v != adapters.String("heat") {
		t.Errorf("2 is %v", v)
	}
	if v, _ := pt.decode(q, []byte{0, 5}); v != adapters.Int(5) {
		t.Errorf("5 is %v", v)
	}
	if data, err := pt.encode(adapters.String("heat")); err != nil || data[1] != 2 {
		t.Errorf("heat is %x, %v", data, err)
	}
	if _, err := pt.encode(adapters.String("cool")); err == nil {
		t.Error("a word that is none of the point was taken")
	}
}

func TestEncode(t *testing.T) {
	low, high := -50.0, 100.0
	for _, test := range []struct {
		table  Table
		typ    Type
		order  Order
		scale  float64
		offset float64
		value  adapters.Value
		want   string // hex, or "" for an error
	}{
		{Holding, U16, ABCD, 0, 0, adapters.Int(21), "0015"},
		{Holding, U16, BADC, 0, 0, adapters.Int(21), "1500"},
		{Holding, I16, ABCD, 0.1, 0, adapters.Float(21.4), "00d6"},
		{Holding, I16, ABCD, 0.1, 0, adapters.Float(-21.4), "ff2a"},
		{Holding, U16, ABCD, 0.01, -40, adapters.Float(20), "1770"},
		{Holding, U16, ABCD, 0, 0, adapters.Int(500), "0064"}, // clamped
		{Holding, I16, ABCD, 0, 0, adapters.Int(-500), "ffce"},
		{Holding, U16, ABCD, 0, 0, adapters.Int(-5), ""},
		{Holding, U16, ABCD, 0.001, 0, adapters.Int(99), ""}, // 99000 is no u16
		{Holding, U32, CDAB, 0.001, 0, adapters.Int(99), "82b80001"},
		{Holding, I32, DCBA, 0, 0, adapters.Int(-2), "feffffff"},
		{Holding, F32, ABCD, 0, 0, adapters.Float(21.4), "41ab3333"},
		{Holding, F32, CDAB, 0.1, 0, adapters.Float(2.14), "333341ab"},
		{Holding, U16, ABCD, 0, 0, adapters.Bool(true), ""},
		{Holding, U16, ABCD, 0, 0, adapters.Value{}, ""},
		{Holding, Bool, ABCD, 0, 0, adapters.Bool(true), "0001"},
		{Coil, Bool, ABCD, 0, 0, adapters.Bool(true), "01"},
		{Coil, Bool, ABCD, 0, 0, adapters.Int(0), "00"},
		{Coil, Bool, ABCD, 0, 0, adapters.Int(2), ""},
		{Coil, Bool, ABCD, 0, 0, adapters.Value{}, ""},
	} {
		c := on("d", "p", test.table, 0, test.typ)
		c.Order, c.Scale, c.Offset = test.order, test.scale, test.offset
		if test.typ != Bool {
			c.Point.Min, c.Point.Max = &low, &high
		}
		pt := newPoint(c)
		data, err := pt.encode(test.value)
		if got := hex.EncodeToString(data); got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%v %v ·%v of %v: got %s, %v; want %q", test.typ, test.order, test.scale, test.value, got, err, test.want)
		}
	}
}
