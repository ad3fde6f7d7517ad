package mqttcore

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

func TestConfigValidate(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero Config: %v", err)
	}
	if err := (Config{Listen: []string{"tcp://127.0.0.1:1883", "tcp://[::1]:0"}}).Validate(); err != nil {
		t.Error(err)
	}
	err := Config{
		Listen:         []string{"tcp://ok:1", "localhost:1883", "tcp://nohost", "ssl://x:1"},
		MaxConnections: -1, MaxPacketSize: 3, MaxInflight: 1 << 20, SessionExpiryMax: -1,
	}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v, want several errors", err)
	}
	want := []string{"listen.1", "listen.2", "listen.3", "max_connections", "max_packet_size", "max_inflight", "session_expiry_max"}
	for i, err := range joined.Unwrap() {
		var at interface{ Field() string }
		if !errors.As(err, &at) || i >= len(want) || at.Field() != want[i] {
			t.Errorf("error %d: %v", i, err)
		}
	}
	if n := len(joined.Unwrap()); n != len(want) {
		t.Errorf("%d errors, want %d", n, len(want))
	}
}

func TestPortInUse(t *testing.T) {
	r := start(t, Config{})
	b := New(Config{Listen: []string{"tcp://" + r.addr()}}, r.st, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Run(ctx); err == nil {
		t.Error("two brokers listen on one port")
	}
}

func TestConnectionLimit(t *testing.T) {
	r := start(t, Config{MaxConnections: 2})
	a, _ := r.connect(packet.V5, "a")
	r.connect(packet.V311, "b")
	for _, v := range []packet.Version{packet.V5, packet.V311} {
		c := r.dial(v)
		c.send(&packet.Connect{Version: v, CleanStart: true, ClientID: "c"})
		want := packet.ServerBusy
		if v == packet.V311 {
			want = packet.ServerUnavailable
		}
		if ack := expect[*packet.Connack](c); ack.Reason != want {
			t.Errorf("v%v: refused with %v", v, ack.Reason)
		}
		c.expectClosed(0)
	}
	r.connect(packet.V5, "a") // taking over needs no room
	a.expectClosed(packet.SessionTakenOver)
}

// far is a connection that says it comes from elsewhere.
type far struct{ net.Conn }

func (far) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestAnonymousFromElsewhere(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		r := start(t, Config{Anonymous: anonymous})
		here, there := net.Pipe()
		r.open(far{there})
		c := &client{t: t, nc: here, in: bufio.NewReader(here), v: packet.V5}
		c.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c"})
		want := packet.NotAuthorized
		if anonymous {
			want = packet.Success
		}
		if ack := expect[*packet.Connack](c); ack.Reason != want {
			t.Errorf("anonymous = %v: %v", anonymous, ack.Reason)
		}
		c.close()
	}
}

// TestHostileBytes throws damaged packets at the broker: some are refused,
// none is a fault, and the next client finds everything in order.
func TestHostileBytes(t *testing.T) {
	r := start(t, Config{})
	rng := rand.New(rand.NewPCG(3, 4))
	hello := (&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "h"}).Append(nil, packet.V5)
	p := message("a/b", "payload", 2, 1)
	p.Properties.SetUint(packet.PropMessageExpiry, 5)
	p.Properties.User = []packet.UserProperty{{Key: []byte("k"), Value: []byte("v")}}
	body := p.Append(nil, packet.V5)
	body = (&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("a/#"), QoS: 2}}}).Append(body, packet.V5)
	body = answer(packet.PUBREL, 1).Append(body, packet.V5)
	body = (&packet.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("a/#")}}).Append(body, packet.V5)
	body = answer(packet.PUBREC, 9).Append(body, packet.V5)
	body = (&packet.Disconnect{Reason: packet.DisconnectWithWill}).Append(body, packet.V5)
	try := func(b []byte) {
		nc, err := net.Dial("tcp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = nc.Write(b)
		_ = nc.(*net.TCPConn).CloseWrite()
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		for buf := make([]byte, 512); ; {
			if _, err := nc.Read(buf); err != nil {
				var late net.Error
				if errors.As(err, &late) && late.Timeout() {
					t.Fatalf("% x: the connection stays open", b)
				}
				break
			}
		}
		_ = nc.Close()
	}
	for n := range hello {
		try(hello[:n])
	}
	whole := append(append([]byte(nil), hello...), body...)
	for n := len(hello); n < len(whole); n++ {
		try(whole[:n])
	}
	for range 1000 {
		b := append([]byte(nil), whole...)
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] = byte(rng.IntN(256))
		}
		try(b)
	}
	if n := r.Stats().Panics; n > 0 {
		t.Errorf("%d faults", n)
	}
	c, _ := r.connect(packet.V5, "after")
	c.silent()
	await(t, "all are gone", func() bool { return r.Stats().Connected == 1 })
	if s := r.Stats(); s.Sessions != 1 || s.ProtocolErrors == 0 {
		t.Errorf("%d sessions, %d protocol errors", s.Sessions, s.ProtocolErrors)
	}
}

// TestWillOverACrash: the will of a client that was connected when the broker
// died is published by the next life of the broker.
func TestWillOverACrash(t *testing.T) {
	r := start(t, Config{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := r.Consumer(ctx, "watch", []Filter{{Topic: "will", QoS: 1}}); err != nil {
		t.Fatal(err)
	}
	// What a CONNECT leaves in the store, without the end of its connection.
	sid := r.st.CreateSession("crashed", "", 3600, nil)
	w := &store.Will{Message: store.Message{Topic: "will", Payload: []byte("gone"), QoS: 1}}
	if err := r.await(func(done func(error)) { r.st.UpdateSession(sid, 3600, w, done) }); err != nil {
		t.Fatal(err)
	}
	r.restart()
	k, err := r.Consumer(ctx, "watch", []Filter{{Topic: "will", QoS: 1}})
	if err != nil {
		t.Fatal(err)
	}
	var d Delivery
	for {
		ok, err := k.Next(&d)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			break
		}
		select {
		case <-k.Wake():
		case <-ctx.Done():
			t.Fatal("no will")
		}
	}
	if string(d.Payload) != "gone" {
		t.Errorf("got %q", d.Payload)
	}
	k.Ack(d.Seq)
	r.restart()
	if k, err = r.Consumer(ctx, "watch", []Filter{{Topic: "will", QoS: 1}}); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := k.Backlog(); n != 0 {
		t.Error("the will is published in each life")
	}
	if n := r.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions, want the crashed client's", n)
	}
}

// TestLastWords: when the broker stops it says so, and publishes the wills.
func TestLastWords(t *testing.T) {
	r := start(t, Config{})
	p := &packet.Will{Topic: "state", Payload: []byte("offline"), QoS: 1, Retain: true}
	c, _ := r.connect(packet.V5, "c", func(m *packet.Connect) { m.Will = p })
	old, _ := r.connect(packet.V311, "old")
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.expectClosed(packet.ServerShuttingDown)
		old.expectClosed(0)
	}()
	r.restart()
	<-done
	c, _ = r.connect(packet.V5, "c")
	c.subscribe(0, "state")
	c.expectMessage("offline")
}
