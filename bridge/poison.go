package bridge

import "time"

const (
	// strikesTold is after how many connections in a row, ended by the server
	// with a reason that blames what it was sent, the one message that was in
	// flight each time is given up.
	strikesTold = 3
	// strikesBare is the same for a server that closes the connection without
	// a word, which a bad line looks like too: so it takes more, and the last
	// of them must have been quiet until the message was sent.
	strikesBare = 5
	// jamsMost is after how many connections in a row that come to nothing a
	// session without room is discarded.
	jamsMost = 3
	// bareWithin is how soon after a PUBLISH a close without a word is held
	// against it.
	bareWithin = time.Second
	// probeQuiet is how long a connection must live before a suspect is sent.
	probeQuiet = 2 * time.Second
)

// ending is how a connection was lost, as far as it says something about the
// messages in flight of one lane.
type ending struct {
	head      uint64        // the oldest message in flight of the lane, 0 if none
	progress  bool          // something of the lane was acknowledged on this connection
	told      byte          // the reason code of the server's DISCONNECT, 0 without one
	bare      bool          // the server closed without a DISCONNECT
	afterSend time.Duration // from the last PUBLISH to the end
}

// suspicion finds a message of a lane that the upstream cannot stand: one that
// ends every connection it is sent on, and so would hold up all others for
// ever.
type suspicion struct {
	seq     uint64 // the suspect, 0 if there is none
	strikes int    // connections in a row that ended with it in flight
	told    int    // of those, the ones where the server blamed what it was sent
}

// quiet returns how long the next connection must live before it sends.
func (s *suspicion) quiet() time.Duration {
	if s.strikes-s.told >= 2 {
		return probeQuiet
	}
	return 0
}

// lost judges the end of a connection, and returns a message that is to be
// given up, or 0.
func (s *suspicion) lost(e ending) (drop uint64) {
	told := e.told != 0 && blamesMessage(e.told)
	bare := e.bare && e.afterSend < bareWithin
	if e.progress {
		*s = suspicion{}
	}
	if e.head == 0 || e.progress || !told && !bare {
		return 0
	}
	if s.seq != e.head {
		*s = suspicion{seq: e.head}
	}
	s.strikes++
	if told {
		s.told++
	}
	if s.told >= strikesTold || s.strikes >= strikesBare {
		drop = s.seq
		*s = suspicion{}
	}
	return drop
}

// settled notes that a message got through.
func (s *suspicion) settled(seq uint64) {
	if seq >= s.seq {
		*s = suspicion{}
	}
}

// jammed judges the end of a connection whose session had no room for one
// message. A disk that forgot what it had confirmed leaves such a session: it
// waits for the release of messages that we know nothing of, and takes no others
// for them. Then no message is to blame. The answer is whether there is no hope.
func (l *Link) jammed(progress bool) bool {
	if !l.crammed || progress {
		l.jams = 0
		return false
	}
	l.jams++
	return l.jams >= jamsMost
}
