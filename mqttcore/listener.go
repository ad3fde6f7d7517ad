package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// parseListen takes an address of Config.Listen apart.
func parseListen(s string) (network, address string, err error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", "", fmt.Errorf("%q is not a URL: write tcp://host:port", s)
	}
	if u.Scheme != "tcp" {
		return "", "", fmt.Errorf("%q: scheme %q is not supported: write tcp://host:port", s, u.Scheme)
	}
	if u.Port() == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return "", "", fmt.Errorf("%q: write tcp://host:port", s)
	}
	return "tcp", u.Host, nil
}

// listen opens all listeners, or none.
func (b *Broker) listen(ctx context.Context) ([]net.Listener, error) {
	var all []net.Listener
	for _, s := range b.cfg.Listen {
		network, address, err := parseListen(s)
		if err == nil {
			var l net.Listener
			// A keep alive of TCP's own finds dead peers that have none of MQTT's.
			lc := net.ListenConfig{KeepAlive: 2 * time.Minute}
			if l, err = lc.Listen(ctx, network, address); err == nil {
				all = append(all, l)
				continue
			}
		}
		for _, l := range all {
			_ = l.Close()
		}
		return nil, fmt.Errorf("broker: listen on %s: %w", s, err)
	}
	return all, nil
}

// spare is how many connections beyond Config.MaxConnections may be in their
// handshake, so that they can be told why they are refused.
const spare = 64

// acceptPause is the wait after a failed accept, as when descriptors run out.
const acceptPause = 50 * time.Millisecond

// accept serves a listener until it is closed.
func (b *Broker) accept(ctx context.Context, l net.Listener) {
	down := false
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			b.count.acceptErrors.add(1)
			if !down {
				b.log.Warn("cannot accept clients", "listener", l.Addr().String(), "err", err)
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
			b.log.Info("accepting clients again", "listener", l.Addr().String())
		}
		down = false
		b.open(nc)
	}
}

// open serves a new connection on a goroutine of its own.
func (b *Broker) open(nc net.Conn) {
	c := newConn(b, nc)
	b.mu.Lock()
	if b.closing || len(b.conns) >= b.cfg.MaxConnections+spare {
		b.mu.Unlock()
		b.count.refused.add(1)
		_ = nc.Close()
		return
	}
	b.conns[c] = struct{}{}
	b.mu.Unlock()
	b.tasks.Go(func() {
		c.serve()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	})
}
