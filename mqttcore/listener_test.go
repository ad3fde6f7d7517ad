package mqttcore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sluice/mqttcore/packet"
)

// schemes are all that a broker can listen on.
var schemes = []string{"tcp", "tls", "ws", "wss", "unix"}

// everywhere is a configuration that listens on all of them, in this order.
func everywhere(t testing.TB, a *authority) Config {
	t.Helper()
	cert, key := a.issue("server", 50)
	return Config{Cert: cert, Key: key, Listen: []string{
		"tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:0",
		"unix://" + filepath.Join(t.TempDir(), "mqtt.sock"),
	}}
}

// dialURL opens a connection to one of the listeners.
func (r *rig) dialURL(v packet.Version, where string, trust *tls.Config) (*client, error) {
	u, err := url.Parse(where)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var nc net.Conn
	switch u.Scheme {
	case "mqtt":
		nc, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	case "unix":
		nc, err = new(net.Dialer).DialContext(ctx, "unix", u.Path)
	case "mqtts":
		nc, err = (&tls.Dialer{Config: trust}).DialContext(ctx, "tcp", u.Host)
	default:
		var ws *websocket.Conn
		ws, _, err = websocket.Dial(ctx, where, &websocket.DialOptions{Subprotocols: []string{"mqtt"},
			HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}})
		if err == nil {
			if ws.Subprotocol() != "mqtt" {
				r.t.Errorf("MQTT-6.0.0-4: the subprotocol is %q", ws.Subprotocol())
			}
			nc = webEnd{websocket.NetConn(context.Background(), ws, websocket.MessageBinary)}
			r.t.Cleanup(func() { _ = ws.CloseNow() })
		}
	}
	if err != nil {
		return nil, err
	}
	return r.wrap(nc, v), nil
}

// webEnd is a WebSocket that ends like a socket, however it was closed.
type webEnd struct{ net.Conn }

func (c webEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if websocket.CloseStatus(err) != -1 {
		err = io.EOF
	}
	return n, err
}

// mustDial is dialURL to the i-th of schemes.
func (r *rig) mustDial(v packet.Version, i int, trust *tls.Config) *client {
	r.t.Helper()
	c, err := r.dialURL(v, r.URLs()[i], trust)
	if err != nil {
		r.t.Fatalf("%s: %v", schemes[i], err)
	}
	return c
}

// TestListeners sends messages of all sizes from each kind of listener to each.
func TestListeners(t *testing.T) {
	ca := newAuthority(t, "authority")
	r := start(t, everywhere(t, ca))
	if n := len(r.Addrs()); n != len(schemes) {
		t.Fatalf("%d addresses", n)
	}
	trust := ca.trusting("")
	large := strings.Repeat("0123456789abcdef", 20<<10) // 320 KiB
	for i, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			r := r.in(t)
			for _, v := range versions {
				sub := r.mustDial(v, i, trust)
				sub.hello("sub", keep)
				sub.subscribe(2, "x/#")
				for j := range schemes {
					pub := r.mustDial(v, j, trust)
					pub.hello("pub")
					pub.send(message("x/0", "small", 0, 0), message("x/1", large, 1, 7), message("x/2", "", 2, 8))
					pub.expectAck(packet.PUBACK, 7, packet.Success)
					pub.expectAck(packet.PUBREC, 8, packet.Success)
					pub.send(answer(packet.PUBREL, 8))
					pub.expectAck(packet.PUBCOMP, 8, packet.Success)
					pub.send(&packet.Disconnect{})
					pub.close()
					sub.expectFlow("small", large)
				}
				sub.close()
			}
		})
	}
}

// expectFlow reads what TestListeners sends, at QoS 0, 1 and 2, in whatever
// order the first comes to the others.
func (c *client) expectFlow(small, large string) {
	c.t.Helper()
	got := map[string]bool{}
	for len(got) < 3 {
		p := expect[*packet.Publish](c)
		got[string(p.Payload)] = true
		switch p.QoS {
		case 1:
			c.send(answer(packet.PUBACK, p.PacketID))
		case 2:
			c.send(answer(packet.PUBREC, p.PacketID))
			if a := expect[*packet.Ack](c); a.Type != packet.PUBREL || a.PacketID != p.PacketID {
				c.t.Fatalf("got %+v, want PUBREL", a)
			}
			c.send(answer(packet.PUBCOMP, p.PacketID))
		}
	}
	if !got[small] || !got[large] || !got[""] {
		c.t.Fatal("other messages came")
	}
}

// TestListenersFlood sends many messages at once through each kind, both ways,
// to a client that begins to read only when nothing more can be sent.
func TestListenersFlood(t *testing.T) {
	ca := newAuthority(t, "authority")
	cfg := everywhere(t, ca)
	r := start(t, cfg)
	trust := ca.trusting("")
	const count = 10_000
	one := message("flood/topic", strings.Repeat("x", 400), 0, 0).Append(nil, packet.V5)
	for i, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			c := r.in(t).mustDial(packet.V5, i, trust)
			c.hello("c")
			c.subscribe(0, "flood/#")
			sent := make(chan error, 1)
			go func() {
				for range count / 100 {
					if _, err := c.nc.Write(bytes.Repeat(one, 100)); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			for range count {
				expect[*packet.Publish](c)
			}
			c.silent()
			c.close()
		})
	}
}

// TestListenersGoodbye: clients of every kind are told why it ends.
func TestListenersGoodbye(t *testing.T) {
	ca := newAuthority(t, "authority")
	r := start(t, everywhere(t, ca))
	trust := ca.trusting("")
	var all []*client
	for i, scheme := range schemes {
		c := r.mustDial(packet.V5, i, trust)
		c.hello(scheme)
		all = append(all, c)

		other := r.mustDial(packet.V5, i, trust)
		other.hello("wrong")
		other.write([]byte{0x20, 0}) // CONNACK is for us to send
		if d := expect[*packet.Disconnect](other); !d.Reason.Failed() {
			t.Errorf("%s: %v", scheme, d.Reason)
		}
		if p := other.read(); p != nil {
			t.Errorf("%s: %T after DISCONNECT", scheme, p)
		}
	}
	r.stop()
	for i, c := range all {
		if d := expect[*packet.Disconnect](c); d.Reason != packet.ServerShuttingDown {
			t.Errorf("%s: %v", schemes[i], d.Reason)
		}
		if _, err := c.next(patience); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the end is %v", schemes[i], err)
		}
	}
}

// TestListenersLimits: limits hold for every kind.
func TestListenersLimits(t *testing.T) {
	ca := newAuthority(t, "authority")
	cfg := everywhere(t, ca)
	cfg.MaxConnections, cfg.MaxPacketSize = 1, 1000
	r := start(t, cfg)
	trust := ca.trusting("")
	for i, scheme := range schemes {
		first := r.mustDial(packet.V5, i, trust)
		first.hello("first")
		for j := range schemes {
			second := r.mustDial(packet.V5, j, trust)
			second.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "second"})
			if ack := expect[*packet.Connack](second); ack.Reason != packet.ServerBusy {
				t.Errorf("%s beside %s: %v", schemes[j], scheme, ack.Reason)
			}
			second.close()
		}
		first.send(message("a", strings.Repeat("x", 1000), 0, 0))
		first.expectClosed(packet.PacketTooLarge)
		first.close()
		await(t, "the first is gone", func() bool { return r.Stats().Connected == 0 })

		large := r.mustDial(packet.V5, i, trust)
		large.write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f}) // CONNECT of 256 MiB
		if p := large.read(); p != nil {
			t.Errorf("%s: a huge CONNECT got %T", scheme, p)
		}
	}
}

// TestListenersTimeout: who does not come to the point is let go.
func TestListenersTimeout(t *testing.T) {
	ca := newAuthority(t, "authority")
	cfg := everywhere(t, ca)
	cfg.ConnectTimeout = 50 * time.Millisecond
	r := start(t, cfg)
	begun := map[string]string{"tls": "\x16\x03\x01\x02\x00\x01", "wss": "\x16\x03\x01", "ws": "GET /mqtt HTTP/1.1\r\nHost: x\r\n", "tcp": "\x10\x20\x00\x04", "unix": "\x10"}
	for i, scheme := range schemes {
		for _, first := range []string{"", begun[scheme]} {
			a := r.Addrs()[i]
			nc, err := net.Dial(a.Network(), a.String())
			if err != nil {
				t.Fatal(err)
			}
			c := r.wrap(nc, packet.V5)
			c.write([]byte(first))
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, nc); err != nil && !isReset(err) {
				t.Errorf("%s after %q: %v", scheme, first, err)
			}
		}
	}
	await(t, "no connection is left", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.conns) == 0
	})
	// The time that is over in the handshake is not given again for CONNECT.
	trust := ca.trusting("")
	for i, scheme := range schemes {
		c := r.mustDial(packet.V5, i, trust)
		if p := c.read(); p != nil {
			t.Errorf("%s: %T", scheme, p)
		}
	}
}

// TestLayersKeepAlive: deadlines break no read that TLS or WebSocket has begun.
func TestLayersKeepAlive(t *testing.T) {
	ca := newAuthority(t, "authority")
	cert, key := ca.issue("server", 50)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	trust := ca.trusting("")
	for _, scheme := range []string{"tls", "ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, b *Broker, dial func(packet.Version) *client) {
				here, there := net.Pipe()
				defer func() { _ = here.Close() }()
				l := &listener{endpoint: endpoint{scheme: scheme}}
				if l.secure() {
					l.tls = &tls.Config{Certificates: []tls.Certificate{pair}, Time: nowForReal, SessionTicketsDisabled: true}
				}
				c := newConn(b, there)
				c.comeThrough(l)
				b.take(c)
				nc := net.Conn(here)
				if l.secure() {
					trust := trust.Clone()
					trust.Time = nowForReal
					nc = tls.Client(here, trust)
				}
				if l.web() {
					nc = dialOver(t, nc)
				}
				client := (&rig{t: t}).wrap(nc, packet.V5)
				client.hello("c", func(p *packet.Connect) { p.KeepAlive = 10 })
				for range 5 {
					time.Sleep(14 * time.Second) // fake: no time passes
					client.silent()
				}
				// A packet in two halves, with a deadline between them.
				half := message("a", "b", 1, 1).Append(nil, packet.V5)
				client.write(half[:3])
				time.Sleep(14 * time.Second)
				client.write(half[3:])
				client.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
				start := time.Now()
				d, err := client.next(time.Minute)
				if got, ok := d.(*packet.Disconnect); err != nil || !ok || got.Reason != packet.KeepAliveTimeout {
					t.Errorf("got %+v, %v", d, err)
				}
				if took := time.Since(start); took != 15*time.Second {
					t.Errorf("ended after %v, want 15 s", took)
				}
			})
		})
	}
}

// nowForReal stands still at the time of the certificates, as a bubble begins
// in the past.
func nowForReal() time.Time { return began }

var began = time.Now()

// dialOver speaks WebSocket on a connection.
func dialOver(t *testing.T, nc net.Conn) net.Conn {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil }}
	ws, _, err := websocket.Dial(t.Context(), "ws://localhost/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Fatal(err)
	}
	return websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
}

func TestParseEndpoint(t *testing.T) {
	for s, want := range map[string]string{
		"tcp://127.0.0.1:1883":                "",
		"tls://:8883":                         "",
		"ws://[::1]:0":                        "",
		"wss://host:9001":                     "",
		"unix:///run/sluice/mqtt.sock":        "",
		"unix://mqtt.sock":                    "",
		"mqtt://127.0.0.1:1883":               "does not begin with tcp://",
		"127.0.0.1:1883":                      "does not begin with tcp://",
		"tcp://127.0.0.1":                     "write tcp://host:port",
		"ws://127.0.0.1:80/mqtt":              "write ws://host:port",
		"tls://127.0.0.1:":                    "write tls://host:port",
		"unix://":                             "names no file",
		"unix:///" + strings.Repeat("x", 107): "107 bytes at most",
		"unix:///" + strings.Repeat("x", 106): "",
		"unix:///a\x00b":                      "no path",
	} {
		switch _, err := parseEndpoint(s); {
		case err == nil && want != "":
			t.Errorf("%q is accepted, want: %s", s, want)
		case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}

// dialPlain opens a socket to the i-th of schemes and speaks nothing on it.
func (r *rig) dialPlain(i int) *client {
	r.t.Helper()
	a := r.Addrs()[i]
	nc, err := net.DialTimeout(a.Network(), a.String(), patience)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.wrap(nc, packet.V5)
}
