package modbus

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/adapters"
	"sluice/adapters/line"
)

// pace is a Sink that notes when each living point was read.
type pace struct {
	mu      sync.Mutex
	last    map[*adapters.Point]time.Time
	gaps    map[*adapters.Point][]time.Duration // from reading to reading
	seen    map[*adapters.Point]bool            // in the present cycle
	begin   time.Time                           // of the present cycle
	cycles  []time.Duration                     // in which every point was read
	good    int
	toLearn int           // cycles that go before the measurement
	learned chan struct{} // closed then
	online  chan string   // devices, as they are found to live
}

func newPace() *pace {
	return &pace{last: make(map[*adapters.Point]time.Time), gaps: make(map[*adapters.Point][]time.Duration),
		seen: make(map[*adapters.Point]bool), toLearn: 3, learned: make(chan struct{}), online: make(chan string, 64)}
}

// follow makes the points of devices, but for the dead, those of the cycle.
func (p *pace) follow(devices []DeviceConfig, dead []int) {
	for _, d := range devices {
		if !slices.Contains(dead, int(d.Unit)) {
			for _, pt := range d.Points {
				p.last[pt.Point] = time.Time{}
			}
		}
	}
}

func (p *pace) Put(readings []adapters.Reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range readings {
		last, wanted := p.last[r.Point]
		if r.Quality != adapters.Good || !wanted {
			continue
		}
		p.good++
		p.seen[r.Point] = true
		if !last.IsZero() {
			p.gaps[r.Point] = append(p.gaps[r.Point], r.Time.Sub(last))
		}
		p.last[r.Point] = r.Time
	}
	if len(p.seen) < len(p.last) {
		return
	}
	now := time.Now()
	p.cycles = append(p.cycles, now.Sub(p.begin))
	p.begin = now
	clear(p.seen)
	if p.toLearn--; p.toLearn == 0 {
		close(p.learned)
	}
}

func (p *pace) Availability(device string, on bool, _ string) {
	if on {
		p.online <- device
	}
}

// reset begins the measurement.
func (p *pace) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cycles, p.good = nil, 0
	clear(p.gaps)
}

// cycle is the median time in which every point was read.
func (p *pace) cycle() time.Duration { return quantile(p.cycles, 0.5) }

func (p *pace) longestGap() (longest time.Duration) {
	for _, gaps := range p.gaps {
		longest = max(longest, slices.Max(gaps))
	}
	return longest
}

func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// naive reads point by point, in the order of the configuration, as fast as
// it can, for at most limit. It gives how long it took to have every point
// once, 0 if that was longer.
func (s scenario) naive(b *testing.B, limit time.Duration) time.Duration {
	field := s.start(b)
	l := line.New(s.line(field.port), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	var run sync.WaitGroup
	run.Go(func() { _ = l.Run(ctx) })
	defer run.Wait()
	defer cancel()
	client := newClient(line.RTU)
	devices := s.devices()
	reached := newPace()
	reached.follow(devices, s.dead)
	reached.begin = time.Now()
	for ctx.Err() == nil && len(reached.cycles) == 0 {
		for _, d := range devices {
			for _, p := range d.Points {
				_ = l.Do(ctx, line.Poll, func(_ context.Context, c *line.Conn) error {
					_, err := client.read(c, d.Unit, newPoint(p).question(), 300*ms)
					if err == nil {
						reached.Put([]adapters.Reading{{Point: p.Point, Time: time.Now()}})
					}
					return err
				})
			}
		}
	}
	return reached.cycle()
}

// BenchmarkScenario reads the fields of the scenarios and prints what the wire
// allows, what was reached, and what a reader reaches that asks point by point.
// One operation is one whole measurement.
func BenchmarkScenario(b *testing.B) {
	for _, s := range scenarios {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				s.measure(b)
			}
		})
	}
}

func (s scenario) measure(b *testing.B) {
	field := s.start(b)
	devices := s.devices()
	sink := newPace()
	sink.follow(devices, s.dead)
	p, l := start(b, s.line(field.port), sink, devices...)
	select {
	case <-sink.learned:
	case <-time.After(time.Minute):
		b.Fatalf("no cycle ends; %+v", p.Stats())
	}
	sink.reset()
	used, begin := cpuTime(b), time.Now()
	var commands []time.Duration
	if s.name == "E" {
		commands = s.command(b, p, field)
	} else {
		pause := unix.NsecToTimespec(int64(s.length))
		_ = unix.Nanosleep(&pause, nil)
	}
	used = cpuTime(b) - used
	took := time.Since(begin)
	load := l.Stats().Load
	if back := s.recover(field, sink); back > 0 {
		b.ReportMetric(back.Seconds(), "s-recovery-max")
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	theory := s.theory()
	b.ReportMetric(theory.Seconds(), "s-theory")
	b.ReportMetric(sink.cycle().Seconds(), "s-cycle")
	b.ReportMetric(theory.Seconds()/sink.cycle().Seconds(), "efficiency")
	b.ReportMetric(sink.longestGap().Seconds(), "s-longest-gap")
	b.ReportMetric(float64(sink.good)/took.Seconds(), "readings/s")
	b.ReportMetric(float64(used.Microseconds())/float64(sink.good), "cpu-µs/reading")
	b.ReportMetric(100*load, "%-load")
	if commands != nil {
		b.ReportMetric(quantile(commands, 0.5).Seconds()*1000, "ms-command-p50")
		b.ReportMetric(quantile(commands, 0.95).Seconds()*1000, "ms-command-p95")
		b.ReportMetric(slices.Max(commands).Seconds()*1000, "ms-command-max")
		b.ReportMetric(float64(len(commands)), "commands")
	}
	if s.name == "F" {
		s.reportLate(b, devices, sink)
	}
	requests, violations := field.end()
	b.ReportMetric(100*float64(violations)/float64(requests), "%-too-soon")
	if naive := s.naive(b, 12*time.Second); naive > 0 {
		b.ReportMetric(naive.Seconds(), "s-naive-cycle")
		b.ReportMetric(theory.Seconds()/naive.Seconds(), "naive-efficiency")
	}
}

// recover brings the dead devices back, one after another, and gives how long it
// took at most until that was noticed.
func (s scenario) recover(field *played, sink *pace) (longest time.Duration) {
	for len(sink.online) > 0 {
		<-sink.online
	}
	for _, unit := range s.dead {
		begin := time.Now()
		field.revive(unit)
		<-sink.online
		longest = max(longest, time.Since(begin))
	}
	return longest
}

// reportLate prints how often a point came later than a quarter of its period.
func (s scenario) reportLate(b *testing.B, devices []DeviceConfig, sink *pace) {
	var fast, slow, late, slowLate int
	var gaps []time.Duration
	for _, d := range devices {
		for _, p := range d.Points {
			for _, gap := range sink.gaps[p.Point] {
				is := 0
				if gap > p.Every*5/4 {
					is = 1
				}
				if p.Every == 200*ms {
					fast, late, gaps = fast+1, late+is, append(gaps, gap)
				} else {
					slow, slowLate = slow+1, slowLate+is
				}
			}
		}
	}
	b.ReportMetric(100*float64(late)/float64(fast), "%-fast-late")
	b.ReportMetric(100*float64(slowLate)/float64(slow), "%-slow-late")
	b.ReportMetric(quantile(gaps, 0.95).Seconds()*1000, "ms-fast-gap-p95")
	b.ReportMetric(slices.Max(gaps).Seconds()*1000, "ms-fast-gap-max")
}

// command switches the first relay at no fixed place of the cycle and gives
// how long it took until the coil had changed.
func (s scenario) command(b *testing.B, p *Poller, field *played) (took []time.Duration) {
	relays := p.Device("m11")
	for i := 0; i < 42; i++ {
		pause := unix.NsecToTimespec(int64(700*ms + time.Duration(i*7%12)*50*ms))
		_ = unix.Nanosleep(&pause, nil)
		at := monotonic()
		res := relays.Write(context.Background(), adapters.Command{Point: "relay0", Value: adapters.Bool(i%2 != 0)})
		if res.Err != nil {
			b.Fatal(res.Err)
		}
		select {
		case change := <-field.coils:
			if change.on != (i%2 != 0) {
				b.Fatal("the coil changed the other way")
			}
			took = append(took, change.at-at)
		case <-time.After(5 * time.Second):
			b.Fatal("a command was lost")
		}
	}
	return took
}
