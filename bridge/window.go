package bridge

import "sluice/mqttcore"

// Packet identifiers. A PUBLISH has one that follows from its lane and its
// sequence number there, so that after a restart it is sent again under the
// same one (MQTT 5.0, 4.4), and no lane ever has one of another. The others are
// for requests: SUBSCRIBE and the birth.
const (
	laneIDs      = 15_000
	idSpace      = laneIDs * mqttcore.MaxLanes
	firstRequest = idSpace + 1
)

// laneOf returns the lane that a packet identifier is of, 0 for none.
func laneOf(id uint16) int {
	if id == 0 || id > idSpace {
		return 0
	}
	return 1 + int(id-1)/laneIDs
}

// nextRequest returns the identifier after one of a request.
func nextRequest(id uint16) uint16 {
	if id == 65535 {
		return firstRequest
	}
	return id + 1
}

// stage is how far one message has come on this connection.
type stage uint8

const (
	unsent   stage = iota
	sent           // PUBLISH is out: PUBACK or PUBREC is awaited
	received       // PUBREC came: it waits for that to be durable here
	released       // PUBREL is out: PUBCOMP is awaited
	refused        // the upstream refused it for now: it is to be sent again
	settled        // acknowledged, given up, or gone from the queue
)

// window is what is in flight of one lane on one connection: the messages after
// base, in the order of the log. It is pure: it neither sends nor waits.
type window struct {
	lane   int    // for packet identifiers
	base   uint64 // all up to base are settled
	top    uint64 // the highest sequence number that is not unsent
	flying int    // in stage sent, received or released
	slots  []slot // of sequence number s at s mod len
}

type slot struct {
	stage stage
	qos   byte
	tries uint8  // refusals so far
	topic []byte // for the record, where it is given up
}

// newWindow starts a connection. Between the oldest and the newest message in
// flight there are at most span sequence numbers.
func newWindow(lane int, base uint64, span int) *window {
	return &window{lane: lane, base: base, top: base, slots: make([]slot, span)}
}

// id returns the packet identifier of a message.
func (w *window) id(seq uint64) uint16 { return uint16((w.lane-1)*laneIDs + 1 + int((seq-1)%laneIDs)) }

func (w *window) at(seq uint64) *slot { return &w.slots[seq%uint64(len(w.slots))] }

func (w *window) holds(seq uint64) bool { return seq > w.base && seq <= w.top }

// wants tells whether the message that the queue gave is to be sent. It is
// not where it is in flight or settled already, as after a rewind. Messages
// that the queue has left out, because they expired or were dropped, count
// as settled.
func (w *window) wants(seq uint64) bool {
	if seq <= w.base {
		return false
	}
	if seq <= w.top {
		return w.at(seq).stage == refused
	}
	if w.top == w.base {
		w.base, w.top = seq-1, seq-1 // nothing in between: jump any distance
	}
	return true
}

// waiting tells whether the message was refused and is to be sent again.
func (w *window) waiting(seq uint64) bool {
	return w.holds(seq) && w.at(seq).stage == refused
}

// fits tells whether the message may be sent without the span from the oldest
// to it growing too wide.
func (w *window) fits(seq uint64) bool { return seq-w.base <= uint64(len(w.slots)) }

// send notes that the message was sent at qos 1 or 2.
func (w *window) send(seq uint64, qos byte, topic []byte) {
	again := w.waiting(seq)
	w.reach(seq)
	s := w.at(seq)
	if !again {
		s.tries = 0
	}
	s.stage, s.qos = sent, qos
	s.topic = append(s.topic[:0], topic...)
	w.flying++
}

// restore notes that the upstream received the message on an earlier
// connection: its PUBREL is sent again.
func (w *window) restore(seq uint64, topic []byte) {
	w.send(seq, 2, topic)
	w.at(seq).stage = released
}

// reach moves top to seq; what lies between was left out by the queue.
func (w *window) reach(seq uint64) {
	for ; w.top < seq; w.top++ {
		w.at(w.top + 1).stage = settled
	}
}

// find returns the message in the window that has the packet identifier, which
// is one of the lane's.
func (w *window) find(id uint16) (seq uint64, ok bool) {
	first := uint64(w.id(w.base + 1))
	seq = w.base + 1 + (uint64(id)+laneIDs-first)%laneIDs
	return seq, w.holds(seq)
}

// settle ends a message. The caller then advances.
func (w *window) settle(seq uint64) {
	if seq <= w.base {
		return
	}
	w.land(seq)
	w.reach(seq)
	w.at(seq).stage = settled
}

// refuse marks a message in flight to be sent again, and returns how often
// that has happened to it.
func (w *window) refuse(seq uint64) (times int) {
	w.land(seq)
	s := w.at(seq)
	s.stage = refused
	if s.tries < 255 {
		s.tries++
	}
	return int(s.tries)
}

// land takes a message out of the count of those in flight.
func (w *window) land(seq uint64) {
	if w.holds(seq) {
		switch w.at(seq).stage {
		case sent, received, released:
			w.flying--
		}
	}
}

// advance moves base over what is settled.
func (w *window) advance() {
	for w.base < w.top && w.at(w.base+1).stage == settled {
		w.base++
	}
}

// oldest returns the first message that was sent and is not settled.
func (w *window) oldest() (seq uint64, ok bool) {
	for seq := w.base + 1; seq <= w.top; seq++ {
		if st := w.at(seq).stage; st == sent || st == received || st == released {
			return seq, true
		}
	}
	return 0, false
}
