package mqttcore

// phase is what one QoS 1 or 2 message towards a client is waiting for.
type phase uint8

const (
	settled      phase = iota // nothing: acknowledged, or never to be sent
	awaitPuback               // QoS 1 sent
	awaitPubrec               // QoS 2 sent
	releasing                 // PUBREC came, PUBREL waits for the disk
	awaitPubcomp              // PUBREL sent
)

// maxSpan bounds newest minus oldest unsettled, so that no packet identifier
// is used twice at a time however the client orders its acknowledgements.
const maxSpan = 1 << 15

// window is the sending side of the QoS 1 and 2 handshakes of one session:
// pure state, locked by its owner. Messages are numbered 1, 2, 3… per session
// and the packet identifier follows from the number.
type window struct {
	base  uint64 // all numbers up to it are settled
	cur   uint64 // newest number sent on this connection
	last  uint64 // newest number sent ever: cur lags behind while resending
	open  int    // numbers up to cur that are not settled
	limit int    // most that may be open (MQTT 5.0, 4.9)
	ring  []phase
}

// packetID gives the identifier of message number seq: 1…65535 and round.
func packetID(seq uint64) uint16 { return uint16(1 + (seq-1)%65535) }

// start makes the window ready for a new connection, on which everything
// unsettled is sent again from base+1 on (MQTT 5.0, 4.4).
func (w *window) start(limit int) {
	w.limit, w.cur, w.open = limit, w.base, 0
}

// restore makes the window that of a session that was settled up to base.
func (w *window) restore(base uint64) { w.base, w.cur, w.last = base, base, base }

// full says that nothing may be sent before something is acknowledged.
func (w *window) full() bool {
	return w.open >= w.limit || w.cur-w.base >= maxSpan
}

func (w *window) at(seq uint64) *phase { return &w.ring[seq&uint64(len(w.ring)-1)] }

// phase tells what seq waits for; settled for numbers never sent.
func (w *window) phase(seq uint64) phase {
	if seq <= w.base || seq > w.last {
		return settled
	}
	return *w.at(seq)
}

// sent records that seq goes out on this connection and waits for p. Numbers
// come in rising order; those left out are settled: they were dropped or had
// expired.
func (w *window) sent(seq uint64, p phase) {
	for w.cur+1 < seq {
		w.cur++
		w.set(w.cur, settled)
	}
	w.cur = seq
	w.set(seq, p)
	if p != settled {
		w.open++
	}
	w.advance()
}

func (w *window) set(seq uint64, p phase) {
	if seq > w.last {
		w.last = seq
		w.grow()
	}
	*w.at(seq) = p
}

// grow keeps the ring at the power of two that holds base+1…last.
func (w *window) grow() {
	need := int(w.last - w.base)
	if need <= len(w.ring) {
		return
	}
	size := max(8, len(w.ring)*2)
	for size < need {
		size *= 2
	}
	old := w.ring
	w.ring = make([]phase, size)
	for n := w.base + 1; n < w.last && len(old) > 0; n++ {
		*w.at(n) = old[n&uint64(len(old)-1)]
	}
}

// next gives the number of the next new message of a session in memory.
func (w *window) next() uint64 { return w.last + 1 }

// find gives the number of the message in flight that has packet identifier
// pid and waits for p; false: there is none.
func (w *window) find(pid uint16, p phase) (seq uint64, ok bool) {
	if pid == 0 {
		return 0, false
	}
	first := w.base + 1
	ahead := (uint64(pid) + 65535 - uint64(packetID(first))) % 65535
	seq = first + ahead
	return seq, seq <= w.cur && *w.at(seq) == p
}

// move puts seq, found by find, into its next phase.
func (w *window) move(seq uint64, p phase) {
	*w.at(seq) = p
	if p == settled {
		w.open--
		w.advance()
	}
}

func (w *window) advance() {
	for w.base < w.cur && *w.at(w.base + 1) == settled {
		w.base++
	}
}

// pidSet holds the packet identifiers of QoS 2 messages received and not yet
// released: the receiving side of method A and B of MQTT 5.0, 4.3.3. It takes
// at most 8 kB.
type pidSet struct {
	words []uint64
	n     int
}

func (s *pidSet) has(pid uint16) bool {
	i := int(pid) / 64
	return i < len(s.words) && s.words[i]&(1<<(pid%64)) != 0
}

func (s *pidSet) add(pid uint16) {
	i := int(pid) / 64
	for len(s.words) <= i {
		s.words = append(s.words, 0)
	}
	if s.words[i]&(1<<(pid%64)) == 0 {
		s.words[i] |= 1 << (pid % 64)
		s.n++
	}
}

// remove reports whether pid was in the set.
func (s *pidSet) remove(pid uint16) bool {
	if !s.has(pid) {
		return false
	}
	s.words[pid/64] &^= 1 << (pid % 64)
	s.n--
	return true
}
