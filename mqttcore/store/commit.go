package store

import (
	"errors"
	"fmt"
	"time"
)

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
			s.giveUp(frames, failure(err), true)
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
		s.startRepack()
	}
	g := s.active
	prev, ranges, begin := s.w.prev, len(g.ranges), g.off
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
	zeros, err := g.writeAhead(g.off - begin)
	if err != nil {
		return 0, err
	}
	s.w.written.Add(uint64(zeros))
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
	moved, taken := false, false
	wakes := s.w.wakes[:0]
	s.mu.Lock()
	s.stats.Commits++
	taken, s.refused = s.refused != nil, nil
	for _, f := range frames {
		for i := range f.touched {
			t := &f.touched[i]
			ses := t.ses
			ses.committed = t.last
			ses.waiting -= t.bytes
			if ses.touchFrame == f {
				ses.touchFrame = nil // else it would keep the frame in memory
			}
			g.hold(ses, t.first, t.last, t.bytes, f.lsn.off())
			if ses.unchecked += t.bytes; ses.unchecked > ses.limit.MaxBytes/64 {
				s.enforce(ses)
			}
			if q := ses.queue; q != nil && q.wake != nil && ses.woken != s.stats.Commits {
				ses.woken = s.stats.Commits
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
		g.dense += int64(f.info.length)
		s.end = f.end()
		s.w.ordinal += f.records
		s.w.sinceSnap += uint64(len(f.buf))
		s.stats.Records += f.records
		s.w.usual = min(len(f.buf), frameTarget)
		s.ring.push(f)
	}
	s.mu.Unlock()
	if taken {
		s.log.Info("store: messages are taken again")
	}
	for _, f := range frames {
		for i, done := range f.dones {
			done(nil)
			f.dones[i] = nil
		}
		f.dones, f.bases, f.gone, f.changed, f.inbound = nil, nil, nil, nil, nil
		f.inrels, f.unsubs, f.rels = nil, nil, nil
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
