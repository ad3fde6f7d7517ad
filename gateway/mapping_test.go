package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// TestDeviceAsAWhole runs the program on a simulated device with values of many
// kinds: one object of all points, computed ones too, and commands by word, bit
// and text.
func TestDeviceAsAWhole(t *testing.T) {
	port := freePort(t)
	newSite(t, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "a"
kind = "rtu"
port = "sim"
serial = "115200 8N1"
timeout = "2s" # a busy machine is not what is tested
retries = 3
[[device]]
name = "d"
line = "a"
unit = 1
every = "200ms"
publish = "both"
  [device.points]
  serial = { holding = 0, type = "string", length = 8, every = "once", write = "verify" }
  total  = { input = 0, type = "u64", order = "CDAB" }
  temp   = { input = 20, type = "i16", scale = 0.1, unit = "°C", range = [-40, 80] }
  double = { expr = "temp * 2", unit = "°C" }
  lamp   = { holding = 20, bit = 3, write = "verify" }
  mode   = { holding = 20, bits = [4, 6], map = { 0 = "off", 2 = "cool" }, write = "verify" }
  none   = { expr = "temp / (temp - temp)" }
`, port)).start("--quiet")
	sub := subscribe(t, port, "-t", "d", "-t", "d/#")
	type whole struct {
		Time                time.Time
		Serial, Mode        string
		Total, Temp, Double *float64
		Lamp                bool
		Bad                 map[string]string
	}
	last := func(lines []string) (w whole) {
		for _, m := range parseMessages(lines) {
			if m.topic != "d" {
				continue
			}
			w = whole{}
			if err := json.Unmarshal([]byte(m.payload), &w); err != nil {
				t.Fatalf("%v in %s", err, m.payload)
			}
		}
		return w
	}
	sub.await("the whole device", 30*time.Second, func(lines []string) bool {
		w := last(lines)
		return w.Serial == "SIM serial" && w.Mode == "off" && !w.Lamp && w.Total != nil && w.Temp != nil && *w.Double == *w.Temp*2 &&
			len(w.Bad) == 1 && w.Bad["none"] == "invalid" && time.Since(w.Time).Abs() < time.Minute
	})
	for _, c := range [][2]string{{"mode", "cool"}, {"lamp", "on"}, {"serial", "007"}} {
		publish(t, port, "-t", "d/"+c[0]+"/set", "-m", c[1])
		sub.awaitLine("d/"+c[0]+`/result`+"\t"+`{"id":"","ok":true`, 20*time.Second)
	}
	sub.await("what was commanded", 20*time.Second, func(lines []string) bool {
		w := last(lines)
		return w.Serial == "007" && w.Mode == "cool" && w.Lamp
	})
}
