package formula

import (
	"errors"
	"testing"

	"sluice/adapters"
)

var points = map[string]Kind{
	"temp": Number, "humidity": Number, "on": Bool, "serial": Text, "mode": Any, "zero": Number, "supply temp": Number, "count": Number,
}

func values(name string) adapters.Value {
	return map[string]adapters.Value{
		"temp": adapters.Float(21.4), "humidity": adapters.Float(48.3), "on": adapters.Bool(true), "serial": adapters.String("A7"),
		"mode": adapters.String("heat"), "zero": adapters.Int(0), "supply temp": adapters.Int(40), "count": adapters.Int(7),
	}[name]
}

func TestCompute(t *testing.T) {
	for _, c := range []struct {
		text string
		want adapters.Value
	}{
		{"temp - (100 - humidity) / 5", adapters.Float(11.06)},
		{"temp + 0.1 + 0.2", adapters.Float(21.7)},
		{"temp / zero", adapters.Value{}},
		{"-temp / zero", adapters.Value{}},
		{"zero / zero", adapters.Value{}},
		{"1 / zero > 1e9", adapters.Bool(true)},
		{"int(temp) % int(zero)", adapters.Value{}},
		{"temp > 20 && on", adapters.Bool(true)},
		{`on ? "hot" : "cold"`, adapters.String("hot")},
		{`serial + "-x"`, adapters.String("A7-x")},
		{`mode == "heat"`, adapters.Bool(true)},
		{`mode == "heat" ? 1 : 0`, adapters.Int(1)},
		{"mode * 2", adapters.Value{}}, // a word today
		{"sqrt(mode)", adapters.Value{}},
		{`$env["supply temp"] - temp`, adapters.Float(18.6)},
		{"max(temp, humidity)", adapters.Float(48.3)},
		{"round(temp)", adapters.Float(21)},
		{"sqrt(count + 2) + ln(exp(1)) + log10(100) * 2 ** 3 + zero", adapters.Float(20)},
		{"bitand(int(count), 4) != 0", adapters.Bool(true)},
		{"let k = 243.12; (ln(humidity / 100) + 17.62 * temp / (k + temp)) * k / (17.62 - ln(humidity / 100) - 17.62 * temp / (k + temp))", adapters.Float(10.0243658875)},
	} {
		f, err := Compile(c.text, points)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		m := f.Machine()
		for range 2 { // it is used again
			if got := m.Compute(values); got != c.want {
				t.Errorf("%s is %v, want %v", c.text, got, c.want)
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct {
		text     string
		from, to int
		unknown  string
	}{
		{"temp + humdity", 7, 14, "humdity"},
		{"temp +", 5, 6, ""},
		{"temp + serial", 5, 6, ""},
		{"temp % 2", 5, 6, ""},
		{"[temp]", 0, 6, ""},
		{"1 + 2", 0, 5, ""},
		{"$env", 0, 4, ""},
		{"len($env) + temp", 0, 16, ""},
		{"nosuch(temp)", 0, 6, "nosuch"},
		{`$env["nope"]`, 4, 8, "nope"},
		{"1 + temp / 0", 11, 12, ""},
		{"temp / 0.0 * 2", 7, 10, ""},
	} {
		_, err := Compile(c.text, points)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if e.From != c.from || e.To != c.to || e.Unknown != c.unknown {
			t.Errorf("%s: %d to %d, unknown %q: %v", c.text, e.From, e.To, e.Unknown, e)
		}
	}
}

func BenchmarkCompute(b *testing.B) {
	f, err := Compile("temp - (100 - humidity) / 5", points)
	if err != nil {
		b.Fatal(err)
	}
	m := f.Machine()
	b.ReportAllocs()
	for b.Loop() {
		m.Compute(values)
	}
}
