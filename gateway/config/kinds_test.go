package config

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"sluice/adapters/modbus"
)

func TestParseDuration(t *testing.T) {
	good := map[string]time.Duration{
		"200ms": 200 * time.Millisecond, "5s": 5 * time.Second, "1m": time.Minute, "24h": 24 * time.Hour, "7d": 168 * time.Hour,
		"0s": 0, "1.5s": 1500 * time.Millisecond, "0.1ms": 100 * time.Microsecond, "1h30m": 90 * time.Minute, "1d12h": 36 * time.Hour, "1m1ms": time.Minute + time.Millisecond,
	}
	for s, want := range good {
		if got, ok := parseDuration(s); !ok || got != want {
			t.Errorf("%q is %v, %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "5", "s", "5 s", "-5s", "+5s", "5S", "5us", "5w", "1e3s", "5s ", ".5s", "5.s", "1,5s", "99999999999999d", strings.Repeat("9", 400) + "d"} {
		if got, ok := parseDuration(s); ok {
			t.Errorf("%q is taken as %v", s, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]int64{"0B": 0, "512B": 512, "64KiB": 65536, "16MiB": 16 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40, "1 GiB": 1 << 30}
	for s, want := range good {
		if got, ok := parseSize(s); !ok || got != want {
			t.Errorf("%q is %v, %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "64", "KiB", "64kib", "64KB", "64K", "-1B", "1.5GiB", "99999999999TiB", "9223372036854775808B", "1  GiB"} {
		if got, ok := parseSize(s); ok {
			t.Errorf("%q is taken as %v", s, got)
		}
	}
	for s, want := range map[string]string{"64k": "64KiB", "64KB": "64KiB", "64 kb": "64KiB", "1G": "1GiB", "1gib": "1GiB", "3 M": "3MiB", "64": "", "": "", "many": ""} {
		if got := nearSize(s); got != want {
			t.Errorf("%q is near to %q, want %q", s, got, want)
		}
	}
}

func TestSpell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 300 * time.Millisecond: "300ms", time.Minute: "1m", 90 * time.Second: "90s", 7 * day: "7d", 36 * time.Hour: "36h", 1500 * time.Millisecond: "1500ms",
	} {
		if got := spell(d); got != want {
			t.Errorf("%v is spelled %q, want %q", d, got, want)
		}
		if back, ok := parseDuration(spell(d)); !ok || back != d {
			t.Errorf("%q reads back as %v", spell(d), back)
		}
	}
	for n, want := range map[int64]string{0: "0B", 64: "64B", 1024: "1KiB", 1536: "1536B", 3 << 20: "3MiB", 1 << 30: "1GiB", math.MaxInt64: "9223372036854775807B"} {
		if got := spellSize(n); got != want {
			t.Errorf("%d is spelled %q, want %q", n, got, want)
		}
	}
}

func TestWireAddress(t *testing.T) {
	good := []struct {
		num   numbering
		table modbus.Table
		n     int64
		want  uint16
	}{
		{fromZero, modbus.Holding, 0, 0}, {fromZero, modbus.Coil, 65535, 65535}, {fromZero, modbus.Holding, 40001, 40001},
		{fromOne, modbus.Input, 1, 0}, {fromOne, modbus.Input, 65536, 65535},
		{byManual, modbus.Holding, 40001, 0}, {byManual, modbus.Holding, 49999, 9998}, {byManual, modbus.Holding, 400001, 0}, {byManual, modbus.Holding, 465536, 65535},
		{byManual, modbus.Input, 30001, 0}, {byManual, modbus.Input, 365536, 65535},
		{byManual, modbus.Discrete, 10001, 0}, {byManual, modbus.Discrete, 165536, 65535},
		{byManual, modbus.Coil, 1, 0}, {byManual, modbus.Coil, 9999, 9998}, {byManual, modbus.Coil, 65536, 65535},
	}
	for _, tt := range good {
		if got, text, _ := tt.num.wireAddress(tt.table, tt.n); got != tt.want || text != "" {
			t.Errorf("%s %s %d is %d on the wire (%s), want %d", tt.num, tt.table, tt.n, got, text, tt.want)
		}
	}
	bad := []struct {
		num        numbering
		table      modbus.Table
		n          int64
		text, hint string
	}{
		{fromZero, modbus.Holding, 65536, "from 0 to 65535", ""},
		{fromZero, modbus.Holding, -1, "from 0 to 65535", ""},
		{fromZero, modbus.Input, 300001, "from 0 to 65535", `numbering = "40001"`},
		{fromOne, modbus.Holding, 0, "from 1 to 65536", `"pdu"`},
		{fromOne, modbus.Holding, 65537, "from 1 to 65536", ""},
		{byManual, modbus.Holding, 40000, "40001 to 49999 or 400001 to 465536", `"pdu" or "one"`},
		{byManual, modbus.Holding, 50000, "40001 to 49999", `"pdu" or "one"`},
		{byManual, modbus.Holding, 465537, "400001 to 465536", ""},
		{byManual, modbus.Holding, 30005, "40001 to 49999", "input = 30005"},
		{byManual, modbus.Input, 40005, "30001 to 39999", "holding = 40005"},
		{byManual, modbus.Coil, 0, "1 to 65536", ""},
		{byManual, modbus.Discrete, 20000, "10001 to 19999 or 100001 to 165536", ""},
	}
	for _, tt := range bad {
		_, text, hint := tt.num.wireAddress(tt.table, tt.n)
		if !strings.Contains(text, tt.text) || !strings.Contains(hint, tt.hint) || tt.hint == "" && tt.num != byManual && hint != "" {
			t.Errorf("%s %s %d: %q, %q, want %q, %q", tt.num, tt.table, tt.n, text, hint, tt.text, tt.hint)
		}
	}
}

// fieldError is what a room's Validate gives.
type fieldError struct{ field, text string }

func (e fieldError) Error() string { return e.text }
func (e fieldError) Field() string { return e.field }

// TestAsk checks that what the rooms find is told at the right place.
func TestAsk(t *testing.T) {
	src := "[[upstream]]\n[[upstream]]\nout = [\"a\",\n  \"b\"]\nname = \"x\"\nurl = \"mqtt://y\"\n"
	b, _ := newBinder(t, src)
	b.bad("upstream[1].name", "", "told already")
	b.ask("upstream[1]", errors.Join(
		fieldError{"out.1", "bad filter"}, fieldError{"name", "told twice"}, fieldError{"url", "bad url"},
		errors.Join(fieldError{"queue.max_bytes", "too small"}), errors.New("no place")))
	b.problems.sort(b.file)
	want := []struct {
		line int
		text string
	}{{2, "too small"}, {2, "no place"}, {4, "bad filter"}, {5, "told already"}, {6, "bad url"}}
	if len(b.problems) != len(want) {
		t.Fatalf("problems:\n%v", b.problems)
	}
	for i, w := range want {
		if p := b.problems[i]; p.Line != w.line || p.Text != w.text {
			t.Errorf("problem %d is %v, want line %d: %s", i, p, w.line, w.text)
		}
	}
}
