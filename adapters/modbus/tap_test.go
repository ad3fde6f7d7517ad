package modbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// wiretap joins another master to simulated slaves and lets us hear both.
type wiretap struct {
	master string   // the port for the other master
	ours   string   // the port that hears everything
	spoken chan int // how many bytes came from our port, each time that some did
	heard  *os.File // what is written here comes out of our port
}

func newWiretap(t *testing.T, field string) *wiretap {
	t.Helper()
	w := &wiretap{spoken: make(chan int, 1)}
	end := func() (*os.File, string) {
		master, slave, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = slave.Close() }) // held, or the master would read EIO
		master = endable(t, master)
		t.Cleanup(func() { _ = master.Close() })
		return master, slave.Name()
	}
	var other *os.File
	other, w.master = end()
	w.heard, w.ours = end()
	fd, err := os.OpenFile(field, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := term.MakeRaw(int(fd.Fd())); err != nil {
		t.Fatal(err)
	}
	slaves := endable(t, fd)
	t.Cleanup(func() { _ = slaves.Close() })
	pump := func(from *os.File, to ...*os.File) {
		buf := make([]byte, 512)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			for _, f := range to {
				_, _ = f.Write(buf[:n])
			}
		}
	}
	go pump(other, slaves, w.heard)
	go pump(slaves, other, w.heard)
	go func() {
		buf := make([]byte, 512)
		for {
			n, err := w.heard.Read(buf)
			if err != nil {
				return
			}
			select {
			case before := <-w.spoken:
				n += before
			default:
			}
			w.spoken <- n
		}
	}()
	return w
}

// listen runs a tap and its line until the test ends.
func listen(t *testing.T, port string, log *slog.Logger, sink adapters.Sink, devices ...DeviceConfig) (*Tap, *line.Line) {
	t.Helper()
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Listen = port, true
	l := line.New(cfg, log)
	tap := NewTap(l, devices, sink, log)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, run := range []func(context.Context) error{l.Run, tap.Run} {
		group.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); group.Wait() })
	return tap, l
}

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// What pymodbus and mbpoll read from simulated slaves is published as if it
// had been polled, and not one byte comes from us, whatever is asked of us.
func TestTap(t *testing.T) {
	t.Parallel()
	slaves, devices := meters(3, []uint16{0, 100}, 10, 0)
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: slaves})
	w := newWiretap(t, f.Path("bus"))
	for i := range devices {
		devices[i].Stale = time.Second
	}
	r := newRecord(t)
	book := &logged{}
	tap, l := listen(t, w.ours, slog.New(slog.NewTextHandler(book, nil)), r, devices...)
	<-l.Ready()
	script := slaveScript(t)
	out, err := exec.Command(python, filepath.Join(filepath.Dir(script), "master.py"), "rtu", w.master, "20").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 [1000, 1001,") {
		t.Fatalf("the other master: %v\n%s", err, out)
	}
	for unit := 1; unit <= 3; unit++ {
		r.until(fmt.Sprintf("a reading of unit %d", unit), func() bool {
			return slices.ContainsFunc(r.all, func(reading adapters.Reading) bool {
				return reading.Point == devices[unit-1].Points[3].Point && reading.Value == adapters.Int(int64(unit*1000+3))
			})
		})
	}
	for range 2 {
		compare(t, "its slave", "2000 2001 2002 2003 2004 2005 2006 2007 2008 2009",
			mbpoll(t, 10, "-m", "rtu", "-b", "115200", "-P", "none", "-t", "4", "-r", "0", "-a", "2", w.master))
	}
	// Nobody reads the others, then nobody anything.
	r.offline("m1")
	r.reads("m1/r3", "offline")
	r.mu.Lock()
	for _, reading := range r.all {
		if reading.Quality != adapters.Good {
			continue
		}
		var unit, address int64
		if _, err := fmt.Sscanf(reading.Point.Device+" "+reading.Point.Name, "m%d r%d", &unit, &address); err != nil || reading.Value != adapters.Int(unit*1000+address) {
			t.Errorf("%s/%s = %v", reading.Point.Device, reading.Point.Name, reading.Value)
		}
		if address >= 100 {
			t.Errorf("%s was never read", reading.Point.Name)
		}
	}
	r.mu.Unlock()
	stats := tap.Stats()
	for _, s := range stats {
		if s.Requests < 20 || s.Answers < 20 || s.Answers > s.Requests || s.BadFrames > 0 {
			t.Errorf("figures %+v", s)
		}
	}
	err = l.Do(t.Context(), line.Command, func(_ context.Context, c *line.Conn) error {
		_, err := c.Exchange(readFrame(1, 3, 0, 1), rtuFramer{readFrame(1, 3, 0, 1), false}, 0)
		return errors.Join(err, c.Send(readFrame(1, 3, 0, 1)))
	})
	if !errors.Is(err, line.ErrListenOnly) {
		t.Errorf("a request on a line that is only listened to: %v", err)
	}
	// A byte that goes the same way proves that none went before it.
	port, err := os.OpenFile(w.ours, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	if _, err := port.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	if n := <-w.spoken; n != 1 {
		t.Errorf("%d bytes were sent on a line that is only listened to", n-1)
	}
}

// A point whose register nobody reads is told of once, and is stale; one that
// is read no more becomes stale, too.
func TestTapTellsWhatNobodyReads(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	other := endable(t, master)
	defer other.Close()
	r, book := newRecord(t), &logged{}
	tap, l := listen(t, slave.Name(), slog.New(slog.NewTextHandler(book, nil)), r, DeviceConfig{
		Name: "d", Unit: 1, Stale: time.Second,
		Points: []PointConfig{on("d", "read", Holding, 0, U16), on("d", "half", Holding, 1, U32), on("d", "never", Holding, 50, U16), on("d", "input", Input, 0, U16)},
	})
	<-l.Ready()
	stop := make(chan struct{})
	var talk sync.WaitGroup
	say := func(ask, answer []byte) {
		talk.Go(func() {
			tick := time.NewTicker(20 * ms)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					_, _ = other.Write(append(append([]byte(nil), ask...), answer...))
				case <-stop:
					return
				}
			}
		})
	}
	say(readFrame(1, 3, 0, 2), answerFrame(1, 3, 0, 2))
	r.online("d")
	r.reads("d/read", "1000")
	for _, point := range []string{"never", "half", "input"} {
		r.reads("d/"+point, "stale")
	}
	if s := tap.Stats()[0]; s.Unheard || !slices.Equal(s.Unread, []string{"half", "never", "input"}) {
		t.Errorf("figures %+v", s)
	}
	close(stop)
	talk.Wait()
	if n := book.count("does not read this point"); n != 3 {
		t.Errorf("told %d times of 3 points that nobody reads", n)
	}
	// Exceptions show that the device lives, not what it holds.
	stop = make(chan struct{})
	say(readFrame(1, 3, 0, 2), frameOf(1, 0x83, 6))
	r.reads("d/read", "stale")
	if n := book.count("no answer for this point can be used"); n != 1 {
		t.Errorf("told %d times of the point whose answers are exceptions", n)
	}
	close(stop)
	talk.Wait()
	r.offline("d")
	if s := tap.Stats()[0]; s.Exceptions == 0 || s.Exceptions != s.Codes[Busy] || s.Online || !s.Unheard || !strings.Contains(s.Reason, "not heard for 1s") {
		t.Errorf("figures %+v", s)
	}
	if n := book.count("does not read this point"); n != 3 {
		t.Errorf("told %d times of 3 points that nobody reads", n)
	}
	if all, noise := tap.Overheard(); all.Requests == 0 || noise > 0 {
		t.Errorf("figures %+v, %d bytes of noise", all, noise)
	}
}
