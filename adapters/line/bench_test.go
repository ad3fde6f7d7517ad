package line

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func runFor(b *testing.B, l *Line) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	<-l.Ready()
}

// BenchmarkIdle prints the processor time per second of lines with nothing to
// do: one polled, one that listens, one whose adapter is unplugged and one
// whose peer refuses.
func BenchmarkIdle(b *testing.B) {
	one, two := newBench(b), newBench(b)
	runFor(b, New(rtuConfig(one.link), quiet()))
	cfg := rtuConfig(two.link)
	cfg.Kind = UART
	listener := New(cfg, quiet())
	listener.Listen(func([]byte, time.Time, bool) {})
	runFor(b, listener)
	runFor(b, New(rtuConfig(filepath.Join(b.TempDir(), "unplugged")), quiet()))
	runFor(b, New(Config{Name: "net", Kind: TCP, Port: "127.0.0.1:1", Timeout: time.Second}, quiet()))
	used := cpuTime(b)
	for b.Loop() {
		pause(time.Second)
	}
	b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/b.Elapsed().Seconds(), "cpu-µs/s")
}

// BenchmarkExchange asks a device that answers at once: what a request costs
// beside the time on the wire.
func BenchmarkExchange(b *testing.B) {
	bench := newBench(b)
	bench.answer("ping", "pong")
	cfg := rtuConfig(bench.link)
	cfg.Serial.Baud = 4_000_000
	l := New(cfg, quiet())
	l.silence = 0
	runFor(b, l)
	used := cpuTime(b)
	request, want := []byte("ping"), until("pong")
	for b.Loop() {
		if err := l.Do(context.Background(), Poll, func(_ context.Context, c *Conn) error {
			_, err := c.Exchange(request, want, 0)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
}
