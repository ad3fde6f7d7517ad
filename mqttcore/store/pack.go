package store

import (
	"errors"
	"fmt"
)

// packRoute is a wanted route.
type packRoute struct {
	sid  SID
	seq  uint64
	rest []byte // flags and identifiers, as encoded
}

// packer writes the records that are still wanted into a segment, or, without a
// file, finds out how far it would get.
type packer struct {
	out     *segment
	file    File
	max     int // regular frames are not larger
	frame   []byte
	info    frameInfo
	records uint64 // in frame
	topics  map[string]uint32
	routes  []packRoute    // of the record at hand
	read    map[SID]uint64 // newest number read in a frame
	given   map[SID]uint64 // and written
	body    []byte
}

var (
	errOverflow = errors.New("does not fit into a segment")
	errDamaged  = errors.New("damage in a segment to be packed")
)

func (s *Store) newPacker(first *segment, id uint64, name string, file File) *packer {
	return &packer{
		out: &segment{id: id, name: name, size: s.opt.SegmentSize, ordinal: first.ordinal, time: first.time,
			seed: s.id.seed(id), packed: true, busy: true, off: headerSize},
		file: file, max: s.frameMax, frame: make([]byte, frameHeader, s.frameMax),
		info: frameInfo{ordinal: first.ordinal}, topics: map[string]uint32{},
		read: map[SID]uint64{}, given: map[SID]uint64{},
	}
}

// fitting counts the segments of a run, from the first on, that fit into one.
func (s *Store) fitting(job *repackJob) (n int, err error) {
	p := s.newPacker(job.run[0], 0, "", nil)
	for i := range job.run {
		if err = s.packOne(p, job, i); err == nil {
			n = i + 1
			continue
		}
		if !errors.Is(err, errOverflow) && n < job.least {
			return 0, err
		}
		break
	}
	return n, nil
}

// pack writes the first n segments of a run into one, durably. The file still
// has its old name.
func (s *Store) pack(job *repackJob, n int, name string) (*segment, error) {
	// It may have been a segment before: the name must not come back with
	// another content.
	if err := s.fs.SyncDir(); err != nil {
		return nil, err
	}
	file, err := s.fs.Open(name)
	if err != nil {
		return nil, err
	}
	p := s.newPacker(job.run[0], job.run[n-1].id, name, file)
	for i := 0; i < n && err == nil; i++ {
		err = s.packOne(p, job, i)
	}
	if err == nil {
		err = p.finish(s, job.until[n-1])
	}
	s.w.written.Add(uint64(p.out.off))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", segName(p.out.id), err)
	}
	return p.out, nil
}

// packOne adds what is wanted of one segment of a run.
func (s *Store) packOne(p *packer, job *repackJob, i int) error {
	g := job.run[i]
	if s.stopping.Load() {
		return ErrClosed
	}
	if job.from[i] >= g.end {
		return nil
	}
	file, err := s.fs.Open(g.name)
	if err != nil {
		return err
	}
	defer file.Close()
	buf := readBuffers.Get().(*[frameTarget]byte)
	defer readBuffers.Put(buf)
	for off := job.from[i]; off < g.end; {
		f, b, ok, err := readFrame(file, off, g.end, g.seed, buf[:])
		if err == nil && !ok {
			err = errDamaged
		}
		if err == nil {
			err = p.addFrame(b[:frameHeader+int(f.length)], f.time, job.wants)
		}
		if errors.Is(err, errOverflow) {
			return err
		}
		if err != nil {
			s.mu.Lock()
			g.hurt = true // for who reads it to report
			s.mu.Unlock()
			return fmt.Errorf("%s: %w", g.name, err)
		}
		off += f.size()
	}
	return nil
}

// addFrame adds the records of a frame of which a route is wanted.
func (p *packer) addFrame(b []byte, time uint64, wants map[SID]uint64) error {
	for off := frameHeader; ; {
		typ, body, next, err := recordAt(b, off)
		if err != nil || typ == 0 {
			return err
		}
		off = next
		if typ != recPub {
			continue
		}
		var m pub
		d := decoder{b: body}
		p.routes = p.routes[:0]
		for n := d.pubFront(&m); n > 0 && !d.bad; n-- {
			var rt route
			head := d
			head.uint()
			head.uint()
			d.route(&rt)
			base, ok := wants[rt.sid]
			if !ok || d.bad {
				continue
			}
			if rt.seq == 0 {
				rt.seq = p.read[rt.sid] + 1
			}
			if p.read[rt.sid] = rt.seq; rt.seq > base {
				p.routes = append(p.routes, packRoute{rt.sid, rt.seq, head.b[:len(head.b)-len(d.b)]})
			}
		}
		if err := d.pubRest(&m, b); err != nil {
			return err
		}
		if len(p.routes) == 0 {
			continue
		}
		if err := p.add(&m, time+m.delta); err != nil {
			return err
		}
	}
}

// add adds a record with the routes in p. What only matters above a snapshot is
// left out.
func (p *packer) add(m *pub, at uint64) error {
	size := recordHead + 48 + len(m.topic) + len(m.props) + len(m.payload)
	for i := range p.routes {
		size += 15 + len(p.routes[i].rest)
	}
	if p.records > 0 && (len(p.frame)+size > p.max || at < p.info.time) {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if p.out.off+roundUp(int64(len(p.frame)+size))+p.out.footerRoom(len(p.out.ranges)+len(p.routes)) > p.out.size {
		return errOverflow
	}
	if p.records == 0 {
		p.info.time = at
	}
	b := append(p.body[:0], m.flags&^(pubStore|pubInbound))
	b = appendUint(b, at-p.info.time)
	b = appendUint(b, uint64(len(p.routes)))
	for i := range p.routes {
		rt := &p.routes[i]
		seq := rt.seq
		if p.given[rt.sid] == seq-1 && seq > 1 {
			seq = 0
		}
		p.given[rt.sid] = rt.seq
		b = appendUint(appendUint(b, uint64(rt.sid)), seq)
		b = append(b, rt.rest...)
	}
	topicAt := 0
	if ref, ok := p.topics[string(m.topic)]; ok {
		b = appendUint(b, uint64(ref))
	} else {
		b = append(b, 0)
		topicAt = len(b)
		b = appendString(b, m.topic)
	}
	if m.flags&pubExpiry != 0 {
		b = appendUint(b, uint64(m.expiry))
	}
	if m.flags&pubProps != 0 {
		b = appendString(b, m.props)
	}
	p.body = append(b, m.payload...)
	p.frame = appendUint(p.frame, uint64(1+len(p.body)))
	p.frame = append(p.frame, recPub)
	if topicAt > 0 {
		p.topics[string(m.topic)] = uint32(len(p.frame) + topicAt)
	}
	p.frame = append(p.frame, p.body...)
	p.records++
	for i := range p.routes {
		rt := &p.routes[i]
		p.out.add(rt.sid, rt.seq, rt.seq, m.size(), p.out.off)
	}
	return nil
}

// flush writes the open frame.
func (p *packer) flush() error {
	if p.records == 0 {
		return nil
	}
	g := p.out
	p.info.length = uint32(len(p.frame) - frameHeader)
	p.info.synced = makeLSN(g.id, g.off) // the segment has a name when all of it is durable
	if n := len(p.frame) % blockSize; n != 0 {
		p.frame = append(p.frame, zeroBlock[n:]...)
	}
	if p.file != nil {
		sealFrame(p.frame, &p.info, g.seed)
		if _, err := p.file.WriteAt(p.frame, g.off); err != nil {
			return err
		}
	}
	g.off += int64(len(p.frame))
	g.dense += int64(p.info.length)
	p.info.prev = p.info.crc
	p.info.ordinal += p.records
	p.frame, p.records = p.frame[:frameHeader], 0
	clear(p.topics)
	clear(p.given)
	return nil
}

// finish makes the segment durable. until is the ordinal behind the run.
func (p *packer) finish(s *Store, until uint64) error {
	if err := p.flush(); err != nil {
		return err
	}
	g := p.out
	g.end = g.off
	if b := g.footer(p.info.ordinal); b != nil {
		sealFrame(b, &frameInfo{length: uint32(len(b) - frameHeader), ordinal: p.info.ordinal, synced: makeLSN(g.id, g.end), flags: flagFooter}, g.seed)
		if _, err := p.file.WriteAt(b, g.size-int64(len(b))); err != nil {
			return err
		}
	}
	h := segHeader{store: s.id, id: g.id, ordinal: g.ordinal, time: g.time, size: g.size, until: until}
	if _, err := p.file.WriteAt(h.encode(segMagic), 0); err != nil {
		return err
	}
	return p.file.Datasync()
}
