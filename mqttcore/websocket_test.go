package mqttcore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sluice/mqttcore/packet"
)

// webOnly listens on WebSocket only.
var webOnly = []string{"ws://127.0.0.1:0"}

// frame is a masked frame of a WebSocket (RFC 6455, 5.2); the first byte is
// FIN and opcode.
func frame(first byte, payload []byte) []byte {
	b := []byte{first, 0x80}
	switch n := len(payload); {
	case n < 126:
		b[1] |= byte(n)
	case n < 1<<16:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, x := range payload {
		b = append(b, x^mask[i%4])
	}
	return b
}

// rawWeb opens a WebSocket of which the test sees every frame.
func (r *rig) rawWeb() *client {
	r.t.Helper()
	c := r.dialPlain(0)
	c.write([]byte(upgradeOf("/mqtt", "Sec-WebSocket-Protocol: mqtt")))
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("%v %v", resp, err)
	}
	return c
}

func upgradeOf(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost:9001\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
}

// frameFrom reads a frame of the broker.
func (c *client) frameFrom() (first byte, payload []byte) {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.in, head); err != nil {
		c.t.Fatal("no frame: ", err)
	}
	n := uint64(head[1])
	size := make([]byte, map[uint64]int{126: 2, 127: 8}[n])
	if _, err := io.ReadFull(c.in, size); err != nil {
		c.t.Fatal(err)
	}
	if len(size) > 0 {
		n = 0
		for _, x := range size {
			n = n<<8 | uint64(x)
		}
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(c.in, payload); err != nil {
		c.t.Fatal(err)
	}
	return head[0], payload
}

const (
	binaryFrame = 0x82
	closeFrame  = 0x88
)

func (c *client) expectWebFrame(first byte, payload []byte) {
	c.t.Helper()
	f, p := c.frameFrom()
	if f != first || !bytes.Equal(p, payload) {
		c.t.Fatalf("got frame %#x % x, want %#x % x", f, p, first, payload)
	}
}

// expectClose wants the close frame with a status, then the end.
func (c *client) expectClose(status websocket.StatusCode) {
	c.t.Helper()
	f, p := c.frameFrom()
	if f != closeFrame || len(p) < 2 || websocket.StatusCode(binary.BigEndian.Uint16(p)) != status {
		c.t.Fatalf("got frame %#x % x, want the close frame with %v", f, p, status)
	}
	if n, err := c.in.Read(make([]byte, 1)); err == nil {
		c.t.Fatalf("%d bytes after the close frame", n)
	}
}

// TestWebSocketFrames: packets and frames are cut independently of each other
// (MQTT-6.0.0-2).
func TestWebSocketFrames(t *testing.T) {
	hello := (&packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "c"}).Append(nil, packet.V311)
	ping := []byte{0xc0, 0}
	ack, pong := []byte{0x20, 2, 0, 0}, []byte{0xd0, 0}
	r := start(t, Config{Listen: webOnly})
	t.Run("a byte to each frame", func(t *testing.T) {
		c := r.in(t).rawWeb()
		for _, b := range hello {
			c.write(frame(binaryFrame, []byte{b}))
		}
		c.expectWebFrame(binaryFrame, ack)
		c.write(frame(binaryFrame, ping[:1]))
		c.write(frame(binaryFrame, nil)) // an empty one between
		c.write(frame(binaryFrame, ping[1:]))
		c.expectWebFrame(binaryFrame, pong)
		c.write(frame(closeFrame, []byte{3, 232}))
		c.expectClose(websocket.StatusNormalClosure)
	})
	t.Run("many packets in a frame, and a part of the next", func(t *testing.T) {
		c := r.in(t).rawWeb()
		c.write(frame(binaryFrame, append(append(bytes.Clone(hello), ping...), ping[0])))
		var got []byte
		for len(got) < 6 {
			_, p := c.frameFrom()
			got = append(got, p...)
		}
		if !bytes.Equal(got, append(bytes.Clone(ack), pong...)) {
			t.Fatalf("got % x", got)
		}
		c.write(frame(binaryFrame, ping[1:]))
		c.expectWebFrame(binaryFrame, pong)
	})
	t.Run("fragments with a ping between", func(t *testing.T) {
		c := r.in(t).rawWeb()
		c.write(frame(0x02, hello[:5])) // not the last
		c.write(frame(0x89, []byte("hi")))
		c.expectWebFrame(0x8a, []byte("hi"))
		c.write(frame(0x80, hello[5:]))
		c.expectWebFrame(binaryFrame, ack)
	})
	t.Run("bytes of a frame one by one", func(t *testing.T) {
		c := r.in(t).rawWeb()
		for _, b := range frame(binaryFrame, hello) {
			c.write([]byte{b})
		}
		c.expectWebFrame(binaryFrame, ack)
	})
	t.Run("frames right behind the request", func(t *testing.T) {
		c := r.in(t).dialPlain(0)
		c.write(append([]byte(upgradeOf("/", "Sec-WebSocket-Protocol: mqttv3.1, mqtt")), frame(binaryFrame, hello)...))
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-Websocket-Protocol") != "mqtt" {
			t.Fatalf("%v %v", resp, err)
		}
		c.expectWebFrame(binaryFrame, ack)
	})
	for name, bad := range map[string]struct {
		frames []byte
		status websocket.StatusCode
	}{
		"text (MQTT-6.0.0-1)":       {frame(0x81, ping), websocket.StatusUnsupportedData},
		"a reserved opcode":         {frame(0x83, ping), websocket.StatusProtocolError},
		"a continuation of nothing": {frame(0x80, ping), websocket.StatusProtocolError},
		"a reserved bit":            {frame(0xc2, ping), websocket.StatusProtocolError},
		"not masked":                {append([]byte{binaryFrame, 2}, ping...), websocket.StatusPolicyViolation},
		"a packet from the server":  {frame(binaryFrame, ack), websocket.StatusPolicyViolation},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.in(t).rawWeb()
			c.write(frame(binaryFrame, hello))
			c.expectWebFrame(binaryFrame, ack)
			c.write(bad.frames)
			c.expectClose(bad.status)
		})
	}
	t.Run("a length beyond the frame", func(t *testing.T) {
		c := r.in(t).rawWeb()
		c.write(frame(binaryFrame, hello))
		c.expectWebFrame(binaryFrame, ack)
		c.write(frame(binaryFrame, []byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0}))
		c.expectClose(websocket.StatusPolicyViolation)
	})
}

// TestWebSocketRequests: who may become a WebSocket.
func TestWebSocketRequests(t *testing.T) {
	const mqtt = "Sec-WebSocket-Protocol: mqtt"
	tests := []struct {
		name, request string
		status        int
	}{
		{"at /", upgradeOf("/", mqtt), 101},
		{"at /mqtt with a query", upgradeOf("/mqtt?x=1", mqtt), 101},
		{"elsewhere", upgradeOf("/other", mqtt), 404},
		{"MQTT 3.1", upgradeOf("/mqtt", "Sec-WebSocket-Protocol: mqttv3.1"), 101},
		{"another subprotocol", upgradeOf("/mqtt", "Sec-WebSocket-Protocol: chat"), 400},
		{"no subprotocol", upgradeOf("/mqtt", "X-Y: z"), 400},
		{"a page from here", upgradeOf("/mqtt", mqtt, "Origin: http://localhost:8080"), 101},
		{"a page from elsewhere", upgradeOf("/mqtt", mqtt, "Origin: http://evil.example"), 403},
		{"a page from a file", upgradeOf("/mqtt", mqtt, "Origin: null"), 403},
		{"an old version", strings.Replace(upgradeOf("/mqtt", mqtt), "Version: 13", "Version: 8", 1), 400},
		{"POST", strings.Replace(upgradeOf("/mqtt", mqtt), "GET", "POST", 1), 405},
		{"HTTP/1.0", strings.Replace(upgradeOf("/mqtt", mqtt), "HTTP/1.1", "HTTP/1.0", 1), 426},
		{"a web page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426},
	}
	r, log := startLogged(t, Config{Listen: webOnly})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := r.in(t).dialPlain(0)
			c.write([]byte(tt.request))
			_ = c.nc.SetReadDeadline(time.Now().Add(patience))
			resp, err := http.ReadResponse(c.in, nil)
			if err != nil || resp.StatusCode != tt.status {
				t.Fatalf("%v %v, want %d", resp, err, tt.status)
			}
			if tt.status == 101 {
				return
			}
			if body, err := io.ReadAll(resp.Body); err != nil || len(body) == 0 {
				t.Errorf("the body is %q, %v", body, err)
			}
		})
	}
	for _, huge := range []string{"GET /" + strings.Repeat("x", 10_000), upgradeOf("/mqtt", mqtt, "X: "+strings.Repeat("y", 10_000))} {
		c := r.dialPlain(0)
		c.write([]byte(huge))
		if b, err := io.ReadAll(c.nc); err != nil && !isReset(err) || len(b) > 0 {
			t.Errorf("a huge request got %q, %v", b, err)
		}
	}
	if n := len(log.warnings()); n != 5 { // of each kind one
		t.Errorf("%d warnings:\n%s", n, log.text())
	}
}

// TestWebSocketFromElsewhere: who speaks for another machine is not taken for
// one of this.
func TestWebSocketFromElsewhere(t *testing.T) {
	r := start(t, Config{Listen: webOnly})
	for header, want := range map[string]packet.Reason{
		"X-Y: z":                              packet.Success,
		"Origin: http://localhost":            packet.Success,
		"X-Forwarded-For: 192.0.2.1":          packet.NotAuthorized,
		"Forwarded: for=192.0.2.1":            packet.NotAuthorized,
		"Origin: http://rebound.example:8080": packet.NotAuthorized,
	} {
		c := r.dialPlain(0)
		request := upgradeOf("/mqtt", "Sec-WebSocket-Protocol: mqtt", header)
		if strings.Contains(header, "rebound") {
			request = strings.Replace(request, "Host: localhost", "Host: rebound.example", 1)
		}
		hello := (&packet.Connect{Version: packet.V5, CleanStart: true}).Append(nil, packet.V5)
		c.write(append([]byte(request), frame(binaryFrame, hello)...))
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %v %v", header, resp, err)
		}
		_, p := c.frameFrom()
		if got := packet.Reason(p[3]); p[0] != 0x20 || got != want {
			t.Errorf("%s: %v, want %v", header, got, want)
		}
	}
}

// TestWebSocketPings: who does not read pongs costs no memory and no one else.
func TestWebSocketPings(t *testing.T) {
	r := start(t, Config{Listen: webOnly, WriteTimeout: 200 * time.Millisecond})
	c := r.rawWeb()
	c.write(frame(binaryFrame, (&packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "c"}).Append(nil, packet.V311)))
	c.expectWebFrame(binaryFrame, []byte{0x20, 2, 0, 0})
	deaf := r.sessionOf("c").conn.Load()
	flood := bytes.Repeat(frame(0x89, make([]byte, 125)), 1000)
	most := 0
	for range 200 { // 26 MB
		_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.nc.Write(flood); err != nil {
			break // disconnected, as it took no bytes
		}
		most = max(most, deaf.carrier.waiting())
	}
	if most > answersLimit {
		t.Errorf("%d bytes of pongs wait", most)
	}
	good := r.rawWeb()
	good.write(frame(binaryFrame, (&packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "d"}).Append(nil, packet.V311)))
	good.expectWebFrame(binaryFrame, []byte{0x20, 2, 0, 0})
	for i := range 10 {
		ping := fmt.Appendf(nil, "%d", i)
		good.write(frame(0x89, ping))
		good.expectWebFrame(0x8a, ping)
	}
}

// TestWebSocketMessageSize: what the broker sends fits clients that take no
// more than 32 KiB in a message.
func TestWebSocketMessageSize(t *testing.T) {
	r := start(t, Config{Listen: webOnly})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, r.URLs()[0], &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	large := message("a", strings.Repeat("x", 200_000), 0, 0)
	var b []byte
	for _, p := range []packet.Packet{&packet.Connect{Version: packet.V5, CleanStart: true}, &packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("a")}}}, large} {
		b = p.Append(b, packet.V5)
	}
	if err := ws.Write(ctx, websocket.MessageBinary, b); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < 200_000; {
		_, p, err := ws.Read(ctx) // with the limit of 32 KiB that the library has
		if err != nil {
			t.Fatal(err)
		}
		got += len(p)
	}
}
