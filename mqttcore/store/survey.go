package store

import (
	"cmp"
	"fmt"
	"slices"
)

// survey lists the files and looks at every header, so that a newer version is
// noticed before anything is touched.
func (s *Store) survey(r *recovery) error {
	files, err := s.fs.List("")
	if err != nil {
		return err
	}
	var odd, useless []string
	var unread error // the last header that could not be read
	read := 0
	look := func(name, magic string) (h segHeader, ok bool, err error) {
		h, ok, err = s.readHeader(name, magic)
		if err == nil {
			read++
		} else if isDamage(err) {
			s.log.Error("store: file cannot be read", "error", err)
			unread, err = err, nil
		}
		return h, ok, err
	}
	for _, f := range files {
		if id, ok := parseName(f.Name, "seg-", ".log"); ok {
			if f.Odd || id >= maxSegment {
				odd = append(odd, f.Name)
				if id < maxSegment {
					s.w.nextSeg = max(s.w.nextSeg, id+1)
				}
				continue
			}
			g := &recoverSeg{segment: segment{id: id, name: f.Name, size: f.Size}, begin: headerSize}
			if g.head, g.sound, err = look(f.Name, segMagic); err != nil {
				return err
			}
			r.segs = append(r.segs, g)
		} else if lsn, ok := parseName(f.Name, "snap-", ".snap"); ok {
			if f.Odd {
				odd = append(odd, f.Name)
				continue
			}
			if _, _, err := look(f.Name, snapMagic); err != nil {
				return err
			}
			r.snaps = append(r.snaps, LSN(lsn))
		} else if _, ok := parseName(f.Name, "free-", ".seg"); ok && !f.Odd {
			if f.Size == s.opt.SegmentSize && len(r.free) < poolMax {
				r.free = append(r.free, f.Name)
			} else {
				useless = append(useless, f.Name)
			}
		} else if f.Name == idName {
			if f.Odd {
				odd = append(odd, f.Name)
				continue
			}
			h, ok, err := look(idName, idMagic)
			if err != nil {
				return err
			}
			if r.id, r.named = h.store, ok; !ok {
				odd = append(odd, f.Name)
			}
		}
	}
	if unread != nil && read == 0 {
		return unread // it is the disk, not a place on it
	}
	slices.SortFunc(r.segs, func(a, b *recoverSeg) int { return cmp.Compare(a.id, b.id) })
	slices.Sort(r.snaps)
	s.countQuarantine()
	if r.named && len(r.segs)+len(r.snaps)+len(odd) == 0 {
		// It was written after the first commit.
		s.stats.CorruptFrames++
		s.log.Error("store: the whole log is missing, sessions and messages are lost")
	}
	for _, name := range useless {
		if err := s.fs.Remove(name); err != nil {
			s.log.Warn("store: free segment of another size stays", "file", name, "error", err)
		}
	}
	for _, name := range odd {
		s.reject(name, "it cannot be what its name says")
	}
	return nil
}

func (s *Store) readHeader(name, magic string) (h segHeader, ok bool, err error) {
	f, err := s.openPatiently(name)
	if err != nil {
		return h, false, err
	}
	defer f.Close()
	b := make([]byte, headerSize)
	n := 0
	err = patiently(&s.w.patience, func() (err error) {
		n, err = f.ReadAt(b, 0)
		return notEOF(err)
	})
	if err == nil {
		h, ok, err = decodeHeader(b[:n], magic)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return h, ok, err
}

// openPatiently opens a file while the store is opened.
func (s *Store) openPatiently(name string) (f File, err error) {
	err = patiently(&s.w.patience, func() error {
		f, err = s.fs.Open(name)
		return err
	})
	return f, err
}

// sortOut decides which segments are ours to read. A segment gets its name when
// its header is durable: one without a sound header was damaged, whatever else
// the machine was doing when it stopped.
func (s *Store) sortOut(r *recovery) error {
	var keep []*recoverSeg
	for _, g := range r.segs {
		s.w.nextSeg = max(s.w.nextSeg, g.id+1)
		g.seed = s.id.seed(g.id)
		name := segName(g.id)
		switch {
		case g.sound && g.head.store != s.id:
			s.reject(name, "it belongs to another store")
			continue
		case g.sound && g.head.id != g.id:
			s.reject(name, fmt.Sprintf("it is a copy of %s", segName(g.head.id)))
			continue
		case g.sound:
			g.ordinal, g.time, g.packed = g.head.ordinal, g.head.time, g.head.until > 0
			if g.size < g.head.size {
				g.hurt = true // read what is there
				if g.id >= r.from.seg() {
					s.stats.CorruptFrames++
					s.log.Error("store: segment was cut off, what was behind is gone", "segment", name, "bytes", g.size, "of", g.head.size)
				}
			}
			g.size = min(g.size, g.head.size)
		default:
			g.size = min(g.size, maxSegmentSize)
			ok, err := s.findBegin(g)
			if err != nil {
				return err
			}
			if !ok {
				s.reject(name, "neither its header nor any frame in it is sound")
				continue
			}
			g.hurt, g.packed = true, true // for all that is known
			if g.begin == headerSize {
				s.stats.CorruptFrames++ // else the first frame is part of the place
			}
			s.log.Error("store: segment header is damaged, its frames are read all the same", "segment", name, "from", g.begin)
		}
		keep = append(keep, g)
	}
	r.segs = s.withoutPacked(keep)
	s.w.nextSeg = max(s.w.nextSeg, 1, r.from.seg()+1)
	return nil
}

// withoutPacked removes segments that were packed into a later one, which the
// machine had no time to do.
func (s *Store) withoutPacked(segs []*recoverSeg) []*recoverSeg {
	return slices.DeleteFunc(segs, func(g *recoverSeg) bool {
		for _, p := range segs {
			if p.id > g.id && p.head.until > g.ordinal && p.ordinal <= g.ordinal {
				s.log.Info("store: segment was packed into another", "segment", g.name, "into", p.name)
				if err := s.fs.Remove(g.name); err != nil {
					s.log.Warn("store: used segment stays", "segment", g.name, "error", err)
				}
				return true
			}
		}
		return false
	})
}

// findBegin finds the first frame of a segment whose header is damaged.
func (s *Store) findBegin(g *recoverSeg) (ok bool, err error) {
	f, err := s.openPatiently(segName(g.id))
	if isDamage(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	off, info := probe(f, headerSize, g.size, g.seed, make([]byte, frameTarget))
	if off >= g.size {
		return false, nil
	}
	if off > headerSize {
		s.setAside(&g.segment, f, headerSize, off)
	}
	g.begin, g.ordinal = off, info.ordinal
	return true, nil
}

// reject puts a file away that is of no use, counts it and says so.
func (s *Store) reject(name, why string) {
	s.stats.CorruptFrames++
	s.log.Error("store: a file is set aside", "file", name, "why", why)
	s.moveAside(name)
}
