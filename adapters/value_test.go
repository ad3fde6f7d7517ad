package adapters

import (
	"encoding/json"
	"math"
	"testing"
)

func TestValueForms(t *testing.T) {
	for _, c := range []struct {
		v          Value
		json, text string
	}{
		{Value{}, "null", ""},
		{Bool(true), "true", "true"},
		{Bool(false), "false", "false"},
		{Int(-32768), "-32768", "-32768"},
		{Uint(math.MaxUint64), "18446744073709551615", "18446744073709551615"},
		{Uint(7), "7", "7"},
		{Float(21.4), "21.4", "21.4"},
		{Float(21), "21", "21"},
		{Float(1e-7), "1e-07", "1e-07"},
		{Float(1e20), "100000000000000000000", "100000000000000000000"},
		{Float(math.NaN()), "null", ""},
		{Float(math.Inf(-1)), "null", ""},
		{String("a\"b\n"), `"a\"b\n"`, "a\"b\n"},
		{String(""), `""`, ""},
	} {
		got, err := json.Marshal(struct{ V Value }{c.v})
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"V":` + c.json + `}`; string(got) != want {
			t.Errorf("JSON %s, want %s", got, want)
		}
		if c.v.String() != c.text {
			t.Errorf("text %q, want %q", c.v.String(), c.text)
		}
	}
}

func TestValueNumber(t *testing.T) {
	for _, c := range []struct {
		v      Value
		want   float64
		number bool
	}{
		{Int(-3), -3, true},
		{Uint(1 << 63), 1 << 63, true},
		{Float(2.5), 2.5, true},
		{Bool(true), 0, false},
		{String("5"), 0, false},
		{Value{}, 0, false},
	} {
		if got, ok := c.v.Number(); got != c.want || ok != c.number {
			t.Errorf("%v: %v, %v; want %v, %v", c.v, got, ok, c.want, c.number)
		}
	}
	if Int(5) != Uint(5) {
		t.Error("the same whole number made two ways differs")
	}
}

func TestQualityWords(t *testing.T) {
	for q, want := range map[Quality]string{Good: "good", Stale: "stale", Offline: "offline", BadRegister: "bad_register", OutOfRange: "out_of_range", Invalid: "invalid", 99: "invalid"} {
		if q.String() != want {
			t.Errorf("quality %d is %q, want %q", q, q, want)
		}
	}
}
