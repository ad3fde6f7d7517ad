package sim

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWords(t *testing.T) {
	for _, c := range []struct {
		typ, order    string
		scale, offset float64
		value         float64
		want          []uint16
	}{
		{"u16", "", 0, 0, 40000, []uint16{40000}},
		{"u16", "CDAB", 0, 0, 0x1234, []uint16{0x1234}},
		{"u16", "BADC", 0, 0, 0x1234, []uint16{0x3412}},
		{"i16", "", 0.1, 0, -5.3, []uint16{0xFFCB}},
		{"i16", "", 0.1, -40, 21.4, []uint16{614}},
		{"u32", "ABCD", 0, 0, 0x12345678, []uint16{0x1234, 0x5678}},
		{"u32", "CDAB", 0, 0, 0x12345678, []uint16{0x5678, 0x1234}},
		{"u32", "BADC", 0, 0, 0x12345678, []uint16{0x3412, 0x7856}},
		{"u32", "DCBA", 0, 0, 0x12345678, []uint16{0x7856, 0x3412}},
		{"i32", "", 0, 0, -2, []uint16{0xFFFF, 0xFFFE}},
		{"f32", "", 0, 0, 123.456, []uint16{0x42F6, 0xE979}},
		{"f32", "DCBA", 0, 0, 123.456, []uint16{0x79E9, 0xF642}},
		{"f64", "", 0, 0, 1.5, []uint16{0x3FF8, 0, 0, 0}},
		{"i64", "CDAB", 0, 0, -2, []uint16{0xFFFE, 0xFFFF, 0xFFFF, 0xFFFF}},
		{"u8", "", 0, 0, 300, []uint16{255}},
		{"i8", "BADC", 0, 0, -5, []uint16{0xFB00}},
		{"u24", "CDAB", 0, 0, 0x123456, []uint16{0x3456, 0x12}},
		{"i48", "DCBA", 0, 0, -2, []uint16{0xFEFF, 0xFFFF, 0xFFFF}},
		{"f16", "", 0, 0, 21.4, []uint16{0x4D5A}},
		{"f16", "", 0, 0, 1e9, []uint16{0x7C00}},
		{"f16", "", 0, 0, math.NaN(), []uint16{0x7E00}},
		{"bcd16", "", 0.1, 0, 123.4, []uint16{0x1234}},
		{"bcd16", "", 0, 0, 12345, []uint16{0x9999}},
		{"bcd32", "CDAB", 0, 0, 12345678, []uint16{0x5678, 0x1234}},
		{"u16", "", 0, 0, 70000, []uint16{65535}},
		{"u16", "", 0, 0, -1, []uint16{0}},
		{"i16", "", 0, 0, 40000, []uint16{32767}},
		{"i16", "", 0, 0, -40000, []uint16{0x8000}},
		{"u64", "", 0, 0, 1e30, []uint16{0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF}},
		{"u16", "", 0, 0, math.NaN(), []uint16{0}},
		{"f32", "", 0, 0, math.NaN(), []uint16{0x7FC0, 0}},
	} {
		p := newPoint(&PointConfig{Table: "holding", Type: c.typ, Order: c.order, Scale: c.scale, Offset: c.offset})
		if got := p.encode(c.value); !slices.Equal(got, c.want) {
			t.Errorf("%s %s ·%v%+v: %v is %#x, want %#x", c.typ, c.order, c.scale, c.offset, c.value, got, c.want)
		}
	}
	counter := newPoint(&PointConfig{Table: "input", Type: "u16", Wave: Wave{Shape: Ramp}})
	if got := counter.encode(65536 + 7); got[0] != 7 {
		t.Errorf("a counter at 65543 shows %d, want 7", got[0])
	}
}

func TestWordsReadBack(t *testing.T) {
	types := []string{"bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "u8", "i8", "u24", "i24", "u48", "i48", "bcd16", "bcd32"}
	rapid.Check(t, func(t *rapid.T) {
		typ := valueTypes[rapid.SampledFrom(types).Draw(t, "type")]
		o, _ := parseOrder(rapid.SampledFrom([]string{"ABCD", "CDAB", "BADC", "DCBA"}).Draw(t, "order"))
		v := float64(rapid.Int32().Draw(t, "value"))
		low, high := 0.0, math.Inf(1)
		if !typ.float && typ.bits > 1 {
			high = math.Ldexp(1, typ.bits) - 1
		}
		if typ.bcd {
			high = math.Pow10(typ.bits/4) - 1
		}
		switch {
		case typ.bits == 1:
			high = 1
		case typ.float:
			low, v = math.Inf(-1), float64(float32(v))
		case typ.signed:
			low, high = -math.Ldexp(1, typ.bits-1), math.Ldexp(1, typ.bits-1)-1
		}
		want := math.Max(low, math.Min(high, v))
		if typ.bits == 1 && v != 0 {
			want = 1
		}
		if got := typ.decode(typ.encode(v, o, false), o); got != want {
			t.Fatalf("%v came back as %v, want %v", v, got, want)
		}
	})
}

func TestWavesArePureAndBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := Wave{
			Shape: Shape(rapid.IntRange(0, int(Toggle)).Draw(t, "shape")),
			Base:  20, Swing: 5, Period: time.Minute, Seed: rapid.Uint64().Draw(t, "seed"),
		}
		at := time.Duration(rapid.Int64Range(-1e15, 1e17).Draw(t, "at"))
		v := w.At(at)
		if v != w.At(at) {
			t.Fatal("the same moment gave two values")
		}
		if held := w.hold(at); held > at || at-held >= 100*ms || w.At(held) != v || w.At(held+99*ms) != v {
			t.Fatalf("the value moves within a step")
		}
		low, high := 15.0, 25.0
		if w.Shape == Ramp {
			low, high = 20, math.Inf(1)
		}
		if v < low || v > high {
			t.Fatalf("%v is outside %v–%v", v, low, high)
		}
	})
}

func TestWavesMove(t *testing.T) {
	for shape := Sine; shape <= Toggle; shape++ {
		w := Wave{Shape: shape, Base: 10, Swing: 4, Period: time.Minute, Seed: 7}
		low, high := math.Inf(1), math.Inf(-1)
		for d := time.Duration(0); d < time.Hour; d += time.Second {
			low, high = min(low, w.At(d)), max(high, w.At(d))
		}
		if high-low < 3 {
			t.Errorf("shape %d stays within %v–%v for an hour", shape, low, high)
		}
		other := w
		other.Seed = 8
		if shape != Ramp && other.At(13*time.Second) == w.At(13*time.Second) && other.At(75*time.Second) == w.At(75*time.Second) {
			t.Errorf("shape %d does not heed its seed", shape)
		}
	}
	if d := (Wave{Shape: Walk, Swing: 1, Seed: 1, Period: time.Minute}); math.Abs(d.At(time.Hour)-d.At(time.Hour+100*ms)) > 0.1 {
		t.Error("a walk leaps")
	}
}

func TestGuess(t *testing.T) {
	at := func(v float64) *float64 { return &v }
	for _, c := range []struct {
		name, unit string
		min, max   *float64
		shape      Shape
		low, high  float64
	}{
		{"voltage_l1", "V", nil, nil, Sine, 220, 240},
		{"current_l2", "A", nil, nil, Walk, 0, 16},
		{"power", "W", nil, nil, Walk, 0, 4000},
		{"import", "kWh", nil, nil, Ramp, 100, 1e6},
		{"temp", "°C", nil, nil, Walk, 15, 25},
		{"supplyTemp", "°C", nil, nil, Walk, 35, 60},
		{"supply_temp", "° C", nil, nil, Walk, 35, 60},
		{"humidity", "%", nil, nil, Walk, 30, 70},
		{"hum", "", nil, nil, Walk, 30, 70},
		{"co2", "ppm", nil, nil, Walk, 400, 1100},
		{"level", "%", nil, nil, Walk, 20, 95},
		{"door", "", nil, nil, Toggle, 0, 1},
		{"frequency", "Hz", nil, nil, Walk, 49.9, 50.1},
		{"anything", "", nil, nil, Walk, 30, 70},
		{"anything", "", at(0), at(1), Walk, 0, 1},
		{"temp", "°C", at(30), nil, Walk, 30, 40},
		{"temp", "°C", nil, at(5), Walk, -5, 5},
		{"valve", "%", at(0), at(100), Walk, 0, 100},
	} {
		w := Guess(c.name, c.unit, c.min, c.max)
		if w.Shape != c.shape {
			t.Errorf("%s %s: shape %d, want %d", c.name, c.unit, w.Shape, c.shape)
		}
		for d := range 2000 {
			if v := w.At(time.Duration(d) * 13 * time.Second); v < c.low || v > c.high {
				t.Errorf("%s %s: %v is outside %v–%v", c.name, c.unit, v, c.low, c.high)
				break
			}
		}
	}
	if Guess("voltage_l1", "V", nil, nil) == Guess("voltage_l2", "V", nil, nil) {
		t.Error("two phases move as one")
	}
}

func TestTemplate(t *testing.T) {
	for _, c := range []struct{ expr, want string }{
		{`^T=(?P<temp>-?\d+(\.\d+)?),H=(?P<hum>\d+)`, "T={temp},H={hum}"},
		{`(?P<v>\d+\.\d) V`, "{v} V"},
		{`^\$WX,(?P<wind>[0-9.]+),(?P<state>OPEN|SHUT)\*[0-9A-F]{2}$`, "$WX,{wind},OPEN*00"},
		{`weight:\s*(?P<kg>[+-]?\d{1,4})\s*kg`, "weight:{kg}kg"},
	} {
		got, decimals, err := Template(c.expr)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.expr, got, err, c.want)
			continue
		}
		line := fill(got, func(name string) string { return strings.Repeat("7", 2) + ".5"[:2*decimals[name]] })
		if !regexp.MustCompile(c.expr).MatchString(line) {
			t.Errorf("%s does not read %q", c.expr, line)
		}
	}
	for _, expr := range []string{`(`, `a\bb`} {
		if got, _, err := Template(expr); err == nil {
			t.Errorf("%s: made %q of it", expr, got)
		}
	}
}

func TestCommands(t *testing.T) {
	pattern, names, err := compileCommand("SET {a},{b}*\r\n")
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Fatal(names, err)
	}
	if m := pattern.FindStringSubmatch("SET 1,-2.5*"); !slices.Equal(m[1:], []string{"1", "-2.5"}) {
		t.Errorf("%q", m)
	}
	if _, _, err := compileCommand("\r\n"); err == nil {
		t.Error("an empty command was taken")
	}
}
