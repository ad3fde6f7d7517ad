package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// queueReport is what a test looks at of `sluice queue check --json`.
type queueReport struct {
	OK       bool
	Sessions []struct {
		Kind, Name                           string
		Appended, Delivered, Queued, Dropped uint64
	}
	Log      struct{ State string }
	Findings []struct{ File, What string }
}

// inspectQueues runs `sluice queue check` on a site's data folder.
func inspectQueues(t *testing.T, s *site) (r queueReport) {
	t.Helper()
	out, err := exec.Command(sluiceBinary, "queue", "check", "--json", "-c", s.file).Output()
	if err != nil {
		t.Fatalf("queue check: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The log of a gateway that polls, takes messages and forwards them can be
// verified at any time, and after it was killed: it is never called damaged,
// and the gateway never notices.
func TestQueuesOfARunningGateway(t *testing.T) {
	port, up := freePort(t), freePort(t)
	mosquitto(t, t.TempDir(), up)
	s := newSite(t, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
max_packet_size = "16KiB"
[web]
listen = ""
[[upstream]]
name = "cloud"
url = "mqtt://127.0.0.1:%d"
out = ["#"]
queue = { max_bytes = "1MiB" }
[[upstream]]
name = "away"
url = "mqtt://127.0.0.1:%d"
out = ["load/#"]
queue = { max_bytes = "1MiB" }
`, port, up, freePort(t)))
	gateway := s.start("--quiet")
	load := launch(t, nil, "mosquitto_pub", "-p", fmt.Sprint(port), "-q", "1", "-t", "load/x",
		"-m", strings.Repeat("x", 3000), "--repeat", "1000000")
	for n := 0; ; n++ {
		r := inspectQueues(t, s)
		if !r.OK || r.Log.State != "open" {
			t.Fatalf("look %d: %+v", n, r)
		}
		busy := false
		for _, q := range r.Sessions {
			if q.Appended != q.Delivered+q.Queued+q.Dropped {
				t.Errorf("look %d: %+v", n, q)
			}
			busy = busy || q.Name == "cloud" && q.Delivered > 300
		}
		if n > 20 && busy {
			break
		}
	}
	gateway.kill()
	load.kill()
	if r := inspectQueues(t, s); !r.OK || r.Log.State != "not closed" {
		t.Errorf("after a kill: %+v", r)
	}
	gateway = s.start("--quiet") // nothing was in its way
	if code := gateway.terminate(10 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if r := inspectQueues(t, s); !r.OK || r.Log.State != "closed" {
		t.Errorf("after a stop: %+v", r)
	}
}

// What full queues cost is told: in the log and in health where messages are
// given up, in the log alone where their publishers hear of it.
func TestFullQueuesAreTold(t *testing.T) {
	port, page, up := freePort(t), freePort(t), freePort(t)
	queue := `
[[upstream]]
name = "%s"
url = "mqtt://127.0.0.1:%d"
client_id = "%[1]s"
out = ["%[1]s"]
queue = { max_bytes = "256KiB", when_full = "%[1]s" }
`
	s := newSite(t, fmt.Sprintf("[broker]\nlisten = [\"tcp://127.0.0.1:%d\"]\n[web]\nlisten = \"127.0.0.1:%d\"\n", port, page)+
		fmt.Sprintf(queue, "drop-newest", up)+fmt.Sprintf(queue, "reject", up))
	gateway := s.start("--quiet")
	gateway.awaitLine("serving", 20*time.Second)
	fill := func(topic string) {
		t.Helper()
		publish(t, port, "-V", "5", "-q", "1", "-t", topic, "-m", strings.Repeat("x", 100_000), "--repeat", "4")
	}
	fill("reject")
	fill("drop-newest")
	gateway.awaitLine("a queue is full: new messages are refused", 30*time.Second)
	gateway.awaitLine("a queue is full: new messages are being given up", 30*time.Second)
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", page))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if reasons := string(body); answer.StatusCode != http.StatusServiceUnavailable ||
		!strings.Contains(reasons, "being given up") || strings.Contains(reasons, "refused") {
		t.Errorf("health is %d, %s", answer.StatusCode, reasons)
	}
}
