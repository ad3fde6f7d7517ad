package bridge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// writeTimeout bounds the writing of one buffer. 64 KiB take 8 s at
	// 64 kbit/s.
	writeTimeout = 30 * time.Second
	// flushAt is how much is gathered before it is written in any case.
	flushAt = 32 << 10
	// maxInbound is the largest packet accepted from the upstream, in bytes.
	// It is told to it in CONNECT as Maximum Packet Size.
	maxInbound = 1 << 20
)

// conn is a network connection that knows where MQTT packets begin. Reading
// is buffered and refuses packets above maxInbound before they take memory.
// Writing is by whole packets: Lock, any number of Write, Unlock, which
// writes to the network what was gathered. paho does exactly this for each
// packet where the connection is a sync.Locker.
type conn struct {
	net.Conn
	r     *bufio.Reader
	left  int  // bytes of the current packet that were not read yet
	fresh bool // nothing was read yet

	mu      sync.Mutex
	pending []byte

	first sync.Once
	err   error         // why the connection ended, set once before over is closed
	over  chan struct{} // closed on the first error or Close
}

func newConn(c net.Conn) *conn {
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 16<<10), fresh: true, over: make(chan struct{})}
}

// fail notes why the connection ended, where nothing was noted yet, and
// closes it.
func (c *conn) fail(err error) {
	c.first.Do(func() {
		c.err = err
		close(c.over)
	})
	c.Conn.Close()
}

// Close implements net.Conn. It never waits for the peer.
func (c *conn) Close() error {
	c.fail(net.ErrClosed)
	return nil
}

// cause returns why the connection ended, once it has.
func (c *conn) cause() error {
	<-c.over
	return c.err
}

// Read implements io.Reader for a single reader. It never returns bytes of
// two packets at once.
func (c *conn) Read(p []byte) (int, error) {
	if c.left == 0 {
		n, err := c.frame()
		if err != nil {
			c.fail(err)
			return 0, err
		}
		c.left = n
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	if err != nil {
		c.fail(err)
	}
	return n, err
}

// next waits for the next whole packet and returns it, header included, in
// memory of its own. It is for a reader that does not use Read.
func (c *conn) next() ([]byte, error) {
	n, err := c.frame()
	if err == nil {
		raw := make([]byte, n)
		if _, err = io.ReadFull(c.r, raw); err == nil {
			return raw, nil
		}
	}
	c.fail(err)
	return nil, err
}

// frame waits for the next packet and returns its size with its header.
func (c *conn) frame() (int, error) {
	if c.fresh {
		c.fresh = false
		if err := c.foreign(); err != nil {
			return 0, err
		}
	}
	n := 0
	for i := 1; ; i++ {
		b, err := c.r.Peek(i + 1)
		if err != nil {
			return 0, err
		}
		n |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			n += i + 1
			break
		}
		if i == 4 {
			return 0, fmt.Errorf("the upstream sent a malformed packet length")
		}
	}
	if n > maxInbound {
		return 0, fmt.Errorf("the upstream sent a packet of %d bytes although we allow %d", n, maxInbound)
	}
	return n, nil
}

// foreign knows the first bytes of what is spoken on ports that are taken for
// one of MQTT.
func (c *conn) foreign() error {
	first, err := c.r.Peek(2)
	if err != nil {
		return nil // the caller sees it
	}
	switch string(first) {
	case "\x15\x03": // an alert of TLS
		return errors.New("TLS is spoken there: use mqtts:// or wss://")
	case "HT":
		return errors.New("HTTP is spoken there: use ws:// or wss://, or the port for MQTT")
	}
	return nil
}

// Lock begins the writing of packets.
func (c *conn) Lock() { c.mu.Lock() }

// Write gathers p; the lock is held. What is gathered goes out with Unlock,
// or now where it is much. An error ends the connection.
func (c *conn) Write(p []byte) (int, error) {
	c.pending = append(c.pending, p...)
	if len(c.pending) >= flushAt {
		return len(p), c.flush()
	}
	return len(p), nil
}

// Unlock ends the writing of packets and sends them.
func (c *conn) Unlock() {
	_ = c.flush() // the reader sees the end of the connection
	c.mu.Unlock()
}

func (c *conn) flush() error {
	if len(c.pending) == 0 {
		return nil
	}
	c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.Conn.Write(c.pending)
	if c.pending = c.pending[:0]; cap(c.pending) > 4*flushAt {
		c.pending = nil // one large message must not hold its memory for ever
	}
	if err != nil {
		c.fail(err)
	}
	return err
}
