package modbus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/sim"
)

const ms = time.Millisecond

// simulate plays a field until the test ends.
func simulate(t testing.TB, lines ...sim.LineConfig) *sim.Field {
	t.Helper()
	f, err := sim.New(lines, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// meters gives n simulated slaves with registers at the addresses of blocks,
// size registers each, and the devices that read them. A register holds
// unit·1000 + address.
func meters(n int, blocks []uint16, size int, every time.Duration, faults ...sim.Fault) (slaves []sim.SlaveConfig, devices []DeviceConfig) {
	for unit := 1; unit <= n; unit++ {
		name := fmt.Sprint("m", unit)
		s := sim.SlaveConfig{Unit: uint8(unit), Turnaround: 8 * ms, Jitter: 4 * ms, Strict: true, Faults: faults, Seed: uint64(unit)}
		d := DeviceConfig{Name: name, Unit: uint8(unit), Every: every}
		for _, begin := range blocks {
			for i := range uint16(size) {
				at := begin + i
				s.Points = append(s.Points, sim.PointConfig{Name: fmt.Sprint("r", at), Table: "holding", Address: at,
					Wave: sim.Wave{Shape: sim.Const, Base: float64(unit*1000 + int(at))}})
				d.Points = append(d.Points, on(name, fmt.Sprint("r", at), Holding, at, U16))
			}
		}
		slaves, devices = append(slaves, s), append(devices, d)
	}
	return slaves, devices
}

// truth is a Sink that checks every value against what the register holds.
type truth struct {
	want   map[*adapters.Point]int64
	mu     sync.Mutex
	good   int
	wrong  []string
	enough chan struct{}
	goal   int
}

func (s *truth) Put(readings []adapters.Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range readings {
		if r.Quality != adapters.Good {
			continue
		}
		if r.Value != adapters.Int(s.want[r.Point]) {
			s.wrong = append(s.wrong, fmt.Sprintf("%s/%s = %v, it is %d", r.Point.Device, r.Point.Name, r.Value, s.want[r.Point]))
		}
		if s.good++; s.good == s.goal {
			close(s.enough)
		}
	}
}

// wait waits for n good readings more.
func (s *truth) wait(t testing.TB, n int) {
	t.Helper()
	s.mu.Lock()
	s.goal = s.good + n
	s.enough = make(chan struct{})
	enough := s.enough
	s.mu.Unlock()
	select {
	case <-enough:
	case <-time.After(testPatience):
		t.Fatalf("too few good readings in %v", testPatience)
	}
}

// right fails the test for every value that was wrong.
func (s *truth) right(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.wrong {
		t.Error(text)
	}
}

func (s *truth) Availability(string, bool, string) {}

func newTruth(devices []DeviceConfig, goal int) *truth {
	s := &truth{want: make(map[*adapters.Point]int64), goal: goal, enough: make(chan struct{})}
	for _, d := range devices {
		for _, p := range d.Points {
			s.want[p.Point] = int64(d.Unit)*1000 + int64(p.Address)
		}
	}
	return s
}

// Slaves that insist on the silence between frames hear every request.
func TestSilenceIsKept(t *testing.T) {
	t.Parallel()
	slaves, devices := meters(4, []uint16{0}, 20, 0)
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 19200, Parity: 'E', Slaves: slaves})
	sink := newTruth(devices, 20*50)
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Serial = f.Path("bus"), line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}
	_, l := start(t, cfg, sink, devices...)
	select {
	case <-sink.enough:
	case <-time.After(testPatience):
		t.Fatal("too few good readings")
	}
	s := f.Stats("bus")
	if s.Violations > 0 {
		t.Errorf("the silence was cut short: %+v", s)
	}
	// Where a busy machine made an answer late, the next request may meet it.
	if l.Stats().Timeouts == 0 && (s.Overlaps > 0 || s.Collisions > 0 || s.Bad > 0) {
		t.Errorf("requests met answers: %+v", s)
	}
}
