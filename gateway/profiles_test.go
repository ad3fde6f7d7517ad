package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/sim"
	"sluice/gateway/config"
)

// known is one line of testdata/profiles.txt.
type known struct {
	profile, point, table string
	address               uint16
	words                 []uint16
	value                 float64
	unit                  string
}

// knownPoints reads testdata/profiles.txt, by profile.
func knownPoints(t *testing.T) (names []string, points map[string][]known) {
	t.Helper()
	text, err := os.ReadFile("testdata/profiles.txt")
	if err != nil {
		t.Fatal(err)
	}
	points = map[string][]known{}
	for row := range strings.Lines(string(text)) {
		f := strings.Fields(row)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		address, err1 := strconv.ParseUint(f[3], 10, 16)
		raw, err2 := hex.DecodeString(f[4])
		value, err3 := strconv.ParseFloat(strings.NewReplacer("true", "1", "false", "0").Replace(f[5]), 64)
		if len(f) != 7 || err1 != nil || err2 != nil || err3 != nil || len(raw)%2 != 0 {
			t.Fatalf("not a point: %s", row)
		}
		k := known{profile: f[0], point: f[1], table: f[2], address: uint16(address), value: value, unit: strings.TrimPrefix(f[6], "-")}
		for ; len(raw) > 0; raw = raw[2:] {
			k.words = append(k.words, uint16(raw[0])<<8|uint16(raw[1]))
		}
		if points[k.profile] == nil {
			names = append(names, k.profile)
		}
		points[k.profile] = append(points[k.profile], k)
	}
	return names, points
}

// slaveOf is a device whose registers hold what testdata/profiles.txt says.
func slaveOf(unit int, points []known) sim.SlaveConfig {
	s := sim.SlaveConfig{Unit: uint8(unit), Strict: true}
	for _, k := range points {
		if k.profile == "jsy/mk-194" { // its registers have four bytes
			s.Wide = true
			if last := len(s.Points) - 1; last >= 0 && s.Points[last].Address == k.address {
				continue // other bits of the same
			}
			s.Points = append(s.Points, sim.PointConfig{
				Name: k.point, Table: k.table, Address: k.address, Type: "u32",
				Wave: sim.Wave{Base: float64(uint32(k.words[0])<<16 | uint32(k.words[1]))},
			})
			continue
		}
		for i, w := range k.words {
			s.Points = append(s.Points, sim.PointConfig{
				Name: fmt.Sprintf("%s%d", k.point, i), Table: k.table, Address: k.address + uint16(i),
				Wave: sim.Wave{Base: float64(w)}, Writable: k.table == "coil" || k.table == "holding",
			})
		}
	}
	return s
}

// firstReadings keeps the first reading of each point.
type firstReadings struct {
	mu   sync.Mutex
	want int
	got  map[*adapters.Point]adapters.Reading
	full chan struct{}
}

func (f *firstReadings) Put(readings []adapters.Reading) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range readings {
		if _, have := f.got[r.Point]; have || r.Quality == adapters.Offline {
			continue
		}
		f.got[r.Point] = r
		if len(f.got) == f.want {
			close(f.full)
		}
	}
}

func (f *firstReadings) Availability(string, bool, string) {}

// TestProfiles reads every point of the device library from simulated devices
// whose registers testdata/profiles.txt writes down, apart from the library.
func TestProfiles(t *testing.T) {
	names, points := knownPoints(t)
	lc := sim.LineConfig{Name: "bus", Kind: "tcp"}
	var text strings.Builder
	text.WriteString("[[line]]\nname = \"bus\"\nkind = \"tcp\"\nport = \"sim\"\ntimeout = \"5s\"\n")
	for i, name := range names {
		lc.Slaves = append(lc.Slaves, slaveOf(i+1, points[name]))
		fmt.Fprintf(&text, "[[device]]\nname = \"d%d\"\nline = \"bus\"\nunit = %d\nuse = %q\n", i+1, i+1, name)
	}
	cfg, err := config.Parse("profiles.toml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("the library is warned of: %v", cfg.Warnings)
	}
	field := simulate(t, lc)
	cfg.Lines[0].Port = field.Path("bus")
	sink := &firstReadings{got: map[*adapters.Point]adapters.Reading{}, full: make(chan struct{})}
	var devices []modbus.DeviceConfig
	for _, d := range cfg.Devices {
		devices = append(devices, *d.Modbus)
		sink.want += len(d.Points)
	}
	log := slog.New(slog.DiscardHandler)
	l := line.New(cfg.Lines[0].Config, log)
	poller := modbus.NewPoller(l, devices, sink, log)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = l.Run(ctx) })
	group.Go(func() { _ = poller.Run(ctx) })
	defer func() { cancel(); group.Wait() }()
	select {
	case <-sink.full:
	case <-time.After(30 * time.Second):
		t.Errorf("not all of %d points were read: %+v", sink.want, poller.Stats())
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for i, name := range names {
		have := map[string]*adapters.Point{}
		for _, p := range cfg.Devices[i].Points {
			have[p.Name] = p.Point
		}
		for _, k := range points[name] {
			p := have[k.point]
			delete(have, k.point)
			if p == nil {
				t.Errorf("%s has no point %s", name, k.point)
				continue
			}
			r := sink.got[p]
			v, ok := r.Value.Number()
			if r.Value.Kind() == adapters.KindBool {
				v, ok = 0, true
				if r.Value.Bool() {
					v = 1
				}
			}
			if r.Quality != adapters.Good || !ok || math.Abs(v-k.value) > 1e-6 {
				t.Errorf("%s/%s reads %v (%v), want %v", name, k.point, r.Value, r.Quality, k.value)
			}
			if p.Unit != k.unit {
				t.Errorf("%s/%s has the unit %q, want %q", name, k.point, p.Unit, k.unit)
			}
		}
		for extra := range have {
			t.Errorf("%s/%s is not in testdata/profiles.txt", name, extra)
		}
	}
}

// TestProfilesKnown compares the library with what the test above reads.
func TestProfilesKnown(t *testing.T) {
	names, _ := knownPoints(t)
	all, err := config.Profiles("testdata/none.toml")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, p := range all {
		listed = append(listed, p.Name)
		if len(p.Source) < 2 {
			t.Errorf("%s has one source: %v", p.Name, p.Source)
		}
		if p.Serial == "" {
			t.Errorf("%s does not say its speed", p.Name)
		}
	}
	if strings.Join(listed, " ") != strings.Join(names, " ") {
		t.Errorf("the library has %v, testdata/profiles.txt %v", listed, names)
	}
}
