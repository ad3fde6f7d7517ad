package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stream is an open network connection.
type stream struct {
	conn net.Conn
	raw  syscall.RawConn
}

// errHungUp tells that the peer has ended a connection.
var errHungUp = errors.New("the peer closed the connection")

// dialLimit bounds one attempt to connect.
const dialLimit = 3 * time.Second

func dial(ctx context.Context, address string) (*stream, error) {
	dialer := net.Dialer{Timeout: dialLimit, KeepAlive: 15 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		// The address need not be named thrice.
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		var call *os.SyscallError
		if errors.As(err, &call) {
			err = call.Err
		}
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return &stream{conn: conn, raw: raw}, nil
}

func (s *stream) read(p []byte, deadline time.Time) (int, error) {
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := s.conn.Read(p)
	if n > 0 {
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil
	}
	if errors.Is(err, io.EOF) {
		err = errHungUp
	}
	return 0, err
}

func (s *stream) write(p []byte, deadline time.Time) error {
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := s.conn.Write(p)
	return err
}

func (s *stream) take(p []byte) (int, error) { return s.receive(p, 0) }

// alive peeks, so that a connection that the peer has closed while nothing
// was asked is noticed before a request is spent on it.
func (s *stream) alive() error {
	_, err := s.receive(make([]byte, 1), unix.MSG_PEEK)
	return err
}

// receive gives what is there. It uses Control, not Read, which would heed the
// deadline of the last read.
func (s *stream) receive(p []byte, flags int) (n int, err error) {
	rawErr := s.raw.Control(func(fd uintptr) {
		n, _, err = unix.Recvfrom(int(fd), p, flags|unix.MSG_DONTWAIT)
	})
	switch {
	case rawErr != nil:
		return 0, rawErr
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, errHungUp
	}
	return n, nil
}

func (s *stream) close() { _ = s.conn.Close() }
