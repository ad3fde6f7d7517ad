package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain fails if anything the tests started is still running.
func TestMain(m *testing.M) {
	code := m.Run()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > 1 && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > 1 && code == 0 {
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "%d goroutines are left:\n%s\n", n-1, buf[:runtime.Stack(buf, true)])
		code = 1
	}
	os.Exit(code)
}

// play runs a field for the time of the test.
func play(t testing.TB, lines ...LineConfig) *Field {
	t.Helper()
	f, err := New(lines, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	<-f.Ready()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the field does not stop")
		}
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// master is a serial port in the hands of a test: bytes, and nothing else.
type master struct {
	testing.TB
	*os.File
}

func open(t testing.TB, path string) master {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return master{t, f}
}

func (m master) send(b []byte) {
	m.Helper()
	if _, err := m.Write(b); err != nil {
		m.Fatal(err)
	}
}

// take reads n bytes, or what comes within limit.
func (m master) take(n int, limit time.Duration) []byte {
	m.Helper()
	if err := m.SetReadDeadline(time.Now().Add(limit)); err != nil {
		m.Fatal(err)
	}
	b := make([]byte, n)
	have := 0
	for have < n {
		k, err := m.Read(b[have:])
		have += k
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			m.Fatalf("read: %v", err)
		}
	}
	return b[:have]
}

func TestRTUOverAPty(t *testing.T) {
	f := play(t, LineConfig{Name: "rs485", Kind: "rtu", Baud: 115200, Parity: 'E', Slaves: []SlaveConfig{
		{Unit: 1, Turnaround: 2 * ms, Strict: true, Points: registers(10)},
		{Unit: 2, Points: []PointConfig{{Name: "lamp", Table: "coil", Address: 3, Writable: true}}},
	}})
	m := open(t, f.Path("rs485"))
	m.send(read(1, 3, 0, 3))
	if got, want := m.take(11, 5*time.Second), withCRC(1, 3, 6, 0x03, 0xE8, 0x03, 0xE9, 0x03, 0xEA); !bytes.Equal(got, want) {
		t.Fatalf("got % x, want % x", got, want)
	}
	if err := f.Slave("rs485", 1).Set("input", 7, 0xBEEF); err != nil {
		t.Fatal(err)
	}
	on := withCRC(2, 5, 0, 3, 0xFF, 0)
	m.send(on)
	if got := m.take(8, 5*time.Second); !bytes.Equal(got, on) {
		t.Fatalf("got % x, want % x", got, on)
	}
	if got := f.Slave("rs485", 2).Get("coil", 3, 1); len(got) != 1 || got[0] != 1 {
		t.Errorf("the coil is %v", got)
	}
	now := time.Now()
	if s := f.Slave("rs485", 2); !s.Held("coil", 3, []uint16{0}, now.Add(-time.Minute), now) ||
		!s.Held("coil", 3, []uint16{1}, now.Add(-time.Minute), now) || s.Held("coil", 3, []uint16{0}, now, now) {
		t.Error("the past of the coil is wrong")
	}
	if got := f.Slave("rs485", 1).Get("input", 7, 1); len(got) != 1 || got[0] != 0xBEEF {
		t.Errorf("what was set is %v", got)
	}
	s := f.Stats("rs485")
	if s.Requests != 2 || s.Answers != 2 || s.Bad != 0 || s.BytesIn != 16 || s.BytesOut != 19 {
		t.Errorf("%+v", s)
	}
}

func TestUnplugAndReplug(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "rs485")
	f := play(t, LineConfig{Name: "rs485", Kind: "rtu", NoPacing: true, Link: link,
		Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}}})
	if f.Path("rs485") != link {
		t.Fatalf("path %q, want %q", f.Path("rs485"), link)
	}
	m := open(t, link)
	set := withCRC(1, 6, 0, 0, 0, 42)
	m.send(set)
	if got := m.take(8, 5*time.Second); !bytes.Equal(got, set) {
		t.Fatalf("got % x", got)
	}
	for range 3 {
		if err := f.Unplug("rs485"); err != nil {
			t.Fatal(err)
		}
		if err := f.Unplug("rs485"); err == nil {
			t.Error("unplugged twice")
		}
		if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the link is still there: %v", err)
		}
		if err := m.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := m.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the master does not notice: %d, %v", n, err)
		}
		if err := f.Replug("rs485"); err != nil {
			t.Fatal(err)
		}
		if err := f.Replug("rs485"); err == nil {
			t.Error("plugged in twice")
		}
		m = open(t, link)
		m.send(read(1, 3, 0, 1))
		if got := m.take(7, 5*time.Second); !bytes.Equal(got, withCRC(1, 3, 2, 0, 42)) {
			t.Fatalf("after replug: % x", got)
		}
	}
	if s := f.Stats("rs485"); s.Unplugs != 3 {
		t.Errorf("%+v", s)
	}
}

func TestMasterMayComeAndGo(t *testing.T) {
	f := play(t, LineConfig{Name: "l", Kind: "rtu", NoPacing: true, Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}}})
	for range 20 {
		m := open(t, f.Path("l"))
		m.send(read(1, 3, 0, 1))
		if got := m.take(7, 5*time.Second); len(got) != 7 {
			t.Fatalf("got % x", got)
		}
		m.Close()
	}
}

func TestNobodyListens(t *testing.T) {
	f := play(t, LineConfig{Name: "u", Kind: "uart", Baud: 4_000_000, Talkers: []TalkerConfig{{}}})
	line := []byte(strings.Repeat("x", 99) + "\n")
	const all = 60_000 // more than a pty keeps
	for range all / len(line) {
		if err := f.Talker("u", 0).Say(line); err != nil {
			t.Fatal(err)
		}
	}
	fresh := []byte("now\n")
	wait(t, "what was said to cross", func() bool { return f.Stats("u").BytesOut == all })
	if err := f.Talker("u", 0).Say(fresh); err != nil {
		t.Fatal(err)
	}
	wait(t, "what was said to cross", func() bool { return f.Stats("u").BytesOut == all+4 })
	m := open(t, f.Path("u"))
	got := m.take(all+4, 300*ms)
	t.Logf("%d of %d bytes were kept", len(got), all+4)
	// How much the kernel keeps between its two buffers is its own affair.
	if len(got) > all-full || !bytes.HasSuffix(got, fresh) {
		t.Errorf("%d bytes were kept, ending in %q", len(got), got[max(0, len(got)-20):])
	}
	if s := f.Stats("u"); s.Lost < full {
		t.Errorf("too little counted as lost: %+v", s)
	}
}

// wait polls for what has no event, with a deadline.
func wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(ms)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestFieldEnds(t *testing.T) {
	lines := []LineConfig{
		{Name: "a", Kind: "rtu", Slaves: []SlaveConfig{{Unit: 1}}},
		{Name: "b", Kind: "uart", Talkers: []TalkerConfig{{Every: time.Second, Template: "hello\n"}}},
		{Name: "c", Kind: "tcp", Slaves: []SlaveConfig{{Unit: 1}}},
	}
	log := slog.New(slog.DiscardHandler)
	f, err := New(lines, log)
	if err != nil {
		t.Fatal(err)
	}
	links := filepath.Dir(f.Path("a"))
	done := make(chan error, 1)
	go func() { done <- f.Run(t.Context()) }()
	<-f.Ready()
	if err := f.Unplug("c"); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil { // ends Run too
		t.Error(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Run goes on after Close")
	}
	if err := f.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if err := f.Run(t.Context()); err == nil {
		t.Error("it ran twice")
	}
	if _, err := os.Stat(links); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left behind", links)
	}
	if unused, err := New(lines, log); err != nil || unused.Close() != nil {
		t.Error("a field that never ran does not close")
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	point := func(p PointConfig) LineConfig {
		return LineConfig{Name: "l", Kind: "rtu", Slaves: []SlaveConfig{{Unit: 1, Points: []PointConfig{p}}}}
	}
	for _, c := range []struct {
		want  string
		lines []LineConfig
	}{
		{"name", []LineConfig{{Kind: "rtu"}}},
		{"name: there is another", []LineConfig{{Name: "a", Kind: "rtu"}, {Name: "a", Kind: "tcp"}}},
		{"kind", []LineConfig{{Name: "l", Kind: "can"}}},
		{"baud", []LineConfig{{Name: "l", Kind: "rtu", Baud: -1}}},
		{"databits", []LineConfig{{Name: "l", Kind: "rtu", DataBits: 7}}},
		{"parity", []LineConfig{{Name: "l", Kind: "rtu", Parity: 'X'}}},
		{"stopbits", []LineConfig{{Name: "l", Kind: "rtu", StopBits: 3}}},
		{"listen", []LineConfig{{Name: "l", Kind: "tcp", Listen: "nowhere"}}},
		{"link", []LineConfig{{Name: "a", Kind: "rtu", Link: filepath.Join(dir, "x")}, {Name: "b", Kind: "rtu", Link: filepath.Join(dir, "x")}}},
		{"in the way", []LineConfig{{Name: "l", Kind: "rtu", Link: inTheWay}}},
		{"slaves.1.unit", []LineConfig{{Name: "l", Kind: "rtu", Slaves: []SlaveConfig{{Unit: 1}, {Unit: 1}}}}},
		{"slaves.0.unit", []LineConfig{{Name: "l", Kind: "rtu", Slaves: []SlaveConfig{{Unit: 248}}}}},
		{"slaves.0.faults.0", []LineConfig{{Name: "l", Kind: "rtu", Slaves: []SlaveConfig{{Unit: 1, Faults: []Fault{{Kind: "rust"}}}}}}},
		{"slaves:", []LineConfig{{Name: "l", Kind: "uart", Slaves: []SlaveConfig{{Unit: 1}}}}},
		{"talkers:", []LineConfig{{Name: "l", Kind: "tcp", Talkers: []TalkerConfig{{}}}}},
		{"talkers.0.template", []LineConfig{{Name: "l", Kind: "uart", Talkers: []TalkerConfig{{Every: 1}}}}},
		{"{x} is no point", []LineConfig{{Name: "l", Kind: "uart", Talkers: []TalkerConfig{{Template: "{x}"}}}}},
		{"slaves.0.points.p.table", []LineConfig{point(PointConfig{Name: "p", Table: "shelf"})}},
		{"slaves.0.points.p.type", []LineConfig{point(PointConfig{Name: "p", Table: "input", Type: "u7"})}},
		{"slaves.0.points.p.order", []LineConfig{point(PointConfig{Name: "p", Table: "input", Order: "AB"})}},
		{"slaves.0.points.p.address", []LineConfig{point(PointConfig{Name: "p", Table: "input", Type: "f32", Address: 65535})}},
		{"slaves.0.points.p.writable", []LineConfig{point(PointConfig{Name: "p", Table: "input", Writable: true})}},
	} {
		f, err := New(c.lines, slog.New(slog.DiscardHandler))
		if err == nil {
			f.Close()
			t.Errorf("%s: taken", c.want)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q does not say %q", err, c.want)
		}
	}
	// Every fault is named, each by its key.
	err := (&LineConfig{Kind: "rtu", Baud: -1, Parity: 'X'}).Validate()
	var fields []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		fields = append(fields, e.(interface{ Field() string }).Field())
	}
	if got := strings.Join(fields, " "); got != "name baud parity" {
		t.Errorf("fields %q", got)
	}
}

func TestUseFromManyGoroutines(t *testing.T) {
	f := play(t,
		LineConfig{Name: "bus", Kind: "rtu", NoPacing: true, Echo: true, Slaves: []SlaveConfig{{Unit: 1, Points: registers(8)}}},
		LineConfig{Name: "net", Kind: "tcp", Slaves: []SlaveConfig{{Unit: 1, Points: registers(8)}}})
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	for _, line := range []string{"bus", "net"} {
		s := f.Slave(line, 1)
		crowd.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				now := time.Now()
				_ = s.SetFault(Fault{Kind: faultKinds[i%len(faultKinds)], Probability: 0.5, Delay: ms})
				_ = s.Set("holding", uint16(i%8), uint16(i))
				s.Held("holding", 0, []uint16{1, 2}, now.Add(-time.Second), now)
				_ = f.Stats(line)
				if i%5 == 0 {
					_ = f.Unplug(line)
					_ = f.Replug(line)
				}
				runtime.Gosched()
			}
		})
	}
	for range 100 {
		if m, err := os.OpenFile(f.Path("bus"), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err == nil {
			_, _ = m.Write(read(1, 3, 0, 8))
			_ = m.SetReadDeadline(time.Now().Add(2 * ms))
			_, _ = m.Read(make([]byte, 64))
			m.Close()
		}
		if m, err := net.DialTimeout("tcp", f.Path("net"), time.Second); err == nil {
			_, _ = m.Write([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 8})
			_ = m.SetReadDeadline(time.Now().Add(2 * ms))
			_, _ = m.Read(make([]byte, 64))
			m.Close()
		}
	}
	close(stop)
	crowd.Wait()
	for _, line := range []string{"bus", "net"} {
		_ = f.Unplug(line) // fails where it is unplugged
		if err := f.Replug(line); err != nil {
			t.Fatal(err)
		}
		if err := f.Slave(line, 1).SetFault(); err != nil {
			t.Fatal(err)
		}
	}
	// After all that, both answer as ever.
	m := open(t, f.Path("bus"))
	m.send(withCRC(1, 6, 0, 0, 0, 9))
	if got, want := m.take(16, 5*time.Second), withCRC(1, 6, 0, 0, 0, 9); !bytes.Equal(got, append(want, want...)) {
		t.Errorf("bus: % x", got)
	}
	c := dial(t, f.Path("net"))
	c.send(9, 1, 3, 0, 0, 0, 1)
	if id, _, pdu := c.take(); id != 9 || pdu[0] != 3 {
		t.Errorf("net: %d % x", id, pdu)
	}
}

func TestFloodIsBounded(t *testing.T) {
	d, _ := newDesk(t, LineConfig{Kind: "rtu", Baud: 9600, Echo: true, Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}}})
	for range 100 {
		d.write(0, make([]byte, 10_000))
	}
	b := d.model.(*bus)
	if len(b.rx.data) > maxFrame || b.queued() > maxEcho {
		t.Errorf("%d bytes of a frame and %d of its echo are kept", len(b.rx.data), b.queued())
	}
	d.until(time.Hour)
	d.all()
	d.write(time.Hour, read(1, 3, 0, 1))
	d.until(2 * time.Hour)
	if got := d.all(); len(got) != 8+7 {
		t.Errorf("afterwards: % x", got)
	}
}
