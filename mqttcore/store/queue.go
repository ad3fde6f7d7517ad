package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"
)

// Queue is the read side of one session. Its methods may be called from any
// goroutine, but what Next handed out belongs to one owner at a time. A queue
// that keeps up is served from memory, one that lags from the disk.
type Queue struct {
	s    *Store
	ses  *session
	wake func()

	mu     sync.Mutex
	closed bool
	reader reader
	subIDs []uint32
}

// OpenQueue opens the queue of a session, rewound. wake is called on the
// writer's goroutine, once for each sync that added deliveries for sid; it
// must not wait. At most one queue of a session is open: opening another one
// closes the first. Nil where there is no such session.
func (s *Store) OpenQueue(sid SID, wake func()) *Queue {
	s.mu.Lock()
	ses := s.sessions[sid]
	if ses == nil {
		s.mu.Unlock()
		return nil
	}
	old := ses.queue
	q := &Queue{s: s, ses: ses, wake: wake}
	ses.queue = q
	s.mu.Unlock()
	if old != nil {
		old.Close()
	}
	q.Rewind()
	return q
}

// Close closes the queue. The deliveries stay; what is settled reaches the disk
// with the next commit.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	q.reader.close()
	q.s.mu.Lock()
	if q.ses.queue == q {
		q.ses.queue = nil
	}
	dirty := q.ses.isDirty() && !q.ses.deleted
	if dirty {
		q.s.curDue.Store(true)
		q.s.wakeWriterNow()
		return
	}
	q.s.mu.Unlock()
}

func (ses *session) isDirty() bool {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	return ses.dirty
}

// wakeWriterNow unlocks s.mu and has the writer look whether there is something.
func (s *Store) wakeWriterNow() {
	kick := s.idle
	s.idle = false
	s.mu.Unlock()
	if kick {
		s.poke()
	}
}

// Next hands out the next delivery, or false where there is none yet (wake will
// tell). Settled ones are skipped; expired ones are dropped on the way. An error
// means that the disk could not be read: the message is still queued, and Next
// may be called again. ErrClosed after Close.
func (q *Queue) Next(d *Delivery) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next(d, false)
}

// next is Next; with peek the delivery is handed out again by the next call.
func (q *Queue) next(d *Delivery, peek bool) (bool, error) {
	ses := q.ses
	for {
		if q.closed {
			return false, ErrClosed
		}
		off := q.reader.off
		h, ok := q.reader.find(ses.id)
		if !ok {
			if more, err := q.fetch(); !more || err != nil {
				return false, err
			}
			continue
		}
		lsn, at := q.reader.lsn, q.reader.time+h.pub.delta
		ses.mu.Lock()
		from, lost := ses.skipTo(h.seq, lsn, at)
		deliver, state, known := false, markNone, false
		if h.seq >= ses.next {
			deliver, state = ses.take(h.seq, lsn, at)
			known = h.seq <= ses.sent
			d.Sent = known || h.seq <= ses.maybe
			if !deliver || !peek {
				ses.next = max(h.seq, ses.base) + 1
			}
			if deliver && !peek {
				ses.sent = max(ses.sent, h.seq)
			}
		}
		ses.mu.Unlock()
		if lost > 0 {
			q.lose(from, h.seq-1, lost)
		}
		if !deliver {
			continue
		}
		if err := q.fill(d, &h); err != nil {
			q.s.log.Error("store: delivery cannot be read", "client", ses.client, "seq", h.seq, "place", lsn, "error", err)
			q.drop(h.seq, ReasonCorrupt, 0)
			continue
		}
		d.Released = state == markReleased
		d.At, d.Age, d.Older = q.s.clock.wallAt(at), q.s.clock.age(at), q.s.clock.older(at)
		if age := ses.maxAge.Load(); age > 0 && !known && !d.Released && q.s.clock.now() > at+age {
			q.drop(h.seq, ReasonAge, h.pub.size())
			continue
		}
		if d.HasExpiry {
			if d.Expiry = q.s.clock.left(at, d.Expiry); d.Expiry == 0 {
				// What is already on its way is finished (MQTT 5, 4.4).
				if !known && !d.Released {
					q.drop(h.seq, ReasonExpired, h.pub.size())
					continue
				}
				d.Expiry = 1
			}
		}
		if peek {
			q.reader.off, q.reader.seq = off, h.seq-1
		}
		return true, nil
	}
}

// lose records what the disk no longer had.
func (q *Queue) lose(from, to, lost uint64) {
	s := q.s
	s.mu.Lock()
	q.ses.mu.Lock()
	s.lose(q.ses, loss{from, to, lost, 0, ReasonCorrupt})
	q.ses.mu.Unlock()
	s.wakeForLosses()
	s.log.Error("store: queued messages were lost to damage", "client", q.ses.client, "from", from, "to", to, "count", lost)
}

// fill decodes the rest of a delivery.
func (q *Queue) fill(d *Delivery, h *hit) error {
	var other route
	for ; h.left > 0; h.left-- {
		h.dec.route(&other)
	}
	p := &h.pub
	if err := h.dec.pubRest(p, q.reader.frame); err != nil {
		return err
	}
	q.subIDs = q.subIDs[:0]
	for range h.nsubs {
		q.subIDs = append(q.subIDs, h.subs.uint32())
	}
	d.Seq = h.seq
	d.Topic, d.Payload, d.Props = p.topic, p.payload, p.props
	d.QoS, d.Retain = h.flags&routeQoS, h.flags&routeRetain != 0
	d.SubIDs = q.subIDs
	d.HasExpiry, d.Expiry = p.flags&pubExpiry != 0, p.expiry
	return nil
}

// Drop gives up a delivery that was handed out and can never be accepted. The
// loss is recorded durably with its reason.
func (q *Queue) Drop(seq uint64, reason Reason) { q.drop(seq, reason, 0) }

func (q *Queue) drop(seq uint64, reason Reason, bytes uint64) {
	s, ses := q.s, q.ses
	s.mu.Lock()
	ses.mu.Lock()
	if ses.settle(seq, ses.committed) {
		ses.dropped++
		if !ses.deleted {
			s.lose(ses, loss{seq, seq, 1, bytes, reason})
		}
	}
	ses.mu.Unlock()
	s.wakeForLosses()
}

// Rewind goes back to the first delivery that is not settled: on a reconnect
// everything in flight is handed out again, with Sent set.
func (q *Queue) Rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.s.mu.Lock()
	q.ses.mu.Lock()
	from := q.ses.readFrom()
	if q.ses.base == q.ses.committed {
		from = q.s.end
	}
	q.ses.next = q.ses.base + 1
	q.ses.mu.Unlock()
	q.s.mu.Unlock()
	q.reader.seek(from)
}

// Base is the sequence number up to which everything is settled.
func (q *Queue) Base() uint64 {
	q.ses.mu.Lock()
	defer q.ses.mu.Unlock()
	return q.ses.base
}

// Released is the highest sequence number for which Release was called; not
// below Base.
func (q *Queue) Released() uint64 {
	q.ses.mu.Lock()
	defer q.ses.mu.Unlock()
	return max(q.ses.rel, q.ses.base)
}

// Last is the sequence number of the newest committed delivery.
func (q *Queue) Last() uint64 {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	return q.ses.committed
}

// Len is what is queued, including what is in flight: messages, and the bytes of
// their topics, payloads and properties (an estimate within the segment that is
// being delivered).
func (q *Queue) Len() (messages, bytes uint64) {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	return q.ses.backlog()
}

// Dropped counts the deliveries that were given up: expired, over a quota,
// damaged, or by Drop. It goes on over restarts.
func (q *Queue) Dropped() uint64 {
	q.ses.mu.Lock()
	defer q.ses.mu.Unlock()
	return q.ses.dropped
}

// DroppedBy counts the deliveries that were given up since the store was
// opened, by their reasons.
func (q *Queue) DroppedBy() map[Reason]uint64 {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	return maps.Clone(q.ses.lost)
}

// Backlog is Len of the queue of a session, whether it is open or not.
func (s *Store) Backlog(sid SID) (messages, bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ses := s.sessions[sid]; ses != nil {
		return ses.backlog()
	}
	return 0, 0
}

func (ses *session) backlog() (messages, bytes uint64) {
	ses.mu.Lock()
	base, n := ses.base, ses.committed-ses.base-ses.settled
	ses.mu.Unlock()
	if n == 0 {
		return 0, 0
	}
	return n, ses.backlogBytes(base)
}

// Oldest is the age of the oldest delivery that is not settled, 0 if none is. It
// may read on in the log where nothing is in flight.
func (q *Queue) Oldest() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ses.mu.Lock()
	at, ok := uint64(0), false
	for i := 0; i < q.ses.flight.len() && !ok; i++ {
		if e := q.ses.flight.at(i); e.mark != markSettled {
			at, ok = e.time, true
		}
	}
	q.ses.mu.Unlock()
	if !ok {
		var d Delivery
		if more, err := q.next(&d, true); !more || err != nil {
			return 0
		}
		q.ses.mu.Lock()
		if n := q.ses.flight.len(); n > 0 {
			at, ok = q.ses.flight.at(n-1).time, true
		}
		q.ses.mu.Unlock()
		if !ok {
			return 0
		}
	}
	return q.s.clock.age(at)
}

// Ack settles a delivery: PUBACK or PUBCOMP came. It counts in memory at once
// and reaches the disk lazily, so a crash may bring back what was acknowledged
// in the last second or since the last 256 acknowledgements. Numbers that are
// settled, or not yet in the queue, are ignored.
func (q *Queue) Ack(seq uint64) {
	s, ses := q.s, q.ses
	ses.mu.Lock()
	// committed grows only, and seq was handed out: no need for the store's lock.
	ok := ses.settle(seq, max(ses.handed(), ses.maybe))
	first := ok && !ses.dirty
	if ok {
		ses.acks++
	}
	due := ses.acks == cursorAcks
	ses.mu.Unlock()
	if !first && !due {
		return
	}
	s.mu.Lock()
	if first {
		s.markDirty(ses)
	}
	if due {
		s.curDue.Store(true)
	}
	s.wakeWriterNow()
}

// Release records that PUBREC came for a QoS 2 delivery. PUBREL may be sent when
// done is called with nil, not before. After an error it is not released: it is
// handed out again as if PUBREC had not come.
func (q *Queue) Release(seq uint64, done func(error)) {
	news := false
	q.s.change(q.ses.id, recRel, done, func(ses *session, b []byte) []byte {
		ses.mu.Lock()
		news = ses.release(seq, ses.committed)
		ses.mu.Unlock()
		return appendUint(b, seq)
	}, func(f *frame, ses *session) {
		if news {
			f.rels = append(f.rels, sessionSeq{ses, seq})
		}
	})
}

// fetch puts the next frame with something for this session before the reader.
func (q *Queue) fetch() (bool, error) {
	r, s, ses := &q.reader, q.s, q.ses
	for {
		s.mu.Lock()
		if r.pos >= s.end {
			s.mu.Unlock()
			r.rest()
			return false, nil
		}
		if s.ring.covers(r.pos) {
			f, t := s.ring.next(r.pos, ses.id)
			if f == nil {
				r.pos = s.end
			} else {
				s.stats.RingFrames++
			}
			s.mu.Unlock()
			if f == nil {
				r.rest()
				return false, nil
			}
			r.load(f.buf[:frameHeader+int(f.info.length)], f.lsn, f.info.time, int(t.off))
			r.pos = f.end()
			r.rest()
			return true, nil
		}
		g, limit := s.locate(r, ses)
		s.mu.Unlock()
		if g == nil {
			continue
		}
		ok, err := r.read(s, g, limit)
		if ok {
			return true, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // recycled in between
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", segName(g.id), err)
		}
	}
}
