package bridge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"

	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// patience bounds every wait of these tests; it is far above what they take.
const patience = 30 * time.Second

// eventually waits until ok is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

const (
	firstPort = 12_000
	portCount = 20_000
)

// nextPort counts on from a place of this process's own.
var nextPort atomic.Int64

func init() { nextPort.Store(int64(os.Getpid()) * 101) }

// freePort gives a TCP port that nobody listens on and no other test was given.
// It is below those that the kernel gives to outgoing connections
// (ip_local_port_range, ip(7)), one of which might have it by then.
func freePort(t testing.TB) int {
	t.Helper()
	for range portCount {
		port := firstPort + int(nextPort.Add(1))%portCount
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// upstream is a real mosquitto with a port and a persistence of its own.
type upstream struct {
	t    testing.TB
	conf string
	addr string
	cmd  *exec.Cmd
}

func newUpstream(t testing.TB, extra string) *upstream {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	u := &upstream{t: t, conf: filepath.Join(dir, "mosquitto.conf"), addr: fmt.Sprintf("127.0.0.1:%d", port)}
	text := fmt.Sprintf("user root\nlistener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nlog_dest none\n%s\n",
		port, dir, extra)
	if err := os.WriteFile(u.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.stop(syscall.SIGKILL) })
	return u
}

func (u *upstream) start() *upstream {
	u.t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			u.t.Fatal("mosquitto is not installed: make peers")
		}
	}
	u.cmd = exec.Command(path, "-c", u.conf)
	if err := u.cmd.Start(); err != nil {
		u.t.Fatalf("mosquitto does not start: %v", err)
	}
	eventually(u.t, "mosquitto accepts connections", func() bool {
		c, err := net.Dial("tcp", u.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return u
}

// stop ends mosquitto: SIGTERM lets it save its sessions, SIGKILL does not.
func (u *upstream) stop(sig syscall.Signal) {
	if u.cmd == nil {
		return
	}
	u.cmd.Process.Signal(sig)
	u.cmd.Wait()
	u.cmd = nil
}

// proxy is a line to the upstream that can be cut, at a byte or for good.
type proxy struct {
	l  net.Listener
	to string
	up atomic.Int64 // bytes that went to the upstream

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	budgets func() (up, down int) // bytes that the next connection may carry; nil: any
	dead    bool                  // accept and drop
	cuts    int
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to, conns: map[net.Conn]struct{}{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		all.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) carry(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer s.Close()
	up, down := -1, -1
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return
	}
	if p.budgets != nil {
		up, down = p.budgets()
	}
	p.conns[c], p.conns[s] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	pipe := func(dst, src net.Conn, budget int) {
		if budget < 0 {
			io.Copy(dst, src)
		} else {
			io.CopyN(dst, src, int64(budget))
		}
		c.Close()
		s.Close()
	}
	both.Go(func() { pipe(counted{s, &p.up}, c, up) })
	both.Go(func() { pipe(c, s, down) })
	both.Wait()
	p.mu.Lock()
	p.cuts++
	delete(p.conns, c)
	delete(p.conns, s)
	p.mu.Unlock()
}

// counted counts what is written.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// cut ends all connections now.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) limit(budgets func() (up, down int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budgets = budgets
}

// set makes the line dead, with all that is on it, or whole again.
func (p *proxy) set(dead bool) {
	p.mu.Lock()
	p.dead = dead
	p.mu.Unlock()
	if dead {
		p.cut()
	}
}

func (p *proxy) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// witness is a client of the upstream, beside the link, that records what it
// gets. It keeps its session over restarts of the upstream.
type witness struct {
	mu     sync.Mutex
	got    []*paho.Publish
	client *paho.Client
}

func newWitness(t testing.TB, addr, filter string, qos byte) *witness {
	t.Helper()
	w := &witness{}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	up := make(chan struct{})
	sess := state.NewInMemory()
	done.Go(func() {
		for first := true; ctx.Err() == nil; {
			client, err := w.connect(ctx, addr, filter, qos, sess)
			if err != nil {
				timer := time.NewTimer(20 * time.Millisecond)
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
				continue
			}
			if first {
				close(up)
				first = false
			}
			select {
			case <-client.Done():
			case <-ctx.Done():
				client.Disconnect(&paho.Disconnect{})
			}
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	select {
	case <-up:
	case <-time.After(patience):
		t.Fatal("the witness does not get through to the upstream")
	}
	return w
}

func (w *witness) connect(ctx context.Context, addr, filter string, qos byte, sess *state.State) (*paho.Client, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	client := paho.NewClient(paho.ClientConfig{
		Conn: newConn(c), Session: sess,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.got = append(w.got, p.Packet)
			return true, nil
		}},
	})
	if _, err := client.Connect(ctx, &paho.Connect{
		ClientID: "witness", KeepAlive: 30, Properties: &paho.ConnectProperties{SessionExpiryInterval: new(uint32(3600))},
	}); err != nil {
		return nil, err
	}
	if _, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{
		Topic: filter, QoS: qos, RetainAsPublished: true, RetainHandling: 1,
	}}}); err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.client = client
	w.mu.Unlock()
	return client, nil
}

// publish sends a message to the upstream and waits for its acknowledgement.
func (w *witness) publish(t testing.TB, p *paho.Publish) {
	t.Helper()
	w.mu.Lock()
	client := w.client
	w.mu.Unlock()
	if _, err := client.Publish(t.Context(), p); err != nil {
		t.Fatalf("publish %s: %v", p.Topic, err)
	}
}

func (w *witness) messages() []*paho.Publish {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*paho.Publish(nil), w.got...)
}

// has tells whether a message of that topic and payload came.
func (w *witness) has(topic, payload string) bool {
	for _, p := range w.messages() {
		if p.Topic == topic && string(p.Payload) == payload {
			return true
		}
	}
	return false
}

// gateway is the local side: store, broker and link, on one folder.
type gateway struct {
	broker *mqttcore.Broker
	link   *Link
	log    *slog.Logger
	halt   func()
}

func startGateway(t testing.TB, dir string, cfg Config, adapt ...func(*Link)) *gateway {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return startBroker(t, dir, mqttcore.Config{}, func(g *gateway) *Link {
		l := New(cfg, g.broker, g.log)
		for _, a := range adapt {
			a(l)
		}
		return l
	})
}

// startBroker is startGateway with that configuration of the broker; without
// makeLink there is no link.
func startBroker(t testing.TB, dir string, cfg mqttcore.Config, makeLink func(*gateway) *Link) *gateway {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	st, err := store.Open(store.Options{Dir: dir, Log: log, CommitInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{broker: mqttcore.New(cfg, st, log), log: log}
	if makeLink != nil {
		g.link = makeLink(g)
	}
	var stops []func()
	run := func(task func(context.Context) error, ready <-chan struct{}) {
		stops = append(stops, runTask(t, task, ready))
	}
	run(st.Run, st.Ready())
	run(g.broker.Run, g.broker.Ready())
	if g.link != nil {
		run(g.link.Run, g.link.Ready())
	}
	g.halt = sync.OnceFunc(func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(g.halt)
	return g
}

// runTask runs a task until the test or stop ends it.
func runTask(t testing.TB, task func(context.Context) error, ready <-chan struct{}) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := task(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	<-ready
	return stop
}

// publish puts messages number first to last into the log, in order, and
// waits until all are durable.
func (g *gateway) publish(t testing.TB, topic string, qos byte, first, last int) {
	t.Helper()
	durable := make(chan error, last-first+1)
	for i := first; i <= last; i++ {
		m := mqttcore.Message{Topic: topic, Payload: fmt.Appendf(nil, "%06d", i), QoS: qos}
		if err := g.broker.PublishAsync(m, func(err error) { durable <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for i := first; i <= last; i++ {
		if err := <-durable; err != nil {
			t.Fatal(err)
		}
	}
}

// linkTo is the usual configuration of these tests.
func linkTo(addr string, qos byte) Config {
	return Config{
		Name: "cloud", URL: "mqtt://" + addr, ClientID: "gateway", KeepAlive: 10 * time.Second,
		Out: []string{"home/#"}, In: []string{"home/+/set"}, Prefix: "site7/", QoS: qos,
	}
}

// linkIn is linkTo in a version of MQTT.
func linkIn(version int, addr string, qos byte) Config {
	cfg := linkTo(addr, qos)
	cfg.Version = version
	return cfg
}

// tally is what became of messages 1 to n.
type tally struct{ lost, twice, disorder int }

func (w *witness) tally(n int) tally {
	var r tally
	seen := make([]int, n+1)
	last := 0
	for _, p := range w.messages() {
		var i int
		if _, err := fmt.Sscanf(string(p.Payload), "%06d", &i); err != nil || i < 1 || i > n {
			continue
		}
		if seen[i]++; seen[i] > 1 {
			r.twice++
			continue // what comes again comes late: order is of the first
		}
		if i < last {
			r.disorder++
		}
		last = i
	}
	for _, k := range seen[1:] {
		if k == 0 {
			r.lost++
		}
	}
	return r
}
