package store

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

const (
	quarantineMax = 16 << 20 // bytes set aside
	maxDamage     = 4096     // places remembered
)

// moveAside puts a whole file into quarantine, within its bound. One that only
// holds zeros has nothing to keep and is removed. Where neither can be done it
// stays where it is, and is not used.
func (s *Store) moveAside(name string) {
	err := s.toQuarantine(name)
	if err != nil {
		s.log.Warn("store: damaged file stays, it is not used", "file", name, "error", err)
	}
	s.countQuarantine()
}

func (s *Store) toQuarantine(name string) error {
	if s.blank(name) {
		return s.fs.Remove(name)
	}
	if s.stats.QuarantinedBytes >= quarantineMax {
		s.log.Warn("store: quarantine is full, a damaged file is removed", "file", name)
		return s.fs.Remove(name)
	}
	to, err := s.quarantineName(name)
	if err != nil {
		return err
	}
	return s.rename(name, to)
}

// quarantineName finds a name there that is not taken by an earlier file.
func (s *Store) quarantineName(name string) (string, error) {
	to := quarantineFolder + "/" + name
	for n := 1; ; n++ {
		f, err := s.fs.Create(to, 0)
		if err == nil {
			// The folder is there now. A folder could not be renamed to a file.
			return to, errors.Join(f.Close(), s.fs.Remove(to))
		}
		if !errors.Is(err, fs.ErrExist) || n == maxDamage {
			return "", err
		}
		to = fmt.Sprintf("%s/%s.%d", quarantineFolder, name, n)
	}
}

// blank says whether a file holds nothing but zeros.
func (s *Store) blank(name string) bool {
	f, err := s.fs.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, frameTarget)
	for off := int64(0); ; off += int64(len(b)) {
		n, err := f.ReadAt(b, off)
		if slices.ContainsFunc(b[:n], func(c byte) bool { return c != 0 }) {
			return false
		}
		if n < len(b) {
			return notEOF(err) == nil
		}
	}
}

// countQuarantine looks at what is set aside.
func (s *Store) countQuarantine() {
	aside, err := s.fs.List(quarantineFolder)
	if err != nil {
		s.log.Warn("store: quarantine cannot be read", "error", err)
	}
	s.stats.QuarantinedFiles, s.stats.QuarantinedBytes = len(aside), 0
	for _, f := range aside {
		s.stats.QuarantinedBytes += f.Size
	}
}

// noteDamage counts a damaged place and says so; false: it is known.
func (s *Store) noteDamage(g *segment, from, to int64, why error) bool {
	place := makeLSN(g.id, from)
	s.mu.Lock()
	if slices.Contains(s.damage, place) || len(s.damage) == maxDamage {
		s.mu.Unlock()
		return false
	}
	s.damage = append(s.damage, place)
	s.stats.CorruptFrames++
	g.hurt = true
	s.mu.Unlock()
	s.log.Error("store: damage on the disk", "segment", segName(g.id), "offset", from, "bytes", to-from, "error", why)
	return true
}

// setAside copies damaged pages into quarantine, once for each place, and counts
// them. They stay where they are until the segment is recycled.
func (s *Store) setAside(g *segment, file File, from, to int64) {
	if !s.noteDamage(g, from, to, nil) {
		return
	}
	s.mu.Lock()
	full := s.stats.QuarantinedBytes+to-from > quarantineMax
	s.mu.Unlock()
	if full {
		return
	}
	name := fmt.Sprintf("%s/seg-%016x-%06x.bin", quarantineFolder, g.id, from)
	out, err := s.fs.Create(name, 0)
	if errors.Is(err, fs.ErrExist) {
		return
	}
	if err == nil {
		b := make([]byte, blockSize)
		for off := from; off < to && err == nil; off += blockSize {
			n, _ := file.ReadAt(b, off)
			clear(b[n:]) // could not be read
			_, err = out.WriteAt(b, off-from)
		}
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		s.log.Warn("store: damaged pages could not be kept", "file", name, "error", err)
		return
	}
	s.mu.Lock()
	s.stats.QuarantinedFiles++
	s.stats.QuarantinedBytes += to - from
	s.mu.Unlock()
}
