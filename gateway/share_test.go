package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestSharedLine lets mbpoll write through the door of a line that the gateway
// polls: what it writes is published at once, and the polls go on.
func TestSharedLine(t *testing.T) {
	port := freePort(t)
	g := newSite(t, fmt.Sprintf(`
[gateway]
id = "g"
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "bus"
kind = "rtu"
port = "sim"
serial = "115200 8N1"
timeout = "2s" # a busy machine is not what is tested
share = "127.0.0.1:0"
share_writes = true
[[device]]
name = "valve"
line = "bus"
unit = 1
topic = "valve"
every = "1h"
  [device.points]
  position = { holding = 10, write = "plain" }
[[device]]
name = "meter"
line = "bus"
unit = 2
topic = "meter"
every = "20ms"
  [device.points]
  power = { input = 0 }
`, port)).start("--quiet")
	serving := g.awaitLine("modbus://", 20*time.Second)
	door := regexp.MustCompile(`modbus://127\.0\.0\.1:(\d+)`).FindStringSubmatch(serving)[1]
	sub := subscribe(t, port, "-t", "valve/#", "-t", "meter/power", "-t", "sluice/g/line/bus")
	count := func(lines []string, topic string) (n int) {
		for _, m := range parseMessages(lines) {
			if m.topic == topic {
				n++
			}
		}
		return n
	}
	sub.await("the first readings", 20*time.Second, func(lines []string) bool {
		return count(lines, "valve/position") > 0 && count(lines, "meter/power") > 0
	})
	lines, _ := sub.output()
	before := count(lines, "meter/power")
	write := launch(t, nil, "mbpoll", "-m", "tcp", "-p", door, "-a", "1", "-0", "-r", "10", "-t", "4", "-1", "-q", "127.0.0.1", "4711")
	if code := write.wait(20 * time.Second); code != 0 {
		t.Fatalf("mbpoll writes with exit status %d: %q", code, write.tail(5))
	}
	sub.awaitLine("valve/position\t{\"value\":4711", 20*time.Second)
	sub.await("the other polls to go on", 20*time.Second, func(lines []string) bool { return count(lines, "meter/power") > before+5 })
	sub.await("the figures of the door", 20*time.Second, func(lines []string) bool {
		for _, m := range parseMessages(lines) {
			var l struct {
				Share struct {
					Address  string
					Answered int
				}
			}
			if m.topic == "sluice/g/line/bus" && json.Unmarshal([]byte(m.payload), &l) == nil && l.Share.Answered == 1 {
				return strings.HasSuffix(l.Share.Address, ":"+door)
			}
		}
		return false
	})
}
