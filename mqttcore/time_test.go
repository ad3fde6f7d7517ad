package mqttcore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// inBubble runs a test in a bubble of fake time: a broker without listeners,
// to which clients come through pipes. dial gives a new client.
func inBubble(t *testing.T, cfg Config, test func(t *testing.T, b *Broker, dial func(v packet.Version) *client)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		born := time.Now()
		clock := func() time.Duration { return time.Since(born) }
		log := slog.New(slog.DiscardHandler)
		st, err := store.Open(store.Options{Dir: dir, Log: log, Clock: bubbleClock(clock)})
		if err != nil {
			t.Fatal(err)
		}
		b := New(cfg, st, log)
		b.clock = clock
		ctx, stop := context.WithCancel(t.Context())
		storeCtx, stopStore := context.WithCancel(t.Context())
		brokerDone, storeDone := make(chan error, 1), make(chan error, 1)
		go func() { storeDone <- st.Run(storeCtx) }()
		go func() { brokerDone <- b.Run(ctx) }()
		<-b.Ready()
		var pipes []net.Conn
		defer func() { // also when the test gives up
			for _, p := range pipes {
				_ = p.Close()
			}
			stop()
			stopStore()
			if err := errors.Join(<-brokerDone, <-storeDone, st.Close()); err != nil {
				t.Error(err)
			}
		}()
		test(t, b, func(v packet.Version) *client {
			here, there := net.Pipe()
			pipes = append(pipes, here)
			b.open(there)
			return &client{t: t, nc: here, in: bufio.NewReader(here), v: v}
		})
	})
}

// bubbleClock is the store's view of a bubble's time.
type bubbleClock func() time.Duration

func (c bubbleClock) Boot() time.Duration       { return c() }
func (bubbleClock) Wall() (t time.Time, _ bool) { return time.Now(), false }
func (bubbleClock) BootID() string              { return "bubble" }

// ends waits for the end of the connection and tells how long it took.
func (c *client) ends(reason packet.Reason) time.Duration {
	c.t.Helper()
	start := time.Now()
	_ = c.nc.SetReadDeadline(time.Time{})
	b, err := io.ReadAll(c.in)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Fatal(err)
	}
	if reason != 0 && c.v == packet.V5 && (len(b) < 3 || b[0] != 0xe0 || packet.Reason(b[2]) != reason) {
		c.t.Errorf("the end is % x, want DISCONNECT with %v", b, reason)
	}
	return time.Since(start)
}

func TestKeepAlive(t *testing.T) {
	inBubble(t, Config{ConnectTimeout: 7 * time.Second, MaxKeepAlive: 100 * time.Second}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		if took := dial(packet.V5).ends(0); took != 7*time.Second {
			t.Errorf("a silent connection lived %v", took)
		}
		for _, v := range versions {
			c := dial(v)
			c.hello("c", func(p *packet.Connect) { p.KeepAlive = 10 })
			for range 3 {
				time.Sleep(14 * time.Second) // fake: no time passes
				c.silent()
			}
			if took := c.ends(packet.KeepAliveTimeout); took != 15*time.Second {
				t.Errorf("MQTT-3.1.2-22: ended after %v, want 15 s", took)
			}
		}
		c := dial(packet.V5)
		if ack := c.hello("d"); ack.Properties.ServerKeepAlive != 100 {
			t.Errorf("server keep alive %d", ack.Properties.ServerKeepAlive)
		}
		if took := c.ends(packet.KeepAliveTimeout); took != 150*time.Second {
			t.Errorf("MQTT-3.1.2-21: ended after %v, want 150 s", took)
		}
		if n := b.Stats().KeepAliveTimeouts; n != 4 {
			t.Errorf("%d timeouts counted, want 4", n)
		}
	})
}

func TestSessionExpiry(t *testing.T) {
	inBubble(t, Config{SessionExpiryMax: time.Hour}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		visit := func(expiry uint32, mods ...func(*packet.Connect)) (present bool, c *client) {
			c = dial(packet.V5)
			ack := c.hello("c", append(mods, func(p *packet.Connect) {
				p.CleanStart = false
				p.Properties.SetUint(packet.PropSessionExpiry, expiry)
			})...)
			return ack.SessionPresent, c
		}
		leave := func(c *client) {
			_ = c.nc.Close()
			synctest.Wait()
		}
		_, c := visit(100)
		leave(c)
		time.Sleep(99 * time.Second)
		present, c := visit(100)
		if !present {
			t.Error("MQTT-3.1.2-23: gone before its time")
		}
		leave(c)
		time.Sleep(101 * time.Second)
		if n := b.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions after the expiry", n)
		}
		present, c = visit(100)
		if present {
			t.Error("present after its time")
		}
		d := &packet.Disconnect{}
		d.Properties.SetUint(packet.PropSessionExpiry, 5)
		c.send(d)
		leave(c)
		time.Sleep(6 * time.Second)
		if present, c = visit(forever); present {
			t.Error("DISCONNECT could not shorten the expiry")
		}
		leave(c)
		time.Sleep(59 * time.Minute)
		if present, c = visit(0); !present {
			t.Error("gone before the most that we grant")
		}
		leave(c)
		if n := b.st.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions stored after one with expiry 0", n)
		}
	})
}

func TestWills(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		var got atomic.Int32
		b.Subscribe("will/#", func(*Message) { got.Add(1) })
		visit := func(v packet.Version, delay, expiry uint32, clean bool) *client {
			c := dial(v)
			c.hello("c", func(p *packet.Connect) {
				p.CleanStart = clean
				p.Will = &packet.Will{Topic: "will/c", Payload: []byte("gone")}
				if v == packet.V5 {
					p.Properties.SetUint(packet.PropSessionExpiry, expiry)
					p.Will.Properties.SetUint(packet.PropWillDelay, delay)
				}
			})
			return c
		}
		expect := func(what string, n int) {
			t.Helper()
			synctest.Wait()
			if n := int32(n); got.Swap(0) != n {
				t.Errorf("%s: not %d wills", what, n)
			}
		}
		for _, v := range versions {
			c := visit(v, 0, 0, true)
			_ = c.nc.Close()
			expect("MQTT-3.1.2-8 connection lost", 1)
			c = visit(v, 0, 0, true)
			c.send(&packet.Disconnect{})
			c.ends(0)
			expect("MQTT-3.14.4-3 a normal end", 0)
			c = visit(v, 0, 0, true)
			c.send(&packet.Connect{Version: v, CleanStart: true, ClientID: "c"})
			c.ends(0)
			expect("MQTT-3.1.2-8 protocol error", 1)
			visit(v, 0, 0, true)
			d := visit(v, 0, 0, true)
			expect("taken over", 1)
			d.send(&packet.Disconnect{})
			d.ends(0)
		}
		c := visit(packet.V5, 0, 0, true)
		c.send(&packet.Disconnect{Reason: packet.DisconnectWithWill})
		c.ends(0)
		expect("a normal end with the will", 1)

		c = visit(packet.V5, 10, 0, true)
		_ = c.nc.Close()
		expect("a delay without a session is none", 1)

		c = visit(packet.V5, 10, 60, true)
		_ = c.nc.Close()
		time.Sleep(9 * time.Second)
		expect("before the delay", 0)
		time.Sleep(2 * time.Second)
		expect("after the delay", 1)
		time.Sleep(time.Hour)
		expect("once only", 0)

		c = visit(packet.V5, 60, 10, true)
		_ = c.nc.Close()
		time.Sleep(11 * time.Second)
		expect("MQTT-3.1.3-9 the session ends first", 1)

		c = visit(packet.V5, 10, 60, true)
		_ = c.nc.Close()
		synctest.Wait()
		c = visit(packet.V5, 10, 60, false)
		time.Sleep(20 * time.Second)
		expect("MQTT-3.1.3-9 back in time", 0)
		_ = c.nc.Close()
		synctest.Wait()
		c = visit(packet.V5, 10, 60, true)
		expect("MQTT-3.1.4-3 a clean start ends the session", 1)
		c.send(&packet.Disconnect{})
		c.ends(0)
	})
}

func TestMessageExpiry(t *testing.T) {
	inBubble(t, Config{MaxInflight: 1}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		sub := dial(packet.V5)
		sub.hello("sub")
		sub.subscribe(1, "e")
		pub := func(payload string, expiry uint32, retain bool) {
			t.Helper()
			if err := b.Publish(t.Context(), Message{Topic: "e", Payload: []byte(payload), QoS: 1, Retain: retain,
				Properties: Properties{Expiry: expiry, HasExpiry: true}}); err != nil {
				t.Fatal(err)
			}
		}
		published := make(chan struct{})
		go func() {
			defer close(published)
			pub("1", 100, false)
			pub("2", 5, false) // waits for the window longer than it lives
			pub("3", 100, false)
			pub("4", 30, true)
		}()
		m := sub.expectMessage("1")
		<-published
		if m.Properties.MessageExpiry != 100 {
			t.Errorf("expiry %d", m.Properties.MessageExpiry)
		}
		time.Sleep(10 * time.Second)
		sub.send(answer(packet.PUBACK, m.PacketID))
		if m = sub.expectMessage("3"); m.Properties.MessageExpiry != 90 { // MQTT-3.3.2-5, -6
			t.Errorf("expiry %d after 10 s of 100", m.Properties.MessageExpiry)
		}
		if n := b.Stats().Expired; n != 1 {
			t.Errorf("%d counted as expired, want 1", n)
		}
		late := dial(packet.V5)
		late.hello("late")
		late.subscribe(0, "e")
		if m := late.expectMessage("4"); m.Properties.MessageExpiry != 20 || !m.Retain {
			t.Errorf("retained message: %+v", m)
		}
		time.Sleep(21 * time.Second)
		late.subscribe(0, "e")
		late.silent()
		if n, _ := b.retained.Get("e"); n != nil {
			t.Error("a retained message is kept after its life")
		}
	})
}

// TestRoomOfExpiredMessages: retained messages whose life is over make room.
func TestRoomOfExpiredMessages(t *testing.T) {
	inBubble(t, Config{SysInterval: -1, MaxRetainedBytes: 2000}, func(t *testing.T, b *Broker, _ func(packet.Version) *client) {
		put := func(topic string) bool {
			before := b.Stats().RetainedRefused
			if err := b.Publish(t.Context(), Message{Topic: topic, Payload: []byte("x"), Retain: true, Live: true,
				Properties: Properties{Expiry: 60, HasExpiry: true}}); err != nil {
				t.Fatal(err)
			}
			return b.Stats().RetainedRefused == before
		}
		n := 0
		for put(fmt.Sprint("a/", n)) {
			n++
		}
		time.Sleep(61 * time.Second)
		for i := range n {
			if !put(fmt.Sprint("b/", i)) {
				t.Fatalf("no room for number %d of %d", i, n)
			}
		}
	})
}

// TestTimersOfReturningClients: a client that comes and goes does not fill the
// memory with the timers of its former visits.
func TestTimersOfReturningClients(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		for range 300 {
			c := dial(packet.V5)
			c.hello("c", keep)
			_ = c.nc.Close()
			synctest.Wait()
		}
		b.timers.mu.Lock()
		defer b.timers.mu.Unlock()
		if n := len(b.timers.heap); n == 0 || n > 65 {
			t.Errorf("%d timers for one session", n)
		}
	})
}
