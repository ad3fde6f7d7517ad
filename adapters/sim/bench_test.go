package sim

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpu gives the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTransaction reads 80 registers over a pty and prints how much
// later than on an ideal wire the last byte came (master included), and the
// processor time of both sides together.
func BenchmarkTransaction(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		b.Run(fmt.Sprint(baud), func(b *testing.B) {
			c := LineConfig{Name: "l", Kind: "rtu", Baud: baud, Parity: 'E',
				Slaves: []SlaveConfig{{Unit: 1, Turnaround: 3 * ms, Points: registers(80)}}}
			f := play(b, c)
			m := open(b, f.Path("l"))
			request := read(1, 3, 0, 80)
			ideal := (8+165)*c.charTime() + c.quietTime() + 3*ms
			var late time.Duration
			used := cpu(b)
			n := 0
			for b.Loop() {
				t0 := time.Now()
				m.send(request)
				if got := m.take(165, 5*time.Second); len(got) != 165 {
					b.Fatalf("%d bytes", len(got))
				}
				late += time.Since(t0) - ideal
				n++
				silence := unix.NsecToTimespec(int64(c.quietTime()))
				_ = unix.Nanosleep(&silence, nil)
			}
			b.ReportMetric(float64(late.Microseconds())/float64(n), "µs-late/op")
			b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(n), "cpu-µs/op")
			b.ReportMetric(100*float64(ideal+c.quietTime())/float64(b.Elapsed())*float64(n), "%-of-wire")
			if s := f.Stats("l"); s.Violations+s.Overlaps+s.Bad > 0 {
				b.Errorf("%+v", s)
			}
		})
	}
}

// BenchmarkIdle prints the processor time that an idle line and a talker with
// one line a second need.
func BenchmarkIdle(b *testing.B) {
	play(b, LineConfig{Name: "l", Kind: "rtu", Slaves: []SlaveConfig{{Unit: 1, Points: registers(80)}}}, greenhouse())
	used := cpu(b)
	for b.Loop() {
		second := unix.NsecToTimespec(int64(time.Second))
		_ = unix.Nanosleep(&second, nil)
	}
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-µs/s")
}

// BenchmarkUnpaced shows what the simulation itself costs per request.
func BenchmarkUnpaced(b *testing.B) {
	f := play(b, LineConfig{Name: "l", Kind: "rtu", NoPacing: true, Slaves: []SlaveConfig{{Unit: 1, Points: registers(80)}}})
	m := open(b, f.Path("l"))
	request := read(1, 3, 0, 80)
	for b.Loop() {
		m.send(request)
		if got := m.take(165, 5*time.Second); len(got) != 165 {
			b.Fatalf("%d bytes", len(got))
		}
	}
}
