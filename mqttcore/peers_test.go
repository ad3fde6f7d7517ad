package mqttcore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// peer finds a program of Mosquitto's.
func peer(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run make peers", name)
	}
	return path
}

// process is a running mosquitto_sub.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	done  chan error
}

func (p *process) line() string {
	p.t.Helper()
	select {
	case s, ok := <-p.lines:
		if !ok {
			p.t.Fatal("the subscriber has ended")
		}
		return s
	case <-time.After(patience):
		p.t.Fatal("the subscriber gets nothing")
		return ""
	}
}

// kill ends the process without a goodbye.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// runPeer starts a program and gives its lines of output.
func runPeer(t *testing.T, name string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(peer(t, name), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, lines: make(chan string, 1000), done: make(chan error, 1)}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
		close(p.lines)
		p.done <- cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && errs.Len() > 0 {
			t.Logf("%s says: %s", name, errs.String())
		}
	})
	return p
}

// publish runs mosquitto_pub to its end.
func publish(t *testing.T, addr, version string, args ...string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args = append([]string{"-h", host, "-p", port, "-V", version}, args...)
	if out, err := exec.CommandContext(ctx, peer(t, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub %v: %v: %s", args, err, out)
	}
}

// subscriber runs mosquitto_sub. It returns when the broker has its
// subscriptions.
func subscriber(r *rig, t *testing.T, version string, args ...string) *process {
	t.Helper()
	return subscriberAt(r, t, r.addr(), version, args...)
}

func subscriberAt(r *rig, t *testing.T, addr, version string, args ...string) *process {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	before := r.Stats()
	p := runPeer(t, "mosquitto_sub", append([]string{"-h", host, "-p", port, "-V", version}, args...)...)
	await(t, "mosquitto_sub has subscribed", func() bool {
		s := r.Stats()
		// CONNECT and SUBSCRIBE came and were answered.
		return s.Connects > before.Connects && s.MessagesReceived >= before.MessagesReceived+2 &&
			s.MessagesSent >= before.MessagesSent+2
	})
	return p
}

var peerVersions = []string{"mqttv31", "mqttv311", "mqttv5"}

func TestMosquittoClients(t *testing.T) {
	for _, version := range peerVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := start(t, Config{SysInterval: 100 * time.Millisecond, Version: "sluice test"})
			for qos := range 3 {
				q := fmt.Sprint(qos)
				sub := subscriber(r, t, version, "-q", q, "-t", "room/+/temp"+q, "-F", "%t %p %q %r")
				publish(t, r.addr(), version, "-q", q, "-t", "room/a/temp"+q, "-m", "21.5")
				if got, want := sub.line(), "room/a/temp"+q+" 21.5 "+q+" 0"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				sub.kill()
				publish(t, r.addr(), version, "-q", q, "-r", "-t", "kept"+q, "-m", "last")
				sub = subscriber(r, t, version, "-q", "2", "-t", "kept"+q, "-F", "%t %p %q %r", "-C", "1")
				if got, want := sub.line(), "kept"+q+" last "+q+" 1"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if err := <-sub.done; err != nil {
					t.Errorf("mosquitto_sub ends with %v", err)
				}
				publish(t, r.addr(), version, "-q", q, "-r", "-t", "kept"+q, "-n")
			}
			await(t, "retained messages are removed", func() bool {
				_, ok := r.retained.Get("kept2")
				return !ok
			})
			watcher := subscriber(r, t, version, "-t", "will", "-F", "%p")
			dying := subscriber(r, t, version, "-t", "x", "--will-topic", "will", "--will-payload", "gone")
			dying.kill()
			if got := watcher.line(); got != "gone" {
				t.Errorf("will %q", got)
			}
			sys := subscriber(r, t, version, "-t", "$SYS/broker/version", "-C", "1")
			if got := sys.line(); got != "sluice test" {
				t.Errorf("version %q", got)
			}
			// A payload in lines: one message per line, each acknowledged.
			lines := subscriber(r, t, version, "-q", "1", "-t", "lines")
			host, port, _ := net.SplitHostPort(r.addr())
			many := exec.Command(peer(t, "mosquitto_pub"), "-h", host, "-p", port, "-V", version, "-q", "1", "-t", "lines", "-l")
			many.Stdin = strings.NewReader(strings.Repeat("line\n", 500))
			if out, err := many.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for range 500 {
				if got := lines.line(); got != "line" {
					t.Fatalf("got %q", got)
				}
			}
		})
	}
}

func TestMosquittoProperties(t *testing.T) {
	r := start(t, Config{})
	sub := subscriber(r, t, "mqttv5", "-q", "1", "-t", "p/#", "-F", "%p|%C|%R|%D|%P|%F|%A|%E|%S",
		"-D", "subscribe", "subscription-identifier", "42")
	publish(t, r.addr(), "mqttv5", "-q", "1", "-t", "p/x", "-m", "v",
		"-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "re",
		"-D", "publish", "correlation-data", "42", "-D", "publish", "user-property", "k", "1",
		"-D", "publish", "user-property", "k", "2", "-D", "publish", "payload-format-indicator", "1",
		"-D", "publish", "message-expiry-interval", "60", "-D", "publish", "topic-alias", "3")
	got := sub.line()
	for _, want := range []string{"v|text/plain|re|42|", "k:1", "k:2", "|1||60|42"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

// cutter passes bytes between clients and the broker until it is cut.
type cutter struct {
	l  net.Listener
	wg sync.WaitGroup
	mu sync.Mutex
	cs []net.Conn
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l}
	c.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.mu.Lock()
			c.cs = append(c.cs, in, out)
			c.mu.Unlock()
			c.wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
			c.wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) addr() string { return c.l.Addr().String() }

// cut ends all connections as a dead link does.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.cs {
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = nc.Close()
	}
	c.cs = nil
}

// TestMosquittoSessionOverCuts: mosquitto_sub with a session behind a link that
// is cut while messages flow gets each of them: QoS 2 once, QoS 1 at least.
func TestMosquittoSessionOverCuts(t *testing.T) {
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprint(version, " QoS ", qos), func(t *testing.T) {
				t.Parallel()
				r := start(t, Config{})
				link := newCutter(t, r.addr())
				args := []string{"-c", "-i", "keeper", "-q", fmt.Sprint(qos), "-t", "flow", "-k", "5"}
				if version == "mqttv5" {
					args = append(args, "-x", "600")
				}
				sub := subscriberAt(r, t, link.addr(), version, args...)
				pub, _ := r.connect(packet.V5, "pub")
				const n, cuts = 300, 3
				seen := make(map[string]int, n)
				last := -1
				for i := range n {
					pub.send(message("flow", fmt.Sprint(i), qos, uint16(i+1)))
					if qos == 1 {
						pub.expectAck(packet.PUBACK, uint16(i+1), packet.Success)
					} else {
						pub.expectAck(packet.PUBREC, uint16(i+1), packet.Success)
						pub.send(answer(packet.PUBREL, uint16(i+1)))
						pub.expectAck(packet.PUBCOMP, uint16(i+1), packet.Success)
					}
					if i%(n/cuts) == n/cuts/2 {
						link.cut()
					}
				}
				for len(seen) < n {
					s := sub.line()
					seen[s]++
					var i int
					if _, err := fmt.Sscan(s, &i); err != nil {
						t.Fatal(err)
					}
					if seen[s] == 1 && i != last+1 {
						t.Fatalf("%d comes after %d", i, last)
					}
					if seen[s] == 1 {
						last = i
					}
					if qos == 2 && seen[s] > 1 {
						t.Fatalf("%s comes twice", s)
					}
				}
			})
		}
	}
}
