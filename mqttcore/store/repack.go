package store

import (
	"errors"
	"slices"
	"time"
)

// A session that lags, or commits with little in them, would keep whole segments
// for a few messages. Such segments are packed: what sessions still wait for goes
// into one segment that takes the place, and the name, of the last of them.

const (
	packRun   = 32 // segments packed at a time, at most
	packUsual = 4  // that must become one
	packPress = 2  // where room is short
	packExtra = 24 // bytes that a record takes beside topic, properties and payload
)

// repackJob is what the goroutine that packs is told.
type repackJob struct {
	run    []*segment     // neighbours; as many from the first on as fit
	until  []uint64       // ordinal behind each
	from   []int64        // the first place in each that matters
	wants  map[SID]uint64 // what is above that number is wanted
	least  int            // so many must fit
	file   string         // to write to, or "" for a new one
	number uint64         // of a new one
}

type repackResult struct {
	gone []*segment // their files are no longer needed
	file string     // was not used
	err  error
}

// errNoGain says that too few segments fitted into one.
var errNoGain = errors.New("nothing would be gained")

// wanted estimates, upwards, what packing leaves of a segment. The caller holds
// Store.mu.
func (g *segment) wanted() (n int64) {
	for i := range g.ranges {
		p := &g.ranges[i]
		if p.holder == nil {
			continue
		}
		base := max(p.holder.durBase, p.first-1)
		n += int64(p.bytesAbove(base)) + packExtra*int64(p.last-min(base, p.last))
	}
	if g.dense > 0 {
		n = min(n, g.dense)
	}
	return min(n, g.end-headerSize)
}

// findRun finds the longest run of neighbours below a segment that fit into one,
// of at least so many. The caller holds s.mu.
func (s *Store) findRun(below uint64, least int) (from, to int) {
	room := s.opt.SegmentSize*7/8 - headerSize
	first, sum := 0, int64(0)
	for i, g := range s.segs {
		if g == s.active || g.id >= below {
			break
		}
		if g.hurt || g.busy {
			first, sum = i+1, 0
			continue
		}
		sum += g.wanted()
		for sum > room || i+1-first > packRun {
			sum -= s.segs[first].wanted()
			first++
		}
		if n := i + 1 - first; sum > 0 && n >= least && n > to-from {
			from, to = first, i+1
		}
	}
	return from, to
}

// startRepack has a run packed where it is worth it. Only what lies below the
// snapshots is: there nothing but queued messages counts.
func (s *Store) startRepack() {
	if s.w.repacking || s.stopping.Load() || time.Now().Before(s.w.nextPack) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	job := &repackJob{least: packUsual, wants: map[SID]uint64{}}
	press := s.press()
	if press {
		job.least = packPress
	}
	from, to := s.findRun(s.w.safe.seg(), job.least)
	if from == to {
		if _, n := s.findRun(maxSegment, job.least); press && (n > 0 || s.unneeded() > 0) {
			s.w.wantSnap, s.w.short = true, true // it would be with a newer snapshot
		}
		return
	}
	// The estimate is high: more may fit.
	for to < len(s.segs) && to-from < packRun && s.segs[to] != s.active && s.segs[to].id < s.w.safe.seg() && !s.segs[to].hurt {
		to++
	}
	job.run = slices.Clone(s.segs[from:to])
	for i, g := range job.run {
		g.busy = true
		until := s.w.ordinal
		if from+i+1 < len(s.segs) {
			until = s.segs[from+i+1].ordinal
		}
		start := g.end
		for k := range g.ranges {
			if p := &g.ranges[k]; p.holder != nil {
				job.wants[p.sid] = p.holder.durBase
				start = min(start, int64(p.off))
			}
		}
		job.until, job.from = append(job.until, until), append(job.from, start)
	}
	if n := len(s.w.pool) - 1; n >= 0 {
		job.file, s.w.pool = s.w.pool[n], s.w.pool[:n]
	}
	job.number = s.w.nextSeg
	s.w.nextSeg++
	s.w.repacking = true
	s.packs <- job
}

// repackDone takes the result in.
func (s *Store) repackDone(r repackResult) {
	s.w.repacking = false
	if r.err != nil {
		s.w.nextPack = time.Now().Add(fillRetry)
		if !errors.Is(r.err, errNoGain) && !errors.Is(r.err, ErrClosed) {
			s.log.Warn("store: segments could not be packed", "error", r.err)
		}
	}
	if r.file != "" {
		s.w.pool = append(s.w.pool, r.file)
	}
	for _, g := range r.gone {
		s.release(g)
	}
	s.recycle()
	s.startRepack()
}

// repackAll is the goroutine that packs, so that commits never wait for it.
func (s *Store) repackAll() {
	for job := range s.packs {
		r := s.repack(job)
		s.mu.Lock()
		for _, g := range job.run {
			g.busy = false
		}
		s.mu.Unlock()
		s.packed <- r
	}
}

func (s *Store) repack(job *repackJob) repackResult {
	r := repackResult{file: job.file}
	n, err := s.fitting(job)
	if err == nil && n < job.least {
		err = errNoGain
	}
	if err == nil && r.file == "" {
		r.file, err = s.spareFile(job.number)
	}
	if err != nil {
		r.err = err
		return r
	}
	out, err := s.pack(job, n, r.file)
	if err != nil {
		r.err = err
		return r
	}
	old := job.run[:n]
	s.swap(old, out)
	// It serves from here on, whatever becomes of its name.
	named := s.fs.Rename(r.file, segName(out.id))
	s.mu.Lock()
	if named == nil {
		out.name = segName(out.id)
	}
	out.busy = false
	s.stats.Repacked += uint64(n)
	s.mu.Unlock()
	if named == nil {
		named = s.fs.SyncDir()
	}
	if named != nil {
		return repackResult{err: named} // the old ones stay: the next start may need them
	}
	return repackResult{gone: old[:n-1]}
}

// spareFile makes a file for a segment, and closes it.
func (s *Store) spareFile(number uint64) (name string, err error) {
	name = freeName(number)
	f, err := s.fs.Create(name, s.opt.SegmentSize)
	if err != nil {
		return "", err
	}
	return name, f.Close()
}

// swap puts a packed segment into the log, in place of others.
func (s *Store) swap(old []*segment, out *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.segs, old[0])
	s.segs = slices.Replace(s.segs, i, i+len(old), out)
	for _, g := range old {
		for k := range g.ranges {
			if ses := g.ranges[k].holder; ses != nil {
				ses.repin(old, out)
			}
		}
	}
	s.ring.dropTo(out.id)
}

// repin moves what a session needs of some segments to the one that replaces
// them.
func (ses *session) repin(old []*segment, out *segment) {
	ses.pins = slices.DeleteFunc(ses.pins, func(g *segment) bool {
		if !slices.Contains(old, g) {
			return false
		}
		p := g.part(ses.id)
		p.holder = nil
		ses.held -= p.bytes
		g.pins--
		return true
	})
	at := slices.IndexFunc(ses.pins, func(g *segment) bool { return g.id > out.id })
	if at < 0 {
		at = len(ses.pins)
	}
	if p := out.part(ses.id); p != nil && (ses.deleted || p.last > ses.durBase) {
		p.holder = ses
		ses.held += p.bytes
		out.pins++
		ses.pins = slices.Insert(ses.pins, at, out)
	}
}
