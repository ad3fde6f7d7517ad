package store

import (
	"slices"
	"time"
)

// press says whether the log is near its bound or the disk at its end: then
// packing two segments into one is worth it, and only the newest snapshot counts.
// The caller holds s.mu.
func (s *Store) press() bool {
	return s.w.diskLow || s.opt.MaxBytes > 0 && s.nextUsed()*4 > s.opt.MaxBytes*3
}

// nextUsed is what the log takes with one more segment. The caller holds s.mu.
func (s *Store) nextUsed() int64 { return int64(len(s.segs)+1) * s.opt.SegmentSize }

// makeRoom sees to it that the log may have another segment: by what is on its
// way to free one; else the oldest messages are given up. It waits only where a
// segment beyond the bound is in use already, or there is none left to go on in.
func (s *Store) makeRoom() {
	for {
		s.mu.Lock()
		used := s.nextUsed()
		over := s.opt.MaxBytes > 0 && used > s.opt.MaxBytes
		if !over && !s.w.diskLow {
			s.mu.Unlock()
			return
		}
		hard := over && used > s.opt.MaxBytes+s.opt.SegmentSize || s.w.diskLow && len(s.w.pool) == 0
		free := s.unneeded()
		s.mu.Unlock()
		if free == 0 && !s.w.repacking {
			s.startRepack()
		}
		if hard && s.w.repacking {
			s.repackDone(<-s.packed)
			continue
		}
		if hard && s.w.snapping {
			s.snapshotDone(<-s.done)
			continue
		}
		s.w.diskLow = false // ask again
		s.w.wantSnap, s.w.short = true, true
		if free == 0 && !s.w.repacking && (hard || !s.packable()) {
			s.dropOldest()
		}
		return
	}
}

// packable says whether something could be packed if there were a snapshot.
func (s *Store) packable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, n := s.findRun(maxSegment, packPress)
	return n > 0
}

// dropOldest gives up what is queued in the oldest segment.
func (s *Store) dropOldest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segs {
		if g == s.active || !g.needed() {
			continue
		}
		for i := range g.ranges {
			if p := &g.ranges[i]; p.holder != nil && !p.holder.deleted {
				s.dropTo(p.holder, p.last, ReasonQuota)
			}
		}
		s.log.Warn("store: full, the oldest messages were dropped", "segment", g.name, "segments", len(s.segs))
		return
	}
}

// reclaim frees the oldest segment that is given up already, for want of one to
// write that down in: without it nothing could ever be written again. Only the
// newest snapshot counts. After a crash before the next commit what was given up
// is found missing, and counted then.
func (s *Store) reclaim() bool {
	if len(s.w.kept) == 0 {
		return false
	}
	below := s.w.kept[len(s.w.kept)-1].seg()
	s.mu.Lock()
	i := slices.IndexFunc(s.segs, func(g *segment) bool {
		return g.id < below && g != s.active && !g.busy && g.size == s.opt.SegmentSize && !g.needed()
	})
	if i < 0 {
		s.mu.Unlock()
		return false
	}
	g := s.segs[i]
	s.segs = slices.Delete(s.segs, i, i+1)
	s.mu.Unlock()
	s.release(g)
	return len(s.w.pool) > 0
}

// needed says whether a session still wants something in g. The caller holds
// Store.mu.
func (g *segment) needed() bool {
	for i := range g.ranges {
		p := &g.ranges[i]
		if ses := p.holder; ses != nil && !ses.deleted {
			ses.mu.Lock()
			base := ses.base
			ses.mu.Unlock()
			if base < p.last {
				return true
			}
		}
	}
	return false
}

// unneeded counts the segments that only wait for a commit or a snapshot.
func (s *Store) unneeded() (n int) {
	for _, g := range s.segs {
		if g != s.active && !g.needed() {
			n++
		}
	}
	return n
}

// surplusSegments is how many segments may wait for a snapshot to be recycled
// while there is nothing else to do.
const surplusSegments = 2

// surplus says whether a snapshot is to be made only for the room that it frees.
// The caller holds s.mu.
func (s *Store) surplus() bool {
	if s.w.snapping || time.Since(s.w.lastSnap) < snapPause || time.Since(s.w.lastSurplus) < snapPause {
		return false
	}
	s.w.lastSurplus = time.Now()
	if s.failed != nil || s.unneeded() <= surplusSegments || time.Now().Before(s.w.nextSnap) {
		return false
	}
	s.w.wantSnap = true
	return true
}
