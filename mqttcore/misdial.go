package mqttcore

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// misdial is a connection in another protocol than its listener's.
type misdial struct {
	is  string // what the client speaks: TLS, HTTP or MQTT
	err error
}

func (e *misdial) Error() string {
	if e.err != nil {
		return fmt.Sprintf("client speaks %s: %v", e.is, e.err)
	}
	return "client speaks " + e.is
}

func (e *misdial) Unwrap() error { return e.err }

// methods are how requests of HTTP begin.
var methods = [][]byte{[]byte("GET "), []byte("HEAD"), []byte("POST"), []byte("PUT "), []byte("OPTI"), []byte("CONN"), []byte("PRI ")}

// spoken tells a protocol by its first bytes; empty: not known.
func spoken(b []byte) string {
	if len(b) >= 2 && b[0] == 0x16 && b[1] == 3 { // handshake record (RFC 8446, 5.1)
		return "TLS"
	}
	if len(b) >= 1 && b[0] == 0x10 { // CONNECT (MQTT 5.0, 2.1)
		return "MQTT"
	}
	if len(b) >= 4 {
		for _, m := range methods {
			if bytes.HasPrefix(b, m) {
				return "HTTP"
			}
		}
	}
	return ""
}

// hints tell what to do about a client that speaks the first on a listener of
// the second.
var hints = map[[2]string]string{
	{"TLS", "tcp"}:   "let the client connect without TLS, or listen on tls:// too",
	{"TLS", "unix"}:  "let the client connect without TLS",
	{"TLS", "ws"}:    "let the client use ws://, or listen on wss:// too",
	{"HTTP", "tcp"}:  "this port is no web page; for MQTT in a browser listen on ws:// too",
	{"HTTP", "unix"}: "this socket is no web page",
	{"HTTP", "tls"}:  "this port is no web page; for MQTT in a browser listen on wss:// too",
	{"HTTP", "ws"}:   "this port is no web page: only MQTT over WebSocket is here, at " + webPath,
	{"HTTP", "wss"}:  "this port is no web page: only MQTT over WebSocket is here, with TLS, at " + webPath,
	{"MQTT", "tls"}:  "let the client connect with TLS (mqtts://), or listen on tcp:// too",
	{"MQTT", "ws"}:   "let the client use ws://, or listen on tcp:// too",
	{"MQTT", "wss"}:  "let the client use wss://, or listen on tls:// too",
}

// notMQTT answers a web client on a port that has no web.
const notMQTT = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis port speaks MQTT, not HTTP.\n"

const (
	quietTime     = 10 * time.Minute // until the same is said of an address again
	maxComplaints = 512              // remembered; beyond, what is new is not said
)

// complaints keeps what is wrong with one client from filling the log.
type complaints struct {
	mu   sync.Mutex
	said map[complaint]time.Duration // when
}

type complaint struct {
	from netip.Addr
	what string
}

// first says whether to say it now.
func (l *complaints) first(from netip.Addr, what string, now time.Duration) bool {
	key := complaint{from, what}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.said[key]; ok && now-at < quietTime {
		return false
	}
	if len(l.said) >= maxComplaints {
		for k, at := range l.said {
			if now-at >= quietTime {
				delete(l.said, k)
			}
		}
		if len(l.said) >= maxComplaints {
			return false
		}
	}
	if l.said == nil {
		l.said = map[complaint]time.Duration{}
	}
	l.said[key] = now
	return true
}

// complain logs why a connection did not come to its CONNECT, once in a while
// for each address.
func (c *conn) complain(what string, attrs ...any) {
	c.b.count.misdialed.add(1)
	if !c.b.complaints.first(addressOf(c.sock), what, c.b.clock()) {
		return
	}
	at := ""
	if c.at != nil {
		at = c.at.url
	}
	c.b.log.Warn(what, append([]any{"remote", remote(c.sock), "listener", at}, attrs...)...)
}

// misdialed logs that the client speaks another protocol and tells it, if that
// is one in which it would show.
func (c *conn) misdialed(is string) error {
	scheme := "tcp"
	if c.at != nil {
		scheme = c.at.scheme
	}
	hint := hints[[2]string{is, scheme}]
	c.complain(fmt.Sprintf("client speaks %s on a listener for %s", is, speech[scheme]), "hint", hint)
	if is == "HTTP" && scheme != "ws" && scheme != "wss" {
		_ = c.sock.SetWriteDeadline(time.Now().Add(lingerTime))
		_, _ = c.sock.Write([]byte(notMQTT))
	}
	return &misdial{is: is}
}

// speech is what a listener wants to hear.
var speech = map[string]string{"tcp": "plain MQTT", "unix": "plain MQTT", "tls": "MQTT over TLS", "ws": "MQTT over WebSocket", "wss": "MQTT over WebSocket and TLS"}
