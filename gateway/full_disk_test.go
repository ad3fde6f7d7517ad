package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// smallDisk mounts a file system of so many MiB, which only root can.
func smallDisk(t *testing.T, mib int) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("mounting a small disk needs root: run this test as root, or leave it out with -skip FullDisk")
	}
	image := filepath.Join(t.TempDir(), "disk")
	dir = t.TempDir()
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(int64(mib) << 20)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		path, err := find(c[0])
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), path, c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// upstreamQueue is what `sluice queue ls` says of the upstream's queue.
type upstreamQueue struct {
	Appended, Delivered, Queued, Dropped uint64
}

func queueOf(t *testing.T, data string) (q upstreamQueue) {
	t.Helper()
	var list struct {
		Sessions []struct {
			upstreamQueue
			Kind string
		}
	}
	askQueue(t, &list, "ls", data)
	for _, s := range list.Sessions {
		if s.Kind == "upstream" {
			return s.upstreamQueue
		}
	}
	t.Fatal("the upstream has no queue")
	return q
}

func askQueue(t *testing.T, into any, command, data string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), sluiceBinary, "queue", command, "--json", "--data", data).Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("sluice queue %s: %v\n%s", command, err, out)
	}
}

// TestFullDisk lets a long outage fill a small disk. The gateway polls and serves
// all the time; the oldest messages go, all that go are on record, and the
// upstream gets every other one when it is back.
func TestFullDisk(t *testing.T) {
	const bulk, size = 1300, 60_000
	data := filepath.Join(smallDisk(t, 64), "data")
	local, upstream := freePort(t), freePort(t)
	broker := t.TempDir()
	m := mosquitto(t, broker, upstream)
	receiver := []string{"-i", "receiver", "-c", "-q", "1", "-F", "%t\t%l", "-t", "site7/home/#"}
	r := subscribe(t, upstream, receiver...)
	publish(t, upstream, "-r", "-t", "site7/home/probe", "-m", "there")
	r.awaitLine("site7/home/probe", 10*time.Second)
	r.kill()
	if code := m.terminate(10 * time.Second); code != 0 {
		t.Fatalf("mosquitto stopped with %d", code)
	}

	config := strings.Replace(outageConfig(local, upstream, 1), "[gateway]\n", fmt.Sprintf("[gateway]\ndata = %q\n", data), 1)
	s := newSite(t, config)
	g := s.start("--quiet")
	witness := subscribe(t, local, "-t", "home/hall/plc/+")
	witness.await("readings", 20*time.Second, func(lines []string) bool { return len(lines) > 20 })

	// The outage: what clients publish meanwhile is more than the disk can hold.
	taken, refused := publishBulk(t, local, bulk, size)
	lines, _ := witness.output()
	more := len(lines) + 200
	witness.await("readings with the disk full", 30*time.Second, func(lines []string) bool { return len(lines) >= more })
	during := queueOf(t, data)
	if during.Dropped == 0 || during.Appended != during.Delivered+during.Queued+during.Dropped {
		t.Errorf("with the disk full: %+v", during)
	}

	mosquitto(t, broker, upstream)
	r = subscribe(t, upstream, receiver...)
	r.awaitLine(fmt.Sprintf("site7/home/bulk/%d\t", bulk), 60*time.Second)
	lines, _ = r.output()
	more = len(lines) + 100
	r.await("readings from after the outage", 30*time.Second, func(lines []string) bool { return len(lines) >= more })
	if code := g.terminate(10 * time.Second); code != 0 {
		t.Errorf("the gateway stopped with %d", code)
	}
	after := queueOf(t, data)
	if after.Appended != after.Delivered+after.Queued+after.Dropped {
		t.Errorf("in the end: %+v", after)
	}
	var all, bulkGot []string
	r.await("all that was delivered", 20*time.Second, func(lines []string) bool {
		all, bulkGot = nil, nil
		for _, m := range parseMessages(lines) {
			if number, ok := strings.CutPrefix(m.topic, "site7/home/bulk/"); ok {
				bulkGot = append(bulkGot, number)
			}
			if m.topic != "site7/home/probe" {
				all = append(all, m.topic)
			}
		}
		return uint64(len(all)) >= after.Delivered
	})
	if uint64(len(all)) != after.Delivered {
		t.Errorf("upstream got %d messages, %d were delivered", len(all), after.Delivered)
	}

	// The oldest went, and nothing else.
	if n := len(taken) - len(bulkGot); n <= 0 || !slices.Equal(bulkGot, taken[n:]) {
		t.Errorf("of %d messages that clients published upstream got %d, which are not the newest: %q…", len(taken), len(bulkGot), bulkGot[:min(len(bulkGot), 20)])
	}
	var check struct {
		Ok    bool
		Drops []struct {
			Session, Reason string
			From, To, Count uint64
		}
	}
	askQueue(t, &check, "check", data)
	recorded := uint64(0)
	for _, d := range check.Drops {
		if !strings.Contains(d.Session, "cloud") || d.Reason != "quota" {
			t.Errorf("recorded: %+v", d)
			continue
		}
		if d.From != recorded+1 || d.To != recorded+d.Count {
			t.Errorf("recorded: %+v, after %d", d, recorded)
		}
		recorded = d.To
	}
	if !check.Ok || recorded != after.Dropped {
		t.Errorf("dropped %d, on record %d, sound: %v", after.Dropped, recorded, check.Ok)
	}
	t.Logf("%d published by clients, %d refused before; of %d messages %d dropped in %d steps, the rest is upstream", len(taken), refused, after.Appended, after.Dropped, len(check.Drops))
}

// publishBulk publishes numbered messages, each when the one before is
// acknowledged. What is refused is published once more.
func publishBulk(t *testing.T, port, count, size int) (taken []string, refused int) {
	t.Helper()
	payload := bytes.Repeat([]byte("x"), size)
	var c mqtt.Client
	for n := 1; n <= count; {
		if c == nil {
			o := mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", port)).SetClientID("bulk").SetAutoReconnect(false)
			c = mqtt.NewClient(o)
			if token := c.Connect(); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
				t.Fatalf("client: %v", token.Error())
			}
		}
		token := c.Publish(fmt.Sprintf("home/bulk/%d", n), 1, false, payload)
		if !token.WaitTimeout(20 * time.Second) {
			t.Fatalf("publication %d is not answered", n)
		}
		if token.Error() != nil {
			c.Disconnect(0)
			c = nil
			if refused++; refused > 100 {
				t.Fatalf("publication %d: %v", n, token.Error())
			}
			continue
		}
		taken = append(taken, strconv.Itoa(n))
		n++
	}
	c.Disconnect(100)
	return taken, refused
}
