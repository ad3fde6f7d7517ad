package mqttcore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// listener is an address that clients connect to.
type listener struct {
	net.Listener
	endpoint
	url string      // as clients write it
	tls *tls.Config // nil: no TLS
}

// listen opens all listeners, or none.
func (b *Broker) listen(ctx context.Context) ([]*listener, error) {
	var all []*listener
	for _, s := range b.cfg.Listen {
		l, err := b.listenOn(ctx, s)
		if err != nil {
			for _, l := range all {
				_ = l.Close()
			}
			return nil, notListening(s, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// notListening words why there is no listener at s.
func notListening(s string, err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return fmt.Errorf("listen on %s: %w", s, err)
	}
	named := *op
	named.Op, named.Net = "listen on", "" // and the address follows
	remedy := "give another address as listen in [broker]"
	if errors.Is(err, syscall.EADDRINUSE) {
		remedy += ", or end who has it"
	}
	return fmt.Errorf("%w; %s", &named, remedy)
}

func (b *Broker) listenOn(ctx context.Context, s string) (*listener, error) {
	e, err := parseEndpoint(s)
	if err != nil {
		return nil, err
	}
	l := &listener{endpoint: e}
	if e.secure() {
		if err := b.keys.open(); err != nil {
			return nil, err
		}
		l.tls = b.keys.listenerConfig()
	}
	// A keep alive of TCP's own finds dead peers that have none of MQTT's.
	lc := &net.ListenConfig{KeepAlive: 2 * time.Minute}
	if e.scheme == "unix" {
		l.Listener, err = listenUnix(ctx, lc, e.address)
	} else {
		l.Listener, err = lc.Listen(ctx, "tcp", e.address)
	}
	if err != nil {
		return nil, err
	}
	l.url = e.url(l.Addr())
	return l, nil
}

// spare is how many connections beyond Config.MaxConnections may be in their
// handshake, so that they can be told why they are refused.
const spare = 64

// acceptPause is the wait after a failed accept, as when descriptors run out.
const acceptPause = 50 * time.Millisecond

// accept serves a listener until it is closed.
func (b *Broker) accept(ctx context.Context, l *listener) {
	down := false
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			b.count.acceptErrors.add(1)
			if !down {
				b.log.Warn("cannot accept clients", "listener", l.url, "err", err)
			}
			down = true
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		if down {
			b.log.Info("accepting clients again", "listener", l.url)
		}
		down = false
		c := newConn(b, nc)
		c.comeThrough(l)
		b.take(c)
	}
}

var errHesitant = errors.New("gave way to others before it said CONNECT")

// hesitantLocked gives up the connection that has been without a session for
// longest, nil if all have one: connections that never say CONNECT must not
// keep those out that do.
func (b *Broker) hesitantLocked() *conn {
	var first *conn
	for c, came := range b.conns {
		if c.sess == nil && (first == nil || came < b.conns[first]) {
			first = c
		}
	}
	delete(b.conns, first)
	return first
}

// open serves a new connection that came through no listener.
func (b *Broker) open(nc net.Conn) { b.take(newConn(b, nc)) }

// take serves a new connection on a goroutine of its own.
func (b *Broker) take(c *conn) {
	b.mu.Lock()
	var hesitant *conn
	if len(b.conns) >= b.cfg.MaxConnections+spare {
		hesitant = b.hesitantLocked()
	}
	if b.closing || len(b.conns) >= b.cfg.MaxConnections+spare {
		b.mu.Unlock()
		b.count.refused.add(1)
		_ = c.sock.Close()
		return
	}
	b.arrivals++
	b.conns[c] = b.arrivals
	b.mu.Unlock()
	if hesitant != nil {
		hesitant.shut(errHesitant)
	}
	b.tasks.Go(func() {
		c.serve()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	})
}
