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

// moveAside puts a whole file into quarantine, within its bound.
func (s *Store) moveAside(name string) error {
	if s.stats.QuarantinedBytes >= quarantineMax {
		s.log.Warn("store: quarantine is full, a damaged file is removed", "file", name)
		return s.fs.Remove(name)
	}
	f, err := s.fs.Create(quarantineFolder+"/"+name, 0)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	s.stats.QuarantinedFiles++
	return s.rename(name, quarantineFolder+"/"+name)
}

// setAside copies damaged pages into quarantine, once for each place, and counts
// them. They stay where they are until the segment is recycled.
func (s *Store) setAside(g *segment, file File, from, to int64) {
	place := makeLSN(g.id, from)
	s.mu.Lock()
	if slices.Contains(s.damage, place) || len(s.damage) == maxDamage {
		s.mu.Unlock()
		return
	}
	s.damage = append(s.damage, place)
	s.stats.CorruptFrames++
	full := s.stats.QuarantinedBytes+to-from > quarantineMax
	s.mu.Unlock()
	s.log.Error("store: damage on the disk", "segment", segName(g.id), "offset", from, "bytes", to-from)
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
			_, err = out.WriteAt(b[:n], off-from)
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
