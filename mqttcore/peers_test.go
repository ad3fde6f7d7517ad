package mqttcore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
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
	t.Parallel()
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
	l    net.Listener
	down atomic.Bool // new connections are ended at once
	wg   sync.WaitGroup
	mu   sync.Mutex
	cs   []net.Conn
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
			if err != nil || c.down.Load() {
				_ = in.Close()
				if err == nil {
					_ = out.Close()
				}
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
// is cut gets each message in order, QoS 2 once, QoS 1 at least. In QoS 2 the
// link is down before messages flow: mosquitto_sub 2.0.11 loses a message
// whose PUBCOMP it cannot send, with its own broker as well.
// TestSessionOverCuts cuts there, too.
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
				cuts := 1
				if qos == 2 {
					link.down.Store(true)
					link.cut()
					cuts = 0
				}
				const n = 300
				publishOverCuts(r, link, qos, n, cuts)
				link.down.Store(false)
				seen := make(map[string]int, n)
				for len(seen) < n {
					checkFlow(t, seen, sub.line(), qos)
				}
			})
		}
	}
}

// publishOverCuts publishes n numbered messages and cuts the subscriber's link
// on the way.
func publishOverCuts(r *rig, link *cutter, qos byte, n, cuts int) {
	r.t.Helper()
	pub, _ := r.connect(packet.V5, "pub")
	for i := range n {
		pid := uint16(i + 1)
		pub.send(message("flow", fmt.Sprint(i), qos, pid))
		if qos == 1 {
			pub.expectAck(packet.PUBACK, pid, packet.Success)
		} else {
			pub.expectAck(packet.PUBREC, pid, packet.Success)
			pub.send(answer(packet.PUBREL, pid))
			pub.expectAck(packet.PUBCOMP, pid, packet.Success)
		}
		if cuts > 0 && i%(n/cuts) == n/cuts/2 {
			link.cut()
		}
	}
}

// checkFlow judges the next message of publishOverCuts.
func checkFlow(t *testing.T, seen map[string]int, payload string, qos byte) {
	t.Helper()
	if seen[payload] == 0 && payload != fmt.Sprint(len(seen)) {
		t.Fatalf("got %s after %d messages", payload, len(seen))
	}
	seen[payload]++
	if qos == 2 && seen[payload] > 1 {
		t.Fatalf("%s comes twice", payload)
	}
}

// TestSessionOverCuts is the same with a receiver that does what the standard
// asks of one, with many cuts and both versions.
func TestSessionOverCuts(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprint("v", v, " QoS ", qos), func(t *testing.T) {
				t.Parallel()
				r := start(t, Config{})
				link := newCutter(t, r.addr())
				first, _ := r.connect(v, "keeper", keep)
				first.subscribe(qos, "flow")
				first.close()
				const n, cuts = 400, 10
				done := make(chan struct{})
				go func() {
					defer close(done)
					publishOverCuts(r, link, qos, n, cuts)
				}()
				seen := make(map[string]int, n)
				held := map[uint16]string{} // QoS 2 messages received and not released
				for len(seen) < n {
					link.receive(t, v, func(c *client, p packet.Packet) {
						switch p := p.(type) {
						case *packet.Publish:
							if p.QoS == 1 {
								checkFlow(t, seen, string(p.Payload), qos)
								c.try(answer(packet.PUBACK, p.PacketID))
								return
							}
							if was, ok := held[p.PacketID]; ok && was != string(p.Payload) {
								t.Errorf("%d was %s and is %s", p.PacketID, was, p.Payload)
							}
							held[p.PacketID] = string(p.Payload)
							c.try(answer(packet.PUBREC, p.PacketID))
						case *packet.Ack:
							if payload, ok := held[p.PacketID]; ok {
								checkFlow(t, seen, payload, qos)
								delete(held, p.PacketID)
							}
							c.try(answer(packet.PUBCOMP, p.PacketID))
						}
					}, func() bool { return len(seen) == n })
				}
				<-done
			})
		}
	}
}

// receive connects through the link and handles packets until that is cut or
// enough came.
func (l *cutter) receive(t *testing.T, v packet.Version, handle func(*client, packet.Packet), enough func() bool) {
	t.Helper()
	nc, err := net.Dial("tcp", l.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := &client{t: t, nc: nc, in: bufio.NewReader(nc), v: v}
	p := &packet.Connect{Version: v, ClientID: "keeper"}
	keep(p)
	c.try(p)
	for !enough() {
		p, err := c.next(patience)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("nothing comes")
			}
			return
		}
		handle(c, p)
	}
}

// try sends what may not arrive.
func (c *client) try(p packet.Packet) { _, _ = c.nc.Write(p.Append(nil, c.v)) }
