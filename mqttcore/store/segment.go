package store

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

// segment is one file of the log.
type segment struct {
	id      uint64
	size    int64
	file    File   // open only while it is the active one
	ordinal uint64 // of its first record
	time    uint64 // store time when it was begun, ms; 0 = not known
	seed    uint32
	packed  bool // what is in it may have had another place before

	// Of the writer alone.
	off    int64 // where the next frame goes
	filled int64 // all below was written before, if only zeros

	// Guarded by Store.mu.
	name   string
	end    int64     // of its committed frames
	dense  int64     // that its records take without padding; 0 = not known
	ranges []segPart // sorted by session
	pins   int       // sessions that still need it
	busy   bool      // being repacked: the file must stay
	hurt   bool      // damage was found in it
}

// segPart is what a segment holds for one session.
type segPart struct {
	sid         SID
	off         uint32 // of the first frame with a delivery
	first, last uint64
	bytes       uint64
	holder      *session // that still needs it, or nil
}

// footerRoom is what a footer with n parts takes; footers beyond a quarter of
// the segment are left out.
func (g *segment) footerRoom(n int) int64 {
	room := roundUp(frameHeader + 64 + 48*int64(n))
	if room > g.size/4 {
		return 0
	}
	return room
}

func (g *segment) fits(f *frame) bool {
	return g.off+roundUp(int64(len(f.buf)))+g.footerRoom(len(g.ranges)+len(f.touched)) <= g.size
}

// part finds what the segment holds for a session.
func (g *segment) part(sid SID) *segPart {
	if i, ok := g.find(sid); ok {
		return &g.ranges[i]
	}
	return nil
}

func (g *segment) find(sid SID) (int, bool) {
	i := sort.Search(len(g.ranges), func(i int) bool { return g.ranges[i].sid >= sid })
	return i, i < len(g.ranges) && g.ranges[i].sid == sid
}

// add notes deliveries of a session in the frame at off.
func (g *segment) add(sid SID, first, last, bytes uint64, off int64) *segPart {
	i, ok := g.find(sid)
	if !ok {
		g.ranges = slices.Insert(g.ranges, i, segPart{sid: sid, off: uint32(off), first: first})
	}
	p := &g.ranges[i]
	p.last = max(p.last, last)
	p.bytes += bytes
	return p
}

// pin keeps the segment for a session that has not settled all of p.
func (g *segment) pin(ses *session, p *segPart) {
	if p.holder != nil || ses.deleted {
		return
	}
	p.holder = ses
	ses.held += p.bytes
	g.pins++
	ses.pins = append(ses.pins, g)
}

// hold adds deliveries that a session has just got, and pins the segment for it.
func (g *segment) hold(ses *session, first, last, bytes uint64, off int64) {
	p := g.add(ses.id, first, last, bytes, off)
	if p.holder != nil {
		ses.held += bytes
		return
	}
	g.pin(ses, p)
}

// unpin lets go of the segments that a session has settled for good.
func (ses *session) unpin() {
	n := 0
	for _, g := range ses.pins {
		p := g.part(ses.id)
		if !ses.deleted && p.last > ses.durBase {
			break
		}
		p.holder = nil
		ses.held -= p.bytes
		g.pins--
		n++
	}
	if n > 0 {
		ses.pins = append(ses.pins[:0], ses.pins[n:]...)
	}
}

// bytesOf estimates what of p lies above base: exact for whole segments.
func (p *segPart) bytesAbove(base uint64) uint64 {
	if base < p.first {
		return p.bytes
	}
	if base >= p.last {
		return 0
	}
	return uint64(float64(p.bytes) * float64(p.last-base) / float64(p.last-p.first+1))
}

// backlogBytes estimates what is queued above base. The caller holds s.mu.
func (ses *session) backlogBytes(base uint64) uint64 {
	n := ses.held
	for _, g := range ses.pins {
		p := g.part(ses.id)
		above := p.bytesAbove(base)
		n -= p.bytes - above
		if above > 0 {
			break
		}
	}
	return n
}

// rename renames a file durably.
func (s *Store) rename(from, to string) error {
	if err := s.fs.Rename(from, to); err != nil {
		return err
	}
	return s.fs.SyncDir()
}

// roll ends the active segment and begins another.
func (s *Store) roll(ordinal uint64) error {
	if err := s.seal(); err != nil {
		return err
	}
	s.makeRoom()
	id := s.w.nextSeg
	s.w.nextSeg++
	if s.w.unnamed {
		s.keepIdentity()
	}
	h := segHeader{store: s.id, id: id, ordinal: ordinal, time: s.now(), size: s.opt.SegmentSize}
	file, err := s.makeSegment(&h)
	if errors.Is(err, ErrFull) && s.reclaim() {
		file, err = s.makeSegment(&h)
	}
	if errors.Is(err, ErrFull) {
		s.w.nextSeg = id // nothing was made: the next try says the same
	}
	if err != nil {
		return fmt.Errorf("%s: %w", segName(id), err)
	}
	g := &segment{id: id, name: segName(id), size: h.size, file: file, ordinal: ordinal, time: h.time,
		seed: s.id.seed(id), off: headerSize, end: headerSize}
	g.filled = file.Filled()
	s.w.written.Add(headerSize)
	s.mu.Lock()
	s.segs = append(s.segs, g)
	s.active = g
	s.end = max(s.end, makeLSN(id, headerSize))
	s.mu.Unlock()
	return nil
}

// makeSegment makes the file of a new segment. It gets its name when its header
// is durable, so that a segment without a header is known to be damaged.
func (s *Store) makeSegment(h *segHeader) (File, error) {
	name, file, err := s.takeFile(h.id)
	if err != nil {
		return nil, err
	}
	if s.w.renamed {
		// Else a crash might bring the segment back that the file was before,
		// with this header.
		if err = s.fs.SyncDir(); err == nil {
			s.w.renamed = false
		}
	}
	if err == nil {
		_, err = file.WriteAt(h.encode(segMagic), 0)
	}
	if err == nil {
		err = s.sync(file)
	}
	if err == nil {
		err = s.rename(name, segName(h.id))
	}
	if err != nil {
		// The next start clears up what is left.
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// takeFile gives a free file, from the pool if there is one. An error that wraps
// ErrFull says that there is no room.
func (s *Store) takeFile(id uint64) (name string, file File, err error) {
	for len(s.w.pool) > 0 {
		n := len(s.w.pool) - 1
		name := s.w.pool[n]
		s.w.pool = s.w.pool[:n]
		if file, err = s.fs.Open(name); err == nil {
			return name, file, nil
		}
		s.log.Warn("store: free segment cannot be used", "file", name, "error", err)
	}
	name = freeName(id)
	file, err = s.fs.Create(name, s.opt.SegmentSize)
	if isFull(err) {
		return "", nil, fmt.Errorf("%w: %w; free some space on the disk or lower the limits of the queues", ErrFull, err)
	}
	return name, file, err
}

// seal writes the footer of the active segment and closes its file. A footer
// only makes the next start faster: where it cannot be written nothing is lost.
func (s *Store) seal() error {
	g := s.active
	if g == nil {
		return nil
	}
	s.mu.Lock()
	s.active = nil
	b := g.footer(s.w.ordinal)
	s.mu.Unlock()
	if b != nil {
		sealFrame(b, &frameInfo{length: uint32(len(b) - frameHeader), ordinal: s.w.ordinal, synced: s.end, flags: flagFooter}, g.seed)
		if _, err := g.file.WriteAt(b, g.size-int64(len(b))); err != nil {
			s.log.Warn("store: segment index not written", "segment", segName(g.id), "error", err)
		} else if err := s.sync(g.file); err != nil {
			s.log.Warn("store: segment index not written", "segment", segName(g.id), "error", err)
		}
		s.w.written.Add(uint64(len(b)))
	}
	return g.file.Close()
}

// A footer is a frame that ends with the segment. Its body is one recIndex and
// zeros, and in the last 8 bytes the length of the frame and "FOOT".
const footMagic = 0x544f4f46

// footer encodes the index of the segment, or nil where it does not fit.
func (g *segment) footer(ordinal uint64) []byte {
	room := g.footerRoom(len(g.ranges))
	if room == 0 || g.off+room > g.size {
		return nil
	}
	body := appendUint(nil, uint64(g.end))
	body = appendUint(body, ordinal)
	body = appendUint(body, uint64(len(g.ranges)))
	for i := range g.ranges {
		p := &g.ranges[i]
		body = appendUint(body, uint64(p.sid))
		body = appendUint(body, uint64(p.off))
		body = appendUint(body, p.first)
		body = appendUint(body, p.last-p.first)
		body = appendUint(body, p.bytes)
	}
	body = appendUint(body, uint64(g.dense))
	b := make([]byte, frameHeader, room)
	b = appendUint(b, uint64(1+len(body)))
	b = append(append(b, recIndex), body...)
	b = append(b, make([]byte, int(room)-len(b))...)
	le.PutUint32(b[room-8:], uint32(room))
	le.PutUint32(b[room-4:], footMagic)
	return b
}

// readFooter restores the index of a sealed segment; false where it has none,
// or none that is sound.
func (g *segment) readFooter(r readerAt) (next uint64, ok bool) {
	var tail [8]byte
	if n, _ := r.ReadAt(tail[:], g.size-8); n < 8 || le.Uint32(tail[4:]) != footMagic {
		return 0, false
	}
	room := int64(le.Uint32(tail[:]))
	if room < blockSize || room > g.size/4 || room%blockSize != 0 {
		return 0, false
	}
	f, b, ok, _ := readFrame(r, g.size-room, g.size, g.seed, make([]byte, room))
	if !ok || f.flags != flagFooter {
		return 0, false
	}
	typ, body, _, err := recordAt(b, frameHeader)
	if err != nil || typ != recIndex {
		return 0, false
	}
	d := decoder{b: body}
	end, next := int64(d.uint()), d.uint()
	var parts []segPart
	for n := d.uint(); n > 0 && !d.bad; n-- {
		p := segPart{sid: SID(d.uint32()), off: d.uint32(), first: d.uint()}
		p.last = p.first + d.uint()
		p.bytes = d.uint()
		parts = append(parts, p)
	}
	dense := int64(0)
	if len(d.b) > 0 { // not in older ones
		dense = int64(d.uint())
	}
	if d.bad || end < headerSize || end > g.size-room {
		return 0, false
	}
	g.end, g.ranges, g.dense = end, parts, dense
	return next, true
}

// recycle puts away the segments that nobody needs: nothing in them is queued,
// and the older one of the two snapshots has the rest.
func (s *Store) recycle() {
	s.mu.Lock()
	var free []*segment
	s.segs = slices.DeleteFunc(s.segs, func(g *segment) bool {
		if g != s.active && g.pins == 0 && !g.busy && g.id < s.w.safe.seg() {
			free = append(free, g)
			return true
		}
		return false
	})
	s.mu.Unlock()
	for _, g := range free {
		s.release(g)
	}
}

// release gives the file of a segment back that is no longer in the log.
func (s *Store) release(g *segment) {
	if len(s.w.pool) < poolMax && g.size == s.opt.SegmentSize {
		if err := s.fs.Rename(g.name, freeName(g.id)); err == nil {
			s.w.pool = append(s.w.pool, freeName(g.id))
			s.w.renamed = true
			return
		}
	}
	if err := s.fs.Remove(g.name); err != nil {
		s.log.Warn("store: used segment stays", "segment", g.name, "error", err)
	}
}

// fillPool keeps free segments ready, so that a roll is quick and a disk that
// fills up is noticed while there is still room to act.
func (s *Store) fillPool() {
	for len(s.w.pool) < poolMin && !s.w.diskLow && !time.Now().Before(s.w.nextFill) {
		name := freeName(s.w.nextSeg)
		f, err := s.fs.Create(name, s.opt.SegmentSize)
		if isFull(err) {
			s.w.diskLow = true
			s.startRepack()
			if !s.w.lowSaid {
				s.w.lowSaid = true
				s.log.Warn("store: no room for another segment, the oldest messages will have to go", "error", err)
			}
			return
		}
		s.w.nextSeg++
		if err != nil {
			s.w.nextFill = time.Now().Add(fillRetry)
			s.log.Warn("store: no free segment can be kept ready", "error", err)
			return
		}
		if err := f.Close(); err != nil {
			s.log.Warn("store: closing a free segment", "file", name, "error", err)
		}
		s.w.pool = append(s.w.pool, name)
		s.w.lowSaid = false
	}
}
