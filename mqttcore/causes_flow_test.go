package mqttcore

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// A connection that says nothing, or as little as it can, does not hold its
// place.
func causeSlotsHeld(t *testing.T) {
	t.Run("before CONNECT", func(t *testing.T) {
		r := start(t, Config{ConnectTimeout: 50 * time.Millisecond})
		mute := r.dial(packet.V5)
		half := r.dial(packet.V5)
		half.write([]byte("\x10\x20\x00\x04MQ"))
		mute.expectClosed(packet.Success)
		half.expectClosed(packet.Success)
	})
	t.Run("waiting for its password to be judged", func(t *testing.T) {
		r := start(t, Config{ConnectTimeout: 200 * time.Millisecond, Users: usersOf(t, "a", "1")})
		for range hashesAtOnce {
			r.login.turns <- struct{}{}
		}
		r.refuse(packet.V5, "c", packet.ServerBusy, as("a", "1"))
		for range hashesAtOnce {
			<-r.login.turns
		}
		r.connect(packet.V5, "c", as("a", "1"))
	})
	t.Run("with the longest keep alive", func(t *testing.T) {
		r := start(t, Config{MaxKeepAlive: time.Second})
		for _, wish := range []uint16{0, 65535} {
			c, ack := r.connect(packet.V5, "", func(p *packet.Connect) { p.KeepAlive = wish })
			if ack.Properties.ServerKeepAlive != 1 {
				t.Errorf("wish %d: granted %d", wish, ack.Properties.ServerKeepAlive)
			}
			c.expectClosed(packet.KeepAliveTimeout)
		}
	})
}

// A flood to a reader that does not read takes bounded memory, is counted, and
// others do not notice.
func causeFlood(t *testing.T) {
	r := start(t, Config{MaxQueuedBytes: 64 << 10})
	slow, _ := r.connect(packet.V311, "slow")
	slow.subscribe(0, "flood/#")
	sub, _ := r.connect(packet.V5, "sub")
	sub.subscribe(1, "calm")
	pub, _ := r.connect(packet.V5, "pub")
	flood, _ := r.connect(packet.V311, "flood")
	done := make(chan struct{})
	go func() {
		defer close(done)
		batch := bytes.Repeat(message("flood/x", strings.Repeat("x", 4000), 0, 0).Append(nil, packet.V311), 16)
		for range 400 {
			if _, err := flood.nc.Write(batch); err != nil {
				return
			}
		}
	}()
	for pid := range uint16(100) {
		pub.send(message("calm", strconv.Itoa(int(pid)), 1, pid+1))
		pub.expectAck(packet.PUBACK, pid+1, packet.Success)
		sub.send(answer(packet.PUBACK, sub.expectMessage(strconv.Itoa(int(pid))).PacketID))
	}
	<-done
	flood.silent()
	s := r.Stats()
	if s.Dropped == 0 || s.Panics > 0 {
		t.Errorf("dropped %d, faults %d", s.Dropped, s.Panics)
	}
	r.mu.Lock()
	c := r.sessions["slow"].owner
	r.mu.Unlock()
	c.out.mu.Lock()
	waits := c.out.size()
	c.out.mu.Unlock()
	if waits > 64<<10 {
		t.Errorf("%d bytes wait for the slow one", waits)
	}
}

// Subscriptions come and go while messages for them are routed and stored.
func causeComeAndGo(t *testing.T) {
	r := start(t, Config{})
	stays, _ := r.connect(packet.V311, "stays", keep)
	stays.subscribe(1, "x/#")
	stays.close()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c, _ := r.connect(versions[n%3], "c"+strconv.Itoa(i), keep)
				c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("x/" + strconv.Itoa(n%5)), QoS: 2}, {Topic: []byte("$share/g/x/+"), QoS: 1}}},
					&packet.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("$share/g/x/+")}})
				c.close()
			}
		})
	}
	pub, _ := r.connect(packet.V5, "pub")
	const many = 300
	for pid := uint16(1); pid <= many; pid++ {
		pub.send(message("x/"+strconv.Itoa(int(pid%5)), strconv.Itoa(int(pid)), 1+byte(pid%2), pid))
		a := expect[*packet.Ack](pub)
		if a.Type == packet.PUBREC {
			pub.send(answer(packet.PUBREL, pid))
			pub.expectAck(packet.PUBCOMP, pid, packet.Success)
		}
	}
	close(stop)
	wg.Wait()
	r.unharmed()
	r.restart()
	stays, _ = r.connect(packet.V311, "stays", keep)
	for pid := 1; pid <= many; pid++ {
		stays.send(answer(packet.PUBACK, stays.expectMessage(strconv.Itoa(pid)).PacketID))
	}
	stays.silent()
}

func causeLimitsNotKept(t *testing.T) {
	r := start(t, Config{})
	alias := func(n uint16, topic string) *packet.Publish {
		p := message(topic, "", 0, 0)
		p.Properties.SetUint(packet.PropTopicAlias, uint32(n))
		return p
	}
	for name, c := range map[string]struct {
		send   []byte
		reason packet.Reason
	}{
		"alias above the maximum":               {alias(aliasMaximum+1, "a").Append(nil, packet.V5), packet.TopicAliasInvalid},
		"alias 0":                               {raw(0x30, []byte("\x00\x01a\x03\x23\x00\x00")), packet.TopicAliasInvalid},
		"alias not set":                         {alias(3, "").Append(nil, packet.V5), packet.ProtocolError},
		"alias twice":                           {raw(0x30, []byte("\x00\x01a\x06\x23\x00\x01\x23\x00\x01")), packet.ProtocolError},
		"expiry twice":                          {raw(0x30, []byte("\x00\x01a\x0a\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01")), packet.ProtocolError},
		"subscription identifier from a client": {raw(0x30, []byte("\x00\x01a\x02\x0b\x01")), packet.ProtocolError},
		"subscription identifier 0":             {raw(0x82, []byte("\x00\x01\x02\x0b\x00\x00\x01a\x00")), packet.ProtocolError},
		"subscription identifier twice":         {raw(0x82, []byte("\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00")), packet.ProtocolError},
		"No Local on a shared subscription":     {raw(0x82, append([]byte("\x00\x01\x00\x00\x0a$share/g/a"), 4)), packet.ProtocolError},
		"QoS 3":                                 {raw(0x36, []byte("\x00\x01a\x00\x01\x00")), packet.MalformedPacket},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := r.connect(packet.V5, "")
			client.write(c.send)
			client.expectClosed(c.reason)
		})
	}
	r.unharmed()
}

// What clients are called does not make lines in the log, nor colours.
func causeInjectedLines(t *testing.T) {
	r, log := startLogged(t, Config{Users: usersOf(t, "a", "1"), ACL: []Rule{{User: "*", Read: []string{"#"}, Write: []string{"#"}}}})
	const bad = "x\nlevel=ERROR msg=\"owned\"\n\x1b[31mred"
	c, _ := r.connect(packet.V311, bad, as("a", "1"))
	c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("a/" + bad)}}}, message("a/"+bad, bad, 0, 0))
	c.read()
	r.refuse(packet.V311, bad, packet.BadUserNameOrPassword, as(bad, bad))
	c.close()
	r.stop()
	for line := range strings.Lines(log.text()) {
		if !strings.HasPrefix(line, "time=") || strings.Contains(line, "\x1b") {
			t.Errorf("logged %q", line)
		}
	}
	if !strings.Contains(log.text(), "owned") {
		t.Error("the client identifier is not in the log at all")
	}
}

// A QoS 2 publisher whose connections are taken over in the midst of its
// handshakes has each message delivered once.
func causeQoS2TakenOver(t *testing.T) {
	r := start(t, Config{})
	sub, _ := r.connect(packet.V5, "sub")
	sub.subscribe(2, "x")
	const many = 60
	var pub *client
	for pid := uint16(1); pid <= many; pid++ {
		p := message("x", strconv.Itoa(int(pid)), 2, pid)
		for try := range 3 { // each time on another connection, the former still open
			pub, _ = r.connect(packet.V311, "pub", keep)
			p.Dup = try > 0
			pub.send(p)
		}
		pub.expectAck(packet.PUBREC, pid, packet.Success)
		pub.send(answer(packet.PUBREL, pid))
		pub.expectAck(packet.PUBCOMP, pid, packet.Success)
		got := sub.expectMessage(strconv.Itoa(int(pid)))
		sub.send(answer(packet.PUBREC, got.PacketID))
		sub.expectAck(packet.PUBREL, got.PacketID, packet.Success)
		sub.send(answer(packet.PUBCOMP, got.PacketID))
	}
	sub.silent()
	r.unharmed()
}

func causeMaxConnections(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r := start(t, Config{MaxConnections: 3, Listen: []string{"tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "unix://" + socket}})
	addrs := r.Addrs()
	var held []*client
	for i := range 6 {
		a := addrs[i%3]
		nc, err := net.DialTimeout(a.Network(), a.String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		c := r.wrap(nc, packet.V5)
		held = append(held, c)
		c.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: fmt.Sprint("c", i)})
		want := packet.Success
		if i >= 3 {
			want = packet.ServerBusy
		}
		if ack := expect[*packet.Connack](c); ack.Reason != want {
			t.Errorf("connection %d by %s: %v", i, a.Network(), ack.Reason)
		}
	}
	for _, c := range held {
		c.close()
	}
	await(t, "all are gone", func() bool { return r.Stats().Connected == 0 })
	r.unharmed()
}

// causeWillMatrix: when a will comes, by its delay, the end of the session and
// how the client left.
func causeWillMatrix(t *testing.T) {
	type will struct {
		name          string
		delay, expiry uint32
		leave         func(r *rig, c *client)
		comes         bool
	}
	vanish := func(_ *rig, c *client) { c.close() }
	goodbye := func(_ *rig, c *client) {
		c.send(&packet.Disconnect{})
		c.expectClosed(packet.Success)
	}
	for _, w := range []will{
		{"vanished, no delay, no expiry", 0, 0, vanish, true},
		{"vanished, no delay, session stays", 0, 60, vanish, true},
		{"vanished, session ends before the delay", 60, 0, vanish, true},
		{"vanished, session ends in the midst of the delay", 60, 1, vanish, true},
		{"vanished, delay over before the session", 1, 60, vanish, true},
		{"said goodbye", 0, 60, goodbye, false},
		{"said goodbye with will", 0, 0, func(_ *rig, c *client) { c.send(&packet.Disconnect{Reason: packet.DisconnectWithWill}) }, true},
		{"said nonsense", 0, 0, func(_ *rig, c *client) { c.write([]byte{0xF1, 0}) }, true},
		{"came back in the delay", 60, 60, func(r *rig, c *client) { r.connect(packet.V5, "w", keep) }, false},
		{"came back anew", 60, 60, func(r *rig, c *client) { r.connect(packet.V5, "w") }, true},
	} {
		t.Run(w.name, func(t *testing.T) {
			r := start(t, Config{})
			watch, _ := r.connect(packet.V5, "watch")
			watch.subscribe(0, "will")
			c, _ := r.connect(packet.V5, "w", with(packet.PropSessionExpiry, w.expiry), func(p *packet.Connect) {
				p.Will = &packet.Will{Topic: "will", Payload: []byte("gone")}
				if w.delay > 0 {
					p.Will.Properties.SetUint(packet.PropWillDelay, w.delay)
				}
			})
			w.leave(r, c)
			if w.comes {
				watch.expectMessage("gone")
				return
			}
			watch.silent()
		})
	}
}
