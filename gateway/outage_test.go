package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// outageConfig has one fast simulated PLC, so that an outage of seconds is
// one of thousands of readings.
func outageConfig(local, upstream, qos int) string {
	return fmt.Sprintf(`
[gateway]
id = "edge"
base = "home"

[broker]
listen = ["tcp://127.0.0.1:%d"]

[web]
listen = ""

[[upstream]]
name = "cloud"
url = "mqtt://127.0.0.1:%d"
out = ["home/#"]
in = ["home/hall/plc/+/set"]
prefix = "site7/"
qos = %d

[[line]]
name = "plc"
kind = "tcp"
port = "sim"

[[device]]
name = "plc"
line = "plc"
unit = 1
topic = "hall/plc"
every = "20ms"
  [device.points]
  energy = { input = 0, type = "u32", unit = "Wh" }
  speed  = { input = 2, type = "f32", unit = "rpm" }
  level  = { input = 10, type = "u16", unit = "%%" }
  temp   = { input = 11, type = "i16", scale = 0.1, unit = "°C" }
  count  = { input = 12, type = "u32", order = "CDAB" }
  torque = { input = 20, type = "f32", order = "DCBA" }
  motor  = { coil = 0, write = "verify" }
  valve  = { holding = 4, type = "u16", write = "verify", min = 0, max = 100 }
`, local, upstream, qos)
}

// TestOutageLosesNothing is what the gateway is bought for: the upstream is
// gone, the gateway is killed again and again, and when all is back the
// upstream has every reading that anybody was ever given, in order.
func TestOutageLosesNothing(t *testing.T) {
	for qos := 1; qos <= 2; qos++ {
		t.Run(fmt.Sprintf("QoS%d", qos), func(t *testing.T) { outage(t, qos) })
	}
}

func outage(t *testing.T, qos int) {
	const kills = 3
	local, upstream := freePort(t), freePort(t)
	broker := t.TempDir()

	// A receiver upstream whose session outlives the outage.
	m := mosquitto(t, broker, upstream)
	receiver := []string{"-i", "receiver", "-c", "-q", "2", "-t", "site7/#"}
	r := subscribe(t, upstream, receiver...)
	publish(t, upstream, "-r", "-t", "site7/probe", "-m", "there")
	r.awaitLine("there", 10*time.Second)
	r.kill()
	if code := m.terminate(10 * time.Second); code != 0 {
		t.Fatalf("mosquitto stopped with %d", code)
	}

	// The witness gets from the log what was acknowledged to its publisher.
	s := newSite(t, outageConfig(local, upstream, qos))
	g := s.start("--quiet")
	witness := subscribe(t, local, "-i", "witness", "-c", "-q", "1", "-t", "home/hall/plc/+")
	for round := 1; round <= kills; round++ {
		want := round * 800
		witness.await(fmt.Sprintf("%d readings", want), 60*time.Second, func(lines []string) bool { return len(lines) >= want })
		g.kill()
		g = s.start("--quiet")
	}
	lines, _ := witness.output()
	more := len(lines) + 200
	witness.await("readings after the last kill", 60*time.Second, func(lines []string) bool { return len(lines) >= more })
	lines, _ = witness.output()
	acknowledged := parseMessages(lines)
	if len(acknowledged) < 2000 {
		t.Fatalf("only %d readings were taken", len(acknowledged))
	}

	// The upstream is back; one more kill while the backlog drains.
	mosquitto(t, broker, upstream)
	r = subscribe(t, upstream, receiver...)
	r.await("the backlog to drain", 60*time.Second, func(lines []string) bool { return len(lines) > 300 })
	g.kill()
	s.start("--quiet")
	got := map[message]int{}
	seen := 0
	missing := func(lines []string) (n int) {
		for _, m := range parseMessages(lines[seen:]) {
			got[m]++
		}
		seen = len(lines)
		for _, m := range acknowledged {
			if got[message{"site7/" + m.topic, m.payload}] == 0 {
				n++
			}
		}
		return n
	}
	r.await("every acknowledged reading upstream", 120*time.Second, func(lines []string) bool {
		return len(lines) > len(acknowledged) && missing(lines) == 0
	})

	judgeOrder(t, parseMessages(r.tail(1<<30)))
	duplicates := 0
	for m, n := range got {
		if !strings.HasSuffix(m.topic, "/availability") { // the same word again at each start
			duplicates += n - 1
		}
	}
	t.Logf("%d readings acknowledged, %d messages upstream, %d duplicates after a kill", len(acknowledged), seen, duplicates)
	judgeSeam(t, parseMessages(r.tail(1<<30)))
	// In flight at the kill, or acknowledged after the cursor was written last,
	// which is lazy: every 256 messages, and those of the commit under way.
	if qos == 1 && duplicates > 1024 {
		t.Errorf("%d duplicates after one kill", duplicates)
	}
	if qos == 2 && duplicates > 0 {
		t.Errorf("%d duplicates at QoS 2", duplicates)
	}
}

// judgeSeam checks that what came twice is one run: messages of before the
// kill, again in their order, and nothing else.
func judgeSeam(t *testing.T, all []message) {
	t.Helper()
	first := map[message]int{}
	n, begin, repeats := 0, 0, 0
	for _, m := range all {
		if strings.HasSuffix(m.topic, "/availability") {
			continue
		}
		at, again := first[m]
		switch {
		case !again:
			first[m] = n
		case repeats == 0:
			begin, repeats = at, 1
		case at != begin+repeats:
			t.Errorf("message %d came again as %d, outside the run of %d from %d on", at, n, repeats, begin)
			return
		default:
			repeats++
		}
		n++
	}
}

// judgeOrder checks that the readings of each topic came in the order in
// which they were taken; a repetition of an earlier one doesn't count.
func judgeOrder(t *testing.T, all []message) {
	t.Helper()
	last := map[string]time.Time{}
	known := map[message]bool{}
	judged := 0
	for _, m := range all {
		if known[m] || !strings.HasPrefix(m.topic, "site7/home/hall/plc/") || strings.Count(m.topic, "/") != 4 || strings.HasSuffix(m.topic, "/availability") {
			continue
		}
		known[m] = true
		var r reading
		if err := json.Unmarshal([]byte(m.payload), &r); err != nil {
			t.Fatalf("%s: %v in %q", m.topic, err, m.payload)
		}
		if r.Time.Before(last[m.topic]) {
			t.Errorf("%s: a reading of %s after one of %s", m.topic, r.Time, last[m.topic])
		}
		last[m.topic] = r.Time
		judged++
	}
	if judged == 0 {
		t.Error("no reading to judge the order of")
	}
}

// TestCommandFromUpstream switches a coil from above and gets the truth back.
func TestCommandFromUpstream(t *testing.T) {
	local, upstream := freePort(t), freePort(t)
	mosquitto(t, t.TempDir(), upstream)
	r := subscribe(t, upstream, "-q", "1", "-t", "site7/home/hall/plc/+", "-t", "site7/home/hall/plc/+/result")
	g := newSite(t, outageConfig(local, upstream, 1)).start("--quiet")
	r.awaitLine("plc/motor\t{\"value\":false", 20*time.Second)

	publish(t, upstream, "-q", "1", "-t", "site7/home/hall/plc/motor/set", "-m", `{"value": true, "id": "c-17"}`)
	line := r.awaitLine("plc/motor/result", 20*time.Second)
	_, payload, _ := strings.Cut(line, "\t")
	var res struct {
		ID    string
		OK    bool
		Value bool
		Error string
		Ms    int
		Time  time.Time
	}
	if err := json.Unmarshal([]byte(payload), &res); err != nil {
		t.Fatalf("%v in %q", err, payload)
	}
	if res.ID != "c-17" || !res.OK || !res.Value || res.Error != "" || res.Time.IsZero() {
		t.Errorf("result %s", payload)
	}
	r.awaitLine("plc/motor\t{\"value\":true", 20*time.Second)

	publish(t, upstream, "-q", "1", "-t", "site7/home/hall/plc/valve/set", "-m", "140")
	if line := r.awaitLine("plc/valve/result", 20*time.Second); !strings.Contains(line, `"value":100`) {
		t.Errorf("140 was not clamped to 100: %s", line)
	}
	publish(t, upstream, "-q", "1", "-t", "site7/home/hall/plc/valve/set", "-m", "wide open")
	r.awaitLine(`"ok":false`, 20*time.Second)

	// A local panel that knows QoS 0 only.
	publish(t, local, "-t", "home/hall/plc/valve/set", "-m", "33")
	r.awaitLine("plc/valve/result\t{\"id\":\"\",\"ok\":true,\"value\":33", 20*time.Second)

	// A slip of the pen is answered, too.
	publish(t, local, "-t", "home/hall/plc/vavle/set", "-m", "33")
	r.awaitLine("plc/vavle/result\t{\"id\":\"\",\"ok\":false", 20*time.Second)
	publish(t, local, "-q", "1", "-t", "home/hall/plc/speed/set", "-m", "33") // reads only
	r.awaitLine("plc/speed/result\t{\"id\":\"\",\"ok\":false", 20*time.Second)

	if code := g.terminate(6 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
