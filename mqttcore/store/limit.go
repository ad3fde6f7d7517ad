package store

import (
	"cmp"
	"slices"
	"time"
)

// WhenFull says what becomes of messages that a full queue has no room for.
type WhenFull uint8

// The policies of a full queue.
const (
	DropOldest WhenFull = iota // the oldest go
	DropNewest                 // they are not queued for this session
	Reject                     // they are refused for everybody: ErrQuota
)

// Limit bounds the queue of one session. Fields that are 0 do not.
type Limit struct {
	// MaxBytes bounds the topics, payloads and properties that are queued.
	MaxBytes uint64
	// MaxAge is how old a message may get, by store time, so that no set of the
	// clock ages it. One that was handed out in time is finished all the same,
	// unless the whole segment is too old.
	MaxAge time.Duration
	// WhenFull is what to do at MaxBytes.
	WhenFull WhenFull
}

// LimitSession bounds the queue of a session; what is beyond goes with the reason
// quota, newest or age. With DropOldest that is looked at whenever another 64th
// of MaxBytes has been queued. Ages are exact where the queue is read; else
// whole segments go, some time after they are due. The limit is not stored: set it
// after each Open.
func (s *Store) LimitSession(sid SID, l Limit) {
	s.mu.Lock()
	if ses := s.sessions[sid]; ses != nil {
		ses.limit = l
		s.aging = s.aging || l.MaxAge > 0
		ses.maxAge.Store(uint64(l.MaxAge.Milliseconds()))
		s.enforce(ses)
		s.dropAged(ses)
	}
	s.wakeForLosses()
}

// wakeForLosses unlocks s.mu and has the writer record what was lost.
func (s *Store) wakeForLosses() {
	if len(s.losing) > 0 {
		s.wakeWriterNow()
		return
	}
	s.mu.Unlock()
}

// enforce drops the oldest of a session that has more than its limit. The caller
// holds s.mu.
func (s *Store) enforce(ses *session) {
	ses.unchecked = 0
	limit := ses.limit.MaxBytes
	if limit == 0 || ses.limit.WhenFull != DropOldest || ses.deleted {
		return
	}
	ses.mu.Lock()
	base := ses.base
	ses.mu.Unlock()
	queued := ses.backlogBytes(base)
	if queued <= limit {
		return
	}
	excess := queued - limit
	to := base
	for _, g := range ses.pins {
		p := g.part(ses.id)
		bytes := p.bytesAbove(base)
		if bytes == 0 {
			continue
		}
		if bytes > excess {
			from := max(base+1, p.first)
			to = from - 1 + uint64(float64(p.last-from+1)*float64(excess)/float64(bytes)) + 1
			break
		}
		excess -= bytes
		to = p.last
	}
	if to = min(to, ses.committed); to > base {
		s.dropTo(ses, to, ReasonQuota)
	}
}

// full says whether a session has no room for so many more bytes, and does not
// make any. The caller holds s.mu.
func (ses *session) full(size uint64) bool {
	if ses.limit.MaxBytes == 0 || ses.limit.WhenFull == DropOldest {
		return false
	}
	ses.mu.Lock()
	base := ses.base
	ses.mu.Unlock()
	return ses.backlogBytes(base)+ses.waiting+size > ses.limit.MaxBytes
}

// rejects says whether a session that m goes to would have it refused. The caller
// holds s.mu.
func (s *Store) rejects(m *Message) bool {
	for i := range m.Routes {
		if ses := s.sessions[m.Routes[i].Session]; ses != nil && ses.limit.WhenFull == Reject && ses.full(m.size()) {
			return true
		}
	}
	return false
}

// turnAway counts a message that a full queue does not take. The caller holds
// s.mu.
func (s *Store) turnAway(ses *session, size uint64) {
	ses.mu.Lock()
	ses.unnumbered++
	ses.dropped++
	s.lose(ses, loss{ses.last + 1, ses.last, 1, size, ReasonNewest})
	ses.mu.Unlock()
}

// dropAged gives up the segments in which everything is too old for a session: a
// segment has nothing from after the next one was begun. The caller holds s.mu.
func (s *Store) dropAged(ses *session) {
	age := ses.maxAge.Load()
	now := s.clock.now()
	if age == 0 || now <= age || ses.deleted {
		return
	}
	ses.mu.Lock()
	base := ses.base
	ses.mu.Unlock()
	to := base
	for _, g := range ses.pins {
		end := s.endTime(g)
		if end == 0 || end >= now-age {
			break
		}
		to = g.part(ses.id).last
	}
	if to > base {
		s.dropTo(ses, to, ReasonAge)
	}
}

// endTime is a store time that nothing in g is younger than, 0 if not known. The
// caller holds s.mu.
func (s *Store) endTime(g *segment) uint64 {
	i, ok := slices.BinarySearchFunc(s.segs, g.id, func(g *segment, id uint64) int { return cmp.Compare(g.id, id) })
	if !ok || i+1 == len(s.segs) {
		return 0
	}
	return s.segs[i+1].time
}

// ageEvery is how often whole segments are looked at for their age.
const ageEvery = 10 * time.Second

// dropAllAged is dropAged for all sessions, when it is time, and says when that
// is again. The caller holds s.mu.
func (s *Store) dropAllAged() (wait time.Duration) {
	if wait = ageEvery - time.Since(s.w.lastAged); wait > 0 {
		return wait
	}
	s.w.lastAged = time.Now()
	for _, ses := range s.sessions {
		s.dropAged(ses)
	}
	return ageEvery
}
