package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
)

// Open opens the store of o, and recovers what a crash left. Corrupt data is
// quarantined, counted and logged. A folder that cannot be used is no reason not
// to open either: the store then accepts nothing, Err says why, and what can be
// read may be read. A folder that a newer version wrote is not touched. Open
// fails with ErrLocked, or where o makes no sense. It starts no goroutine:
// nothing is committed before Run.
func Open(o Options) (*Store, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := newStore(o, nil)
	err := s.open()
	if errors.Is(err, ErrLocked) {
		return nil, err
	}
	if err != nil {
		s.failed = failure(err)
		s.log.Error("store: nothing can be kept", "error", s.failed)
	}
	return s, nil
}

func newStore(o Options, lock io.Closer) *Store {
	s := &Store{
		opt: o, fs: o.FS, log: o.Log, lock: lock,
		ready: make(chan struct{}), kick: make(chan struct{}, 1),
		snaps: make(chan snapshotJob, 1), done: make(chan snapshotResult, 1),
		packs: make(chan *repackJob, 1), packed: make(chan repackResult, 1),
		topics: map[string]uint32{},
	}
	s.frameMax = int(min(frameTarget, o.SegmentSize/4))
	s.clock.clock = o.Clock
	s.w.patience = openPatience
	s.reset()
	return s
}

func (s *Store) open() error {
	if s.fs == nil {
		d, err := Disk(s.opt.Dir)
		if err != nil {
			s.clock.start(0)
			return err
		}
		s.fs = d
	}
	lock, unwritable := s.fs.Lock()
	if lock == nil {
		s.clock.start(0)
		return unwritable
	}
	s.lock = lock
	if unwritable != nil {
		s.failed = failure(unwritable)
	}
	if err := s.recover(&recovery{}); err != nil {
		s.reset()
		s.clock.start(0)
		return err
	}
	return unwritable
}

// reset empties what recovery fills.
func (s *Store) reset() {
	s.sessions = map[SID]*session{}
	s.retained = map[string]*keptMessage{}
	s.totals = totals{dropped: map[Reason]uint64{}}
	s.nextSID = 1
	s.drops = nil
	s.clock.list.Store(nil)
}

// recovery is what Open keeps in mind while it goes through the files.
type recovery struct {
	id      storeID       // by its own file
	named   bool          // id is known
	segs    []*recoverSeg // ascending
	snaps   []LSN         // ascending
	free    []string
	from    LSN // the snapshot that was loaded
	clean   bool
	total   uint64 // records in the snapshot, by its recEnd
	marked  LSN    // newest snapshot the log knows of
	newest  uint64 // store time
	covered uint64 // records below the snapshot
	read    uint64 // end of the records that the segments have
	ordinal uint64 // of the next record: the greater one
	prev    uint32
	buf     []byte

	// Of an inspector, which reads a folder that is not its own.
	look     bool       // nobody will write
	thorough bool       // frames are read where a footer would do
	drops    func(Drop) // takes each loss that the log has the record of; nil: nobody
	late     []Drop     // those that the snapshot has
}

type recoverSeg struct {
	segment
	head   segHeader
	sound  bool  // head is
	begin  int64 // of the first frame
	footed bool  // the segment was sealed
}

func (s *Store) recover(r *recovery) error {
	if err := s.survey(r); err != nil {
		return err
	}
	s.loadSnapshots(r)
	if err := s.sortOut(r); err != nil {
		return err
	}
	r.buf = make([]byte, frameTarget)
	var replayed []*recoverSeg
	for i, g := range r.segs {
		stop := uint64(math.MaxUint64)
		if i+1 < len(r.segs) {
			stop = r.segs[i+1].ordinal
		}
		s.missedBefore(r, g)
		file, err := s.openPatiently(segName(g.id))
		if isDamage(err) {
			s.reject(segName(g.id), "it cannot be read: "+err.Error())
			continue
		}
		if err == nil {
			err = errors.Join(s.replay(r, g, file, stop, i+1 == len(r.segs)), file.Close())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", segName(g.id), err)
		}
		r.read, r.ordinal = max(r.read, g.head.until), max(r.ordinal, g.head.until)
		s.segs = append(s.segs, &g.segment)
		replayed = append(replayed, g)
	}
	r.segs = replayed
	s.missedAfter(r)
	s.resume(r)
	return nil
}

// loadSnapshots takes the newest sound snapshot, and the identity of the store
// from it, where there is one.
func (s *Store) loadSnapshots(r *recovery) {
	for len(r.snaps) > 0 {
		lsn := r.snaps[len(r.snaps)-1]
		err := s.loadSnapshot(r, lsn)
		if err == nil {
			r.from = lsn
			s.w.kept = r.snaps
			return
		}
		s.stats.CorruptFrames++
		s.log.Error("store: snapshot is damaged, the one before is used", "snapshot", snapName(lsn), "error", err)
		s.reset()
		r.clean = false
		r.snaps = r.snaps[:len(r.snaps)-1]
		s.moveAside(snapName(lsn))
	}
	if id, ok := s.identify(r); ok {
		s.id = id
	} else {
		rand.Read(s.id[:])
	}
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
	f, err := s.openPatiently(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r.late = nil // of one that was damaged
	seed := h.store.seed(h.id)
	buf := make([]byte, frameTarget)
	ordinal, prev := uint64(0), uint32(0)
	for off := int64(headerSize); ; {
		info, b, ok, err := readPatiently(&s.w.patience, f, off, math.MaxInt32, seed, buf)
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
	r.covered, r.ordinal, r.newest = h.ordinal, h.ordinal, max(r.newest, h.time)
	return nil
}

// resume makes the recovered state the running one.
func (s *Store) resume(r *recovery) {
	if r.marked > r.from {
		s.stats.CorruptFrames++
		s.log.Error("store: the newest snapshot is missing", "snapshot", snapName(r.marked))
	}
	s.clock.start(r.newest)
	s.w.named = r.named && r.id == s.id
	s.w.renamed = true // by a process that was killed, perhaps
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
		if ses.away == 0 && !r.look {
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
		// The name, too, may only be known to the kernel so far.
		if err := s.fs.SyncDir(); err != nil {
			g.hurt = true
			s.log.Error("store: folder could not be synced", "error", err)
		}
		s.end = makeLSN(g.id, g.end)
		// Go on in the last segment, unless something is odd about it, or old.
		if g.head.version == formatVersion && !g.footed && !g.hurt && g.size >= g.end+2*blockSize {
			if f, err := s.fs.Open(segName(g.id)); err != nil {
				s.log.Error("store: newest segment cannot be written on", "segment", segName(g.id), "error", err)
			} else {
				g.file, g.off, g.filled = f, g.end, f.Filled()
				s.active = &g.segment
			}
		}
	}
	s.end = max(s.end, r.from)
	s.w.nextSeg = max(s.w.nextSeg, s.end.seg()+1)
	for _, name := range s.w.pool {
		if n, ok := parseName(name, "free-", ".seg"); ok {
			s.w.nextSeg = max(s.w.nextSeg, n+1)
		}
	}
	s.missedMessages()
}
