package modbus

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// cycles is a Sink that tells when every point has been read once more.
type cycles struct {
	mu     sync.Mutex
	points int
	seen   map[*adapters.Point]bool
	last   time.Time
	took   []time.Duration
	total  int
	done   chan struct{}
}

func (c *cycles) Put(readings []adapters.Reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range readings {
		if r.Quality == adapters.Good {
			c.seen[r.Point] = true
			c.total++
		}
	}
	if len(c.seen) < c.points {
		return
	}
	now := time.Now()
	c.took = append(c.took, now.Sub(c.last))
	c.last = now
	clear(c.seen)
	select {
	case c.done <- struct{}{}:
	default:
	}
}

func (c *cycles) Availability(string, bool, string) {}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCycle reads a whole field per op over a paced line and prints how
// much of what the wire allows is reached. The processor time is that of both
// sides, the simulated slaves included.
func BenchmarkCycle(b *testing.B) {
	for _, c := range []struct {
		name   string
		serial line.Serial
		slaves int
		blocks []uint16
		size   int
		dead   int
		faults []sim.Fault
	}{
		{"A 19200 10x2x30", line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}, 10, []uint16{0, 100}, 30, 0, nil},
		{"B 115200 32x20", line.Serial{Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 1}, 32, []uint16{0}, 20, 0, nil},
		{"C 19200 8x2x30 and 2 dead", line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}, 10, []uint16{0, 100}, 30, 2, nil},
		{"D 19200 10x2x30 with faults", line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}, 10, []uint16{0, 100}, 30, 0, []sim.Fault{
			{Kind: sim.BadCRC, Probability: 0.05}, {Kind: sim.GarbageBefore, Probability: 0.05}, {Kind: sim.Late, Probability: 0.05, Delay: 320 * ms},
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			slaves, devices := meters(c.slaves, c.blocks, c.size, 0, c.faults...)
			for i := range c.dead {
				slaves[2+4*i].Faults = []sim.Fault{{Kind: sim.Dead}}
			}
			f := simulate(b, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: c.serial.Baud, Parity: c.serial.Parity, Slaves: slaves})
			living := c.slaves - c.dead
			sink := &cycles{points: living * len(c.blocks) * c.size, seen: make(map[*adapters.Point]bool), done: make(chan struct{}, 1)}
			cfg := (&field{}).rtu()
			cfg.Port, cfg.Serial, cfg.Timeout = f.Path("bus"), c.serial, 300*ms
			_, l := start(b, cfg, sink, devices...)
			for range 2 { // learn
				<-sink.done
			}
			sink.mu.Lock()
			sink.took, sink.total = nil, 0
			sink.mu.Unlock()
			used := cpuTime(b)
			for b.Loop() {
				<-sink.done
			}
			used = cpuTime(b) - used
			sink.mu.Lock()
			defer sink.mu.Unlock()
			slices.Sort(sink.took)
			median := sink.took[len(sink.took)/2]
			read := time.Duration(8+5+2*c.size)*c.serial.CharTime() + 2*c.serial.T35() + 10*ms
			theory := time.Duration(living*len(c.blocks)) * read
			b.ReportMetric(100*float64(theory)/float64(median), "%-of-wire")
			b.ReportMetric(median.Seconds()*1000, "ms/cycle")
			b.ReportMetric(sink.took[len(sink.took)-1].Seconds()*1000, "ms-worst")
			b.ReportMetric(float64(used.Microseconds())/float64(sink.total), "cpu-µs/reading")
			b.ReportMetric(float64(sink.total)/b.Elapsed().Seconds(), "readings/s")
			s := f.Stats("bus")
			b.ReportMetric(100*float64(s.Violations)/float64(s.Requests), "%-too-soon")
			b.ReportMetric(100*l.Stats().Load, "%-load")
		})
	}
}

// BenchmarkCommand writes a coil and reads it back while the line is
// saturated with reads of 60 registers.
func BenchmarkCommand(b *testing.B) {
	slaves, devices := meters(10, []uint16{0, 100}, 30, 0)
	slaves[0].Points = append(slaves[0].Points, sim.PointConfig{Name: "relay", Table: "coil", Address: 0, Writable: true, Wave: sim.Wave{Shape: sim.Const}})
	devices[0].Points = append(devices[0].Points, writable(on("m1", "relay", Coil, 0, Bool), Verify))
	f := simulate(b, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 19200, Parity: 'E', Slaves: slaves})
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Timeout = f.Path("bus"), 300*ms
	cfg.Serial = line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}
	sink := newRecord(b)
	p, _ := start(b, cfg, sink, devices...)
	sink.online("m1")
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		pause := unix.NsecToTimespec(int64(time.Duration(70+i%60) * ms))
		_ = unix.Nanosleep(&pause, nil) // at no fixed place of the cycle
		res := p.Device("m1").Write(context.Background(), adapters.Command{Point: "relay", Value: adapters.Bool(i%2 == 0)})
		if res.Err != nil {
			b.Fatal(res.Err)
		}
		took = append(took, res.Elapsed)
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-p50")
	b.ReportMetric(took[len(took)*95/100].Seconds()*1000, "ms-p95")
	b.ReportMetric(took[len(took)-1].Seconds()*1000, "ms-max")
}
