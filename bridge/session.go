package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	paholog "github.com/eclipse/paho.golang/paho/log"
	pahosession "github.com/eclipse/paho.golang/paho/session"
)

// answer is what the upstream said to one of our PUBLISH or PUBREL packets.
type answer struct {
	kind   byte // packets.PUBACK, PUBREC or PUBCOMP
	id     uint16
	reason byte
	text   string // the reason string, where there is one
}

// session is the session of one connection, as paho asks for it. The state
// that outlives the connection is elsewhere: what went up in the log, what
// came down at QoS 2 in inbox. The session only passes answers on, so it
// stores nothing twice.
type session struct {
	inbox   *inbox
	answers chan answer   // to the forwarder
	lost    chan struct{} // closed when the connection is over

	mu       sync.Mutex
	conn     io.Writer // nil before CONNACK and after the loss
	connack  *packets.Connack
	farewell *packets.Disconnect // what the server said at the end
	requests map[uint16]chan<- packets.ControlPacket
	next     uint16
}

var _ pahosession.SessionManager = (*session)(nil)

// newSession makes a session whose forwarder has at most window messages in
// flight. Each of them has at most one answer under way, so a correct server
// never finds the queue of answers full.
func newSession(in *inbox, window int) *session {
	return &session{
		inbox:    in,
		answers:  make(chan answer, window+16),
		lost:     make(chan struct{}),
		requests: make(map[uint16]chan<- packets.ControlPacket),
		next:     firstRequest,
	}
}

// ConAckReceived implements SessionManager.
func (s *session) ConAckReceived(w io.Writer, _ *packets.Connect, ca *packets.Connack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.connack = w, ca
	return nil
}

// ConnectionLost implements SessionManager. It is called more than once.
func (s *session) ConnectionLost(d *packets.Disconnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell == nil {
		s.farewell = d
	}
	select {
	case <-s.lost:
	default:
		close(s.lost)
	}
	s.conn = nil
	for id, resp := range s.requests {
		resp <- packets.ControlPacket{} // paho's word for "lost"; it has room for one
		delete(s.requests, id)
	}
	return nil
}

// AddToSession implements SessionManager for the requests that go through
// paho: SUBSCRIBE and the birth message. What the log holds does not come
// this way.
func (s *session) AddToSession(_ context.Context, p pahosession.Packet, resp chan<- packets.ControlPacket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return pahosession.ErrNoConnection
	}
	for range 65535 - firstRequest + 1 {
		id := s.next
		if s.next++; s.next == 0 {
			s.next = firstRequest
		}
		if _, busy := s.requests[id]; !busy {
			s.requests[id] = resp
			p.SetIdentifier(id)
			return nil
		}
	}
	return pahosession.ErrPacketIdentifiersExhausted
}

// PacketReceived implements SessionManager. It runs on paho's reader.
func (s *session) PacketReceived(cp *packets.ControlPacket, pubs chan<- *packets.Publish) error {
	switch p := cp.Content.(type) {
	case *packets.Puback:
		return s.answered(cp, answer{packets.PUBACK, p.PacketID, p.ReasonCode, reasonString(p.Properties)})
	case *packets.Pubrec:
		return s.answered(cp, answer{packets.PUBREC, p.PacketID, p.ReasonCode, reasonString(p.Properties)})
	case *packets.Pubcomp:
		return s.answered(cp, answer{packets.PUBCOMP, p.PacketID, p.ReasonCode, reasonString(p.Properties)})
	case *packets.Suback, *packets.Unsuback:
		return s.answered(cp, answer{})
	case *packets.Publish:
		if p.PacketID == 0 {
			return errors.New("the upstream sent a PUBLISH with packet identifier 0")
		}
		select {
		case pubs <- p:
		case <-s.lost:
		}
	case *packets.Pubrel:
		known := s.inbox.forget(p.PacketID)
		reason := byte(0)
		if !known {
			reason = 0x92 // packet identifier not found: no harm, the exchange is over
		}
		return s.write(&packets.Pubcomp{PacketID: p.PacketID, ReasonCode: reason, Properties: &packets.Properties{}})
	}
	return nil
}

func reasonString(p *packets.Properties) string {
	if p == nil {
		return ""
	}
	return p.ReasonString
}

// answered gives an answer to the request that waits for it, or else to the
// forwarder.
func (s *session) answered(cp *packets.ControlPacket, a answer) error {
	s.mu.Lock()
	resp, ours := s.requests[cp.PacketID()]
	delete(s.requests, cp.PacketID())
	s.mu.Unlock()
	if ours {
		resp <- *cp
		return nil
	}
	if a.kind == 0 {
		return fmt.Errorf("the upstream answered a request %d that was not made", cp.PacketID())
	}
	select {
	case s.answers <- a:
	case <-s.lost:
	}
	return nil
}

// Ack implements SessionManager. paho calls it when a handler has returned,
// which is too early: inbox acknowledges when the message is durable.
func (s *session) Ack(*packets.Publish) error { return nil }

// acknowledge sends PUBACK or PUBREC for a message of the upstream.
func (s *session) acknowledge(id uint16, qos, reason byte) error {
	if qos == 2 {
		return s.write(&packets.Pubrec{PacketID: id, ReasonCode: reason, Properties: &packets.Properties{}})
	}
	return s.write(&packets.Puback{PacketID: id, ReasonCode: reason, Properties: &packets.Properties{}})
}

func (s *session) write(p packets.Packet) error {
	s.mu.Lock()
	w := s.conn
	s.mu.Unlock()
	if w == nil {
		return pahosession.ErrNoConnection
	}
	_, err := p.WriteTo(w)
	return err
}

// goodbye returns the server's DISCONNECT, or nil.
func (s *session) goodbye() *packets.Disconnect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.farewell
}

// Close implements SessionManager.
func (s *session) Close() error { return nil }

// SetErrorLogger implements SessionManager; there is nothing to tell.
func (s *session) SetErrorLogger(paholog.Logger) {}

// SetDebugLogger implements SessionManager; there is nothing to tell.
func (s *session) SetDebugLogger(paholog.Logger) {}
