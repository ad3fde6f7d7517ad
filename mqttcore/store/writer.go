package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
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
	nextFill time.Time

	lastClock, lastSnap, nextSnap time.Time
	sinceSnap                     uint64 // bytes of log since the newest snapshot
	snapping, wantSnap, mark      bool
	short                         bool  // the newest snapshot alone is to free room
	kept                          []LSN // snapshots on the disk, ascending

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

// isFull says whether the disk has no room, rather than a fault.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
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
	s.mu.Unlock()
	var snapshotter sync.WaitGroup
	snapshotter.Go(s.writeSnapshots)
	s.fillPool()
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
			}
			continue
		}
		s.gather(ctx, timer)
		s.commit(false)
	}
	s.commit(true)
	return s.stop(&snapshotter)
}

// wait is how long there is nothing to write, 0 if there is something.
func (s *Store) wait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > 0 || s.curDue.Load() {
		return 0
	}
	wait := snapInterval
	if s.w.sinceSnap > 0 {
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
	enough := s.pendingBytes >= gatherBytes
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
			enough = s.pendingBytes >= gatherBytes
			s.mu.Unlock()
			if enough {
				return
			}
		case r := <-s.done:
			s.snapshotDone(r)
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
		s.addCursors(last)
	}
	s.curDue.Store(false)
	frames := s.takePending()
	s.commitNo++
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
	if snap != nil {
		s.startSnapshot(snap)
	}
	if len(frames) > 0 && !s.w.snapping {
		s.fillPool()
	}
}

// addClock records when the wall clock was set, and that there is a new
// snapshot; never by a commit of its own.
func (s *Store) addClock() {
	if len(s.pending) == 0 {
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

// write commits frames in order: as many as fit into a segment, then one sync,
// then their callbacks. After a failed write or sync the segment is never
// written again and what was not durable goes into a fresh one, once.
func (s *Store) write(frames []*frame) error {
	retried := false
	for len(frames) > 0 {
		n, err := s.writeGroup(frames)
		frames = frames[n:]
		switch {
		case err == nil:
		case errors.Is(err, ErrFull):
			s.giveUp(frames, err, false)
			return err
		case !retried:
			retried = true
			s.poison(err)
		default:
			s.poison(err)
			s.giveUp(frames, fmt.Errorf("%w: %w", ErrFailed, err), true)
			return err
		}
	}
	return nil
}

// writeGroup writes the frames that fit into the active segment and syncs.
func (s *Store) writeGroup(frames []*frame) (n int, err error) {
	if s.active == nil || !s.active.fits(frames[0]) {
		if err := s.roll(frames[0].info.ordinal); err != nil {
			return 0, err
		}
	}
	g := s.active
	prev, ranges := s.w.prev, len(g.ranges)
	for n < len(frames) {
		f := frames[n]
		if n > 0 && (!g.fits(f) || g.off+roundUp(int64(len(f.buf)))+g.footerRoom(ranges+len(f.touched)) > g.size) {
			break
		}
		ranges += len(f.touched)
		f.seal(g, s.end, prev)
		prev = f.info.crc
		if _, err := g.file.WriteAt(f.buf, g.off); err != nil {
			return 0, fmt.Errorf("%s: write: %w", segName(g.id), err)
		}
		s.w.written.Add(uint64(len(f.buf)))
		g.off += int64(len(f.buf))
		n++
	}
	if err := s.sync(g.file); err != nil {
		return 0, fmt.Errorf("%s: fdatasync: %w", segName(g.id), err)
	}
	s.w.prev = prev
	s.publish(g, frames[:n])
	return n, nil
}

// seal pads the frame and gives it its place.
func (f *frame) seal(g *segment, synced LSN, prev uint32) {
	if n := len(f.buf) % blockSize; n != 0 {
		f.info.length = uint32(len(f.buf) - frameHeader)
		f.buf = append(f.buf, zeroBlock[n:]...)
	} else if f.info.length == 0 {
		f.info.length = uint32(len(f.buf) - frameHeader)
	}
	f.lsn = makeLSN(g.id, g.off)
	f.info.synced, f.info.prev = synced, prev
	sortTouched(f.touched)
	sealFrame(f.buf, &f.info, g.seed)
}

var zeroBlock [blockSize]byte

func (s *Store) sync(f File) error {
	start := time.Now()
	err := f.Datasync()
	d := int64(time.Since(start))
	s.w.syncTime.Add(d)
	s.w.syncMax.Store(max(s.w.syncMax.Load(), d))
	return err
}

// publish makes durable frames readable, calls back, and wakes the queues.
func (s *Store) publish(g *segment, frames []*frame) {
	moved := false
	wakes := s.w.wakes[:0]
	s.mu.Lock()
	for _, f := range frames {
		for i := range f.touched {
			t := &f.touched[i]
			ses := t.ses
			ses.committed = t.last
			if ses.touchFrame == f {
				ses.touchFrame = nil // else it would keep the frame in memory
			}
			g.pin(ses, g.add(ses.id, t.first, t.last, t.bytes, f.lsn.off()))
			if q := ses.queue; q != nil && q.wake != nil && ses.woken != s.commitNo {
				ses.woken = s.commitNo
				wakes = append(wakes, q.wake)
			}
		}
		for _, b := range f.bases {
			if b.base > b.ses.durBase {
				b.ses.durBase = b.base
			}
			b.ses.unpin()
			moved = true
		}
		for _, ses := range f.gone {
			ses.unpin()
			moved = true
		}
		g.end = f.end().off()
		s.end = f.end()
		s.w.ordinal += f.records
		s.w.sinceSnap += uint64(len(f.buf))
		s.stats.Records += f.records
		s.w.usual = min(len(f.buf), frameTarget)
		s.ring.push(f)
	}
	s.stats.Commits++
	s.mu.Unlock()
	for _, f := range frames {
		for i, done := range f.dones {
			done(nil)
			f.dones[i] = nil
		}
		f.dones, f.bases, f.gone, f.inbound = nil, nil, nil, nil
	}
	for i, wake := range wakes {
		wake()
		wakes[i] = nil
	}
	s.w.wakes = wakes[:0]
	if moved {
		s.recycle()
	}
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
	for _, f := range frames {
		for i := range f.touched {
			f.touched[i].ses.last = f.touched[i].ses.committed
		}
		for _, in := range f.inbound {
			delete(in.ses.inbound, in.pid)
		}
		for _, b := range f.bases {
			s.markDirty(b.ses)
		}
	}
	s.ordinal = s.w.ordinal
	s.w.wantSnap = true // it takes in what the lost records changed
	s.mu.Unlock()
	s.log.Error("store: messages were refused", "error", err)
	fail(frames, err)
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

// stop ends the snapshots and keeps a last one, which makes the next start quick.
func (s *Store) stop(snapshotter *sync.WaitGroup) error {
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
	snapshotter.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
