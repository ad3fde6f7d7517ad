package sim

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// answer is what a request leads to: bursts of the slave itself, the first
// waiting for its turnaround, and perhaps of a twin.
type answer struct{ own, twin []burst }

// answer carries out a request to this slave and gives what it sends, nothing
// if it is silent. unit is the name it was called by, raw the request as it
// was on the wire.
func (s *Slave) answer(at time.Time, unit byte, pdu, raw []byte, f framing) (a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.watch.tell()
	function := pdu[0]
	if _, dead := s.draw(Dead, function); dead {
		return a
	}
	s.stats.Requests++
	reply := s.serve(at, pdu)
	if reply == nil {
		return a
	}
	s.stats.Answers++
	if reply[0]&exceptionFlag != 0 {
		s.stats.Exceptions++
	}

	wait := s.turnaround
	if s.jitter > 0 {
		wait += time.Duration(s.chance.Int64N(int64(s.jitter) + 1))
	}
	if twin, ok := s.draw(Twin, function); ok {
		other := slices.Clone(reply)
		for i := range other[1:] {
			if i > 0 || other[0] > 4 { // the byte count of a read stays
				other[1+i] ^= 0xFF
			}
		}
		a.twin = []burst{{wait + cmp.Or(twin.Delay, time.Millisecond), f.frame(unit, other)}}
	}
	a.own = s.shape(wait, s.twist(unit, reply, function, f), raw, function)
	return a
}

// serve gives the answer PDU; nil is silence.
func (s *Slave) serve(at time.Time, pdu []byte) []byte {
	function := pdu[0]
	if f, ok := s.draw(Exception, function); ok {
		code := f.Code
		if code == 0 {
			code = 6
		}
		return exception(function, code)
	}
	reply := s.bank.serve(at, pdu)
	if reply[0]&exceptionFlag != 0 {
		if reply[1] == illegalAddress {
			if _, silent := s.draw(SilentUnknown, function); silent {
				return nil
			}
		}
		return reply
	}
	earlier := s.previous[function]
	s.previous[function] = reply
	if earlier != nil {
		if _, ok := s.draw(Replay, function); ok {
			return earlier
		}
	}
	return reply
}

// twist applies the faults that lie in the frame, and frames the reply.
func (s *Slave) twist(unit byte, reply []byte, function byte, f framing) []byte {
	reply = slices.Clone(reply)
	if reply[0]&exceptionFlag == 0 {
		if _, ok := s.draw(WrongCount, function); ok {
			reply = miscount(reply)
		}
	}
	if _, ok := s.draw(WrongFunction, function); ok {
		reply[0] = reply[0]&exceptionFlag | sibling[function]
	}
	if _, ok := s.draw(WrongUnit, function); ok {
		unit = unit%247 + 1
	}
	adu := f.frame(unit, reply)
	if _, ok := s.draw(BadCRC, function); ok {
		f.spoil(adu)
	}
	return adu
}

// sibling is the function code that is most easily taken for another.
var sibling = [256]byte{1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 15: 16, 16: 15}

// miscount gives an answer of another length than asked, or of another value
// or quantity than written.
func miscount(reply []byte) []byte {
	width := 2
	switch reply[0] {
	case 1, 2:
		width = 1
	case 3, 4:
	default:
		reply[4] ^= 1
		return reply
	}
	if len(reply) > 2+width {
		reply = reply[:len(reply)-width]
	} else {
		reply = append(reply, make([]byte, width)...)
	}
	reply[1] = byte(len(reply) - 2)
	return reply
}

// shape applies the faults that lie in time and around the frame.
func (s *Slave) shape(wait time.Duration, adu, raw []byte, function byte) []burst {
	if f, ok := s.draw(Late, function); ok {
		wait += cmp.Or(f.Delay, 330*time.Millisecond)
	}
	sent := adu
	if f, ok := s.draw(Truncated, function); ok {
		sent = adu[:min(cmp.Or(f.N, len(adu)/2), len(adu))]
	}
	if f, ok := s.draw(GarbageBefore, function); ok {
		sent = append(s.garbage(f, 3), sent...)
	}
	if f, ok := s.draw(GarbageAfter, function); ok {
		sent = append(slices.Clone(sent), s.garbage(f, 3)...)
	}
	bursts := []burst{{wait, sent}}
	if f, ok := s.draw(Split, function); ok {
		bursts = bursts[:0]
		for piece := range slices.Chunk(sent, cmp.Or(f.N, fifo)) {
			bursts = append(bursts, burst{wait, piece})
			wait = cmp.Or(f.Delay, 20*time.Millisecond)
		}
	}
	if f, ok := s.draw(Duplicate, function); ok {
		bursts = append(bursts, burst{cmp.Or(f.Delay, 5*time.Millisecond), sent})
	}
	if _, ok := s.draw(Echo, function); ok {
		bursts = append([]burst{{0, bytes.Clone(raw)}}, bursts...)
	}
	return bursts
}

// draw decides whether a fault befalls a request of a function, and uses it up.
func (s *Slave) draw(kind FaultKind, function byte) (Fault, bool) {
	for i := range s.faults {
		f := &s.faults[i]
		if f.Kind != kind || f.Count > 0 && f.used >= f.Count ||
			f.Functions != nil && !slices.Contains(f.Functions, function) ||
			f.Probability > 0 && s.chance.Float64() >= f.Probability {
			continue
		}
		f.used++
		s.stats.Faults[kind]++
		return f.Fault, true
	}
	return Fault{}, false
}

func (s *Slave) garbage(f Fault, n int) []byte {
	if f.Bytes != nil {
		return slices.Clone(f.Bytes)
	}
	b := make([]byte, cmp.Or(f.N, n))
	for i := range b {
		b[i] = byte(s.chance.Uint32())
	}
	return b
}

// unasked gives the bursts of a babbling slave that are due.
func (s *Slave) unasked(now time.Time) []burst {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.babbling()
	if i < 0 || now.Before(s.babble) {
		return nil
	}
	s.babble = now.Add(cmp.Or(s.faults[i].Delay, 100*time.Millisecond))
	f, ok := s.draw(Babble, 0)
	if !ok {
		return nil
	}
	return []burst{{0, s.garbage(f, 16)}}
}

// due gives when the slave babbles next; ok is false if it does not.
func (s *Slave) due() (at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.babble, s.babbling() >= 0
}

// babbling gives the place of a Babble that is not used up, or -1.
func (s *Slave) babbling() int {
	return slices.IndexFunc(s.faults, func(f fault) bool {
		return f.Kind == Babble && (f.Count == 0 || f.used < f.Count)
	})
}
