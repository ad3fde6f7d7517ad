package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if played, err := playRole(); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// quick are options for runs that count and need not measure.
func quick(t *testing.T) options {
	o := defaults()
	o.time, o.stall, o.settle, o.idle, o.limit = 50*time.Millisecond, 500*time.Millisecond, time.Millisecond, 50, 30*time.Second
	o.dir = t.TempDir()
	return o
}

// broker starts a peer for one test.
func broker(t *testing.T, name string, o options) *process {
	t.Helper()
	for _, p := range peers("") {
		if p.name != name {
			continue
		}
		b, err := start(t.Context(), p, o.dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.stop)
		return b
	}
	t.Fatalf("no peer %s", name)
	return nil
}

// measured runs a scenario by name, as the program does, but short.
func measured(t *testing.T, name string, b *process, o options) sample {
	t.Helper()
	for _, c := range scenarios() {
		if c.name != name {
			continue
		}
		s, err := c.run(t.Context(), b, o)
		if err != nil {
			t.Fatalf("%s %s: %v", name, b.peer, err)
		}
		return s
	}
	t.Fatalf("no case %s", name)
	return nil
}

// TestCasesAgainstBrokers runs every kind of case against every broker that is
// here without building it. None of them may lose, repeat or reorder.
func TestCasesAgainstBrokers(t *testing.T) {
	o := quick(t)
	o.scale = 0.02
	online := []string{"q0_1x1_20", "q0_fanin_200", "q0_fanout_20", "q0_pairs_20", "q1_pairs_20", "q1_fanin_200"}
	full := append(online[:len(online):len(online)], "q2_pairs_20", "burst_q1", "off_20k", "off_p20", "off_w1", "off_fan10")
	for name, cases := range map[string][]string{"mosq-tuned": full, "core": full, "nats": full, "mover": online} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range cases {
				b := broker(t, name, o)
				s := measured(t, c, b, o)
				if s["lost"] != 0 || s["dup"] != 0 || s["late"] != 0 || s["stalled"] != 0 {
					t.Errorf("%s: lost %v, dup %v, late %v, stalled %v; want none", c, s["lost"], s["dup"], s["late"], s["stalled"])
				}
				delivered := s["msgs/s"] + s["drain/s"]
				cpu := s["cpu µs/msg"] + s["pub µs/msg"]
				if delivered <= 0 || cpu <= 0 || s["peak MB"] <= 0 {
					t.Errorf("%s: nothing measured: %v", c, s)
				}
			}
		})
	}
}

// TestLossIsCounted lets mosquitto drop what its default limit of 1000 queued
// messages does not hold, and expects to be told the exact number.
func TestLossIsCounted(t *testing.T) {
	t.Parallel()
	o := quick(t)
	o.scale = 0.1
	s := measured(t, "off_20k", broker(t, "mosq", o), o)
	if s["lost"] != 1000 || s["stalled"] != 1 {
		t.Errorf("2000 messages for a session that holds 1000: lost %v, stalled %v; want 1000 and 1", s["lost"], s["stalled"])
	}
}

func TestLatencyIsMeasured(t *testing.T) {
	t.Parallel()
	o := quick(t)
	b := broker(t, "mosq-tuned", o)
	s, err := traffic{publishers: 2, receivers: 2, pairs: true, qos: 1, size: 20, count: 100, rate: 1000}.latency(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"p50 µs", "p99 µs", "ack p50 µs", "ack p99 µs"} {
		if s[name] <= 0 || s[name] > 30e6 {
			t.Errorf("%s = %v", name, s[name])
		}
	}
	if s["p99 µs"] < s["p50 µs"] {
		t.Errorf("p99 %v is below p50 %v", s["p99 µs"], s["p50 µs"])
	}
	if s["lost"] != 0 {
		t.Errorf("lost %v", s["lost"])
	}
}

func TestIdleConnections(t *testing.T) {
	t.Parallel()
	o := quick(t)
	s := measured(t, "idle", broker(t, "mosq-tuned", o), o)
	if s["no sub"] != 0 || s["connects/s"] <= 0 || s["rss MB"] <= 0 {
		t.Errorf("%v", s)
	}
}

// TestProcessorTime compares the clock of another process with what the
// kernel tells about that process once it has ended.
func TestProcessorTime(t *testing.T) {
	t.Parallel()
	o := quick(t)
	b := broker(t, "mosq", o)
	measured(t, "q0_1x1_20", b, o)
	seen := b.cpu()
	b.stop()
	state := b.cmd.ProcessState
	if total := state.UserTime() + state.SystemTime(); seen <= 0 || seen > total+time.Millisecond || seen < total/2 {
		t.Errorf("processor time %v while it ran, %v in the end", seen, total)
	}
}

func TestTally(t *testing.T) {
	var got tally
	for _, seq := range []uint64{0, 1, 3, 2, 3, 70, 5, 70} {
		got.note(seq)
	}
	if got.got != 6 || got.dup != 2 || got.late != 2 || got.top != 71 {
		t.Errorf("got %d, dup %d, late %d, top %d; want 6, 2, 2, 71", got.got, got.dup, got.late, got.top)
	}
}

// TestPackets cuts a stream at every place.
func TestPackets(t *testing.T) {
	var stream []byte
	form := newTemplate("bench/00", 1, 7, 200)
	stream = form.appendTo(stream, 65534, 11)
	stream = appendAck(stream, typePubrel, 513)
	stream = form.appendTo(stream, 65535, 12)
	for size := range len(stream) {
		in := newPackets(&halves{stream, size + 1}, 256)
		var got []publish
		acks := 0
		for range 3 {
			first, body, whole, err := in.next()
			if err != nil {
				t.Fatalf("in pieces of %d: %v", size+1, err)
			}
			if first&0xf0 == typePublish {
				p, err := parsePublish(first, body)
				if err != nil || len(whole) != len(form.bytes) {
					t.Fatalf("in pieces of %d: PUBLISH of %d bytes: %v", size+1, len(whole), err)
				}
				got = append(got, p)
			} else if id, err := ackID(body); first == typePubrel|2 && id == 513 && err == nil {
				acks++
			}
		}
		want := []publish{{id: 65535, publisher: 7, seq: 65534, sent: 11}, {id: 1, publisher: 7, seq: 65535, sent: 12}}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(publish{})); diff != "" || acks != 1 {
			t.Fatalf("in pieces of %d: %d acknowledgements, want 1; messages:\n%s", size+1, acks, diff)
		}
		if in.more() {
			t.Fatalf("in pieces of %d: more than was sent", size+1)
		}
	}
}

// halves gives at most n bytes per read.
type halves struct {
	rest []byte
	n    int
}

func (h *halves) Read(b []byte) (int, error) {
	n := copy(b, h.rest[:min(h.n, len(h.rest))])
	h.rest = h.rest[n:]
	return n, nil
}

func TestMalformedStream(t *testing.T) {
	in := newPackets(bytes.NewReader([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}), 64)
	if _, _, _, err := in.next(); err == nil {
		t.Error("a length of five bytes was taken")
	}
	in = newPackets(bytes.NewReader([]byte{0x30, 0xff, 0x01}), 64)
	if _, _, _, err := in.next(); err == nil {
		t.Error("a packet larger than the buffer was awaited")
	}
}

// TestProgram runs the command line once through.
func TestProgram(t *testing.T) {
	var out bytes.Buffer
	raw := t.TempDir() + "/raw"
	args := []string{"-n", "3", "-cases", "q0_1x1_20,q1_*_20", "-peers", "core,mosq-tuned", "-time", "20ms", "-dir", t.TempDir(), "-json", raw, "-profile", t.TempDir()}
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"q0_1x1_20: QoS 0", "q1_pairs_20: ", "q1_fanin_20: ", "cpu µs/msg", "core : mosq-tuned  ×"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
	text, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if len(lines) != 3*3*2 {
		t.Errorf("%d samples written, want %d", len(lines), 3*3*2)
	}
	var line struct {
		Case, Peer string
		Round      int
		Values     sample
	}
	if err := json.Unmarshal(lines[0], &line); err != nil || line.Case != "q0_1x1_20" || line.Peer != "core" || line.Round != 1 || line.Values["msgs/s"] <= 0 {
		t.Errorf("first sample %+v: %v", line, err)
	}
	for _, bad := range []string{"-cases=q9", "-peers=[", "-n=0", "-window=100000"} {
		if err := run(t.Context(), []string{bad}, &out); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 12: "12", 0.12345: "0.123", 1234567.8: "1'234'568", -1500.2: "-1'500", 999.96: "1'000"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	low, mid, high := spread([]sample{{"x": 3}, {"x": 1}, {"x": 8}, {"x": 2}}, "x")
	if low != 1 || mid != 2.5 || high != 8 {
		t.Errorf("spread = %v %v %v, want 1 2.5 8", low, mid, high)
	}
}
