package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// manager is a service manager's end of the notify socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func listenNotify(t *testing.T) *manager {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return &manager{t, conn}
}

func (m *manager) receive() string {
	m.t.Helper()
	buf := make([]byte, 4096)
	if err := m.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	n, err := m.conn.Read(buf)
	if err != nil {
		m.t.Fatalf("no message to the service manager: %v", err)
	}
	return string(buf[:n])
}

func TestNotify(t *testing.T) {
	m := listenNotify(t)
	for _, c := range []struct {
		name string
		send func() error
		want string
	}{
		{"ready", func() error { return notifyReady("2 lines, 3 devices") }, "READY=1\nSTATUS=2 lines, 3 devices"},
		{"status", func() error { return notifyStatus("3/4 devices ok") }, "STATUS=3/4 devices ok"},
		{"status on two lines", func() error { return notifyStatus("ok\nREADY=1\r\n") }, "STATUS=ok READY=1"},
		{"status that is not UTF-8", func() error { return notifyStatus("a\xffb") }, "STATUS=a?b"},
		{"long status", func() error { return notifyStatus(strings.Repeat("ä", 300)) }, "STATUS=" + strings.Repeat("ä", 255) + "…"},
		{"stopping", notifyStopping, "STOPPING=1"},
	} {
		if err := c.send(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := m.receive(); got != c.want {
			t.Errorf("%s: sent %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNotifyAbstractSocket(t *testing.T) {
	name := "@sluice-notify-" + strconv.Itoa(os.Getpid())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := notifyStopping(); err != nil {
		t.Fatal(err)
	}
	m := &manager{t, conn}
	if got := m.receive(); got != "STOPPING=1" {
		t.Errorf("sent %q", got)
	}
}

func TestNotifyWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifyReady("up"); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := notifyReady("up"); err == nil || !strings.Contains(err.Error(), "NOTIFY_SOCKET") {
		t.Errorf("a socket that is not there: %v, want an error that names NOTIFY_SOCKET", err)
	}
}

func TestWatchdogEnvironment(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name, usec, pid string
		limit           time.Duration
		fed             bool
		fails           bool
	}{
		{"no manager", "", "", watchdogDefault, false, false},
		{"ours", "30000000", pid, 30 * time.Second, true, false},
		{"no pid given", "30000000", "", 30 * time.Second, true, false},
		{"of another process", "30000000", "1", watchdogDefault, false, false},
		{"not a number", "soon", pid, 0, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", c.usec)
			t.Setenv("WATCHDOG_PID", c.pid)
			w, err := newWatchdog(slog.New(slog.DiscardHandler))
			if c.fails {
				if err == nil {
					t.Fatal("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.limit != c.limit || w.fed != c.fed {
				t.Errorf("limit %s, fed %t; want %s, %t", w.limit, w.fed, c.limit, c.fed)
			}
		})
	}
}

func TestWatchdogFeedsTheSocket(t *testing.T) {
	m := listenNotify(t)
	t.Setenv("WATCHDOG_USEC", "40000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	w, err := newWatchdog(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-w.Ready()
	for range 3 {
		if got := m.receive(); got != "WATCHDOG=1" {
			t.Errorf("sent %q, want WATCHDOG=1", got)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestWatchdogStarves plays a part that hangs and comes back, on a clock of
// its own.
func TestWatchdogStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		var logged bytes.Buffer
		w := &watchdog{
			limit: 40 * time.Second,
			fed:   true,
			send:  func(state string) error { sent = append(sent, state); return nil },
			log:   slog.New(slog.NewTextHandler(&logged, nil)),
			began: time.Now(),
			ready: make(chan struct{}),
		}
		line, store := w.Add("line rs485"), w.Add("store")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()

		// pass lets time go by, beating once a second, and tells what was sent.
		pass := func(seconds int, beats ...func()) string {
			for range seconds {
				time.Sleep(time.Second)
				for _, beat := range beats {
					beat()
				}
			}
			synctest.Wait()
			all := strings.Join(sent, " ")
			sent = nil
			return all
		}
		if got := pass(35, line, store); got != "WATCHDOG=1 WATCHDOG=1 WATCHDOG=1 WATCHDOG=1" {
			t.Errorf("all fresh for 35 s: sent %q", got)
		}
		// The line's last beat was at 35 s: it counts as alive up to 75 s.
		if got := pass(40, store); got != "WATCHDOG=1 WATCHDOG=1 WATCHDOG=1 WATCHDOG=1" {
			t.Errorf("line silent up to its limit: sent %q", got)
		}
		if got := pass(60, store); got != "STATUS=no progress: line rs485" {
			t.Errorf("line silent over its limit: sent %q, want one status and no feeding", got)
		}
		if got := strings.Join(w.Stale(), ","); got != "line rs485" {
			t.Errorf("stale: %q", got)
		}
		if n := strings.Count(logged.String(), "line rs485"); n != 1 {
			t.Errorf("the hang was logged %d times, want once:\n%s", n, &logged)
		}
		if got := pass(20, line, store); got != "WATCHDOG=1 WATCHDOG=1" {
			t.Errorf("line back: sent %q", got)
		}
		if !strings.Contains(logged.String(), "progress again") {
			t.Errorf("the recovery was not logged:\n%s", &logged)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWatchdogSendFails checks that a manager that can't be told is reported
// once and tried again.
func TestWatchdogSendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		tries := 0
		w := &watchdog{
			limit: 40 * time.Second,
			fed:   true,
			send:  func(string) error { tries++; return os.ErrDeadlineExceeded },
			log:   slog.New(slog.NewTextHandler(&logged, nil)),
			began: time.Now(),
			ready: make(chan struct{}),
		}
		ctx, stop := context.WithTimeout(t.Context(), 35*time.Second)
		defer stop()
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
		if tries != 4 {
			t.Errorf("%d tries in 35 s, want 4", tries)
		}
		if n := strings.Count(logged.String(), "watchdog not fed"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, &logged)
		}
	})
}
