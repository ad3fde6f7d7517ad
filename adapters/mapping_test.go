package adapters

import (
	"math"
	"strings"
	"testing"
)

// Whole numbers keep all their digits where scale and offset are whole, in both
// directions.
func TestMappingIsExact(t *testing.T) {
	const big = 1<<53 + 1 // the first that a float64 can't hold
	for _, c := range []struct {
		m     Mapping
		raw   Value
		value Value
	}{
		{Mapping{Scale: 1, Decimals: -1}, Int(big), Int(big)},
		{Mapping{Scale: 10, Decimals: -1}, Int(big), Int(10 * big)},
		{Mapping{Scale: 10, Decimals: 0}, Int(big), Int(10 * big)},
		{Mapping{Scale: -3, Offset: 7, Decimals: -1}, Int(-big), Int(3*big + 7)},
		{Mapping{Scale: 1, Offset: -1, Decimals: 2}, Int(math.MaxInt64), Int(math.MaxInt64 - 1)},
		{Mapping{Scale: 2, Offset: 1, Decimals: -1}, Int(math.MaxInt64 / 2), Int(math.MaxInt64)},
		{Mapping{Scale: 0.1, Decimals: -1}, Int(214), Float(21.4)},
	} {
		got, quality := c.m.Apply(c.raw, nil)
		if got != c.value || quality != Good {
			t.Errorf("%v by %+v is %v, want %v", c.raw, c.m, got, c.value)
		}
		if raw, err := c.m.Invert(c.value, &Point{}); c.value.kind == KindInt && (err != nil || raw != c.raw) {
			t.Errorf("%v by %+v is commanded as %v, want %v (%v)", c.value, c.m, raw, c.raw, err)
		}
	}
	for _, c := range []struct {
		m   Mapping
		raw Value
	}{
		{Mapping{Scale: 10, Decimals: -1}, Int(math.MaxInt64)},
		{Mapping{Scale: -1, Decimals: -1}, Int(math.MinInt64)},
		{Mapping{Scale: 1, Offset: 1, Decimals: -1}, Int(math.MaxInt64)},
	} {
		f, _ := c.raw.Number()
		if got, _ := c.m.Apply(c.raw, nil); got != Float(f*c.m.Scale+c.m.Offset) {
			t.Errorf("%v by %+v is %v", c.raw, c.m, got)
		}
	}
}

func TestNoNegativeZero(t *testing.T) {
	for name, v := range map[string]Value{
		"decoded": TypeF32.Decode([]byte{0x80, 0, 0, 0}),
		"rounded": Float(Round(-0.04, 1)),
	} {
		if v != Float(0) || v.String() != "0" {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// What a command says is read as the point's words first, then as switch words
// and numbers.
func TestParseCommand(t *testing.T) {
	for _, c := range []struct {
		p    Point
		text string
		want Value
	}{
		{Point{}, "ON", Bool(true)},
		{Point{}, "off", Bool(false)},
		{Point{}, "9007199254740993", Int(9007199254740993)},
		{Point{}, "18446744073709551615", Uint(math.MaxUint64)},
		{Point{}, "21.5", Float(21.5)},
		{Point{}, "inf", String("inf")},
		{Point{}, "toggle", String("toggle")},
		{Point{Text: true}, "007", String("007")},
		{Point{Names: map[int64]string{2: "Off"}}, "off", String("Off")},
	} {
		if got := c.p.Parse(c.text); got != c.want {
			t.Errorf("%q is %v, want %v", c.text, got, c.want)
		}
	}
}

// A command is refused with what would be taken.
func TestCommandsThatAreRefused(t *testing.T) {
	mode := map[int64]string{0: "off", 1: "heat", 5: "boost"}
	low, high := 5.0, 30.0
	for _, c := range []struct {
		name string
		p    Point
		text string
		want string
	}{
		{"a number without a word", Point{Names: mode}, "7", `7 is not in the map of the point: expected "off" (0), "heat" (1) or "boost" (5)`},
		{"a fraction", Point{Names: mode}, "0.6", `0.6 is not in the map`},
		{"an unknown word", Point{Names: mode}, "sleep", `"sleep" is not one of the words of the point: expected "off" (0), "heat" (1) or "boost" (5)`},
		{"a switch word", Point{Names: mode}, "on", `true is not one of the words of the point: expected "off" (0)`},
		{"beyond the bounds", Point{Names: map[int64]string{255: "auto"}, Min: &low, Max: &high}, "31", `31 is not in the map of the point: expected "auto" (255), or a number from 5 to 30`},
		{"a decimal comma", Point{}, "22,5", `"22,5" is not a number: write 22.5, with a decimal point`},
		{"a word", Point{}, "open", `"open" is not a number`},
		{"true", Point{}, "true", "true is not a number"},
	} {
		raw, err := (&Mapping{Scale: 1, Decimals: -1}).Invert(c.p.Parse(c.text), &c.p)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %s", c.name, raw, err, c.want)
		}
	}
	for _, c := range []struct {
		p    Point
		text string
		want Value
	}{
		{Point{Names: mode}, "5", Int(5)},
		{Point{Names: mode}, "Boost", Int(5)},
		{Point{Names: mode, Max: &high}, "5.0", Int(5)},
		{Point{Names: mode, Max: &low}, "5", Int(5)},
		{Point{Names: map[int64]string{255: "auto"}, Min: &low, Max: &high}, "21", Int(21)},
		{Point{Names: map[int64]string{255: "auto"}, Min: &low, Max: &high}, "255", Int(255)},
		{Point{Min: &low, Max: &high}, "31", Float(30)},
	} {
		raw, err := (&Mapping{Scale: 1, Decimals: -1}).Invert(c.p.Parse(c.text), &c.p)
		if err != nil || !raw.equal(c.want) {
			t.Errorf("%s: %v, %v, want %v", c.text, raw, err, c.want)
		}
	}
	many := Point{Names: map[int64]string{}}
	for n := range int64(100) {
		many.Names[n] = strings.Repeat("x", int(n)+1)
	}
	if _, err := (&Mapping{}).Invert(Int(100), &many); err == nil || !strings.Contains(err.Error(), "and 84 more") {
		t.Errorf("many words: %v", err)
	}
}

func TestSwitchWords(t *testing.T) {
	shutter := Point{Names: map[int64]string{0: "shut", 1: "open"}}
	for _, c := range []struct {
		p    Point
		text string
		want Value
		err  string
	}{
		{Point{}, "on", Bool(true), ""},
		{Point{}, "0", Bool(false), ""},
		{shutter, "Open", Bool(true), ""},
		{shutter, "off", Bool(false), ""},
		{Point{}, "ein", Value{}, `"ein" is neither on nor off: expected on, off, true, false, 1 or 0`},
		{Point{}, "2", Value{}, `2 is neither on nor off: expected on, off, true, false, 1 or 0`},
		{shutter, "toggle", Value{}, `"toggle" is neither on nor off: expected "shut", "open", on, off, true, false, 1 or 0`},
	} {
		got, err := c.p.Switch(c.p.Parse(c.text))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %v, %v, want %v, %s", c.text, got, err, c.want, c.err)
		}
	}
}
