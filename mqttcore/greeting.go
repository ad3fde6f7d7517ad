package mqttcore

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sluice/mqttcore/packet"
)

// comeThrough prepares a connection for what is spoken on its listener below
// MQTT.
func (c *conn) comeThrough(l *listener) {
	c.at = l
	if !l.secure() && !l.web() {
		return
	}
	c.in.frugal = true
	c.carrier = &carrier{c: c, direct: true}
	c.nc = c.carrier
	if l.secure() {
		c.nc = tls.Server(c.nc, l.tls)
	}
	if l.web() {
		c.nc = &webConn{Conn: c.nc}
	}
}

// greet shakes hands in TLS and WebSocket, as the listener has it.
func (c *conn) greet(until time.Time) error {
	if c.carrier == nil {
		return nil
	}
	_ = c.sock.SetWriteDeadline(until)
	if err := c.shakeHands(); err != nil {
		return err
	}
	_ = c.sock.SetWriteDeadline(time.Time{})
	c.carrier.setDirect(false)
	return nil
}

func (c *conn) shakeHands() error {
	below := c.nc
	web, _ := below.(*webConn)
	if web != nil {
		below = web.Conn
	}
	if t, ok := below.(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			return c.noTLS(err)
		}
		c.acknowledge()
	}
	if web == nil {
		return nil
	}
	err := web.upgrade()
	var other *misdial
	var refused *refusal
	switch {
	case errors.As(err, &other):
		return c.misdialed(other.is)
	case errors.As(err, &refused):
		c.complain("WebSocket refused: "+refused.kind, "why", refused.text)
	}
	return err
}

// acknowledge has the kernel confirm what has come. The end of a handshake
// gets no answer by which that would go, and many clients hold CONNECT back
// until then: some 40 ms.
func (c *conn) acknowledge() {
	if c.raw != nil {
		_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
}

// noTLS logs why a handshake failed. Who only looks whether the port is open,
// or gives up, is not worth a line.
func (c *conn) noTLS(err error) error {
	var record tls.RecordHeaderError
	var theirs *tls.CertificateVerificationError
	var alert *net.OpError
	var said error // by the client
	if a, ok := c.carrier.lastAlert(); ok {
		said = a
	} else if errors.As(err, &alert) && alert.Op == "remote error" {
		said = alert.Err
	}
	switch {
	case errors.As(err, &record):
		if is := spoken(record.RecordHeader[:]); is != "" && is != "TLS" {
			return c.misdialed(is)
		}
		c.complain("TLS handshake failed", "err", err)
	case errors.As(err, &theirs):
		c.complain("TLS: the certificate of the client is not accepted", "err", theirs.Err,
			"hint", "it must be signed by an authority in client_ca, be valid today and be meant for clients")
	case said != nil:
		c.complain("TLS: the client broke the handshake off", "err", said,
			"hint", "if it is about a certificate: give the client the authority that signed ours, and call us by a name that is in it")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded), isClosed(err):
	default:
		c.complain("TLS handshake failed", "err", err)
	}
	return err
}

// isClosed says that a connection ended, by whomever.
func isClosed(err error) bool {
	var op *net.OpError
	return errors.Is(err, net.ErrClosed) || errors.As(err, &op) && (op.Op == "read" || op.Op == "write")
}

// farewell ends what is spoken below MQTT, in the time that the last bytes
// have.
func (c *conn) farewell(why error) {
	w := c.carrier
	if w == nil {
		return
	}
	o := &c.out
	o.mu.Lock()
	if o.writing { // it waits for the client still
		o.mu.Unlock()
		return
	}
	o.writing = true
	k := c.takeLocked()
	c.giveUpLocked(net.ErrClosed)
	o.mu.Unlock()
	_ = c.sock.SetWriteDeadline(time.Now().Add(lingerTime))
	if k, err := w.seal(k); err == nil {
		_, _ = c.sock.Write(k.b)
		putChunk(k)
	}
	w.setDirect(true)
	w.ended = true
	below := c.nc
	if web, ok := below.(*webConn); ok {
		web.bye(why)
		below = web.Conn
	}
	if t, ok := below.(*tls.Conn); ok {
		_ = t.CloseWrite()
	}
	o.mu.Lock()
	c.writtenLocked()
	o.mu.Unlock()
}

// leaving says that it is us who end, not the client that did something.
func (e *goodbye) leaving() bool {
	switch e.reason {
	case packet.ServerShuttingDown, packet.SessionTakenOver, packet.AdministrativeAction:
		return true
	}
	return false
}
