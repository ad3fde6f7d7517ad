package mqttcore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestMosquittoRequestResponse: mosquitto_rr asks, what answers sends to the
// response topic that it was told.
func TestMosquittoRequestResponse(t *testing.T) {
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := start(t, Config{})
			host, port, _ := net.SplitHostPort(r.addr())
			server := subscriber(r, t, version, "-q", "1", "-t", "ask/+", "-F", "%t|%p|%R|%D")
			args := []string{"-h", host, "-p", port, "-V", version, "-q", "1", "-t", "ask/time", "-e", "answers/me", "-m", "when?", "-F", "%t|%p|%D"}
			question, answer := "ask/time|when?||", "answers/me|now|"
			if version == "mqttv5" {
				args = append(args, "-D", "publish", "correlation-data", "id-7")
				question, answer = "ask/time|when?|answers/me|id-7", "answers/me|now|id-7"
			}
			client := runPeer(t, "mosquitto_rr", args...)
			if got := server.line(); got != question {
				t.Errorf("asked %q, want %q", got, question)
			}
			reply := []string{"-q", "1", "-t", "answers/me", "-m", "now"}
			if version == "mqttv5" {
				reply = append(reply, "-D", "publish", "correlation-data", "id-7")
			}
			publish(t, r.addr(), version, reply...)
			if got := client.line(); got != answer {
				t.Errorf("answered %q, want %q", got, answer)
			}
			if err := <-client.done; err != nil {
				t.Errorf("mosquitto_rr ends with %v", err)
			}
		})
	}
}

// TestMosquittoShared: members of a group share messages whatever version
// they speak; who is not in it gets all of them.
func TestMosquittoShared(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	all := subscriber(r, t, "mqttv311", "-q", "1", "-t", "job/#", "-F", "%p")
	old := subscriber(r, t, "mqttv311", "-q", "1", "-t", "$share/g/job/#", "-F", "%p")
	young := subscriber(r, t, "mqttv5", "-q", "1", "-t", "$share/g/job/#", "-F", "%p")
	const n = 20
	for i := range n {
		publish(t, r.addr(), "mqttv5", "-q", "1", "-t", "job/x", "-m", fmt.Sprint(i))
	}
	seen := map[string]int{}
	share := map[string]int{}
	for range n {
		select {
		case s := <-old.lines:
			seen[s]++
			share["3.1.1"]++
		case s := <-young.lines:
			seen[s]++
			share["5.0"]++
		case <-time.After(patience):
			t.Fatalf("the group got %v of %d messages", share, n)
		}
	}
	if len(seen) != n {
		t.Errorf("the group got %d different messages, want %d", len(seen), n)
	}
	if share["3.1.1"] == 0 || share["5.0"] == 0 {
		t.Errorf("shares %v", share)
	}
	for i := range n {
		if got := all.line(); got != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", got, i)
		}
	}
	young.kill()
	await(t, "the broker has seen it go", func() bool { return r.Stats().Connected == 2 })
	for range 3 {
		publish(t, r.addr(), "mqttv5", "-q", "1", "-t", "job/x", "-m", "rest")
		if got := old.line(); got != "rest" {
			t.Errorf("got %q", got)
		}
	}
}

// TestMosquittoSessionExpiry: a session waits as long as its client asked, over
// a restart, and no longer.
func TestMosquittoSessionExpiry(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	host, port, _ := net.SplitHostPort(r.addr())
	for id, expiry := range map[string]string{"short": "1", "long": "600"} {
		once := runPeer(t, "mosquitto_sub", "-h", host, "-p", port, "-V", "mqttv5", "-c", "-i", id, "-x", expiry, "-q", "2", "-t", "e/#", "-E")
		if err := <-once.done; err != nil {
			t.Fatalf("mosquitto_sub -E ends with %v", err)
		}
	}
	await(t, "the short session is over", func() bool { return r.Stats().Sessions == 1 })
	for i := range 3 {
		publish(t, r.addr(), "mqttv5", "-q", "2", "-t", "e/x", "-m", fmt.Sprint(i), "-D", "publish", "message-expiry-interval", "600")
	}
	r.restart()
	host, port, _ = net.SplitHostPort(r.addr())
	back := runPeer(t, "mosquitto_sub", "-h", host, "-p", port, "-V", "mqttv5", "-c", "-i", "long", "-x", "0", "-q", "2", "-t", "e/#",
		"-C", "3", "-F", "%p %q %E")
	for i := range 3 {
		var payload, qos, life int
		line := back.line()
		if _, err := fmt.Sscan(line, &payload, &qos, &life); err != nil || payload != i || qos != 2 || life < 500 || life > 600 {
			t.Errorf("message %d comes as %q", i, line)
		}
	}
	if err := <-back.done; err != nil {
		t.Errorf("mosquitto_sub ends with %v", err)
	}
	await(t, "the session ends with its connection", func() bool { return r.Stats().Sessions == 0 })
}

// TestMosquittoOverRestarts: mosquitto_sub gets all that is published before
// the broker is closed, while it is away and after, once. In MQTT 5 it has to
// be started again: libmosquitto takes a DISCONNECT from the server, whatever
// the reason, for the end.
func TestMosquittoOverRestarts(t *testing.T) {
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprint(version, " QoS ", qos), func(t *testing.T) {
				t.Parallel()
				r := start(t, Config{})
				k := newRoughLink(t, r.addr())
				args := []string{"-c", "-i", "receiver", "-q", fmt.Sprint(qos), "-t", "flow/#", "-F", "%t %p"}
				if version == "mqttv5" {
					args = append(args, "-x", "600", "-D", "connect", "receive-maximum", "4")
				}
				host, port, _ := net.SplitHostPort(k.addr())
				sub := subscriberAt(r, t, k.addr(), version, args...)
				const n = 60
				book := newLedger(qos, false)
				send := func(from, to int) {
					t.Helper()
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					for i := from; i < to; i++ {
						topic, payload := flowMessage(i)
						if err := r.Publish(ctx, Message{Topic: topic, Payload: []byte(payload), QoS: qos}); err != nil {
							t.Fatal(err)
						}
					}
				}
				take := func(n int) {
					t.Helper()
					for book.n < n {
						var a arrival
						line := sub.line()
						if _, err := fmt.Sscan(line, &a.topic, &a.payload); err != nil {
							t.Fatalf("got %q", line)
						}
						if err := book.enter(a); err != nil {
							t.Fatal(err)
						}
					}
					await(t, "all is acknowledged", func() bool { return r.st.Stats().Queued == 0 })
				}
				send(0, n/3)
				take(n / 3)
				k.lead("")
				r.restart()
				if version == "mqttv5" {
					<-sub.done
					sub = runPeer(t, "mosquitto_sub", append([]string{"-h", host, "-p", port, "-V", version}, args...)...)
				}
				send(n/3, 2*n/3) // it is not back yet
				k.lead(r.addr())
				take(2 * n / 3)
				send(2*n/3, n)
				take(n)
			})
		}
	}
}

// TestMosquittoLimits: a client's own limits hold towards it.
func TestMosquittoLimits(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	sub := subscriber(r, t, "mqttv5", "-q", "2", "-t", "l/#", "-F", "%t %p",
		"-D", "connect", "maximum-packet-size", "100", "-D", "connect", "receive-maximum", "1")
	for i := range 10 {
		payload := fmt.Sprint(i)
		if i%2 == 1 {
			payload = string(bytes.Repeat([]byte("x"), 100))
		}
		publish(t, r.addr(), "mqttv5", "-q", "2", "-t", "l/1", "-m", payload)
	}
	for i := 0; i < 10; i += 2 {
		if got, want := sub.line(), fmt.Sprint("l/1 ", i); got != want {
			t.Errorf("got %.20q, want %q", got, want)
		}
	}
	if n := r.Stats().TooLarge; n != 5 {
		t.Errorf("%d messages counted as too large, want 5", n)
	}
}

// TestMosquittoLarge: 900 KB pass as they are, through memory and, kept for
// later, through the log.
func TestMosquittoLarge(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	data := bytes.Repeat([]byte("0123456789abcde\n"), 900<<10/16)
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(r.addr())
	args := []string{"-h", host, "-p", port, "-V", "mqttv311", "-q", "1", "-t", "large", "-N"}
	away := runPeer(t, "mosquitto_sub", append(args, "-c", "-i", "away", "-E")...)
	if err := <-away.done; err != nil {
		t.Fatalf("mosquitto_sub -E ends with %v", err)
	}
	here := subscriber(r, t, "mqttv5", "-q", "1", "-t", "large", "-N", "-C", "1")
	publish(t, r.addr(), "mqttv5", "-q", "1", "-t", "large", "-f", file)
	back := runPeer(t, "mosquitto_sub", append(args, "-c", "-i", "away", "-C", "1")...)
	want := sha256.Sum256(data)
	for name, p := range map[string]*process{"here": here, "away": back} {
		sum := sha256.New()
		for range bytes.Count(data, []byte("\n")) {
			fmt.Fprintln(sum, p.line())
		}
		if got := sum.Sum(nil); !bytes.Equal(got, want[:]) {
			t.Errorf("%s: what came has the sum %s", name, hex.EncodeToString(got))
		}
	}
}

// TestMosquittoWills: in MQTT 5 a will waits, keeps its properties and, if
// retained, stays; a client that says goodbye has none.
func TestMosquittoWills(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	watcher := subscriber(r, t, "mqttv5", "-q", "1", "-t", "w/#", "-F", "%t %p %r %C %P")
	polite := subscriber(r, t, "mqttv5", "-q", "1", "-t", "bye", "-C", "1", "--will-topic", "w/polite", "--will-payload", "never")
	publish(t, r.addr(), "mqttv5", "-q", "1", "-t", "bye", "-m", "x")
	if polite.line() != "x" {
		t.Fatal("no message")
	}
	<-polite.done
	lost := subscriber(r, t, "mqttv5", "-c", "-i", "lost", "-x", "600", "-t", "x", "--will-topic", "w/lost", "--will-payload", "gone",
		"--will-qos", "1", "--will-retain", "-D", "will", "will-delay-interval", "1", "-D", "will", "content-type", "text/plain",
		"-D", "will", "user-property", "k", "v")
	lost.kill()
	if got, want := watcher.line(), "w/lost gone 0 text/plain k:v"; got != want {
		t.Errorf("will %q, want %q", got, want)
	}
	late := subscriber(r, t, "mqttv5", "-q", "1", "-t", "w/+", "-F", "%t %p %r %C %P", "-C", "1")
	if got, want := late.line(), "w/lost gone 1 text/plain k:v"; got != want {
		t.Errorf("will, retained: %q, want %q", got, want)
	}
}

// TestMosquittoRetained: the ways in which mosquitto_sub treats retained
// messages.
func TestMosquittoRetained(t *testing.T) {
	for _, version := range peerVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := start(t, Config{SysInterval: -1})
			for i := range 5 {
				publish(t, r.addr(), version, "-q", "1", "-r", "-t", fmt.Sprint("r/", i), "-m", "old")
			}
			r.restart()
			fresh := subscriber(r, t, version, "-q", "1", "-R", "-t", "r/#", "-F", "%t %p %r")
			publish(t, r.addr(), version, "-q", "1", "-r", "-t", "r/0", "-m", "new")
			if got, want := fresh.line(), "r/0 new 0"; got != want {
				t.Errorf("without old messages: %q, want %q", got, want)
			}
			if version == "mqttv5" {
				asked := subscriber(r, t, version, "-q", "1", "--retain-as-published", "-t", "r/1", "-F", "%p %r")
				publish(t, r.addr(), version, "-q", "1", "-r", "-t", "r/1", "-m", "new")
				for _, want := range []string{"old 1", "new 1"} {
					if got := asked.line(); got != want {
						t.Errorf("retain as published: %q, want %q", got, want)
					}
				}
			}
			host, port, _ := net.SplitHostPort(r.addr())
			sweep := runPeer(t, "mosquitto_sub", "-h", host, "-p", port, "-V", version, "-q", "1", "-t", "r/#", "--remove-retained", "-F", "%t")
			for range 5 {
				sweep.line()
			}
			await(t, "all are removed", func() bool { return r.Stats().Retained == 0 })
		})
	}
}
