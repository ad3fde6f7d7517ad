package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/gateway/config"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// parseReading reads the JSON of a reading.
func parseReading(t *testing.T, payload string) (r reading) {
	t.Helper()
	if err := json.Unmarshal([]byte(payload), &r); err != nil {
		t.Fatalf("%v in %q", err, payload)
	}
	return r
}

// inProcess runs the gateway as `sluice run` does, on another machine.
func (s *site) inProcess(m machine) (stop func()) {
	s.t.Helper()
	cfg, err := config.Load(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := newGateway(cfg, m, newBoard(), slog.New(slog.NewTextHandler(s.t.Output(), nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.run(ctx, nil) }()
	select {
	case <-g.broker.Ready():
	case err := <-ended:
		s.t.Fatalf("ended before: %v", err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
		g.close()
	}
	s.t.Cleanup(stop)
	return stop
}

func clockConfig(port, up int) string {
	return fmt.Sprintf(`
[gateway]
id = "edge"
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[upstream]]
name = "cloud"
url = "mqtt://127.0.0.1:%d"
out = ["m/#"]
[[line]]
name = "plc"
kind = "tcp"
port = "sim"
[[device]]
name = "m"
line = "plc"
unit = 1
every = "50ms"
[device.points]
count = { input = 0, type = "u32" }
relay = { coil = 0, write = "verify" }
`, port, up)
}

// A machine without a battery clock: in its first boot it never learns the time,
// in its second one it does after a while, and then the upstream comes.
func TestReadingsBeforeTheClockIsSet(t *testing.T) {
	port, up := freePort(t), freePort(t)
	s := newSite(t, clockConfig(port, up))
	m := newToyMachine()
	m.reboot("first", time.Unix(0, 0))
	stop := s.inProcess(m)
	estimated := func(topic string, n int) {
		t.Helper()
		sub := subscribe(t, port, "-t", topic)
		sub.await("estimated readings", 20*time.Second, func(lines []string) bool {
			for _, got := range parseMessages(lines) {
				if d := parseReading(t, got.payload); d.Clock != "estimated" || d.Time.Before(builtAt()) {
					t.Fatalf("%s is not marked", got.payload)
				}
			}
			return len(lines) >= n
		})
		sub.kill()
	}
	estimated("m/count", 20)
	stop()

	m.reboot("second", time.Unix(0, 0))
	stop = s.inProcess(m)
	estimated("m/count", 20)
	live := subscribe(t, port, "-t", "m/count")
	live.awaitLine("estimated", 20*time.Second)
	now := time.Date(2031, 6, 1, 12, 0, 0, 0, time.UTC)
	m.set(now, "ntp", true)
	live.await("readings with the right time", 20*time.Second, func(lines []string) bool {
		last := parseMessages(lines)[len(lines)-1]
		d := parseReading(t, last.payload)
		return d.Clock == "" && d.Time.Year() == 2031
	})
	// The relay is retained with its time, too: it was published again.
	retained := subscribe(t, port, "-t", "m/relay", "-C", "1")
	if line := retained.awaitLine("m/relay", 20*time.Second); strings.Contains(line, "estimated") {
		t.Errorf("retained: %s", line)
	}

	mosquitto(t, t.TempDir(), up)
	receiver := launch(t, nil, "mosquitto_sub", "-V", "5", "-p", fmt.Sprint(up), "-t", "m/count", "-q", "1", "-F", "%t\t%p\t%P")
	receiver.await("the backlog and what came since", 40*time.Second, func(lines []string) bool {
		return len(lines) > 80
	})
	stop()
	lines, _ := receiver.output()
	var last time.Time
	guessed, corrected := 0, 0
	for _, l := range lines {
		field := strings.Split(l, "\t")
		d := parseReading(t, field[1])
		switch {
		case d.Clock == "estimated" && corrected > 0:
			t.Errorf("%s comes after readings that are right", l)
		case d.Clock == "estimated":
			if guessed++; !strings.HasPrefix(field[2], "sluice-taken:first ") {
				t.Errorf("%q: of which boot?", l)
			}
		default:
			if corrected++; field[2] != "" || d.Time.Before(now.Add(-time.Minute)) || d.Time.After(now.Add(time.Hour)) {
				t.Errorf("%q: not in this boot", l)
			}
		}
		if d.Time.Before(last.Add(-time.Second)) { // the last one before is published twice
			t.Errorf("%q lies before %v", l, last)
		}
		last = d.Time
	}
	if guessed < 20 || corrected < 40 {
		t.Errorf("%d estimated, %d right", guessed, corrected)
	}
}

// The time of day is set by years, forth and back: nothing gets old by it, and
// what is read afterwards has the right time.
func TestClockSteps(t *testing.T) {
	port := freePort(t)
	s := newSite(t, clockConfig(port, freePort(t)))
	m := newToyMachine()
	m.set(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), "ntp", true)
	s.inProcess(m)
	live := subscribe(t, port, "-t", "m/count")
	live.awaitLine(`"2026-06-01T12:0`, 20*time.Second)
	away := []string{"-V", "5", "-i", "panel", "-c", "-x", "3600", "-q", "1", "-t", "note"}
	panel := subscribe(t, port, append(away, "-E")...)
	if code := panel.wait(20 * time.Second); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	publish(t, port, "-V", "5", "-q", "1", "-t", "note", "-m", "kept", "-D", "publish", "message-expiry-interval", "600")

	results := subscribe(t, port, "-q", "1", "-t", "m/relay", "-t", "m/relay/result")
	results.awaitLine("m/relay", 20*time.Second) // it listens
	for _, year := range []int{2036, 2006} {
		m.set(time.Date(year, 6, 1, 12, 0, 0, 0, time.UTC), "ntp", true)
		date := fmt.Sprintf(`"time":"%d-06-01T12:0`, year)
		live.awaitLine(date, 20*time.Second)
		publish(t, port, "-q", "1", "-t", "m/relay/set", "-m", "on")
		results.await("a result", 20*time.Second, func(lines []string) bool {
			for _, got := range parseMessages(lines) {
				if got.topic == "m/relay/result" && strings.Contains(got.payload, date) {
					return strings.Contains(got.payload, `"ok":true`)
				}
			}
			return false
		})
	}
	subscribe(t, port, away...).awaitLine("kept", 20*time.Second)
	lines, _ := live.output()
	for _, l := range lines {
		if !strings.Contains(l, `"good"`) || strings.Contains(l, "estimated") {
			t.Errorf("%s", l)
		}
	}
}

// A command that the log kept while the machine was off for nobody knows how long
// is answered, not carried out.
func TestCommandOfUnknownAge(t *testing.T) {
	port := freePort(t)
	s := newSite(t, clockConfig(port, freePort(t)))
	m := newToyMachine()
	m.set(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), "ntp", true)
	stop := s.inProcess(m)
	panel := []string{"-i", "panel", "-c", "-q", "1", "-t", "m/relay/result"}
	subscribe(t, port, append(panel, "-E")...).wait(20 * time.Second)
	stop()

	// Cut off with a command that was acknowledged a moment ago.
	clock := newClock(m, false, quiet)
	st, err := store.Open(store.Options{Dir: filepath.Join(s.dir, "data"), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- st.Run(ctx) }()
	for _, o := range st.Sessions() {
		if consumer, _, _ := mqttcore.ConsumerLane(o.Client); consumer == commandConsumer {
			command := store.Message{Topic: "m/relay/set", Payload: []byte(`{"value":true,"id":"yesterday"}`), QoS: 1, Routes: []store.Route{{Session: o.ID, QoS: 1}}}
			if err := st.AppendSync(t.Context(), &command); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	if err := errors.Join(<-ended, st.Close()); err != nil {
		t.Fatal(err)
	}

	m.reboot("second", time.Unix(0, 0))
	s.inProcess(m)
	line := subscribe(t, port, panel...).awaitLine("yesterday", 20*time.Second)
	if !strings.Contains(line, `"ok":false`) || !strings.Contains(line, "the machine was off since") {
		t.Errorf("answered %s", line)
	}
}
