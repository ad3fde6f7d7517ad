package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
	"sluice/gateway/web"
)

// What is said of a line on which another master asks.
func TestDiagnosisOfTraffic(t *testing.T) {
	at := time.Now()
	before := figures{at: at, listened: true, devices: []modbus.DeviceStats{{Name: "m3", Unit: 3}, {Name: "m4", Unit: 4}}}
	for _, test := range []struct {
		name   string
		line   line.Stats
		frames uint64
		m3, m4 modbus.DeviceStats
		want   []string
	}{
		{"nothing yet", line.Stats{}, 0, modbus.DeviceStats{}, modbus.DeviceStats{}, nil},
		{"silence", line.Stats{}, 0, modbus.DeviceStats{Unheard: true}, modbus.DeviceStats{Unheard: true},
			[]string{"nothing is heard on the line: check A and B, and whether the other master is at work"}},
		{"garbage", line.Stats{BytesIn: 900, Driver: line.DriverStats{Framing: 7}}, 0, modbus.DeviceStats{Unheard: true}, modbus.DeviceStats{Unheard: true},
			[]string{"bytes come but no Modbus frame: baud or parity, or A and B are swapped (the driver counted 7 framing errors: the speed)"}},
		{"one is mute, of one not all is read", line.Stats{BytesIn: 900}, 20,
			modbus.DeviceStats{Requests: 9, Answers: 9, Unread: []string{"a", "b"}}, modbus.DeviceStats{Unheard: true, Requests: 9},
			[]string{"the other master does not read a, b of unit 3 (m3)", "unit 4 (m4) does not answer the other master"}},
		{"many points", line.Stats{BytesIn: 900}, 20,
			modbus.DeviceStats{Requests: 9, Answers: 9, Unread: []string{"a", "b", "c", "d", "e", "f", "g"}}, modbus.DeviceStats{Requests: 9, Answers: 9},
			[]string{"the other master does not read a, b, c, d, e and 2 more of unit 3 (m3)"}},
		{"exceptions", line.Stats{BytesIn: 900}, 20,
			modbus.DeviceStats{Requests: 9, Answers: 9, Exceptions: 9, Codes: [12]uint64{2: 9}}, modbus.DeviceStats{Requests: 9, Answers: 9},
			[]string{"unit 3 (m3) answers every request with exception 2 (illegal data address)"}},
		{"spoilt", line.Stats{BytesIn: 900}, 20, modbus.DeviceStats{Requests: 9, Answers: 1, Spoilt: 8}, modbus.DeviceStats{Requests: 9, Answers: 9},
			[]string{"8 answers of unit 3 (m3) are spoilt: a second device on that unit, or a bad cable"}},
	} {
		test.m3.Name, test.m3.Unit, test.m4.Name, test.m4.Unit = "m3", 3, "m4", 4
		now := figures{at: at.Add(time.Minute), listened: true, line: test.line, frames: test.frames, devices: []modbus.DeviceStats{test.m3, test.m4}}
		if said := diagnose(before, now); !slices.Equal(said, test.want) {
			t.Errorf("%s: %q, want %q", test.name, said, test.want)
		}
	}
}

// What is said of a UART line.
func TestDiagnosisOfTalk(t *testing.T) {
	at := time.Now()
	before := figures{at: at, talkers: []uart.DeviceStats{{Name: "g"}}}
	for _, test := range []struct {
		name   string
		in     uint64
		strays uint64
		g      uart.DeviceStats
		want   string
	}{
		{"nothing yet", 0, 0, uart.DeviceStats{}, ""},
		{"silence", 0, 0, uart.DeviceStats{Silent: true}, "nothing is heard on the line: check RX and TX, power, and the speed"},
		{"all well", 900, 0, uart.DeviceStats{Lines: 60, Matched: 60}, ""},
		{"a greeting", 900, 1, uart.DeviceStats{Lines: 60, Matched: 59}, ""},
		{"nothing matches", 900, 1, uart.DeviceStats{Lines: 1}, `1 frames came that match no device; the last: "T=1.5,H=48"`},
		{"some do not match", 900, 12, uart.DeviceStats{Lines: 60, Matched: 48}, `12 frames came that match no device; the last: "T=1.5,H=48"`},
		{"checksum", 900, 0, uart.DeviceStats{Spoilt: 60}, "60 frames came whose checksum is wrong: the checksum of the frame, the speed or the cable"},
		{"no end", 9000, 0, uart.DeviceStats{Overlong: 6}, "6 frames came that are too long: what ends a frame, its max, or the speed"},
		{"no frame", 900, 0, uart.DeviceStats{Silent: true}, "bytes come but no frame: what begins and ends a frame, or the speed"},
		{"asked in vain", 900, 0, uart.DeviceStats{Lines: 60, Matched: 60, Requests: 9, Timeouts: 9}, "g does not answer its request"},
	} {
		test.g.Name = "g"
		now := figures{at: at.Add(time.Minute), line: line.Stats{BytesIn: test.in}, strays: test.strays, stray: `"T=1.5,H=48"`, talkers: []uart.DeviceStats{test.g}}
		if said := strings.Join(diagnose(before, now), "; "); said != test.want {
			t.Errorf("%s: %q, want %q", test.name, said, test.want)
		}
	}
	// What the device sends may differ each time: that is no news.
	said := []string{`12 frames came that match no device; the last: "ab"`}
	if fresh := changed(said, []string{`7 frames came that match no device; the last: "cd"`}); len(fresh) > 0 {
		t.Errorf("new: %q", fresh)
	}
}

// A text line whose match is wrong shows what the device sends, and its topic,
// the API and the metrics count alike.
func TestTextLineIsExplained(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	port, page := freePort(t), freePort(t)
	g := newSite(t, fmt.Sprintf(`
[gateway]
id = "g"
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = "127.0.0.1:%d"
[[line]]
name = "text"
kind = "uart"
port = %q
serial = "115200 8N1"
frame = { until = "\n", checksum = "nmea-xor" }
[[device]]
name = "green"
line = "text"
match = '^T:(?P<temp>\d+)'
  [device.points]
  temp = { from = "temp" }
`, port, page, slave.Name())).start("--quiet", "--log-level", "debug")
	sub := subscribe(t, port, "-t", "sluice/g/line/text")
	sub.awaitLine(`"devices":[{"name":"green"`, 20*time.Second)
	_, _ = io.WriteString(master, "begun before\n"+strings.Repeat("$T=1.5,H=48*16\n$T=1.5,H=48*00\n", 5))
	var last web.Line
	sub.await("what the device sends", 30*time.Second, func(lines []string) bool {
		for _, m := range parseMessages(lines) {
			if err := json.Unmarshal([]byte(m.payload), &last); err != nil {
				t.Fatal(err)
			}
		}
		return strings.Contains(strings.Join(last.Findings, "\n"), `frames came that match no device; the last: "$T=1.5,H=48*16"`)
	})
	if last.CRCErrors != 5 || last.Devices[0].CRC != 5 || last.GarbageBytes == 0 || last.GarbageBytes != last.Devices[0].GarbageBytes || last.Unmatched != 5 {
		t.Errorf("the topic: %+v", last)
	}
	body := func(path string) string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/%s", page, path))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	metrics := body("metrics")
	for _, want := range []string{
		`sluice_line_errors_total{cause="crc",line="text"} 5`, `sluice_device_requests_total{device="green",line="text",result="crc"} 5`,
		`sluice_line_unmatched_frames_total{line="text"} 5`, fmt.Sprintf(`sluice_line_stray_bytes_total{line="text"} %d`, last.GarbageBytes),
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	var st web.Status
	if err := json.Unmarshal([]byte(body("api/status")), &st); err != nil || st.Lines[0].CRCErrors != 5 || st.Devices[0].CRCErrors != 5 {
		t.Errorf("the API: %v, %+v", err, st.Lines)
	}
	g.awaitLine("a frame matches no device", 5*time.Second)
	g.terminate(6 * time.Second)
}
