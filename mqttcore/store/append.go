package store

import (
	"context"
	"time"
)

const recordHead = 16 // length, type and some air

// Append encodes m into the next commit. It never waits. done is called once,
// on the writer's goroutine, after the commit is on stable storage or with the
// reason why it is not, in the order of the calls; it must not wait, and may
// call Append. done may be nil. Where the message is refused at once (ErrBusy,
// ErrTooLarge, ErrQuota, ErrFailed, ErrClosed) done is called before Append returns.
func (s *Store) Append(m *Message, done func(error)) {
	bound := recordHead + 32 + len(m.Topic) + len(m.Props) + len(m.Payload)
	for i := range m.Routes {
		bound += 21 + 5*len(m.Routes[i].SubIDs)
	}
	s.mu.Lock()
	err := s.refusal()
	switch {
	case err != nil:
	case int64(bound) > s.opt.SegmentSize/2:
		err = ErrTooLarge
	case s.pendingBytes+bound > maxPending && s.pendingBytes > 0:
		s.stats.Refused++
		err = ErrBusy
	case s.rejects(m):
		s.stats.Rejected++
		err = ErrQuota
	}
	if err != nil {
		s.mu.Unlock()
		if done != nil {
			done(err)
		}
		return
	}
	f := s.frameFor(bound)
	s.appendPub(f, m)
	if done != nil {
		f.dones = append(f.dones, done)
	}
	s.wakeWriter()
}

// wakeWriter unlocks s.mu and lets the writer know that there is something.
func (s *Store) wakeWriter() {
	kick := s.idle || s.gathering && s.enough()
	if kick {
		s.idle, s.gathering = false, false
	}
	s.mu.Unlock()
	if kick {
		s.poke()
	}
}

// enough says that a commit gathers no more. The caller holds s.mu.
func (s *Store) enough() bool { return s.pendingBytes >= gatherBytes || s.prompt }

// AppendSync appends m and waits until it is durable. When ctx ends first its
// error is returned and the message may or may not become durable.
func (s *Store) AppendSync(ctx context.Context, m *Message) error {
	for {
		c := make(chan error, 1)
		s.Append(m, func(err error) { c <- err })
		select {
		case err := <-c:
			if err != ErrBusy {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.WaitRoom(ctx); err != nil {
			return err
		}
	}
}

// frameFor gives the open frame with room for n more bytes.
func (s *Store) frameFor(n int) *frame {
	if len(s.unsaved) > 0 && len(s.pending) == 0 {
		s.saveAgain()
	}
	if f := s.cur; f != nil && len(f.buf)+n <= s.frameMax {
		return f
	}
	size := max(int(roundUp(int64(frameHeader+n))), s.w.usual)
	f := &frame{buf: make([]byte, frameHeader, size)}
	f.info.ordinal = s.ordinal
	f.info.time = s.clock.now()
	s.curStart = time.Now()
	clear(s.topics)
	s.pending = append(s.pending, f)
	s.cur = f
	return f
}

// record appends a record made of head and tail to f.
func (s *Store) record(f *frame, typ byte, head []byte, tail []byte) {
	before := len(f.buf)
	f.buf = appendUint(f.buf, uint64(1+len(head)+len(tail)))
	f.buf = append(f.buf, typ)
	f.buf = append(f.buf, head...)
	f.buf = append(f.buf, tail...)
	f.records++
	s.ordinal++
	s.pendingBytes += len(f.buf) - before
}

// control appends a small record whose body is written by body.
func (s *Store) control(typ byte, body []byte) *frame {
	f := s.frameFor(recordHead + len(body))
	s.record(f, typ, body, nil)
	return f
}

// appendPub encodes m, gives its deliveries their numbers and takes in what it
// changes.
func (s *Store) appendPub(f *frame, m *Message) {
	start := len(f.buf)
	flags := m.QoS & pubQoS
	if m.Retain {
		flags |= pubRetain
	}
	if m.HasExpiry {
		flags |= pubExpiry
	}
	if m.StoreRetained {
		flags |= pubStore
	}
	if len(m.Props) > 0 {
		flags |= pubProps
	}
	publisher := s.sessions[m.Publisher]
	if publisher != nil {
		flags |= pubInbound
	}
	b := append(s.scratch[:0], flags)
	b = appendUint(b, uint64(max(0, time.Since(s.curStart).Milliseconds())))
	routes, mark, size := 0, s.ordinal+1, m.size()
	for i := range m.Routes {
		ses := s.sessions[m.Routes[i].Session]
		if ses == nil || ses.mark == mark {
			continue
		}
		if ses.full(size) {
			s.turnAway(ses, size)
			continue
		}
		ses.mark = mark
		routes++
	}
	if routes == 0 && len(m.Routes) > 0 && publisher == nil && !m.StoreRetained {
		return // nobody takes it
	}
	b = appendUint(b, uint64(routes))
	for i := range m.Routes {
		r := &m.Routes[i]
		ses := s.sessions[r.Session]
		if ses == nil || ses.mark != mark {
			continue
		}
		ses.mark = 0
		ses.last++
		seq := ses.last
		if ses.touchFrame == f {
			seq = 0 // one more than in the record before
		}
		ses.waiting += size
		s.prompt = s.prompt || r.Prompt
		f.deliver(ses, ses.last, size, uint32(start))
		b = appendRoute(b, r, seq)
	}
	topicAt := 0 // in b, where the frame has not had the topic before
	if ref, ok := s.topics[m.Topic]; ok {
		b = appendUint(b, uint64(ref))
	} else {
		b = append(b, 0)
		topicAt = len(b)
		b = appendString(b, m.Topic)
	}
	if m.HasExpiry {
		b = appendUint(b, uint64(m.Expiry))
	}
	if publisher != nil {
		b = appendUint(b, uint64(m.Publisher))
		b = appendUint(b, uint64(m.PacketID))
		publisher.inbound[m.PacketID] = struct{}{}
		f.inbound = append(f.inbound, inboundID{publisher, m.PacketID})
	}
	if len(m.Props) > 0 {
		b = appendString(b, m.Props)
	}
	s.scratch = b
	s.record(f, recPub, b, m.Payload)
	if topicAt > 0 {
		s.topics[m.Topic] = uint32(len(f.buf) - len(m.Payload) - len(b) + topicAt)
	}
	if m.StoreRetained && s.retained != nil {
		s.keepRetained(m, f.info.time)
	}
}

func appendRoute(b []byte, r *Route, seq uint64) []byte {
	b = appendUint(b, uint64(r.Session))
	b = appendUint(b, seq)
	flags := r.QoS & routeQoS
	if r.Retain {
		flags |= routeRetain
	}
	if len(r.SubIDs) > 0 {
		flags |= routeSubIDs
	}
	b = append(b, flags)
	if len(r.SubIDs) > 0 {
		b = appendUint(b, uint64(len(r.SubIDs)))
		for _, id := range r.SubIDs {
			b = appendUint(b, uint64(id))
		}
	}
	return b
}

// deliver notes in f that a session has a delivery in it.
func (f *frame) deliver(ses *session, seq, size uint64, off uint32) {
	if ses.touchFrame != f {
		ses.touchFrame, ses.touchIndex = f, len(f.touched)
		f.touched = append(f.touched, frameTouch{ses: ses, first: seq, off: off})
	}
	t := &f.touched[ses.touchIndex]
	t.last = seq
	t.count++
	t.bytes += size
}

// takePending empties the pending commit. The caller holds s.mu.
func (s *Store) takePending() []*frame {
	frames := s.pending
	s.pending, s.cur, s.pendingBytes, s.prompt = nil, nil, 0, false
	if s.roomc != nil {
		close(s.roomc)
		s.roomc = nil
	}
	return frames
}

// fail tells everyone who waits for frames that they are not durable.
func fail(frames []*frame, err error) {
	for _, f := range frames {
		for _, done := range f.dones {
			done(err)
		}
	}
}
