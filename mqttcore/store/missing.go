package store

import (
	"maps"
	"slices"
)

// What is missing leaves no damaged place behind. It is noticed by the numbers:
// those of records go on without holes, a snapshot says how far the log went,
// and a session knows how many messages are queued.

// missedBefore notices records that are neither in the log before g nor in the
// snapshot.
func (s *Store) missedBefore(r *recovery, g *recoverSeg) {
	if g.ordinal <= r.ordinal {
		return
	}
	if g.begin == headerSize {
		s.stats.CorruptFrames++ // else what is before it was counted
	}
	s.stats.MissingRecords += g.ordinal - r.ordinal
	s.log.Error("store: a part of the log is missing", "before", segName(g.id), "records", g.ordinal-r.ordinal)
}

// missedAfter notices that the log ends before the place that the snapshot was
// taken at.
func (s *Store) missedAfter(r *recovery) {
	if r.from.off() <= headerSize {
		return // at the beginning of a segment: there may be none yet
	}
	for _, g := range r.segs {
		if g.id > r.from.seg() || g.id == r.from.seg() && g.end >= r.from.off() {
			return
		}
	}
	if s.stats.CorruptFrames == 0 {
		s.stats.CorruptFrames++ // the place itself is gone
	}
	missing := r.covered - min(r.covered, r.read)
	s.stats.MissingRecords += missing
	s.log.Error("store: the end of the log is missing, sessions go on from the snapshot", "snapshot", snapName(r.from), "records", missing)
}

// missedMessages looks for the segments with the messages that sessions still
// wait for. What is gone at the front of a queue is recorded as lost now, what is
// gone further behind when it is read.
func (s *Store) missedMessages() {
	total := uint64(0)
	for _, sid := range slices.Sorted(maps.Keys(s.sessions)) {
		ses := s.sessions[sid]
		at, front, missing := ses.base, ses.base, uint64(0)
		for _, g := range s.segs {
			p := g.part(sid)
			if p == nil || p.last <= at {
				continue
			}
			if p.first > at+1 {
				missing += p.first - at - 1
				if at == ses.base {
					front = p.first - 1
				}
			}
			at = p.last
		}
		if at < ses.last {
			missing += ses.last - at
			if at == ses.base {
				front = ses.last
			}
		}
		if missing == 0 {
			continue
		}
		total += missing
		s.log.Error("store: queued messages are missing", "client", ses.client, "count", missing)
		if front > ses.base {
			s.dropTo(ses, front, ReasonCorrupt)
		}
	}
	if total > 0 && s.stats.CorruptFrames == 0 {
		s.stats.CorruptFrames++ // the place itself is gone
	}
}
