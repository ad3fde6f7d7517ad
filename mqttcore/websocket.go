package mqttcore

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/coder/websocket"
)

const (
	webPath     = "/mqtt"  // where MQTT is; also at /
	requestSize = 8 << 10  // largest request to become a WebSocket, in bytes
	webMessage  = 16 << 10 // largest message to a client, in bytes: some take no more than 32 KiB
	webRead     = 4 << 10  // most that is read at once: a larger read waits until the client has sent all of it
	webReadBuf  = 2 << 10
	webWriteBuf = 1 << 10 // above the largest answer of WebSocket's own, which must be written at once
)

// subprotocols are those that a client may offer (MQTT-6.0.0-3); the second
// is that of MQTT 3.1.
var subprotocols = []string{"mqtt", "mqttv3.1"}

var errNotBinary = errors.New("a WebSocket message that is text: MQTT is sent in binary ones") // MQTT-6.0.0-1

// webConn carries MQTT in the binary messages of a WebSocket (RFC 6455). How
// packets and messages are cut has nothing to do with each other.
type webConn struct {
	net.Conn // below: the carrier, or TLS on it
	ws       *websocket.Conn
	message  io.Reader // being read; nil: none
	foreign  bool      // it speaks for somebody on another machine, perhaps
}

// upgrade reads the request to become a WebSocket and answers it.
func (w *webConn) upgrade() error {
	bounded := &io.LimitedReader{R: w.Conn, N: requestSize}
	br := bufio.NewReaderSize(bounded, webReadBuf)
	if head, _ := br.Peek(4); len(head) > 0 {
		if is := spoken(head); is != "" && is != "HTTP" {
			return &misdial{is: is}
		}
	}
	req, err := http.ReadRequest(br)
	if err != nil {
		if bounded.N <= 0 {
			err = fmt.Errorf("request of more than %d bytes", requestSize)
		}
		return fmt.Errorf("no WebSocket: %w", err)
	}
	bounded.N = 1 << 62
	a := &response{conn: w.Conn, buf: bufio.NewReadWriter(br, bufio.NewWriterSize(w.Conn, webWriteBuf)), header: http.Header{}}
	if err := w.judge(req); err != nil {
		http.Error(a, err.text, err.status)
		return errors.Join(err, a.buf.Flush())
	}
	w.foreign = speaksForOthers(req)
	w.ws, err = websocket.Accept(a, req, &websocket.AcceptOptions{
		Subprotocols:       subprotocols,
		InsecureSkipVerify: true, // judge has looked: it leaves the port aside
		OnPingReceived: func(context.Context, []byte) bool {
			return !w.unread() // who does not read pongs gets none
		},
	})
	switch {
	case err == nil:
	case req.Header.Get("Upgrade") == "":
		return errors.Join(&misdial{is: "HTTP", err: err}, a.buf.Flush())
	default:
		return errors.Join(&refusal{http.StatusBadRequest, "bad request", err.Error()}, a.buf.Flush())
	}
	w.ws.SetReadLimit(-1) // the limits are those of MQTT
	return nil
}

// refusal is an answer of HTTP's.
type refusal struct {
	status     int
	kind, text string
}

func (e *refusal) Error() string { return "no WebSocket: " + e.text }

// judge looks at what the library does not, or differently.
func (w *webConn) judge(req *http.Request) *refusal {
	if req.URL.Path != webPath && req.URL.Path != "/" {
		return &refusal{http.StatusNotFound, "wrong path", "MQTT is at " + webPath}
	}
	if req.Header.Get("Upgrade") == "" {
		return nil // the library words it
	}
	if origin := req.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Hostname() == "" || !strings.EqualFold(u.Hostname(), hostOf(req.Host)) {
			return &refusal{http.StatusForbidden, "page of another host", fmt.Sprintf("a page of %q may not connect to %q", origin, req.Host)}
		}
	}
	for _, offered := range strings.Split(strings.Join(req.Header.Values("Sec-Websocket-Protocol"), ","), ",") {
		for _, ours := range subprotocols {
			if strings.EqualFold(strings.TrimSpace(offered), ours) {
				return nil
			}
		}
	}
	return &refusal{http.StatusBadRequest, "not for MQTT", `offer the subprotocol "mqtt"`}
}

// speaksForOthers says that a request may come from another machine although
// its connection does not: a proxy passed it on, or a page from elsewhere whose
// name was made to point here makes the browser ask.
func speaksForOthers(req *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if req.Header.Get(h) != "" {
			return true
		}
	}
	if req.Header.Get("Origin") == "" {
		return false
	}
	host := hostOf(req.Host)
	ip, err := netip.ParseAddr(host)
	return !strings.EqualFold(host, "localhost") && (err != nil || !ip.IsLoopback())
}

// hostOf is a Host header without its port.
func hostOf(s string) string {
	u := url.URL{Host: s}
	return u.Hostname()
}

// unread says that what was written waits for the client.
func (w *webConn) unread() bool {
	below := w.Conn
	if t, ok := below.(*tls.Conn); ok {
		below = t.NetConn()
	}
	return below.(*carrier).waiting() > webMessage
}

func (w *webConn) Read(p []byte) (int, error) {
	for {
		if w.message == nil {
			kind, r, err := w.ws.Reader(context.Background())
			if err != nil {
				switch websocket.CloseStatus(err) {
				case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
					err = io.EOF
				}
				return 0, err
			}
			if kind != websocket.MessageBinary {
				return 0, errNotBinary
			}
			w.message = r
		}
		n, err := w.message.Read(p[:min(len(p), webRead)])
		if err == io.EOF {
			w.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (w *webConn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		step := p[done:min(done+webMessage, len(p))]
		if err := w.ws.Write(context.Background(), websocket.MessageBinary, step); err != nil {
			return done, err
		}
		done += len(step)
	}
	return done, nil
}

// bye sends the close frame. It does not wait for that of the client.
func (w *webConn) bye(why error) {
	if w.ws == nil {
		return
	}
	code := websocket.StatusPolicyViolation
	var said *goodbye
	switch {
	case errors.Is(why, errNormal), errors.Is(why, io.EOF):
		code = websocket.StatusNormalClosure
	case errors.Is(why, errNotBinary):
		code = websocket.StatusUnsupportedData
	case errors.As(why, &said) && said.leaving():
		code = websocket.StatusGoingAway
	}
	_ = w.ws.Close(code, "") // fails: the carrier gives no more bytes
}

// ConnectionState is that of TLS below, if there is.
func (w *webConn) ConnectionState() tls.ConnectionState {
	if t, ok := w.Conn.(*tls.Conn); ok {
		return t.ConnectionState()
	}
	return tls.ConnectionState{}
}

// response writes the answer to the one request of a connection and hands the
// connection over.
type response struct {
	conn   net.Conn
	buf    *bufio.ReadWriter
	header http.Header
	begun  bool
}

func (a *response) Header() http.Header { return a.header }

func (a *response) WriteHeader(status int) {
	if a.begun {
		return
	}
	a.begun = true
	if status != http.StatusSwitchingProtocols {
		a.header.Set("Connection", "close")
	}
	_, _ = fmt.Fprintf(a.buf, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = a.header.Write(a.buf)
	_, _ = a.buf.WriteString("\r\n")
}

func (a *response) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.buf.Write(p)
}

func (a *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return layer{a.conn}, a.buf, a.buf.Flush()
}

// layer is a connection whose end is not for the layer above to decide.
type layer struct{ net.Conn }

func (layer) Close() error { return nil }
