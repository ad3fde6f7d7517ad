package store

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Open opens the store of o, and recovers what a crash left. Corrupt data is
// quarantined, counted and logged; Open fails only where the folder cannot be
// used at all, with ErrLocked or ErrVersion where that is why. It starts no
// goroutine: nothing is committed before Run.
func Open(o Options) (*Store, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	lock, err := o.FS.Lock()
	if err != nil {
		return nil, err
	}
	s := &Store{
		opt: o, fs: o.FS, log: o.Log, lock: lock,
		ready: make(chan struct{}), kick: make(chan struct{}, 1),
		snaps: make(chan snapshotJob, 1), done: make(chan snapshotResult, 1),
		topics: map[string]uint32{},
	}
	s.frameMax = int(min(frameTarget, o.SegmentSize/4))
	s.clock.clock = o.Clock
	s.reset()
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), lock.Close())
	}
	return s, nil
}

// reset empties what recovery fills.
func (s *Store) reset() {
	s.sessions = map[SID]*session{}
	s.retained = map[string]*keptMessage{}
	s.totals = totals{dropped: map[Reason]uint64{}}
	s.nextSID = 1
	s.clock.list.Store(nil)
}

// recovery is what Open keeps in mind while it goes through the files.
type recovery struct {
	segs    []*recoverSeg // ascending
	snaps   []LSN         // ascending
	free    []string
	from    LSN // the snapshot that was loaded
	clean   bool
	total   uint64 // records in the snapshot, by its recEnd
	marked  LSN    // newest snapshot the log knows of
	newest  uint64 // store time
	ordinal uint64 // of the next record
	prev    uint32
	buf     []byte
}

type recoverSeg struct {
	segment
	head   segHeader
	sound  bool // head is
	footed bool // the segment was sealed
	hurt   bool // damage was found in it
}

func (s *Store) recover() error {
	var r recovery
	if err := s.survey(&r); err != nil {
		return err
	}
	if err := s.loadSnapshots(&r); err != nil {
		return err
	}
	if err := s.sortOut(&r); err != nil {
		return err
	}
	r.buf = make([]byte, frameTarget)
	for i, g := range r.segs {
		stop := uint64(math.MaxUint64)
		if i+1 < len(r.segs) {
			stop = r.segs[i+1].ordinal
		}
		if err := s.replay(&r, g, stop, i+1 == len(r.segs)); err != nil {
			return fmt.Errorf("%s: %w", segName(g.id), err)
		}
		s.segs = append(s.segs, &g.segment)
	}
	return s.resume(&r)
}

// survey lists the files and looks at every header, so that a newer version is
// noticed before anything is touched.
func (s *Store) survey(r *recovery) error {
	files, err := s.fs.List("")
	if err != nil {
		return err
	}
	for _, f := range files {
		if id, ok := parseName(f.Name, "seg-", ".log"); ok {
			g := &recoverSeg{segment: segment{id: id, size: f.Size}}
			if g.head, g.sound, err = s.readHeader(f.Name, segMagic); err != nil {
				return err
			}
			r.segs = append(r.segs, g)
		} else if lsn, ok := parseName(f.Name, "snap-", ".snap"); ok {
			if _, _, err := s.readHeader(f.Name, snapMagic); err != nil {
				return err
			}
			r.snaps = append(r.snaps, LSN(lsn))
		} else if _, ok := parseName(f.Name, "free-", ".seg"); ok {
			if f.Size == s.opt.SegmentSize && len(r.free) < poolMax {
				r.free = append(r.free, f.Name)
			} else if err := s.fs.Remove(f.Name); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(r.segs, func(a, b *recoverSeg) int { return cmp.Compare(a.id, b.id) })
	slices.Sort(r.snaps)
	aside, err := s.fs.List(quarantineFolder)
	for _, f := range aside {
		s.stats.QuarantinedFiles++
		s.stats.QuarantinedBytes += f.Size
	}
	return err
}

func (s *Store) readHeader(name, magic string) (h segHeader, ok bool, err error) {
	f, err := s.fs.Open(name)
	if err != nil {
		return h, false, err
	}
	defer f.Close()
	b := make([]byte, headerSize)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return h, false, notEOF(err)
	}
	h, ok, err = decodeHeader(b, magic)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return h, ok, err
}

// loadSnapshots takes the newest sound snapshot, and the identity of the store
// from it, else from the newest segment.
func (s *Store) loadSnapshots(r *recovery) error {
	for len(r.snaps) > 0 {
		lsn := r.snaps[len(r.snaps)-1]
		err := s.loadSnapshot(r, lsn)
		if err == nil {
			r.from = lsn
			s.w.kept = r.snaps
			return nil
		}
		s.stats.CorruptFrames++
		s.log.Error("store: snapshot is damaged, the one before is used", "snapshot", snapName(lsn), "error", err)
		s.reset()
		r.clean = false
		r.snaps = r.snaps[:len(r.snaps)-1]
		if err := s.moveAside(snapName(lsn)); err != nil {
			return err
		}
	}
	for i := len(r.segs) - 1; i >= 0; i-- {
		if g := r.segs[i]; g.sound && g.head.id == g.id {
			s.id = g.head.store
			return nil
		}
	}
	rand.Read(s.id[:])
	return nil
}

func (s *Store) loadSnapshot(r *recovery, lsn LSN) error {
	name := snapName(lsn)
	h, ok, err := s.readHeader(name, snapMagic)
	if err != nil {
		return err
	}
	if !ok || h.id != uint64(lsn) {
		return errors.New("its header is not sound")
	}
	f, err := s.fs.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	seed := h.store.seed(h.id)
	buf := make([]byte, frameTarget)
	ordinal, prev := uint64(0), uint32(0)
	for off := int64(headerSize); ; {
		info, b, ok, err := readFrame(f, off, math.MaxInt32, seed, buf)
		if err != nil {
			return err
		}
		if !ok || info.ordinal != ordinal || info.prev != prev {
			return fmt.Errorf("damaged at byte %d", off)
		}
		end, n, err := s.applyFrame(r, b[:frameHeader+int(info.length)], 0, 0, nil)
		if err != nil {
			return err
		}
		if end {
			if ordinal+n != r.total {
				return fmt.Errorf("%d records instead of %d", ordinal+n, r.total)
			}
			break
		}
		ordinal += n
		prev = info.crc
		off += info.size()
	}
	s.id = h.store
	r.ordinal, r.newest = h.ordinal, max(r.newest, h.time)
	return nil
}

// sortOut decides which segments are ours to read.
func (s *Store) sortOut(r *recovery) error {
	newest := uint64(0)
	for _, g := range r.segs {
		if g.sound && g.head.id == g.id {
			newest = g.id
		}
	}
	var keep []*recoverSeg
	for _, g := range r.segs {
		s.w.nextSeg = max(s.w.nextSeg, g.id+1)
		g.seed = s.id.seed(g.id)
		name := segName(g.id)
		switch {
		case g.sound && g.head.store != s.id:
			s.log.Error("store: a segment of another store is set aside", "segment", name)
			s.stats.CorruptFrames++
			if err := s.moveAside(name); err != nil {
				return err
			}
			continue
		case g.sound && g.head.id != g.id:
			// Renamed from the pool when the machine stopped: was not in use.
			if err := s.fs.Remove(name); err != nil {
				return err
			}
			continue
		case g.sound:
			g.ordinal = g.head.ordinal
			if g.size < g.head.size {
				g.hurt = true // cut off; read what is there
			}
			g.size = min(g.size, g.head.size)
		default:
			first, ok, err := s.firstFrame(g)
			if err != nil {
				return err
			}
			if !ok && g.id > newest {
				// The machine stopped while it was being made.
				if err := s.fs.Remove(name); err != nil {
					return err
				}
				continue
			}
			s.stats.CorruptFrames++
			s.log.Error("store: segment header is damaged", "segment", name, "readable", ok)
			if !ok {
				if err := s.moveAside(name); err != nil {
					return err
				}
				continue
			}
			g.ordinal, g.hurt = first, true
		}
		keep = append(keep, g)
	}
	r.segs = keep
	s.w.nextSeg = max(s.w.nextSeg, 1, r.from.seg()+1)
	return nil
}

// firstFrame finds the ordinal of a segment whose header is damaged.
func (s *Store) firstFrame(g *recoverSeg) (ordinal uint64, ok bool, err error) {
	f, err := s.fs.Open(segName(g.id))
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	off, info, err := probe(f, headerSize, g.size, g.seed, make([]byte, frameTarget))
	return info.ordinal, off < g.size, err
}

// resume makes the recovered state the running one.
func (s *Store) resume(r *recovery) error {
	if r.marked > r.from {
		s.stats.CorruptFrames++
		s.log.Error("store: the newest snapshot is missing", "snapshot", snapName(r.marked))
	}
	s.clock.start(r.newest)
	s.w.pool = r.free
	s.ordinal, s.w.ordinal, s.w.prev = r.ordinal, r.ordinal, r.prev
	if len(s.w.kept) == 2 {
		s.w.safe = s.w.kept[0]
	}
	clean := r.clean && s.w.sinceSnap == 0
	for _, ses := range s.sessions {
		ses.last = max(ses.last, ses.base)
		ses.trim(ses.last)
		ses.committed, ses.durBase = ses.last, ses.base
		if !clean {
			ses.maybe = min(ses.last, ses.base+maxWindow)
		}
		if ses.away == 0 {
			ses.away = max(1, r.newest)
		}
		for _, g := range s.segs {
			if p := g.part(ses.id); p != nil && p.last > ses.base {
				g.pin(ses, p)
			}
		}
	}
	s.end = makeLSN(s.w.nextSeg, 0)
	if n := len(r.segs); n > 0 {
		g := r.segs[n-1]
		s.end = makeLSN(g.id, g.end)
		// Go on in the last segment, unless something is odd about it.
		if !g.footed && !g.hurt && g.size >= g.end+2*blockSize {
			f, err := s.fs.Open(segName(g.id))
			if err != nil {
				return err
			}
			g.file, g.off = f, g.end
			s.active = &g.segment
		}
	}
	s.end = max(s.end, r.from)
	s.w.nextSeg = max(s.w.nextSeg, s.end.seg()+1)
	for _, name := range s.w.pool {
		if n, ok := parseName(name, "free-", ".seg"); ok {
			s.w.nextSeg = max(s.w.nextSeg, n+1)
		}
	}
	return nil
}
