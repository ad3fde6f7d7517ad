package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/sim"
	"sluice/gateway/web"
)

// deaf is a sink that nobody listens to.
type deaf struct{}

func (deaf) Put([]adapters.Reading)            {}
func (deaf) Availability(string, bool, string) {}

// meterAt is a device with one register on a line, and the device that plays it.
func meterAt(unit uint8, every time.Duration, faults ...sim.Fault) (modbus.DeviceConfig, sim.SlaveConfig) {
	name := fmt.Sprint("m", unit)
	p := modbus.PointConfig{Point: &adapters.Point{Device: name, Name: "v"}, Table: modbus.Input, Type: modbus.U16, Mapping: adapters.Mapping{Decimals: -1}}
	return modbus.DeviceConfig{Name: name, Unit: unit, Every: every, Points: []modbus.PointConfig{p}},
		sim.SlaveConfig{Unit: unit, Turnaround: time.Millisecond, Strict: true, Seed: uint64(unit), Faults: faults,
			Points: []sim.PointConfig{{Name: "v", Table: "input", Type: "u16", Wave: sim.Wave{Base: float64(unit)}}}}
}

// question is a whole request that no master of ours sends.
func question(frame ...byte) []byte {
	crc := uint16(0xFFFF)
	for _, b := range frame {
		crc ^= uint16(b)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return append(frame, byte(crc), byte(crc>>8))
}

// TestDiagnosis provokes each sentence on a simulated line. No other is said
// but those that are named too, and how busy this machine makes the line.
func TestDiagnosis(t *testing.T) {
	garbage := sim.Fault{Kind: sim.BadCRC}
	for name, test := range map[string]struct {
		faults [3][]sim.Fault // of the units 1, 2 and 3
		want   string
		also   []string
		every  time.Duration
	}{
		"healthy": {},
		"busy":    {want: "the line is busy", every: -1},
		"speed or parity": {
			faults: [3][]sim.Fault{{garbage}, {garbage}, {garbage}},
			want:   "bytes come but no valid checksum: baud or parity",
		},
		"another master": {
			faults: [3][]sim.Fault{{{Kind: sim.Babble, Delay: 90 * time.Millisecond, Bytes: question(9, 3, 0, 1, 0, 2)}}},
			want:   "another master on this line",
			also:   []string{"came after the timeout", "answers are spoilt"},
		},
		"second device, after the first": {
			faults: [3][]sim.Fault{2: {{Kind: sim.Duplicate, Delay: 6 * time.Millisecond}}},
			want:   "a second device answers on unit 3 (m3)",
			also:   []string{"came after the timeout", "unit 3 answers when"},
		},
		"second device, into the first": {
			faults: [3][]sim.Fault{2: {{Kind: sim.Twin}}},
			want:   "a second device answers on unit 3 (m3)",
			also:   []string{"unit 3 (m3) does not answer"},
		},
		"one unit spoilt": {
			faults: [3][]sim.Fault{2: {garbage}},
			want:   "or its cable is bad",
			also:   []string{"unit 3 (m3) does not answer"},
		},
		"another unit": {
			faults: [3][]sim.Fault{2: {{Kind: sim.WrongUnit}}},
			want:   "unit 4 answers when unit 3 (m3) is asked",
			also:   []string{"unit 3 (m3) does not answer"},
		},
		"too slow": {
			faults: [3][]sim.Fault{2: {{Kind: sim.Late, Delay: 130 * time.Millisecond}}},
			want:   "timeout 100ms is ", // below p99, or too short
			also:   []string{"unit 3 (m3) does not answer"},
		},
		"dead": {
			faults: [3][]sim.Fault{2: {{Kind: sim.Dead}}},
			want:   "unit 3 (m3) does not answer and costs",
		},
		"nobody": {
			faults: [3][]sim.Fault{{{Kind: sim.Dead}}, {{Kind: sim.Dead}}, {{Kind: sim.Dead}}},
			want:   "no device answers: check A and B, power, and speed",
		},
		"exceptions only": {
			faults: [3][]sim.Fault{2: {{Kind: sim.Exception, Code: 4}}},
			want:   "unit 3 (m3) answers every request with exception 4 (device failure)",
		},
		"busy device": {
			faults: [3][]sim.Fault{2: {{Kind: sim.Exception, Code: 6}}},
			want:   "unit 3 (m3) answers every request with exception 6 (device busy)",
		},
		"register that is missing": {
			faults: [3][]sim.Fault{2: {{Kind: sim.Exception, Code: 2, Count: 1}}},
		},
		"echo": {
			faults: [3][]sim.Fault{{{Kind: sim.Echo}}, {{Kind: sim.Echo}}, {{Kind: sim.Echo}}},
			want:   "the adapter echoes what it sends",
		},
		"babble": {
			faults: [3][]sim.Fault{{{Kind: sim.Babble, N: 40, Delay: time.Millisecond}}},
			want:   "the line does not fall silent",
			also:   []string{"does not answer", "no valid checksum", "spoilt", "answers when", "another master", "after the timeout"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.every = max(0, cmp.Or(test.every, 100*time.Millisecond))
			test.also = append(test.also, "the line is busy")
			lc := sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200}
			var devices []modbus.DeviceConfig
			for i, faults := range test.faults {
				d, s := meterAt(uint8(i+1), test.every, faults...)
				devices, lc.Slaves = append(devices, d), append(lc.Slaves, s)
			}
			field := simulate(t, lc)
			look := poll(t, line.RTU, field.Path("bus"), devices)
			before := look()
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			patience := time.After(15 * time.Second)
			for {
				now := look()
				said := diagnose(before, now)
				told := strings.Join(said, "\n")
				enough := now.line.Answers >= 30
				if strings.Contains(told, test.want) && (test.want != "" || enough) {
					for _, s := range said {
						if test.want == "" || !strings.Contains(s, test.want) && !anyIn(s, test.also) {
							t.Errorf("said as well: %s", s)
						}
					}
					t.Log(told)
					return
				}
				select {
				case <-tick.C:
				case <-patience:
					t.Fatalf("not said: %s; only:\n%s\n%+v\n%+v", test.want, told, now.line, now.devices)
				}
			}
		})
	}
}

// poll polls devices until the test ends, and gives what looks at the figures.
func poll(t *testing.T, kind line.Kind, port string, devices []modbus.DeviceConfig) (look func() figures) {
	t.Helper()
	serial, err := line.ParseSerial("115200 8N1")
	if err != nil {
		t.Fatal(err)
	}
	cfg := line.Config{Name: "bus", Kind: kind, Port: port, Serial: serial, Timeout: 100 * time.Millisecond, Retries: 1, Gap: line.AutoGap}
	log := slog.New(slog.DiscardHandler)
	l := line.New(cfg, log)
	poller := modbus.NewPoller(l, devices, deaf{}, log)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = l.Run(ctx) })
	group.Go(func() { _ = poller.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
	return func() figures {
		return figures{at: time.Now(), timeout: cfg.Timeout, line: l.Stats(), devices: poller.Stats(), foreign: poller.Foreign()}
	}
}

// A peer that speaks another kind of Modbus than is configured is hinted at.
func TestDiagnosisOfKinds(t *testing.T) {
	for name, test := range map[string]struct {
		peer string
		kind line.Kind
		dead bool
		want string
	}{
		"a converter taken for Modbus TCP":      {peer: "rtu-tcp", kind: line.TCP, want: `kind = "rtu-tcp" is right`},
		"Modbus TCP taken for a converter":      {peer: "tcp", kind: line.RTUTCP, want: `kind = "tcp" is right`},
		"nobody behind a converter":             {peer: "rtu-tcp", kind: line.RTUTCP, dead: true, want: "nobody answers at"},
		"Modbus TCP without the unit behind it": {peer: "tcp", kind: line.TCP, dead: true, want: "nobody answers at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var faults []sim.Fault
			if test.dead {
				faults = append(faults, sim.Fault{Kind: sim.Dead})
			}
			d, s := meterAt(1, 100*time.Millisecond, faults...)
			field := simulate(t, sim.LineConfig{Name: "bus", Kind: test.peer, Slaves: []sim.SlaveConfig{s}})
			look := poll(t, test.kind, field.Path("bus"), []modbus.DeviceConfig{d})
			before := look()
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			patience := time.After(15 * time.Second)
			for {
				said := diagnose(before, look())
				if len(said) > 0 && strings.Contains(said[0], test.want) && strings.Contains(said[0], field.Path("bus")) {
					t.Log(said)
					return
				}
				select {
				case <-tick.C:
				case <-patience:
					t.Fatalf("not said: %s; only %q of %+v", test.want, said, look().line)
				}
			}
		})
	}
}

func anyIn(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// What no simulated line can show, a driver's counters, and what depends on
// luck there.
func TestDiagnosisOfFigures(t *testing.T) {
	at := time.Now()
	before := figures{at: at, timeout: 300 * time.Millisecond, devices: []modbus.DeviceStats{{Name: "m3", Unit: 3}}}
	now := before
	now.at = at.Add(time.Minute)
	now.devices = []modbus.DeviceStats{{Name: "m3", Unit: 3, Requests: 50, Answers: 50, Late: 2, P99: 900 * time.Millisecond, Wait: 200 * time.Millisecond}}
	now.line = line.Stats{Requests: 50, Answers: 50}
	if said := diagnose(before, now); len(said) != 1 || said[0] != "2 answers of unit 3 (m3) came after the timeout of 300ms" {
		t.Errorf("of late answers: %q", said)
	}
	now.devices[0].Answers = 1
	if said := diagnose(before, now); len(said) != 1 || said[0] != "timeout 300ms is too short for unit 3 (m3): 2 answers came after it" {
		t.Errorf("of a device that is always late: %q", said)
	}
	now.devices[0].Wait = 480 * time.Millisecond
	if said := diagnose(before, now); len(said) != 1 || said[0] != "timeout 300ms is below p99 480ms of unit 3 (m3): 2 answers came too late" {
		t.Errorf("of a short timeout: %q", said)
	}
	now.devices[0] = modbus.DeviceStats{Name: "m3", Unit: 3, Requests: 50}
	now.line = line.Stats{Requests: 50, Checksum: 50, Driver: line.DriverStats{Framing: 70, Parity: 3}}
	if said := strings.Join(diagnose(before, now), "\n"); !strings.Contains(said, "70 framing errors: the speed") {
		t.Errorf("of framing errors: %s", said)
	}
	now.line.Driver = line.DriverStats{Parity: 9}
	if said := strings.Join(diagnose(before, now), "\n"); !strings.Contains(said, "9 parity errors: the parity") {
		t.Errorf("of parity errors: %s", said)
	}
	if said := diagnose(now, now); len(said) > 0 {
		t.Errorf("of figures that do not change: %q", said)
	}
}

// A sentence counts as another only if more than its figures differ.
func TestChanged(t *testing.T) {
	was := []string{"timeout 300ms is below p99 480ms of unit 3 (m)", "the line is busy 80 % of the time"}
	said := []string{"timeout 300ms is below p99 1.2s of unit 3 (m)", "timeout 300ms is below p99 480ms of unit 13 (m)"}
	if got := changed(said, was); len(got) != 1 || got[0] != said[1] {
		t.Errorf("new: %q", got)
	}
	if got := changed(was, said); len(got) != 1 || got[0] != was[1] {
		t.Errorf("over: %q", got)
	}
}

// The topic of a line's health, the page's source and the log tell what was
// found, the log once.
func TestFindingsAreTold(t *testing.T) {
	t.Parallel()
	_, slave := meterAt(1, 0, sim.Fault{Kind: sim.Echo})
	_, dead := meterAt(2, 0, sim.Fault{Kind: sim.Dead})
	field := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Slaves: []sim.SlaveConfig{slave, dead}})
	port := freePort(t)
	g := newSite(t, fmt.Sprintf(`
[gateway]
id = "gw"
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "bus"
kind = "rtu"
port = %q
serial = "19200 8N1"
[[device]]
name = "a"
line = "bus"
unit = 1
  [device.points]
  v = { input = 0 }
[[device]]
name = "b"
line = "bus"
unit = 2
  [device.points]
  v = { input = 0 }
`, port, field.Path("bus"))).start()
	sub := subscribe(t, port, "-t", "sluice/gw/line/bus")
	sub.await("the findings", 40*time.Second, func(lines []string) bool {
		for _, m := range parseMessages(lines) {
			var l web.Line
			if err := json.Unmarshal([]byte(m.payload), &l); err != nil || l.Findings == nil || len(l.Devices) != 2 {
				t.Fatalf("%v in %s", err, m.payload)
			}
			said := strings.Join(l.Findings, "\n")
			if strings.Contains(said, "the adapter echoes") && strings.Contains(said, "unit 2 (b) does not answer and costs") {
				if l.Devices[0].OK == 0 || l.Devices[0].Load <= 0 || l.Devices[1].Timeouts == 0 || !l.Echo {
					t.Errorf("the figures: %s", m.payload)
				}
				return true
			}
		}
		return false
	})
	g.awaitLine("line: the adapter echoes what it sends", 5*time.Second)
	g.terminate(6 * time.Second)
}

// A line counts what its devices do: spoilt answers, and those to nothing asked.
func TestCountersAgree(t *testing.T) {
	t.Parallel()
	_, spoilt := meterAt(1, 0, sim.Fault{Kind: sim.BadCRC, Count: 3})
	_, strange := meterAt(2, 0, sim.Fault{Kind: sim.WrongUnit, Count: 2})
	field := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: []sim.SlaveConfig{spoilt, strange}})
	port, page := freePort(t), freePort(t)
	g := newSite(t, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = "127.0.0.1:%d"
[[line]]
name = "bus"
kind = "rtu"
port = %q
serial = "115200 8N1"
[[device]]
name = "a"
line = "bus"
unit = 1
  [device.points]
  v = { input = 0 }
[[device]]
name = "b"
line = "bus"
unit = 2
  [device.points]
  v = { input = 0 }
`, port, page, field.Path("bus"))).start("--quiet")
	agree := func() (web.Status, bool) {
		var st web.Status
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/status", page))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
			t.Fatal(err)
		}
		l, a, b := st.Lines[0], st.Devices[0], st.Devices[1]
		return st, l.CRCErrors == 3 && a.CRCErrors == 3 && l.Devices[0].CRC == 3 && b.CRCErrors == 0 &&
			l.Mismatches == 2 && b.Mismatches == 2 && l.Devices[1].Mismatches == 2 && a.Mismatches == 0
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for patience := time.After(20 * time.Second); ; {
		st, same := agree()
		if same {
			break
		}
		select {
		case <-tick.C:
		case <-patience:
			t.Fatalf("they count %+v and %+v", st.Lines, st.Devices)
		}
	}
	g.terminate(6 * time.Second)
}
