package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// writerState belongs to the goroutine of Run (and, before that, to Open).
type writerState struct {
	nextSeg  uint64
	ordinal  uint64 // of the next record to be committed
	prev     uint32 // crc of the last committed frame
	pool     []string
	safe     LSN // everything needed from below is in a kept snapshot
	diskLow  bool
	lowSaid  bool
	snapSaid bool // that snapshots fail
	named    bool // the identity is in its own file
	unnamed  bool // and that it could not be written was said
	renamed  bool // names in the pool may not be durable
	nextFill time.Time

	lastClock, lastSnap, nextSnap time.Time
	lastAged, lastSurplus         time.Time
	sinceSnap                     uint64 // bytes of log since the newest snapshot
	snapBytes                     uint64 // of that
	snapping, wantSnap, mark      bool
	repacking                     bool
	nextPack                      time.Time
	short                         bool  // the newest snapshot alone is to free room
	kept                          []LSN // snapshots on the disk, ascending

	patience time.Duration // what Open may still pause for a disk that cannot be read

	wakes []func()

	usual             int // size of the last frames; guarded by Store.mu
	written           atomic.Uint64
	syncTime, syncMax atomic.Int64
}

func (s *Store) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.now()
}

// Run is the writer. It returns after ctx has ended and everything appended
// before that is committed; the store then takes no more. The store is still to
// be closed. Where the store failed, the reason is returned then.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.state != stateOpen {
		s.mu.Unlock()
		return errors.New("store: can be run once, while it is open")
	}
	s.state = stateRunning
	failed := s.failed
	s.mu.Unlock()
	var beside sync.WaitGroup
	beside.Go(s.writeSnapshots)
	beside.Go(s.repackAll)
	if failed == nil {
		s.fillPool()
	}
	s.w.lastSnap = time.Now()
	close(s.ready)

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		if wait := s.wait(); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
			case <-s.kick:
			case <-timer.C:
			case r := <-s.done:
				s.snapshotDone(r)
			case r := <-s.packed:
				s.repackDone(r)
			}
			continue
		}
		s.gather(ctx, timer)
		s.commit(false)
		select {
		case r := <-s.done: // also where there is never a pause
			s.snapshotDone(r)
		case r := <-s.packed:
			s.repackDone(r)
		default:
		}
	}
	s.commit(true)
	return s.stop(&beside)
}

// wait is how long there is nothing to write, 0 if there is something.
func (s *Store) wait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		// There is nothing to be done but to refuse.
		if len(s.pending) > 0 || s.curDue.Load() {
			return 0
		}
		s.idle = true
		return snapInterval
	}
	aged, surplus := s.dropAllAged(), s.surplus()
	if len(s.pending) > 0 || len(s.losing) > 0 || surplus || s.curDue.Load() {
		return 0
	}
	wait := snapInterval
	if s.aging {
		wait = aged
	}
	if len(s.segs) > surplusSegments {
		wait = min(wait, snapPause)
	}
	if s.w.sinceSnap > 0 && !s.w.snapping {
		wait = min(wait, snapInterval-time.Since(s.w.lastSnap))
	}
	if len(s.dirty) > 0 {
		wait = min(wait, cursorEvery-time.Since(s.dirtySince))
	}
	if wait > 0 {
		s.idle = true
	}
	return max(wait, 0)
}

// gather lets a commit grow for as long as the options say.
func (s *Store) gather(ctx context.Context, timer *time.Timer) {
	if s.opt.CommitInterval == 0 {
		return
	}
	s.mu.Lock()
	enough := s.enough()
	s.gathering = !enough
	s.mu.Unlock()
	if enough {
		return
	}
	timer.Reset(s.opt.CommitInterval)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-s.kick:
			s.mu.Lock()
			enough = s.enough()
			s.mu.Unlock()
			if enough {
				return
			}
		case r := <-s.done:
			s.snapshotDone(r)
		case r := <-s.packed:
			s.repackDone(r)
		}
	}
}

// commit makes everything pending durable and tells who waits for it. The last
// one writes all cursors.
func (s *Store) commit(last bool) {
	s.mu.Lock()
	s.idle, s.gathering = false, false
	if last {
		s.state = stateStopped
	}
	if s.failed == nil {
		s.addClock()
		s.recordLosses()
		s.addCursors(last)
	}
	s.curDue.Store(false)
	frames := s.takePending()
	failed := s.failed
	var snap *snapshotState
	if failed == nil && !s.w.snapping && s.snapshotDue(last, frames) {
		snap = s.snapshotState(last)
	}
	s.mu.Unlock()
	if failed != nil {
		fail(frames, failed)
		return
	}
	if err := s.write(frames); err != nil {
		return
	}
	if s.active != nil && !s.w.unnamed {
		s.keepIdentity()
	}
	if snap != nil {
		s.startSnapshot(snap)
	}
	if len(frames) > 0 && !s.w.snapping {
		s.fillPool()
	}
}

// addClock records when the wall clock was set, and that there is a new
// snapshot; not by a commit of its own, but where the next snapshot must be
// another one.
func (s *Store) addClock() {
	if len(s.pending) == 0 && !(s.w.mark && s.w.wantSnap) {
		return
	}
	if s.w.mark {
		s.w.mark = false
		s.control(recMark, appendUint(nil, uint64(s.w.kept[len(s.w.kept)-1])))
	}
	if time.Since(s.w.lastClock) < time.Second {
		return
	}
	first := s.w.lastClock.IsZero()
	s.w.lastClock = time.Now()
	if e, changed := s.clock.check(); changed || first {
		s.control(recClock, e.append(nil))
	}
}

// addCursors writes the cursors that moved, when it is time.
func (s *Store) addCursors(all bool) {
	if len(s.dirty) == 0 || !all && !s.curDue.Load() && time.Since(s.dirtySince) < cursorEvery {
		return
	}
	for _, ses := range s.dirty {
		ses.mu.Lock()
		if ses.dirty && !ses.deleted {
			s.recordCur(ses)
		}
		ses.dirty = false
		ses.mu.Unlock()
	}
	s.dirty = s.dirty[:0]
}

// markDirty has the cursor of a session written before long. The caller holds
// s.mu.
func (s *Store) markDirty(ses *session) {
	ses.mu.Lock()
	if !ses.dirty {
		ses.dirty = true
		if len(s.dirty) == 0 {
			s.dirtySince = time.Now()
		}
		s.dirty = append(s.dirty, ses)
	}
	ses.mu.Unlock()
}

// stop ends what runs beside the writer, and keeps a last snapshot, which makes
// the next start quick.
func (s *Store) stop(beside *sync.WaitGroup) error {
	s.stopping.Store(true)
	if s.w.repacking {
		r := <-s.packed
		s.repackDone(r)
	}
	close(s.packs)
	if s.w.snapping {
		s.snapshotDone(<-s.done)
		s.mu.Lock()
		var snap *snapshotState
		if s.failed == nil {
			snap = s.snapshotState(true)
		}
		s.mu.Unlock()
		if snap != nil {
			s.startSnapshot(snap)
		}
	}
	if s.w.snapping {
		s.snapshotDone(<-s.done)
	}
	close(s.snaps)
	beside.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
