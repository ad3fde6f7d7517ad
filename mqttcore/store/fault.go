package store

import (
	"errors"
	"maps"
	"slices"
	"syscall"
)

// isFull says whether the disk has no room, rather than a fault.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// poison gives up the active segment where it stands: after a failed sync the
// kernel may have thrown pages away that it now calls clean.
func (s *Store) poison(err error) {
	s.mu.Lock()
	g := s.active
	s.active = nil
	s.stats.Poisoned++
	s.mu.Unlock()
	s.log.Error("store: disk fault, the segment is given up", "error", err)
	if g != nil {
		if err := g.file.Close(); err != nil {
			s.log.Warn("store: closing a segment after a fault", "segment", segName(g.id), "error", err)
		}
	}
}

// giveUp fails frames and all that waits behind them, and takes back the numbers
// that they had. With sticky nothing is accepted any more.
func (s *Store) giveUp(frames []*frame, err error, sticky bool) {
	s.mu.Lock()
	if sticky {
		s.failed = err
	}
	frames = append(frames, s.takePending()...)
	s.takeBack(frames)
	for _, f := range frames {
		for i := range f.touched {
			f.touched[i].ses.last = f.touched[i].ses.committed
			f.touched[i].ses.waiting = 0
		}
		for _, in := range f.inbound {
			delete(in.ses.inbound, in.pid)
		}
		for _, b := range f.bases {
			s.markDirty(b.ses)
		}
		for _, ses := range f.changed {
			if !ses.unsaved {
				ses.unsaved = true
				s.unsaved = append(s.unsaved, ses)
			}
		}
	}
	s.ordinal = s.w.ordinal
	s.w.wantSnap = true // it takes in what the lost records changed
	news := !s.refusing || sticky
	s.refusing = true
	s.mu.Unlock()
	if news {
		s.log.Error("store: messages are refused", "error", err)
	}
	fail(frames, err)
}

// saveAgain records what sessions are whose changes the disk did not take,
// before anything else is: a message must never be on the disk for a session
// that is not. The caller holds s.mu; nothing is pending.
func (s *Store) saveAgain() {
	list := s.unsaved
	s.unsaved = nil
	for _, ses := range list {
		ses.unsaved = false
		id := appendUint(nil, uint64(ses.id))
		if ses.deleted {
			f := s.control(recDel, id)
			f.gone, f.changed = append(f.gone, ses), append(f.changed, ses)
			continue
		}
		s.control(recSess, ses.appendSess(nil))
		for _, filter := range slices.Sorted(maps.Keys(ses.subs)) {
			sub := ses.subs[filter]
			s.control(recSub, sub.append(slices.Clone(id)))
		}
		f := s.control(recWill, ses.appendWill(id))
		f.changed = append(f.changed, ses)
	}
}
