package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestStartWithoutADisk starts the program where its data folder cannot be made:
// it polls and serves, says on all ways what is wrong, and ends in order.
func TestStartWithoutADisk(t *testing.T) {
	port, page := freePort(t), freePort(t)
	s := newSite(t, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = "127.0.0.1:%d"
[[upstream]]
name = "cloud"
url = "mqtt://127.0.0.1:1"
out = ["#"]
[[line]]
name = "plc"
kind = "tcp"
port = "sim"
[[device]]
name = "plc"
line = "plc"
unit = 1
topic = "plc"
every = "100ms"
  [device.points]
  level = { input = 10, type = "u16" }
`, port, page))
	if err := os.WriteFile(filepath.Join(s.dir, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g := s.start("--quiet")
	g.awaitLine("in the way", 20*time.Second)
	sub := subscribe(t, port, "-t", "plc/level")
	sub.await("readings", 20*time.Second, func(lines []string) bool { return len(parseMessages(lines)) >= 2 })
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", page))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "the durable log is failed: ") {
		t.Errorf("health: %d, %s", answer.StatusCode, body)
	}
	if code := g.terminate(20 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
