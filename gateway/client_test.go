package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// session is an MQTT client as the standard wants it: what it has not finished
// it finishes on its next connection, under the same packet identifier.
type session struct {
	t    testing.TB
	id   string
	v    packet.Version
	at   *place // where it dials from; nil: here
	addr string

	known bool // the server has told that there is a session, or made one
}

// connection is one connection of a session.
type connection struct {
	net.Conn
	v   packet.Version
	in  *bufio.Reader
	out []byte // to be written together
}

// connect makes a connection. An error is of the network: the server is gone.
func (s *session) connect() (*connection, error) {
	var c *connection
	err := s.at.do(func() error {
		raw, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			c = &connection{Conn: raw, v: s.v, in: bufio.NewReaderSize(raw, 64<<10)}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	hello := &packet.Connect{Version: s.v, ClientID: s.id}
	if s.v == packet.V5 {
		hello.Properties.SetUint(packet.PropSessionExpiry, 3600)
	}
	c.send(hello)
	if err := c.flush(); err != nil {
		c.Close()
		return nil, err
	}
	p, err := c.next(10 * time.Second)
	if err != nil {
		c.Close()
		return nil, err
	}
	ack, ok := p.(*packet.Connack)
	if !ok || ack.Reason != packet.Success {
		c.Close()
		return nil, fmt.Errorf("CONNECT answered by %+v", p) // a server that starts may not be ready
	}
	if s.known && !ack.SessionPresent {
		s.t.Errorf("%s: its session is lost", s.id)
	}
	s.known = true
	return c, nil
}

// lost judges why a connection ended. The network may do anything; the server
// may not send what is no MQTT.
func (s *session) lost(err error) {
	if wrong, ok := errors.AsType[*packet.Error](err); ok {
		s.t.Errorf("%s: %v", s.id, wrong)
	}
}

// next reads a packet. After a timeout it may be called again.
func (c *connection) next(wait time.Duration) (packet.Packet, error) {
	c.SetReadDeadline(time.Now().Add(wait))
	for n := 2; ; n++ {
		head, err := c.in.Peek(n)
		if err != nil {
			return nil, err
		}
		h, size, err := packet.ParseHeader(head)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			continue
		}
		all, err := c.in.Peek(size + h.Remaining)
		if err != nil {
			return nil, err
		}
		p, err := packet.Decode(c.v, h, append([]byte(nil), all[size:]...))
		if err != nil {
			return nil, fmt.Errorf("the server sent % x: %w", all, err)
		}
		c.in.Discard(len(all))
		return p, nil
	}
}

// send gathers a packet to be written by flush.
func (c *connection) send(p packet.Packet) { c.out = p.Append(c.out, c.v) }

func (c *connection) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

// repeat calls once again and again, with a breath after each, until done is
// closed and once has ended.
func repeat(done <-chan struct{}, once func()) {
	breath := time.NewTicker(5 * time.Millisecond)
	defer breath.Stop()
	for {
		once()
		select {
		case <-done:
			return
		case <-breath.C:
		}
	}
}
