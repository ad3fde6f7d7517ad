package mqttcore

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// carrier is what TLS and WebSocket of a connection write to and read from, in
// the place of its socket. It collects what they write, so that they never
// wait for the client; what was collected takes the way of all bytes to a
// client. And its reads go on where a deadline was only there to look after
// the client: the layers above could not take up a broken read.
type carrier struct {
	c *conn

	mu      sync.Mutex
	direct  bool   // while hands are shaken and at the end: collects nothing
	sealing bool   // the writer of the connection is at it
	out     *chunk // collected; nil: nothing

	// Of the reading goroutine.
	ended bool              // no more reads
	tail  [alertRecord]byte // last bytes before CONNECT was accepted
}

// alertRecord is the size of an alert that is not encrypted (RFC 8446, 6).
const alertRecord = 7

// answersLimit bounds what the layers answer by themselves to a client that
// does not read it, in bytes.
const answersLimit = 64 << 10

var errAnswersUnread = errors.New("the client does not read the answers of TLS or WebSocket")

// Write takes all or fails.
func (w *carrier) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.direct {
		w.mu.Unlock()
		return w.c.sock.Write(p)
	}
	own := !w.sealing // an answer of the layers', as to a ping
	if own && w.sizeLocked()+len(p) > answersLimit {
		w.mu.Unlock()
		return 0, errAnswersUnread
	}
	if w.out == nil {
		w.out = chunks.Get().(*chunk)
	}
	w.out.b = append(w.out.b, p...)
	w.mu.Unlock()
	if own {
		w.c.b.jobs.push(w.c) // nobody else sees to its leaving
	}
	return len(p), nil
}

func (w *carrier) sizeLocked() int {
	if w.out == nil {
		return 0
	}
	return len(w.out.b)
}

// waiting is how many bytes were collected and not taken.
func (w *carrier) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sizeLocked()
}

// seal turns bytes for the client into bytes for its socket, with all that the
// layers have to say themselves. The caller is the writer of the connection;
// it gives k away, which may be nil.
func (w *carrier) seal(k *chunk) (*chunk, error) {
	w.mu.Lock()
	w.sealing = true
	w.mu.Unlock()
	var err error
	if k != nil {
		_, err = w.c.nc.Write(k.b)
		putChunk(k)
	}
	w.mu.Lock()
	k, w.out, w.sealing = w.out, nil, false
	w.mu.Unlock()
	if k == nil {
		k = chunks.Get().(*chunk)
	}
	return k, err
}

// setDirect lets what the layers write go to the socket at once, or not.
func (w *carrier) setDirect(on bool) {
	w.mu.Lock()
	w.direct = on
	w.mu.Unlock()
}

func (w *carrier) Read(p []byte) (int, error) {
	c := w.c
	for {
		if w.ended {
			return 0, net.ErrClosed
		}
		n, err := c.sock.Read(p)
		if !c.up {
			kept := copy(w.tail[:], w.tail[min(n, alertRecord):])
			copy(w.tail[kept:], p[max(0, n-alertRecord):n])
		}
		if n > 0 || !c.up || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		due, fault := c.overdue(time.Now())
		if fault != nil {
			return 0, fault
		}
		if err := c.readUntil(due); err != nil {
			return 0, err
		}
	}
}

// lastAlert gives the alert that the client ended with, if it did so in the
// clear: OpenSSL does, as it has no key to write with before it trusts ours,
// and crypto/tls takes that for a forged record.
func (w *carrier) lastAlert() (tls.AlertError, bool) {
	t := w.tail
	return tls.AlertError(t[6]), t[0] == 21 && t[1] == 3 && t[3] == 0 && t[4] == 2
}

// Close does nothing: the socket is closed by the connection.
func (w *carrier) Close() error { return nil }

func (w *carrier) LocalAddr() net.Addr                { return w.c.sock.LocalAddr() }
func (w *carrier) RemoteAddr() net.Addr               { return w.c.sock.RemoteAddr() }
func (w *carrier) SetDeadline(t time.Time) error      { return w.c.sock.SetDeadline(t) }
func (w *carrier) SetReadDeadline(t time.Time) error  { return w.c.sock.SetReadDeadline(t) }
func (w *carrier) SetWriteDeadline(t time.Time) error { return w.c.sock.SetWriteDeadline(t) }
