package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServiceManager plays the service manager to the real program.
func TestServiceManager(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	await := func(text string) string {
		t.Helper()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("no %s: %v", text, err)
			}
			if strings.Contains(string(buf[:n]), text) {
				return string(buf[:n])
			}
		}
	}
	s := newSite(t, `
[broker]
listen = ["tcp://127.0.0.1:0"]
[web]
listen = ""
[[line]]
name = "rs485"
kind = "rtu"
port = "sim"
[[device]]
name = "d"
line = "rs485"
unit = 1
topic = "d"
  [device.points]
  v = { input = 0 }
`)
	g := launch(t, []string{"STATE_DIRECTORY=", "NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=6000000"}, sluiceBinary, "run", "-c", s.file, "--quiet")
	if told := await("READY=1"); !strings.Contains(told, "STATUS=") || !strings.Contains(told, " of 1 devices answer") {
		t.Errorf("ready, but no status: %q", told)
	}
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	if code := g.terminate(6 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	await("STOPPING=1")
}
