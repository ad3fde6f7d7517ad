package mqttcore

import (
	"bufio"
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sluice/mqttcore/packet"
)

// webClient is a client over WebSocket, frame by frame.
type webClient struct {
	*client
	ws *websocket.Conn
}

// dialWeb opens a WebSocket with these subprotocols on offer.
func (r *rig) dialWeb(ctx context.Context, offered ...string) (*websocket.Conn, error) {
	ws, _, err := websocket.Dial(ctx, "ws://"+r.addr()+"/mqtt", &websocket.DialOptions{Subprotocols: offered})
	return ws, err
}

// webHello connects a client over WebSocket.
func (r *rig) webHello(v packet.Version) *webClient {
	r.t.Helper()
	ws, err := r.dialWeb(r.t.Context(), "mqtt")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	r.t.Cleanup(cancel)
	nc := websocket.NetConn(ctx, ws, websocket.MessageBinary) // takes no other frames
	c := &webClient{client: &client{t: r.t, nc: nc, in: bufio.NewReader(nc), v: v}, ws: ws}
	c.hello("")
	return c
}

// webFrames shows MQTT-6.0.0-1: binary frames, and no others.
func webFrames(v packet.Version) func(*rig) {
	return func(r *rig) {
		ctx, cancel := context.WithTimeout(r.t.Context(), patience)
		defer cancel()
		w := r.webHello(v)
		w.subscribe(0, "web/text")
		c := r.webHello(v)
		publish := message("web/text", "x", 0, 0).Append(nil, v)
		if err := c.ws.Write(ctx, websocket.MessageText, publish); err != nil {
			r.t.Fatal(err)
		}
		p, err := c.next(patience)
		if _, ok := p.(*packet.Disconnect); ok { // MQTT 5 may say it
			_, err = c.next(patience)
		}
		if status := websocket.CloseStatus(err); status != websocket.StatusUnsupportedData {
			r.t.Errorf("ended with %v, %v, want the status %v", status, err, websocket.StatusUnsupportedData)
		}
		w.silent()
	}
}

// webCuts shows MQTT-6.0.0-2: packets and frames are cut independently.
func webCuts(v packet.Version) func(*rig) {
	return func(r *rig) {
		c := r.webHello(v)
		sub := &packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("web/cut")}}}
		for _, b := range sub.Append(nil, v) {
			c.write([]byte{b}) // one frame each
		}
		expect[*packet.Suback](c.client)
		large := string(bytes.Repeat([]byte("large"), 20000))
		var all []byte
		for _, payload := range []string{"one", "two", large, "four"} {
			all = message("web/cut", payload, 0, 0).Append(all, v)
		}
		all = append(all, packet.PingreqPacket...)
		c.write(all[:50003])
		c.write(all[50003:])
		for _, payload := range []string{"one", "two", large, "four"} {
			c.expectMessage(payload)
		}
		expect[*packet.Ping](c.client)
	}
}

// webName shows MQTT-6.0.0-4: the subprotocol selected is mqtt.
func webName(r *rig) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for _, offered := range [][]string{{"mqtt"}, {"chat", "mqtt"}, {"mqtt", "mqttv3.1"}} {
		ws, err := r.dialWeb(ctx, offered...)
		if err != nil {
			r.t.Fatal(err)
		}
		if got := ws.Subprotocol(); got != "mqtt" {
			r.t.Errorf("of %q the broker selects %q", offered, got)
		}
		_ = ws.CloseNow()
	}
	if ws, err := r.dialWeb(ctx, "chat"); err == nil {
		r.t.Errorf("of chat alone the broker selects %q", ws.Subprotocol())
		_ = ws.CloseNow()
	}
}

// startWeb runs a broker that listens for WebSocket.
func startWeb(t testing.TB) *rig {
	return start(t, Config{SysInterval: -1, Listen: []string{"ws://127.0.0.1:0"}, ConnectTimeout: time.Minute})
}
