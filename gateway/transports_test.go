package main

import (
	"fmt"
	"testing"
	"time"
)

// TestEveryTransport reads simulated devices on each kind of line, and each kind
// of frame, from the configuration to the broker.
func TestEveryTransport(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	text := fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
`, port)
	for _, kind := range []string{"rtu", "ascii", "tcp", "rtu-tcp", "ascii-tcp"} {
		text += fmt.Sprintf(`
[[line]]
name = %[1]q
kind = %[1]q
port = "sim"
[[device]]
name = %[1]q
line = %[1]q
unit = 3
  [device.points]
  volts = { input = 0, type = "f32", unit = "V" }
`, kind)
	}
	for name, lines := range map[string][2]string{
		"until":    {`frame = { until = "\n", checksum = "nmea-xor" }`, `match = '^\$T=(?P<volts>\d+)'`},
		"marks":    {`frame = { start = "<", end = ">" }`, `match = '<(?P<volts>\d+)>'`},
		"silence":  {`frame = { gap = "30ms", checksum = "crc16-modbus" }`, `match = '^(?P<volts>\d+)'`},
		"length":   {`frame = { start = [0x42, 0x4D], length = 32, checksum = "sum16" }`, ``},
		"asked":    {`frame = { until = "\r\n" }`, "match = '^(?P<volts>\\d+)'\nrequest = \"MEAS?\\r\\n\"\nevery = \"200ms\""},
		"askedbin": {`frame = { gap = "20ms", checksum = "sum8" }`, "request = [0x02, 0x0A, 0xFF]\nevery = \"200ms\""},
	} {
		point := `from = "volts"`
		if name == "length" || name == "askedbin" {
			point = `at = 4, type = "u16", order = "DCBA"`
		}
		text += fmt.Sprintf(`
[[line]]
name = %[1]q
kind = "uart"
port = "sim"
%[2]s
[[device]]
name = %[1]q
line = %[1]q
%[3]s
  [device.points]
  volts = { %[4]s, unit = "V" }
`, name, lines[0], lines[1], point)
	}
	newSite(t, text).start("--quiet")
	sub := subscribe(t, port, "-t", "+/volts")
	for _, name := range []string{"rtu", "ascii", "tcp", "rtu-tcp", "ascii-tcp", "until", "marks", "silence", "length", "asked", "askedbin"} {
		sub.awaitLine(name+"/volts\t{\"value\":2", 20*time.Second)
	}
}
