package mqttcore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// patience bounds every wait of a test: long enough for a busy machine.
const patience = 10 * time.Second

// rig is a broker over a store in a folder, both running.
type rig struct {
	*Broker
	t    testing.TB
	dir  string
	cfg  Config
	stop func()

	gather time.Duration // of the store's commits
	log    *slog.Logger  // nil: none
	disk   store.FS      // nil: the folder as it is
	fails  bool          // the store is to fail: no fault of the test
}

// start runs a broker on a free port of loopback. It stops with the test.
func start(t testing.TB, cfg Config) *rig {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []string{"tcp://127.0.0.1:0"}
	}
	r := &rig{t: t, dir: t.TempDir(), cfg: cfg}
	r.up()
	t.Cleanup(func() { r.stop() })
	return r
}

// up opens the store and runs it and the broker.
func (r *rig) up() {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("SLUICE_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if r.log != nil {
		log = r.log
	}
	st, err := store.Open(store.Options{Dir: r.dir, Log: log, CommitInterval: r.gather, FS: r.disk})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.cfg.Validate(); err != nil {
		r.t.Fatal(err)
	}
	b := New(r.cfg, st, log)
	storeCtx, stopStore := context.WithCancel(context.Background())
	brokerCtx, stopBroker := context.WithCancel(context.Background())
	storeDone, brokerDone := make(chan error, 1), make(chan error, 1)
	go func() { storeDone <- st.Run(storeCtx) }()
	go func() { brokerDone <- b.Run(brokerCtx) }()
	select {
	case <-b.Ready():
	case err := <-brokerDone:
		r.t.Fatal("broker: ", err)
	case <-time.After(patience):
		r.t.Fatal("broker is not ready in time")
	}
	r.Broker = b
	r.stop = func() {
		r.stop = func() {}
		stopBroker()
		if err := <-brokerDone; err != nil {
			r.t.Error("broker: ", err)
		}
		stopStore()
		if err := <-storeDone; err != nil && !r.fails && st.Err() == nil {
			r.t.Error("store: ", err)
		}
		if err := st.Close(); err != nil {
			r.t.Error("store: ", err)
		}
	}
}

// restart stops broker and store and opens them again on the same folder.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.up()
}

func (r *rig) addr() string { return r.Addrs()[0].String() }

// client is a bare MQTT client: it sends what it is told and shows what comes.
type client struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
	v  packet.Version
}

// dial opens a connection and sends nothing.
func (r *rig) dial(v packet.Version) *client {
	r.t.Helper()
	nc, err := net.DialTimeout("tcp", r.addr(), patience)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.wrap(nc, v)
}

// wrap makes a client of a connection.
func (r *rig) wrap(nc net.Conn, v packet.Version) *client {
	r.t.Cleanup(func() { _ = nc.Close() })
	return &client{t: r.t, nc: nc, in: bufio.NewReader(nc), v: v}
}

// connect connects a client, which must be accepted. An empty id with clean
// start is left to the broker.
func (r *rig) connect(v packet.Version, id string, mod ...func(*packet.Connect)) (*client, *packet.Connack) {
	r.t.Helper()
	c := r.dial(v)
	return c, c.hello(id, mod...)
}

func (c *client) hello(id string, mod ...func(*packet.Connect)) *packet.Connack {
	c.t.Helper()
	p := &packet.Connect{Version: c.v, CleanStart: true, ClientID: id}
	for _, m := range mod {
		m(p)
	}
	c.send(p)
	ack := expect[*packet.Connack](c)
	if ack.Reason != packet.Success {
		c.t.Fatalf("CONNECT of %q refused: %v", id, ack.Reason)
	}
	return ack
}

// keep makes a session that outlives its connection.
func keep(p *packet.Connect) {
	p.CleanStart = false
	if p.Version == packet.V5 {
		p.Properties.SetUint(packet.PropSessionExpiry, 3600)
	}
}

// with sets properties of CONNECT.
func with(id packet.PropID, n uint32) func(*packet.Connect) {
	return func(p *packet.Connect) { p.Properties.SetUint(id, n) }
}

func (c *client) send(ps ...packet.Packet) {
	c.t.Helper()
	var b []byte
	for _, p := range ps {
		b = p.Append(b, c.v)
	}
	c.write(b)
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// read gives the next packet; nil: the connection was closed.
func (c *client) read() packet.Packet {
	c.t.Helper()
	p, err := c.next(patience)
	if errors.Is(err, io.EOF) || isReset(err) {
		return nil
	}
	if err != nil {
		c.t.Fatal("no packet: ", err)
	}
	return p
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

func (c *client) next(wait time.Duration) (packet.Packet, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(wait))
	raw := make([]byte, 1, 64)
	if _, err := io.ReadFull(c.in, raw); err != nil {
		return nil, err
	}
	for {
		h, n, err := packet.ParseHeader(raw)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			body := make([]byte, h.Remaining)
			if _, err := io.ReadFull(c.in, body); err != nil {
				return nil, err
			}
			p, err := packet.Decode(c.v, h, body)
			if err != nil {
				return nil, fmt.Errorf("the broker sent % x %x: %w", raw, body, err)
			}
			return p, nil
		}
		x, err := c.in.ReadByte()
		if err != nil {
			return nil, err
		}
		raw = append(raw, x)
	}
}

// expect reads a packet that must be of type P.
func expect[P packet.Packet](c *client) P {
	c.t.Helper()
	p := c.read()
	want, ok := p.(P)
	if !ok {
		c.t.Fatalf("got %T %+v, want %T", p, p, want)
	}
	return want
}

// subscribe subscribes and wants all filters granted.
func (c *client) subscribe(qos byte, filters ...string) {
	c.t.Helper()
	p := &packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		p.Filters = append(p.Filters, packet.Filter{Topic: []byte(f), QoS: qos})
	}
	c.send(p)
	for i, reason := range expect[*packet.Suback](c).Reasons {
		if reason != packet.Reason(qos) {
			c.t.Fatalf("filter %q: %v", filters[i], reason)
		}
	}
}

// message makes a PUBLISH.
func message(topic, payload string, qos byte, pid uint16) *packet.Publish {
	return &packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, PacketID: pid}
}

func answer(t packet.Type, pid uint16) *packet.Ack { return &packet.Ack{Type: t, PacketID: pid} }

// expectAck reads an acknowledgement.
func (c *client) expectAck(typ packet.Type, pid uint16, reason packet.Reason) {
	c.t.Helper()
	a := expect[*packet.Ack](c)
	if a.Type != typ || a.PacketID != pid || a.Reason != reason {
		c.t.Fatalf("got %v %d (%v), want %v %d (%v)", a.Type, a.PacketID, a.Reason, typ, pid, reason)
	}
}

// expectMessage reads a PUBLISH with this payload.
func (c *client) expectMessage(payload string) *packet.Publish {
	c.t.Helper()
	p := expect[*packet.Publish](c)
	if string(p.Payload) != payload {
		c.t.Fatalf("got message %q on %q, want %q", p.Payload, p.Topic, payload)
	}
	return p
}

// silent proves that nothing is on its way to the client: what it asks for now
// comes next.
func (c *client) silent() {
	c.t.Helper()
	c.send(&packet.Ping{Type: packet.PINGREQ})
	expect[*packet.Ping](c)
}

// expectClosed wants the connection closed, in MQTT 5 with this reason.
func (c *client) expectClosed(reason packet.Reason) {
	c.t.Helper()
	if c.v == packet.V5 && reason != packet.Success {
		d := expect[*packet.Disconnect](c)
		if d.Reason != reason {
			c.t.Fatalf("DISCONNECT with %v, want %v", d.Reason, reason)
		}
	}
	if p := c.read(); p != nil {
		c.t.Fatalf("got %T %+v, want the end of the connection", p, p)
	}
}

func (c *client) close() { _ = c.nc.Close() }

// await polls for a condition that another goroutine brings about.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("not in time: ", what)
		}
	}
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

// each runs a test in every version of MQTT.
func each(t *testing.T, fn func(t *testing.T, v packet.Version)) {
	for _, v := range versions {
		t.Run("v"+v.String(), func(t *testing.T) { fn(t, v) })
	}
}
