package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"sluice/gateway/web"
)

// TestListenOnly takes a reading from what others say on a line.
func TestListenOnly(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	newSite(t, fmt.Sprintf(`
[gateway]
id = "g"
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "bus"
kind = "rtu"
port = %q
listen = true
[[device]]
name = "climate"
line = "bus"
unit = 3
topic = "climate"
stale = "2s"
  [device.points]
  temp = { input = 1, type = "i16", scale = 0.1, unit = "°C" }
  dew = { input = 9 }
[[device]]
name = "other"
line = "bus"
unit = 4
stale = "2s"
  [device.points]
  temp = { input = 1 }
`, port, slave.Name())).start("--quiet")
	sub := subscribe(t, port, "-t", "climate/#", "-t", "sluice/g/line/bus")
	stop := make(chan struct{})
	said := make(chan struct{})
	go func() {
		defer close(said)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				// Another master asks unit 3 for input registers 0 and 1, which hold 480 and 214.
				master.Write([]byte{3, 4, 0, 0, 0, 2, 0x70, 0x29, 3, 4, 4, 1, 0xe0, 0, 0xd6, 0x59, 0xd0})
			case <-stop:
				return
			}
		}
	}()
	sub.awaitLine("climate/availability\tonline", 20*time.Second)
	sub.awaitLine("climate/temp\t{\"value\":21.4,\"unit\":\"°C\"", 20*time.Second)
	sub.await("what is not heard", 30*time.Second, func(lines []string) bool {
		for _, m := range parseMessages(lines) {
			var l web.Line
			if m.topic != "sluice/g/line/bus" || json.Unmarshal([]byte(m.payload), &l) != nil {
				continue
			}
			if len(l.Devices) != 2 || l.Devices[0].Name != "climate" || l.Devices[1].Unit != 4 {
				t.Fatalf("the devices of the line: %s", m.payload)
			}
			if said := strings.Join(l.Findings, "\n"); l.Devices[0].OK > 0 &&
				strings.Contains(said, "the other master does not read dew of unit 3 (climate)") &&
				strings.Contains(said, "the other master does not ask unit 4 (other)") {
				return true
			}
		}
		return false
	})
	close(stop)
	<-said
	sub.awaitLine("climate/availability\toffline", 20*time.Second)
	sub.await("the figures of the line", 20*time.Second, func(lines []string) bool {
		for _, m := range parseMessages(lines) {
			var l struct {
				Open     bool
				Requests int
			}
			if m.topic == "sluice/g/line/bus" && json.Unmarshal([]byte(m.payload), &l) == nil && l.Open && l.Requests > 0 {
				return true
			}
		}
		return false
	})
}
