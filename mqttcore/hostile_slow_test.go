package mqttcore

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/packet"
)

// numbered publishes n messages of this size at QoS 1, which are acknowledged.
func numbered(c *client, topic string, n, size int) {
	c.t.Helper()
	const window = 100
	payload := make([]byte, size)
	for sent := 0; sent < n; {
		batch := min(window, n-sent)
		var b []byte
		for i := range batch {
			copy(payload, fmt.Sprintf("%08d", sent+i))
			b = message(topic, string(payload), 1, uint16(1+i)).Append(b, c.v)
		}
		c.write(b)
		for i := range batch {
			if a := expect[*packet.Ack](c); a.PacketID != uint16(1+i) || a.Reason.Failed() {
				c.t.Fatalf("message %d: %v", sent+i, a.Reason)
			}
		}
		sent += batch
	}
}

// TestNeverAcknowledges: a client that acknowledges nothing gets its window and
// no more; the rest waits, bounded in memory or whole on disk.
func TestNeverAcknowledges(t *testing.T) {
	t.Parallel()
	const n, size, window = 1500, 1000, 16
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprint("durable ", durable), func(t *testing.T) {
			r := start(t, Config{MaxInflight: window, MaxQueuedBytes: 256 << 10})
			others := steady(r)
			var mods []func(*packet.Connect)
			if durable {
				mods = append(mods, keep)
			}
			c, _ := r.connect(packet.V5, "mute", mods...)
			c.subscribe(1, "flood")
			pub, _ := r.connect(packet.V5, "pub")
			numbered(pub, "flood", n, size)
			var ids []uint16
			for range window {
				ids = append(ids, expect[*packet.Publish](c).PacketID)
			}
			c.silent()
			s := r.one("mute")
			if s.Inflight != window || s.QueuedMessages == 0 {
				t.Errorf("in flight %d, queued %d", s.Inflight, s.QueuedMessages)
			}
			rest := int(s.QueuedMessages)
			if durable {
				if s.QueuedMessages != n || s.Dropped != 0 {
					t.Errorf("durable: %d queued, %d dropped, want all %d", s.QueuedMessages, s.Dropped, n)
				}
				rest = n - window
			} else if s.QueuedBytes > 256<<10 || s.Dropped != n-window-s.QueuedMessages || s.Dropped != r.Stats().Dropped || s.Dropped == 0 {
				t.Errorf("in memory: %d queued in %d bytes, %d dropped of %d", s.QueuedMessages, s.QueuedBytes, s.Dropped, n)
			}
			others.flows(10)
			for _, pid := range ids { // it wakes up
				c.send(answer(packet.PUBACK, pid))
			}
			for i := range rest {
				m := expect[*packet.Publish](c)
				if want := fmt.Sprintf("%08d", window+i); string(m.Payload[:8]) != want {
					t.Fatalf("got message %s, want %s", m.Payload[:8], want)
				}
				c.send(answer(packet.PUBACK, m.PacketID))
			}
			c.silent()
			if s := r.one("mute"); s.Inflight != 0 || s.QueuedMessages != 0 {
				t.Errorf("in the end %d in flight, %d queued", s.Inflight, s.QueuedMessages)
			}
			others.finish()
			r.idle()
		})
	}
}

// idle wants no memory held for anyone.
func (r *rig) idle() {
	r.t.Helper()
	await(r.t, "no memory is held for queues", func() bool { return r.memory.used.Load() == 0 })
}

// TestSlowReader: a client that does not read its socket. At QoS 0, and at QoS
// 1 without a durable session, what it misses is counted; with one it misses
// nothing.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const n, size, limit = 600, 16 << 10, 512 << 10
	for _, k := range []struct {
		qos     byte
		durable bool
	}{{0, false}, {1, false}, {2, false}, {1, true}, {2, true}} {
		t.Run(fmt.Sprintf("QoS %d, durable %v", k.qos, k.durable), func(t *testing.T) {
			r := start(t, Config{MaxQueuedBytes: limit, MaxInflight: 10_000})
			others := steady(r)
			var mods []func(*packet.Connect)
			if k.durable {
				mods = append(mods, keep)
			}
			c, _ := r.connect(packet.V5, "slow", mods...)
			c.subscribe(k.qos, "flood")
			pub, _ := r.connect(packet.V5, "pub")
			payload := make([]byte, size)
			for i := range n {
				copy(payload, fmt.Sprintf("%08d", i))
				qos := k.qos
				pub.send(message("flood", string(payload), qos, uint16(1+i)))
				switch qos {
				case 1:
					pub.expectAck(packet.PUBACK, uint16(1+i), packet.Success)
				case 2:
					pub.expectAck(packet.PUBREC, uint16(1+i), packet.Success)
					pub.send(answer(packet.PUBREL, uint16(1+i)))
					pub.expectAck(packet.PUBCOMP, uint16(1+i), packet.Success)
				}
			}
			pub.silent()
			others.flows(3)
			s := r.one("slow")
			if !k.durable && s.QueuedBytes > 2*limit {
				t.Errorf("%d bytes wait in memory, bounds are 2 × %d", s.QueuedBytes, limit)
			}
			if k.durable == (s.Dropped > 0) {
				t.Errorf("durable %v: %d dropped", k.durable, s.Dropped)
			}
			if used := r.memory.used.Load(); used > 4*limit {
				t.Errorf("%d bytes of memory", used)
			}
			c.takeAll(n - int(s.Dropped))
			c.silent()
			others.finish()
			r.idle()
		})
	}
}

// takeAll takes n numbered messages, in rising order, to the end of their
// handshakes.
func (c *client) takeAll(n int) {
	c.t.Helper()
	last, open := -1, n
	for open > 0 {
		switch p := c.read().(type) {
		case *packet.Publish:
			var i int
			if _, err := fmt.Sscanf(string(p.Payload[:8]), "%d", &i); err != nil || i <= last {
				c.t.Fatalf("message %q after %d: %v", p.Payload[:8], last, err)
			}
			last = i
			switch p.QoS {
			case 0:
				open--
			case 1:
				c.send(answer(packet.PUBACK, p.PacketID))
				open--
			case 2:
				c.send(answer(packet.PUBREC, p.PacketID))
			}
		case *packet.Ack:
			if p.Type != packet.PUBREL {
				c.t.Fatalf("got %+v", p)
			}
			c.send(answer(packet.PUBCOMP, p.PacketID))
			open--
		default:
			c.t.Fatalf("got %T %+v, %d to come", p, p, open)
		}
	}
}

// TestHalfOpen: a client whose machine is gone without a word is found by its
// keep alive. Its will is published, its session kept or ended as agreed.
func TestHalfOpen(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		watcher := dial(packet.V5)
		watcher.hello("watcher", keep)
		watcher.subscribe(1, "gone/+")
		for _, id := range []string{"kept", "clean"} {
			c := dial(packet.V5)
			c.hello(id, func(p *packet.Connect) {
				p.KeepAlive = 20
				p.Will = &packet.Will{Topic: "gone/" + id, Payload: []byte("x"), QoS: 1}
				if id == "kept" {
					keep(p)
				}
			})
			c.subscribe(1, "news")
			began := time.Now()
			go func() { // what comes is swallowed, nothing is said
				for buf := make([]byte, 64); ; {
					if _, err := c.nc.Read(buf); err != nil {
						return
					}
				}
			}()
			p, err := watcher.next(time.Hour) // fake
			m, ok := p.(*packet.Publish)
			if !ok {
				t.Fatalf("got %+v, %v", p, err)
			}
			watcher.send(answer(packet.PUBACK, m.PacketID))
			if silent := time.Since(began); string(m.Topic) != "gone/"+id || silent != 30*time.Second {
				t.Errorf("will on %s after %v", m.Topic, silent)
			}
			synctest.Wait()
		}
		if s := b.Stats(); s.Sessions != 2 || s.KeepAliveTimeouts != 2 {
			t.Errorf("%d sessions, %d timeouts", s.Sessions, s.KeepAliveTimeouts)
		}
	})
}

// TestTrickle: a packet that comes a byte now and then does not hold its place
// for ever, with or without a keep alive; a large one over a slow link may take
// its time.
func TestTrickle(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
		for _, alive := range []uint16{0, 20, 600} {
			c := dial(packet.V311)
			c.hello("slow", func(p *packet.Connect) { p.KeepAlive = alive })
			whole := message("a", string(make([]byte, 20_000)), 1, 1).Append(nil, c.v)
			began := time.Now()
			rest := whole
			for len(rest) > 0 { // 100 bytes a second
				n := min(1000, len(rest))
				c.write(rest[:n])
				rest = rest[n:]
				time.Sleep(10 * time.Second) // fake
			}
			c.expectAck(packet.PUBACK, 1, packet.Success)
			if took := time.Since(began); took < 3*time.Minute {
				t.Errorf("the slow link took only %v", took)
			}
			ended := make(chan time.Duration, 1)
			began = time.Now()
			go func() {
				_ = c.nc.SetReadDeadline(time.Time{})
				_, _ = c.in.ReadByte()
				ended <- time.Since(began)
			}()
			for i := range whole {
				_ = c.nc.SetWriteDeadline(time.Time{})
				if _, err := c.nc.Write(whole[i : i+1]); err != nil {
					break
				}
				time.Sleep(5 * time.Second) // fake
			}
			if took := <-ended; took > 2*stallTime {
				t.Errorf("keep alive %d: the trickle lived %v", alive, took)
			}
		}
		if s := b.Stats(); s.Stalled+s.KeepAliveTimeouts != 3 || s.Stalled < 2 {
			t.Errorf("%d stalled, %d timeouts", s.Stalled, s.KeepAliveTimeouts)
		}
	})
}

// TestSlowConnect: connections that never say CONNECT do not keep those out
// that do.
func TestSlowConnect(t *testing.T) {
	t.Parallel()
	r := start(t, Config{MaxConnections: 10})
	others := steady(r)
	hello := (&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x"}).Append(nil, packet.V5)
	for i := range 3 * (10 + spare) {
		r.dial(packet.V5).write(hello[:i%len(hello)])
		if i%50 == 0 {
			c, _ := r.connect(packet.V5, "on time")
			c.silent()
		}
	}
	others.finish()
	if s := r.Stats(); s.Connected > 3 {
		t.Errorf("%d connected", s.Connected)
	}
}

// TestLargeHalves: packets of which only a part comes are bounded together.
// Whoever finds no room is told.
func TestLargeHalves(t *testing.T) {
	t.Parallel()
	const total = 4 << 20
	r := start(t, Config{MaxQueuedTotal: total})
	others := steady(r)
	half := message("big", string(make([]byte, 900<<10)), 0, 0).Append(nil, packet.V5)
	half = half[:len(half)-1]
	var waiting []*client
	for i := range 20 {
		c, _ := r.connect(packet.V5, fmt.Sprint("half", i))
		_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
		_, _ = c.nc.Write(half) // it may be refused in the midst
		await(t, "it is read or refused", func() bool {
			s := r.Clients()
			for _, o := range s {
				if o.ID == fmt.Sprint("half", i) {
					return o.BytesReceived >= uint64(len(half))
				}
			}
			return true
		})
		if used := r.memory.used.Load(); used > total {
			t.Fatalf("%d bytes are held, the bound is %d", used, total)
		}
		waiting = append(waiting, c)
	}
	others.flows(10)
	refused := len(waiting) + 2 - r.Stats().Connected
	if refused == 0 || refused == len(waiting) {
		t.Errorf("%d refused", refused)
	}
	d := 0
	for _, c := range waiting {
		p, err := c.next(time.Millisecond)
		if g, ok := p.(*packet.Disconnect); ok && g.Reason == packet.QuotaExceeded {
			d++
		} else if err == nil {
			t.Errorf("got %+v", p)
		}
		c.close()
	}
	if d == 0 {
		t.Error("nobody was told why")
	}
	others.finish()
	r.idle()
}

// TestAllSlow: many slow clients together stay within one bound, and the
// pair beside them is not touched.
func TestAllSlow(t *testing.T) {
	t.Parallel()
	const total, clients = 2 << 20, 20
	r := start(t, Config{MaxQueuedTotal: total})
	others := steady(r)
	for i := range clients {
		c, _ := r.connect(packet.V311, fmt.Sprint("slow", i))
		c.subscribe(byte(i%2), "flood")
	}
	pub, _ := r.connect(packet.V311, "pub")
	payload := string(bytes.Repeat([]byte("x"), 20_000))
	var most int64
	for i := 0; i < 1000 || r.Stats().Dropped == 0; i++ {
		pub.send(message("flood", payload, 1, 1))
		pub.expectAck(packet.PUBACK, 1, packet.Success)
		most = max(most, r.memory.used.Load())
		if i > 100_000 {
			t.Fatal("nothing is dropped")
		}
	}
	// One message a client may go beyond it: see memory.go.
	if most > total+clients*memoryStep {
		t.Errorf("%d bytes are held, the bound is %d", most, total)
	}
	others.finish()
}
