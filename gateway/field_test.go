package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/adapters/sim"
)

// TestShippedConfig runs the file that everybody begins with.
func TestShippedConfig(t *testing.T) {
	text, err := os.ReadFile("../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	port, webPort := freePort(t), freePort(t)
	config := strings.NewReplacer("127.0.0.1:1883", fmt.Sprintf("127.0.0.1:%d", port), "127.0.0.1:8080", fmt.Sprintf("127.0.0.1:%d", webPort)).Replace(string(text))
	began := time.Now()
	g := newSite(t, config).start()
	sub := subscribe(t, port, "-t", "home/#")
	g.awaitLine("home/floor1/temp", 20*time.Second)
	t.Logf("first reading after %s", time.Since(began).Round(time.Millisecond))

	points := map[string]bool{}
	sub.await("a reading of each of 8 points", 30*time.Second, func(lines []string) bool {
		for _, m := range parseMessages(lines) {
			if strings.HasSuffix(m.topic, "/availability") {
				continue
			}
			var r reading
			if err := json.Unmarshal([]byte(m.payload), &r); err != nil {
				t.Fatalf("%s: %v in %q", m.topic, err, m.payload)
			}
			if r.Quality == "good" && string(r.Value) != "null" && time.Since(r.Time).Abs() < time.Minute {
				points[m.topic] = true
			}
		}
		return len(points) >= 8
	})
	form := regexp.MustCompile(`^\{"value":-?[0-9.]+,"unit":"°C","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","quality":"good"\}$`)
	lines, _ := sub.output()
	for _, m := range parseMessages(lines) {
		if m.topic == "home/floor1/temp" && !form.MatchString(m.payload) {
			t.Errorf("payload %s", m.payload)
		}
	}
	if code := g.terminate(6 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// TestUnplugAndReplug pulls one adapter out while another line goes on.
func TestUnplugAndReplug(t *testing.T) {
	dir := t.TempDir()
	link, other := filepath.Join(dir, "ttyA"), filepath.Join(dir, "ttyB")
	slave := []sim.SlaveConfig{{Unit: 1, Points: []sim.PointConfig{{Name: "v", Table: "input", Type: "u16", Wave: sim.Wave{Base: 7}}}}}
	field := simulate(t,
		sim.LineConfig{Name: "a", Kind: "rtu", Link: link, Slaves: slave},
		sim.LineConfig{Name: "b", Kind: "rtu", Link: other, Slaves: slave})
	port := freePort(t)
	g := newSite(t, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "a"
kind = "rtu"
port = %q
serial = "19200 8N1"
timeout = "100ms"
[[line]]
name = "b"
kind = "rtu"
port = %q
serial = "19200 8N1"
timeout = "2s" # a busy machine is not what is tested
retries = 3
[[device]]
name = "left"
line = "a"
unit = 1
topic = "left"
every = "50ms"
  [device.points]
  v = { input = 0 }
[[device]]
name = "right"
line = "b"
unit = 1
topic = "right"
every = "50ms"
  [device.points]
  v = { input = 0 }
`, port, link, other)).start("--quiet")
	sub := subscribe(t, port, "-t", "left/#", "-t", "right/#")
	sub.awaitLine("left/v\t{\"value\":7", 20*time.Second)
	sub.awaitLine("left/availability\tonline", 20*time.Second)

	count := func(lines []string, text string) (n int) {
		for _, l := range lines {
			if strings.Contains(l, text) {
				n++
			}
		}
		return n
	}
	if err := field.Unplug("a"); err != nil {
		t.Fatal(err)
	}
	sub.awaitLine("left/availability\toffline", 20*time.Second)
	sub.awaitLine(`"quality":"offline"`, 20*time.Second)
	before := cpuTime(t, g.cmd.Process.Pid)
	from := time.Now()
	lines, _ := sub.output()
	right := count(lines, "right/v\t")
	sub.await("the other line to go on", 20*time.Second, func(lines []string) bool { return count(lines, "right/v\t") >= right+40 })
	used := cpuTime(t, g.cmd.Process.Pid) - before
	t.Logf("while unplugged: %.1f %% of one core, the other line polled 20 times a second", 100*used.Seconds()/time.Since(from).Seconds())
	lines, _ = sub.output()
	if n := count(lines, "right/availability\toffline"); n != 0 {
		t.Errorf("the other line was disturbed: %d times offline", n)
	}

	online := count(lines, "left/availability\tonline")
	if err := field.Replug("a"); err != nil {
		t.Fatal(err)
	}
	sub.await("the device to be back", 20*time.Second, func(lines []string) bool {
		return count(lines, "left/availability\tonline") > online
	})
	lines, _ = sub.output()
	values := count(lines, "left/v\t{\"value\":7")
	sub.await("fresh values", 20*time.Second, func(lines []string) bool { return count(lines, "left/v\t{\"value\":7") > values+3 })
}

// cpuTime is what a process has used so far, user and system.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}
