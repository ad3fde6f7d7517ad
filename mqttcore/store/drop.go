package store

import (
	"slices"
	"time"
)

// loss is what a session lost and the log does not say yet. One record tells of
// as many neighbours as were lost for the same reason before a commit.
type loss struct {
	from, to     uint64 // sequence numbers; none where to < from: lost behind to
	count, bytes uint64
	reason       Reason
}

// dropTo gives up everything of a session up to seq. The caller holds s.mu.
func (s *Store) dropTo(ses *session, seq uint64, reason Reason) {
	ses.mu.Lock()
	from := ses.base + 1
	bytes := ses.backlogBytes(ses.base) - ses.backlogBytes(seq)
	lost := ses.moveTo(seq)
	ses.dropped += lost
	s.lose(ses, loss{from, seq, lost, bytes, reason})
	ses.mu.Unlock()
}

// lose counts a loss, which the next commit records. The caller holds both
// locks, and has changed the cursor.
func (s *Store) lose(ses *session, l loss) {
	s.totals.dropped[l.reason] += l.count
	if ses.lost == nil {
		ses.lost = map[Reason]uint64{}
	}
	ses.lost[l.reason] += l.count
	if len(ses.losses) == 0 {
		s.losing = append(s.losing, ses)
	} else if o := &ses.losses[len(ses.losses)-1]; o.reason == l.reason && (l.from == o.to+1) {
		o.to = l.to
		o.count += l.count
		o.bytes += l.bytes
		return
	}
	ses.losses = append(ses.losses, l)
}

// recordLosses puts what was lost into the commit that is about to be made. The
// caller holds s.mu.
func (s *Store) recordLosses() {
	for _, ses := range s.losing {
		ses.mu.Lock()
		if len(ses.losses) > 0 {
			s.recordCur(ses)
		}
		ses.mu.Unlock()
	}
	s.losing = s.losing[:0]
}

// recordCur writes the cursor of a session and before it, in the same frame, what
// was lost. The caller holds both locks.
func (s *Store) recordCur(ses *session) {
	cur := ses.appendCur(nil)
	room := recordHead + len(cur)
	for i := range ses.losses {
		room += lossRoom + len(ses.losses[i].reason)
	}
	f := s.frameFor(room)
	for _, l := range ses.losses {
		if l.count > 0 {
			s.scratch = l.append(appendUint(s.scratch[:0], uint64(ses.id)))
			s.record(f, recDrop, s.scratch, nil)
			f.losses = append(f.losses, sessionLoss{ses, l})
			s.noteDrop(l.drop(ses.id, f.info.time))
		}
	}
	ses.losses = nil
	s.record(f, recCur, cur, nil)
	f.bases = append(f.bases, sessionBase{ses, ses.base})
	ses.acks = 0
}

const lossRoom = 64 // of a recDrop, without the reason

// append encodes all but the session.
func (l *loss) append(b []byte) []byte {
	b = appendUint(b, l.from)
	b = appendUint(b, l.to)
	b = appendUint(b, l.count)
	b = appendUint(b, l.bytes)
	return appendString(b, string(l.reason))
}

func (l *loss) drop(sid SID, time uint64) Drop {
	return Drop{Session: sid, From: l.from, To: l.to, Count: l.count, Bytes: l.bytes, Reason: l.reason, time: time}
}

// takeBack undoes the record of losses that did not get to the disk, and of those
// that nobody was told of the messages themselves: who published those that were
// not taken in hears that they are not stored. The caller holds s.mu.
func (s *Store) takeBack(frames []*frame) {
	for _, f := range frames {
		for _, l := range f.losses {
			s.forgetDrop(l.drop(l.ses.id, f.info.time))
			if len(l.ses.losses) == 0 {
				s.losing = append(s.losing, l.ses)
			}
			l.ses.losses = append(l.ses.losses, l.loss)
		}
	}
	for _, ses := range s.losing {
		ses.mu.Lock()
		kept := ses.losses[:0]
		for _, l := range ses.losses {
			if l.reason != ReasonNewest {
				kept = append(kept, l)
				continue
			}
			ses.unnumbered -= l.count
			ses.dropped -= l.count
			s.totals.dropped[l.reason] -= l.count
		}
		ses.losses = kept
		ses.mu.Unlock()
	}
}

// Drop is a loss on record.
type Drop struct {
	Session  SID
	Client   string // "" where the session was deleted since
	From, To uint64 // sequence numbers; To < From: after To, before they had one
	Count    uint64 // of those, the messages that were still queued
	Bytes    uint64 // of theirs; 0 where that was not known
	Reason   Reason
	At       time.Time // by the best wall clock known now
	time     uint64
}

const maxDrops = 64 // kept in snapshots

// noteDrop remembers a loss for the next snapshot. The caller holds s.mu.
func (s *Store) noteDrop(d Drop) {
	if len(s.drops) == maxDrops {
		s.drops = slices.Delete(s.drops, 0, 1)
	}
	s.drops = append(s.drops, d)
}

func (s *Store) forgetDrop(d Drop) {
	s.drops = slices.DeleteFunc(s.drops, func(o Drop) bool { return o == d })
}

// Drops lists the newest losses on record, 64 at most, oldest first. They outlive
// the log that they were recorded in.
func (s *Store) Drops() []Drop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.described(s.drops)
}

// described completes losses by what is known now. The caller holds s.mu.
func (s *Store) described(drops []Drop) []Drop {
	all := slices.Clone(drops)
	for i := range all {
		d := &all[i]
		if ses := s.sessions[d.Session]; ses != nil {
			d.Client = ses.client
		}
		d.At = s.clock.wallAt(d.time)
	}
	return all
}

// decodeDrop is the body of a recDrop of a frame of that time, or of a recLost.
func decodeDrop(typ byte, d *decoder, time uint64) Drop {
	o := Drop{Session: SID(d.uint32()), From: d.uint(), To: d.uint(), Count: d.uint(), Bytes: d.uint(), Reason: Reason(d.string()), time: time}
	if typ == recLost {
		o.time = d.uint()
	}
	return o
}
