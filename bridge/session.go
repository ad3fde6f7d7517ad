package bridge

import "sync"

// answer is what the upstream said to one of our PUBLISH or PUBREL packets.
type answer struct {
	kind   byte // packets.PUBACK, PUBREC or PUBCOMP
	id     uint16
	reason byte   // 0 in MQTT 3.1.1, which knows no other
	text   string // the reason string, where there is one
}

// session is what one connection tells the forwarder. The state that outlives
// the connection is elsewhere: what went up in the log, what came down at
// QoS 2 in the inbox of the queue. So nothing is stored twice.
type session struct {
	answers chan answer   // to the forwarder
	lost    chan struct{} // closed when the connection is over

	mu       sync.Mutex
	farewell *refusal // what the server said at the end
}

// newSession makes a session whose forwarder has at most window messages in
// flight. Each of them has at most one answer under way, so a correct server
// never finds the queue of answers full.
func newSession(window int) *session {
	return &session{answers: make(chan answer, window+16), lost: make(chan struct{})}
}

// tell hands an answer to the forwarder.
func (s *session) tell(a answer) {
	select {
	case s.answers <- a:
	case <-s.lost:
	}
}

// end notes that the connection is over, and what the server said to that; nil
// where it said nothing. It may be called more than once.
func (s *session) end(said *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell == nil {
		s.farewell = said
	}
	select {
	case <-s.lost:
	default:
		close(s.lost)
	}
}

// goodbye returns the server's DISCONNECT, or nil.
func (s *session) goodbye() *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.farewell
}
