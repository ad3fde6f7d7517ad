package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
	"sluice/mqttcore"
)

// parse is Parse of a file that must be valid.
func parse(t *testing.T, src string) *Config {
	t.Helper()
	cfg, err := Parse("/etc/sluice/config.toml", []byte(src))
	if err != nil {
		t.Fatalf("the file was refused:\n%v", err)
	}
	return cfg
}

// TestShipped loads the file in the root of the project, which must run as it
// is, and once more with its commented examples in force.
func TestShipped(t *testing.T) {
	cfg, err := Load("../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("it warns:\n%v", cfg.Warnings)
	}
	for i := range cfg.Lines {
		if !cfg.Lines[i].Sim {
			t.Errorf("line %q needs hardware", cfg.Lines[i].Name)
		}
	}
	if !cmp.Equal(cfg.Broker.Listen, []string{"tcp://127.0.0.1:1883"}) || cfg.Web.Listen != "127.0.0.1:8080" {
		t.Errorf("it listens on %v and %v", cfg.Broker.Listen, cfg.Web.Listen)
	}
	var topics []string
	for i := range cfg.Devices {
		for _, p := range cfg.Devices[i].Points {
			topics = append(topics, p.Topic)
		}
	}
	for _, want := range []string{"home/floor1/meter/voltage_l1", "home/floor1/relays/heater", "home/floor1/temp", "home/garden/greenhouse/vent"} {
		if !slices.Contains(topics, want) {
			t.Errorf("no point has the topic %s", want)
		}
	}

	src, err := os.ReadFile("../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cloud.password"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate(t, dir, "server", time.Now().Add(50*day))
	certificate(t, dir, "ca", time.Now().Add(50*day))
	certificate(t, dir, "pi-cellar", time.Now().Add(50*day))
	if _, err := mqttcore.SetUser(filepath.Join(dir, "users"), "panel", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	all, err := Parse(filepath.Join(dir, "config.toml"), []byte(uncomment(string(src))))
	if err != nil {
		t.Fatalf("the examples in its comments are wrong:\n%v", err)
	}
	if len(all.Upstreams) != 1 || len(all.Lines) != len(cfg.Lines)+2 {
		t.Errorf("with its examples: %v", all)
	}
}

// TestShippedShowsEveryKey looks for each key in the shipped file: those of
// devices and points below the heading of theirs.
func TestShippedShowsEveryKey(t *testing.T) {
	src, err := os.ReadFile("../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, devices, found := strings.Cut(string(src), "# ---- Devices")
	if !found {
		t.Fatal("it has no heading for devices")
	}
	for _, s := range sections() {
		text := string(src)
		switch s.title {
		case "a profile": // told in words
			continue
		case "[[device]]", "a point of [device.points]":
			text = devices
		}
		for _, key := range s.keys {
			if !regexp.MustCompile(`\b` + key + ` *=|[[.]` + key + `[].]`).MatchString(text) { // or a table
				t.Errorf("it does not show %q of %s", key, s.title)
			}
		}
	}
}

// uncomment puts the commented tables and keys of a file in force, but not
// keys that their table has already.
func uncomment(src string) string {
	var out []string
	seen := map[string]bool{}
	for l := range strings.Lines(src) {
		bare := strings.TrimPrefix(strings.TrimRight(l, "\n"), "# ")
		key, _, isPair := strings.Cut(bare, "=")
		key = strings.TrimRight(key, " ")
		switch {
		case strings.HasPrefix(bare, "["):
			clear(seen)
			out = append(out, bare+"\n")
		case isPair && bareKey(key) && !seen[key]:
			seen[key] = true
			out = append(out, bare+"\n")
		default:
			out = append(out, l)
		}
	}
	return strings.Join(out, "")
}

func TestEmptyFile(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	cfg := parse(t, "")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if want := (Gateway{ID: host, Data: "/etc/sluice/data", Payload: PayloadJSON, Clock: ClockAuto}); cfg.Gateway != want {
		t.Errorf("gateway %+v, want %+v", cfg.Gateway, want)
	}
	if cfg.Web.Listen != "127.0.0.1:8080" || !cmp.Equal(cfg.Broker.Listen, []string{"tcp://127.0.0.1:1883"}) {
		t.Errorf("listens on %v and %v", cfg.Broker.Listen, cfg.Web.Listen)
	}
	if cfg.Store.Dir != cfg.Gateway.Data || cfg.Store.MaxBytes != gib || cfg.Store.SegmentSize != 4*mib || cfg.Store.CommitInterval != 0 || !cfg.AutoCommit {
		t.Errorf("store %+v", cfg.Store)
	}
	if len(cfg.Lines)+len(cfg.Devices)+len(cfg.Upstreams)+len(cfg.Warnings) > 0 {
		t.Errorf("%v, warnings %v", cfg, cfg.Warnings)
	}
}

func TestModbusDevice(t *testing.T) {
	cfg := parse(t, `
[gateway]
base = "home"
[[line]]
name    = "rs485"
kind    = "rtu"
port    = "dev/ttyX"
timeout = "1s"
retries = 0
[[line]]
name = "net"
kind = "tcp"
port = "192.168.1.20"
[[device]]
name          = "meter"
line          = "rs485"
unit          = 7
topic         = "floor1"
every         = "2s"
delay         = "5ms"
order         = "CDAB"
numbering     = "40001"
max_registers = 60
on_offline    = "reject"
  [device.points]
  z = { input = 30011, type = "f32", scale = 0.1, offset = -2, decimals = 3, unit = "V", every = "1m", qos = 0, retain = false }
  a = { holding = 400020, type = "i32", order = "DCBA", write = "plain", min = -5, max = 10.5, topic = "set/point" }
  c = { coil = 1, write = "verify", topic = "/elsewhere/c" }
[[device]]
name = "plc"
line = "net"
unit = 255
points.d = { discrete = 12 }
`)
	rs485 := cfg.Line("rs485")
	wantLine := line.Config{
		Name: "rs485", Kind: line.RTU, Port: "/etc/sluice/dev/ttyX", Serial: line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1},
		Timeout: time.Second, Gap: line.AutoGap,
	}
	if diff := cmp.Diff(wantLine, rs485.Config); diff != "" || rs485.Sim {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	meter, plc := cfg.Device("meter"), cfg.Device("plc")
	if meter.OnOffline != RejectCommand || plc.OnOffline != KeepCommand || meter.Availability() != "home/floor1/availability" {
		t.Errorf("devices %+v and %+v", meter, plc)
	}
	minimum, maximum := -5.0, 10.5
	m := meter.Modbus
	for i := range m.Points {
		if m.Points[i].Point != meter.Points[i].Point {
			t.Errorf("point %d is not shared", i)
		}
		m.Points[i].Point = nil // compared below
	}
	want := &modbus.DeviceConfig{
		Name: "meter", Unit: 7, Every: 2 * time.Second, Delay: 5 * time.Millisecond, MaxRegisters: 60,
		Points: []modbus.PointConfig{
			{Table: modbus.Input, Address: 10, Type: modbus.F32, Order: modbus.CDAB, Mapping: adapters.Mapping{Scale: 0.1, Offset: -2, Decimals: 3}, Every: time.Minute},
			{Table: modbus.Holding, Address: 19, Type: modbus.I32, Order: modbus.DCBA, Mapping: adapters.Mapping{Scale: 1, Decimals: -1}, Write: modbus.Plain},
			{Table: modbus.Coil, Address: 0, Type: modbus.Bool, Order: modbus.CDAB, Mapping: adapters.Mapping{Scale: 1, Decimals: -1}, Write: modbus.Verify},
		},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("device (-want +got):\n%s", diff)
	}
	z, a, c := meter.Points[0], meter.Points[1], meter.Points[2]
	if z.Name != "z" || z.Device != "meter" || z.Unit != "V" || z.Writable || z.Topic != "home/floor1/z" || z.QoS != 0 || z.Retain {
		t.Errorf("point %+v %+v", z, *z.Point)
	}
	if !a.Writable || !cmp.Equal(a.Min, &minimum) || !cmp.Equal(a.Max, &maximum) || a.Topic != "home/floor1/set/point" || a.QoS != 1 || !a.Retain {
		t.Errorf("point %+v %+v", a, *a.Point)
	}
	if c.Topic != "elsewhere/c" || c.SetTopic() != "elsewhere/c/set" || c.ResultTopic() != "elsewhere/c/result" {
		t.Errorf("point %+v %+v", c, *c.Point)
	}
	if on := cfg.DevicesOn("net"); len(on) != 1 || on[0] != plc || plc.Topic != "home/plc" || plc.Modbus.Unit != 255 || plc.Modbus.Every != time.Second {
		t.Errorf("on the net: %+v", on)
	}
	if cfg.Device("none") != nil || cfg.Line("none") != nil || cfg.DevicesOn("none") != nil {
		t.Error("found what is not there")
	}
}

// A safe value may be told in the words of commands.
func TestSafeWords(t *testing.T) {
	cfg := parse(t, `
[[line]]
name = "bus"
kind = "rtu"
port = "sim"
[[device]]
name = "board"
line = "bus"
unit = 1
  [device.points]
  a = { coil = 0, write = "verify", safe = "off", safe_after = "1m" }
  b = { holding = 1, write = "verify", map = { 0 = "Off", 2 = "fast" }, safe = "off", safe_after = "1m" }
  c = { holding = 2, write = "verify", safe = "5", safe_after = "1m" }
  d = { holding = 3, type = "string", length = 2, write = "verify", safe = "off", safe_after = "1m" }
`)
	for i, want := range []adapters.Value{adapters.Bool(false), adapters.String("Off"), adapters.Int(5), adapters.String("off")} {
		if p := cfg.Devices[0].Points[i]; p.Safe != want {
			t.Errorf("the safe value of %s is %v, want %v", p.Name, p.Safe, want)
		}
	}
}

func TestUARTDevice(t *testing.T) {
	cfg := parse(t, `
[[line]]
name  = "green"
kind  = "uart"
port  = "sim"
frame = { until = "\r\n", max = 99 }
[[device]]
name  = "house"
line  = "green"
topic = "/abs/house"
stale = "2h"
match = '^T=(-?)(?P<t>\d+),(?P<h>\d+)'
points.temp = { from = "t", scale = 0.1, unit = "°C" }
points.vent = { from = "t", send = "V {value}\n", expect = "^OK", timeout = "2s", min = 0, max = 9 }
[[device]]
name = "lamp"
line = "green"
points.on = { send = "L {value}\n" }
`)
	house := cfg.Devices[0].UART
	if cfg.Devices[0].Modbus != nil || house.Name != "house" || house.Until != "\r\n" || house.Max != 99 || house.Stale != 2*time.Hour {
		t.Errorf("device %+v", house)
	}
	if house.Match.SubexpIndex("t") != 2 || house.Match.SubexpIndex("h") != 3 {
		t.Errorf("the groups of %v are %q", house.Match, house.Match.SubexpNames())
	}
	temp, vent := house.Points[0], house.Points[1]
	if temp.From != "t" || temp.Scale != 0.1 || temp.Decimals != -1 || temp.Point.Writable || temp.Point.Unit != "°C" || temp.Send != "" || temp.Timeout != 0 {
		t.Errorf("point %+v %+v", temp, *temp.Point)
	}
	if vent.Send != "V {value}\n" || vent.Expect != "^OK" || vent.Timeout != 2*time.Second || !vent.Point.Writable || *vent.Point.Max != 9 {
		t.Errorf("point %+v %+v", vent, *vent.Point)
	}
	if topic := cfg.Devices[0].Points[0].Topic; topic != "abs/house/temp" {
		t.Errorf("topic %s", topic)
	}
	// A device that never speaks unasked cannot grow stale.
	if lamp := cfg.Devices[1].UART; lamp.Stale != 0 || lamp.Match != nil || lamp.Points[0].Scale != 1 {
		t.Errorf("device %+v", lamp)
	}
	if l := cfg.Lines[0]; !l.Sim || l.Serial.String() != "115200 8N1" || l.Timeout != 300*time.Millisecond || l.Retries != 1 {
		t.Errorf("line %+v", l)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.toml")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	latin := filepath.Join(dir, "latin.toml")
	if err := os.WriteFile(latin, []byte("# ok\nx = \"\xe4\""), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.toml"): "none.toml: cannot read the configuration: no such file or directory",
		dir:                             ": cannot read the configuration: is a directory",
		big:                             "big.toml:1:1: the file has more than 8MiB",
		"/dev/zero":                     "/dev/zero: cannot read the configuration: it is a device: expected a regular file, so write what it gives into one",
		pipe:                            "pipe: cannot read the configuration: it is a pipe: expected a regular file, so write what it gives into one",
		latin:                           "latin.toml:2:6: expected text in UTF-8",
	} {
		cfg, err := Load(path)
		var problems Problems
		if cfg != nil || !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s) = %v, %v, want %q", path, cfg, err, want)
		}
	}
}

// Raw values beyond the numbers of TOML are written as text.
func TestBadBeyondTheNumbersOfTOML(t *testing.T) {
	cfg := parse(t, `
[[line]]
name = "l"
kind = "rtu"
port = "sim"
serial = "9600 8N1"
[[device]]
name = "d"
line = "l"
unit = 1
  [device.points]
  energy = { holding = 1, type = "u64", bad = ["0xFFFFFFFFFFFFFFFF", "18446744073709551614", -3] }
  text   = { holding = 5, type = "string", length = 2, bad = ["0xFF"] }
`)
	points := cfg.Devices[0].Modbus.Points
	want := []adapters.Value{adapters.Uint(1<<64 - 1), adapters.Uint(1<<64 - 2), adapters.Int(-3)}
	if got := points[0].Bad; !slices.Equal(got, want) {
		t.Errorf("bad is %v, want %v", got, want)
	}
	if got := points[0].Type.Sentinel(points[0].Bad[2], adapters.Field{}); got != adapters.Uint(1<<64-3) {
		t.Errorf("-3 stands for %v", got)
	}
	if got := points[1].Bad; !slices.Equal(got, []adapters.Value{adapters.String("0xFF")}) {
		t.Errorf("bad is %v", got)
	}
}

// What is read from text is a number alone where another key says so.
func TestTypesOfText(t *testing.T) {
	for keys, want := range map[string]uart.Type{
		"":                      uart.Auto,
		"deadband = 0":          uart.Auto,
		`class = "door"`:        uart.Auto,
		"map = { 1 = \"on\" }":  uart.Auto,
		`type = "number"`:       uart.Number,
		`type = "bool"`:         uart.Bool,
		`type = "string"`:       uart.Text,
		`unit = "V"`:            uart.Number,
		"scale = 0.1":           uart.Number,
		"range = [0, 9]":        uart.Number,
		"deadband = 1":          uart.Number,
		`class = "temperature"`: uart.Number,
	} {
		cfg := parse(t, `
[[line]]
name = "l"
kind = "uart"
port = "sim"
serial = "9600 8N1"
[[device]]
name = "d"
line = "l"
match = '^(?P<x>.*)$'
points.a = { `+strings.TrimSuffix(`from = "x", `+keys, ", ")+` }
`)
		if got := cfg.Devices[0].UART.Points[0].Type; got != want {
			t.Errorf("%s: type %v, want %v", keys, got, want)
		}
	}
}

func TestProblemsAsJSON(t *testing.T) {
	_, err := Parse("c.toml", []byte("[gateway]\nbas = \"x\"\n[web]\nlisten = 3\n"))
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error %v", err)
	}
	text, err := json.MarshalIndent(problems, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want := `[
  {
    "file": "c.toml",
    "line": 2,
    "column": 1,
    "key": "gateway.bas",
    "text": "unknown key \"bas\" in [gateway]",
    "hint": "did you mean \"base\"?",
    "snippet": "    2 | bas = \"x\"\n      | ^^^"
  },
  {
    "file": "c.toml",
    "line": 4,
    "column": 10,
    "key": "web.listen",
    "text": "expected an address such as \"127.0.0.1:8080\", or \"\" for none in quotes, not the number 3",
    "hint": "write \"3\"",
    "snippet": "    4 | listen = 3\n      |          ^"
  }
]`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var one *Problem
	if !errors.As(error(problems), &one) || one.Key != "gateway.bas" {
		t.Errorf("the first problem is %v", one)
	}
}

// BenchmarkParse reads a file of a thousand devices with ten points each.
func BenchmarkParse(b *testing.B) {
	var src strings.Builder
	for i := range 1000 {
		if i%200 == 0 {
			fmt.Fprintf(&src, "[[line]]\nname = \"line%d\"\nkind = \"rtu\"\nport = \"sim\"\n", i/200)
		}
		fmt.Fprintf(&src, "[[device]]\nname = \"device%d\"\nline = \"line%d\"\nunit = %d\nevery = \"1h\"\n  [device.points]\n", i, i/200, 1+i%200)
		for p := range 10 {
			fmt.Fprintf(&src, "  point%d = { input = %d, type = \"f32\", decimals = 1, unit = \"V\" }\n", p, 2*p)
		}
	}
	b.SetBytes(int64(src.Len()))
	for b.Loop() {
		if _, err := Parse("many.toml", []byte(src.String())); err != nil {
			b.Fatal(err)
		}
	}
}
