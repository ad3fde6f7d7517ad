package bridge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

const (
	// reachTimeout bounds the TCP connect, resolving the name included.
	reachTimeout = 5 * time.Second
	// reachAgain is when another TCP connect is begun beside those that had no
	// answer yet: a packet sent into an outage is repeated after 1, 3 and 7 s
	// only, and giving up earlier would never reach anybody over a slow line.
	reachAgain = 700 * time.Millisecond
	// handshakeTimeout bounds each of the TLS, WebSocket and MQTT handshakes.
	handshakeTimeout = 15 * time.Second
)

// errUnreached marks errors of an attempt that nobody answered.
var errUnreached = errors.New("not reached")

// dial connects to the upstream: by the proxy where there is one, TLS and
// WebSocket included.
func dial(ctx context.Context, cfg *Config) (net.Conn, error) {
	e, err := parseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("url %w", err)
	}
	by, err := proxyTo(cfg.Proxy, e.addr)
	if err != nil {
		return nil, err
	}
	tcp := func(ctx context.Context) (net.Conn, error) {
		if by != nil {
			return reachBy(ctx, by, e.addr)
		}
		return reach(ctx, e.addr)
	}
	var conf *tls.Config
	files := cfg.tlsFor(e)
	if e.tls() {
		if conf, err = files.Load(); err != nil {
			return nil, err
		}
		conf.ServerName = cmp.Or(conf.ServerName, e.host)
		conf.Time = cfg.now
	}
	if e.url != "" {
		c, err := dialWebSocket(ctx, e, conf, tcp)
		return c, files.word(err, e, cfg.now())
	}
	c, err := tcp(ctx)
	if err != nil || !e.tls() {
		return c, err
	}
	secured, err := secure(ctx, c, conf)
	if err != nil && closedByPeer(err) {
		return nil, fmt.Errorf("%s closed the connection in the TLS handshake: if it speaks none, use %s://, or the port for TLS", e.addr, strings.TrimSuffix(e.scheme, "s"))
	}
	return secured, files.word(err, e, cfg.now())
}

// reach makes the TCP connection: the first that comes about of several
// attempts, each a little later than the one before.
func reach(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}}
	type attempt struct {
		conn net.Conn
		err  error
	}
	ended := make(chan attempt, reachTimeout/reachAgain+1)
	again := time.NewTimer(0)
	defer again.Stop()
	var first attempt
	for begun := 0; ; {
		select {
		case <-again.C:
			if begun < cap(ended) {
				begun++
				go func() {
					c, err := d.DialContext(ctx, "tcp", addr)
					ended <- attempt{c, err}
				}()
				again.Reset(reachAgain)
			}
			continue
		case first = <-ended: // an error is an answer as well, or the end of the time
		}
		cancel()
		for ; begun > 1; begun-- {
			if late := <-ended; late.conn != nil {
				late.conn.Close()
			}
		}
		if first.err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreached, first.err)
		}
		return first.conn, nil
	}
}

// secure does the TLS handshake.
func secure(ctx context.Context, tcp net.Conn, conf *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := tls.Client(tcp, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, nil
}

// dialWebSocket makes a WebSocket connection with the subprotocol "mqtt"
// (MQTT 5.0, 6).
func dialWebSocket(ctx context.Context, e endpoint, conf *tls.Config, tcp func(context.Context) (net.Conn, error)) (net.Conn, error) {
	tr := &http.Transport{
		DisableKeepAlives:   true,
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return tcp(ctx) },
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: handshakeTimeout,
	}
	shake, cancel := context.WithTimeout(ctx, reachTimeout+2*handshakeTimeout)
	defer cancel()
	ws, res, err := websocket.Dial(shake, e.url, &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: tr},
		Subprotocols:    []string{"mqtt"},
		CompressionMode: websocket.CompressionDisabled,
	})
	switch {
	case err != nil && res != nil && res.StatusCode != http.StatusSwitchingProtocols:
		return nil, fmt.Errorf("%s is no WebSocket: it answers %s: check the path in url, /mqtt with most servers, and the port", e.url, res.Status)
	case err != nil:
		return nil, fmt.Errorf("WebSocket handshake: %w", err)
	}
	if ws.Subprotocol() != "mqtt" {
		ws.CloseNow()
		return nil, fmt.Errorf("WebSocket handshake: %s does not speak the subprotocol mqtt", e.url)
	}
	ws.SetReadLimit(maxInbound)
	// The connection ends with Close, not with ctx: an orderly stop still has
	// to say goodbye.
	return websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), nil
}

// closedByPeer tells whether err is how a connection ends that the other side
// closed.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// plain words a network error without what changes from one attempt to the
// next, like our port number, so that a repeating error is the same text.
func plain(err error) string {
	if closedByPeer(err) {
		return "the upstream closed the connection"
	}
	if by, ok := errors.AsType[*proxyUnreached](err); ok {
		return by.Error()
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("the name %s is not resolved: %s: check url and the DNS of this machine", name.Name, name.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Sprintf("%s %v: %v", op.Op, op.Addr, op.Err)
	}
	return err.Error()
}
