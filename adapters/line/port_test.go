package line

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFault20UnplugAndReplug(t *testing.T) {
	b := newBench(t)
	other := newBench(t)
	other.answer("ping", "pong")
	l, l2 := New(rtuConfig(b.link), quiet()), New(rtuConfig(other.link), quiet())
	changes := states(l)
	changes2 := states(l2)
	run(t, l)
	run(t, l2)
	if s := wait(t, changes, "opening"); s != "open" {
		t.Fatal(s)
	}
	wait(t, changes2, "opening the other")
	b.unplug() // nothing is asked: the idle look notices
	if s := wait(t, changes, "closing"); !strings.Contains(s, "vanished") {
		t.Fatal(s)
	}
	if _, err := exchange(t, l, "ping", until("pong"), 0); !errors.Is(err, ErrClosed) {
		t.Fatalf("on a closed line: %v", err)
	}
	if got, err := exchange(t, l2, "ping", until("pong"), 0); err != nil || got != "pong" {
		t.Fatalf("the other line is disturbed: %q, %v", got, err)
	}
	if s := wait(t, changes, "the reason"); !strings.Contains(s, "is not there") {
		t.Fatal(s)
	}
	b.plug()
	b.answer("ping", "pong")
	if s := wait(t, changes, "reopening"); s != "open" {
		t.Fatal(s)
	}
	if got, err := exchange(t, l, "ping", until("pong"), 0); err != nil || got != "pong" {
		t.Fatalf("after replugging: %q, %v", got, err)
	}
	if s := l.Stats(); s.Opens != 2 || s.Failures == 0 {
		t.Errorf("opened %d times, failed %d times", s.Opens, s.Failures)
	}
	if len(changes2) != 0 {
		t.Errorf("the other line changed: %s", <-changes2)
	}
}

func TestFault20UnplugDuringAnExchange(t *testing.T) {
	b := newBench(t)
	master := b.master
	cfg := rtuConfig(b.link)
	cfg.Timeout = patience // only the unplugging may end the wait
	l := New(cfg, quiet())
	run(t, l)
	go func() {
		_, _ = master.Read(make([]byte, 16))
		b.unplug()
	}()
	if _, err := exchange(t, l, "ping", until("pong"), 0); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want ErrClosed", err)
	}
}

func TestFault23BusyPortNamesItsHolder(t *testing.T) {
	b := newBench(t)
	l, second := New(rtuConfig(b.link), quiet()), New(rtuConfig(b.link), quiet())
	changes := states(second)
	run(t, l)
	run(t, second)
	if s := wait(t, changes, "the refusal"); !strings.Contains(s, "in use by another line of this program") {
		t.Fatal(s)
	}
}

func TestNoSerialPort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := thisMachine.open(Config{Port: file, Serial: Serial{9600, 8, 'N', 1}}, nil)
	if err == nil || !strings.Contains(err.Error(), "no serial port") {
		t.Fatalf("got %v", err)
	}
	_, err = thisMachine.open(Config{Port: file + "-missing", Serial: Serial{9600, 8, 'N', 1}}, nil)
	if err == nil || !strings.Contains(err.Error(), "plugged in") || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestWriteEnds(t *testing.T) {
	b := newBench(t)
	cfg := rtuConfig(b.link)
	cfg.Kind, cfg.Timeout = UART, 50*time.Millisecond
	cfg.Serial.Baud = 4_000_000
	l := New(cfg, quiet())
	run(t, l)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := l.Do(ctx, Command, func(_ context.Context, c *Conn) error {
		return c.Send(make([]byte, 100_000))
	})
	if err == nil || !strings.Contains(err.Error(), "takes no more bytes") {
		t.Fatalf("got %v", err)
	}
}

func TestHighDescriptors(t *testing.T) {
	b := newBench(t)
	b.answer("ping", "pong")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < 1200 {
		t.Fatalf("this test needs a limit of 1200 open files, the hard limit is %d", limit.Max)
	}
	raised := limit
	raised.Cur = max(limit.Cur, 1200)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		t.Fatal(err)
	}
	for fd := 0; fd < 1100; {
		var err error
		if fd, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	l := New(rtuConfig(b.link), quiet())
	run(t, l)
	if got, err := exchange(t, l, "ping", until("pong"), 0); err != nil || got != "pong" {
		t.Fatalf("on high descriptors: %q, %v", got, err)
	}
}
