package store

import (
	"sort"
	"sync"
)

// reader goes through the frames of the log for one session.
type reader struct {
	frame []byte   // header and records, without padding
	off   int      // of the next record in it
	lsn   LSN      // of the frame
	time  uint64   // of the frame
	pos   LSN      // of the frame after it
	in    *segment // that pos was found in, or nil
	seq   uint64   // of the newest delivery found in the frame

	// While the queue lags behind the ring.
	file File
	name string   // of the file to read on in
	seg  *segment // of file
	buf  []byte
}

var readBuffers = sync.Pool{New: func() any { return new([frameTarget]byte) }}

func (r *reader) load(frame []byte, lsn LSN, time uint64, off int) {
	r.frame, r.lsn, r.time, r.off = frame, lsn, time, off
}

func (r *reader) seek(pos LSN) {
	r.frame, r.off, r.pos = nil, 0, pos
	r.in = nil
}

// rest gives back what only a lagging queue needs. A frame from the buffer must
// no longer be in use.
func (r *reader) rest() {
	if r.file != nil {
		r.file.Close() // was only read
		r.file = nil
	}
	if r.buf != nil {
		if len(r.buf) == frameTarget {
			readBuffers.Put((*[frameTarget]byte)(r.buf))
		}
		r.buf = nil
	}
}

func (r *reader) close() {
	r.rest()
	r.frame = nil
}

// hit is a record with a delivery: decoded up to its route.
type hit struct {
	route
	pub  pub
	dec  decoder // behind the route
	left uint64  // routes that follow
}

// find goes to the next record in the frame that has a delivery for sid.
func (r *reader) find(sid SID) (h hit, ok bool) {
	for r.frame != nil {
		typ, b, end, err := recordAt(r.frame, r.off)
		if typ == 0 || err != nil {
			r.frame = nil
			break
		}
		r.off = end
		if typ != recPub {
			continue
		}
		h.dec = decoder{b: b}
		for n := h.dec.pubFront(&h.pub); n > 0 && !h.dec.bad; n-- {
			h.dec.route(&h.route)
			if h.sid == sid && !h.dec.bad {
				if h.seq == 0 {
					h.seq = r.seq + 1
				}
				h.left, r.seq = n-1, h.seq
				return h, true
			}
		}
	}
	return h, false
}

// locate finds the segment to read on in, moves r.pos to the first place in it
// that can matter, and says how far it goes; nil where r.pos was only moved.
// The caller holds s.mu.
func (s *Store) locate(r *reader, ses *session) (g *segment, limit int64) {
	i := sort.Search(len(s.segs), func(i int) bool { return s.segs[i].id >= r.pos.seg() })
	if i == len(s.segs) {
		r.pos = s.end
		return nil, 0
	}
	g = s.segs[i]
	if g.id > r.pos.seg() || g.packed && r.in != g {
		r.pos = makeLSN(g.id, headerSize)
	}
	r.in, r.name = g, g.name
	ses.mu.Lock()
	next := ses.next
	ses.mu.Unlock()
	p := g.part(ses.id)
	if p == nil || p.last < next || r.pos.off() >= g.end {
		if i+1 < len(s.segs) {
			r.pos = makeLSN(s.segs[i+1].id, headerSize)
		} else {
			r.pos = s.end
		}
		return nil, 0
	}
	if r.pos.off() < int64(p.off) {
		r.pos = makeLSN(g.id, int64(p.off))
	}
	return g, g.end
}

// read loads the frame at r.pos from the disk. Where there is no sound one it
// moves r.pos to the next that is, or to the end of the segment.
func (r *reader) read(s *Store, g *segment, limit int64) (bool, error) {
	patience := readPatience
	if r.file == nil || r.seg != g {
		r.rest()
		err := patiently(&patience, func() (err error) {
			r.file, err = s.fs.Open(r.name)
			return err
		})
		if err != nil {
			r.file = nil
			if !s.isLost(err) {
				return false, err
			}
			s.noteDamage(g, r.pos.off(), limit, err)
			r.pos = makeLSN(g.id, limit)
			return false, nil
		}
		r.seg = g
		if !s.live(g) {
			return false, nil // the name may be another one's by now
		}
	}
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[frameTarget]byte)[:]
	}
	off := r.pos.off()
	f, b, ok, err := readPatiently(&patience, r.file, off, limit, g.seed, r.buf)
	if err != nil && !s.isLost(err) {
		return false, err
	}
	if cap(b) > cap(r.buf) { // a large message: its own buffer
		if len(r.buf) == frameTarget {
			readBuffers.Put((*[frameTarget]byte)(r.buf))
		}
		r.buf = b[:cap(b)]
	}
	if ok {
		s.mu.Lock()
		s.stats.DiskFrames++
		s.mu.Unlock()
		r.load(b[:frameHeader+int(f.length)], r.pos, f.time, frameHeader)
		r.pos += LSN(f.size())
		return true, nil
	}
	if !s.live(g) {
		return false, nil // recycled under the reader: locate goes on
	}
	next, _ := probe(r.file, off+blockSize, limit, g.seed, r.buf)
	s.setAside(g, r.file, off, next)
	r.pos = makeLSN(g.id, next)
	return false, nil
}

// live says whether a segment is part of the log.
func (s *Store) live(g *segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.segs), func(i int) bool { return s.segs[i].id >= g.id })
	return i < len(s.segs) && s.segs[i] == g
}

// isLost says whether a place that could not be read, at several tries, is to be
// given up, so that one bad sector does not hold up a queue for ever. Where
// nothing else can be read either it is not that: the whole disk is gone, and may
// come back.
func (s *Store) isLost(err error) bool {
	if !isDamage(err) || s.Err() != nil {
		return false
	}
	f, err := s.fs.Open(idName)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.ReadAt(make([]byte, headerSize), 0)
	return notEOF(err) == nil
}

// probe looks for the next sound frame from off on; limit where there is none.
// What cannot be read is not sound.
func probe(r readerAt, off, limit int64, seed uint32, buf []byte) (int64, frameInfo) {
	for ; off < limit; off += blockSize {
		f, _, ok, _ := readFrame(r, off, limit, seed, buf)
		if ok && f.flags&flagFooter == 0 {
			return off, f
		}
	}
	return limit, frameInfo{}
}
