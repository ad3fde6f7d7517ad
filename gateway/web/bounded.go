package web

import (
	"net"
	"sync"
	"sync/atomic"
)

// sendBuffer is how many bytes the kernel holds for a client that reads slowly
// (it doubles this). Left to itself it takes megabytes for each.
const sendBuffer = 64 << 10

// bounded is a listener that holds a number of connections at most. Those
// above it are closed at once rather than left waiting, so that a client
// learns of it and a flood takes no file descriptors.
type bounded struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused *atomic.Uint64
}

func newBounded(inner net.Listener, most int64, refused *atomic.Uint64) *bounded {
	return &bounded{Listener: inner, most: most, refused: refused}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= b.most {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetWriteBuffer(sendBuffer) // without it there is only more memory in use
			}
			return &boundedConn{Conn: conn, leave: func() { b.open.Add(-1) }}, nil
		}
		b.open.Add(-1)
		b.refused.Add(1)
		conn.Close() // nothing was said on it yet
	}
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
