package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"
)

// isFull says whether the disk has no room, rather than a fault.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isDamage says whether the disk cannot give back what it was given: a bad
// sector, or metadata of the file system that do not match their checksum.
func isDamage(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EUCLEAN) || errors.Is(err, syscall.EBADMSG)
}

// failure is ErrFailed with its cause and what can be done about it.
func failure(cause error) error {
	remedy := "see what the kernel says of the disk (dmesg)"
	switch {
	case errors.Is(cause, ErrVersion):
		remedy = "start that version, or name another folder"
	case isFull(cause):
		return fmt.Errorf("%w: %w: %w; free some space and start again", ErrFailed, ErrFull, cause)
	case errors.Is(cause, syscall.EROFS):
		remedy = "the file system is read-only, as the kernel makes one with errors: look into dmesg, repair it or mount it writable"
	case errors.Is(cause, fs.ErrPermission):
		remedy = "give the folder and all files in it to the user that this runs as"
	case errors.Is(cause, syscall.ENOTDIR), errors.Is(cause, fs.ErrExist), errors.Is(cause, syscall.ELOOP):
		remedy = "something else than a folder is in the way: move it, or name another folder"
	case isDamage(cause):
		remedy = "the disk has errors: look into dmesg, and replace it"
	}
	return fmt.Errorf("%w: %w; %s, then start again", ErrFailed, cause, remedy)
}

// readPauses are the waits before a place that cannot be read is tried again.
var readPauses = [...]time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond}

const (
	readPatience = 300 * time.Millisecond // more than all of them: for one place
	openPatience = time.Second            // for all places together, while the store is opened
)

// patiently reads, again after a pause where the disk has an error, for as long
// as patience lasts.
func patiently(patience *time.Duration, read func() error) (err error) {
	for _, pause := range readPauses {
		if err = read(); !isDamage(err) || pause > *patience {
			return err
		}
		*patience -= pause
		time.Sleep(pause)
	}
	return read()
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
		for _, r := range f.rels {
			r.ses.mu.Lock()
			r.ses.unrelease(r.seq)
			r.ses.mu.Unlock()
		}
		for _, in := range f.inrels {
			if !slices.Contains(in.ses.inrels, in.pid) {
				in.ses.inrels = append(in.ses.inrels, in.pid)
			}
		}
		for _, u := range f.unsubs {
			if len(u.ses.unsubs) < maxUnsubs && !slices.Contains(u.ses.unsubs, u.filter) {
				u.ses.unsubs = append(u.ses.unsubs, u.filter)
			}
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
	news := s.refused == nil || sticky
	s.refused = err
	s.mu.Unlock()
	if news {
		s.log.Error("store: messages are refused", "error", err)
	}
	fail(frames, err)
}

// maxUnsubs bounds the refused ends of subscriptions that a session remembers,
// for a client that goes on subscribing while the disk is full.
const maxUnsubs = 1000

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
		unsubs, inrels := ses.unsubs, ses.inrels
		ses.unsubs, ses.inrels = nil, nil
		for _, pid := range inrels {
			if _, back := ses.inbound[pid]; !back {
				f := s.control(recInRel, appendUint(slices.Clone(id), uint64(pid)))
				f.inrels = append(f.inrels, inboundID{ses, pid})
			}
		}
		for _, filter := range unsubs {
			if _, back := ses.subs[filter]; !back {
				f := s.control(recUnsub, appendString(slices.Clone(id), filter))
				f.unsubs = append(f.unsubs, sessionFilter{ses, filter})
			}
		}
		for _, filter := range slices.Sorted(maps.Keys(ses.subs)) {
			sub := ses.subs[filter]
			s.control(recSub, sub.append(slices.Clone(id)))
		}
		f := s.control(recWill, ses.appendWill(id))
		f.changed = append(f.changed, ses)
	}
}
