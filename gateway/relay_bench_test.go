package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// BenchmarkRelay measures what the upstream link does after an outage, and
// mosquitto as a bridge next to it: how soon the first message comes, how fast
// the backlog drains, and how many come twice over cuts of the line. Mosquitto
// keeps nothing on disk here, which is quickest. At QoS 2 we are alone: the
// bridge of mosquitto 2.0 stands still there with a backlog.
func BenchmarkRelay(b *testing.B) {
	for qos := byte(1); qos <= 2; qos++ {
		for _, cuts := range []int{0, 5} {
			b.Run(fmt.Sprintf("qos%d/cuts%d", qos, cuts), func(b *testing.B) {
				var ours, theirs relayed
				for b.Loop() {
					ours.add(relay(b, sluiceEdge, qos, cuts))
					if qos == 1 {
						theirs.add(relay(b, mosquittoEdge, qos, cuts))
					}
				}
				b.ReportMetric(0, "ns/op") // a round is as long as it is made
				ours.report(b, "", cuts)
				if qos == 1 {
					theirs.report(b, "mosquitto-", cuts)
					b.ReportMetric(ours.rate/theirs.rate, "ratio")
				}
			})
		}
	}
}

// relayed is what came of the backlog of one outage.
type relayed struct {
	rate  float64       // messages a second, once they flow
	cpu   time.Duration // of the edge, for each message
	back  time.Duration // from the end of the outage to the first
	twice int
}

func (r *relayed) add(o relayed) {
	r.rate, r.cpu, r.back, r.twice = r.rate+o.rate, r.cpu+o.cpu, r.back+o.back, r.twice+o.twice
}

func (r *relayed) report(b *testing.B, whose string, cuts int) {
	n := float64(b.N)
	b.ReportMetric(r.rate/n, whose+"msg/s")
	b.ReportMetric(float64(r.cpu.Nanoseconds())/n/1000, whose+"cpu-µs/msg")
	b.ReportMetric(r.back.Seconds()/n, whose+"back-s")
	if cuts > 0 {
		b.ReportMetric(float64(r.twice)/n/float64(cuts), whose+"twice/cut")
	}
}

// relay fills an edge while its upstream is away, and lets it drain.
func relay(b *testing.B, edge func(b *testing.B, local int, upstream string, qos byte) *process, qos byte, cuts int) relayed {
	b.Helper()
	backlog := 50_000
	if cuts > 0 {
		backlog = 10_000
	}
	local, upstream := freePort(b), freePort(b)
	m := mosquitto(b, b.TempDir(), upstream)
	defer m.kill()
	l := &load{t: b}
	filter := "site7/load/mark/+" // what the receiver costs is not the edge's
	if cuts > 0 {
		filter = "site7/load/#"
	}
	l.receive(nil, fmt.Sprintf("127.0.0.1:%d", upstream), "upstream0", filter, packet.V311, 0)
	r := l.receivers[0]
	defer r.halt()
	g := newGate(b, fmt.Sprintf("127.0.0.1:%d", upstream))
	e := edge(b, local, g.addr, qos)
	defer e.kill()
	publish := func(id, topic string, n int) {
		p := &publisher{session: session{id: id, v: packet.V311, addr: fmt.Sprintf("127.0.0.1:%d", local)},
			topic: topic, qos: qos, window: 100, pad: strings.Repeat("x", 80)}
		p.room = func(next int) bool { return next <= n }
		p.start(b)
		defer p.halt()
		l.await("the backlog", func() bool { _, acked := p.figures(); return acked == n })
	}
	publish("first", "load/mark/first", 1)
	publish("backlog", "load/backlog", backlog)
	publish("last", "load/mark/last", 1)

	spent := e.cpu()
	g.open(b)
	opened := time.Now()
	l.await("the first message", func() bool { return r.newest("first") > 0 })
	first := time.Now()
	for i := range cuts {
		l.await("some messages", func() bool { return r.newest("backlog") >= backlog*(i+1)/(cuts+1) })
		g.cut()
	}
	l.await("the last message", func() bool { return r.newest("last") > 0 })
	took := time.Since(first)
	s := r.of("backlog")
	_, twice := s.duplicates()
	if cuts > 0 && (len(s.missing) > 0 || s.highest < backlog) {
		b.Errorf("%d messages are lost of %d", len(s.missing)+backlog-s.highest, backlog)
	}
	return relayed{rate: float64(backlog) / took.Seconds(), cpu: (e.cpu() - spent) / time.Duration(backlog), back: first.Sub(opened), twice: twice}
}

func sluiceEdge(b *testing.B, local int, upstream string, qos byte) *process {
	return newSite(b, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]

[web]
listen = ""

[[upstream]]
name = "cloud"
url = "mqtt://%s"
out = ["load/#"]
prefix = "site7/"
qos = %d
`, local, upstream, qos)).start("--quiet")
}

// mosquittoEdge has as many messages in flight as we have, and the shortest
// wait before it connects again that it allows.
func mosquittoEdge(b *testing.B, local int, upstream string, qos byte) *process {
	b.Helper()
	conf := filepath.Join(b.TempDir(), "edge.conf")
	text := fmt.Sprintf(`listener %d 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 100
set_tcp_nodelay true
user root
connection up
address %s
topic load/# out %d "" site7/
cleansession false
notifications false
restart_timeout 1
`, local, upstream, qos)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	p := launch(b, nil, "mosquitto", "-c", conf)
	(*place)(nil).awaitPort(b, "127.0.0.1", local)
	return p
}

// cpu is the time that the program has run.
func (p *process) cpu() time.Duration {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	// After the name: user and system time are the fields 14 and 15 (proc(5)).
	_, rest, _ := strings.Cut(string(text), ") ")
	var ticks time.Duration
	for _, f := range strings.Fields(rest)[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// gate is the way to an upstream: closed until it is opened, and cut at will.
type gate struct {
	addr, to string

	mu    sync.Mutex
	conns []net.Conn
}

func newGate(b *testing.B, to string) *gate {
	b.Helper()
	return &gate{addr: fmt.Sprintf("127.0.0.1:%d", freePort(b)), to: to}
}

func (g *gate) open(b *testing.B) {
	b.Helper()
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { g.carry(c) })
		}
	})
	b.Cleanup(func() {
		l.Close()
		g.cut()
		all.Wait()
	})
}

func (g *gate) carry(c net.Conn) {
	s, err := net.Dial("tcp", g.to)
	if err != nil {
		c.Close()
		return
	}
	g.mu.Lock()
	g.conns = append(g.conns, c, s)
	g.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
		both.Go(func() {
			io.Copy(way[0], way[1])
			c.Close()
			s.Close()
		})
	}
	both.Wait()
}

// cut ends all connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}
