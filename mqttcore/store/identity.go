package store

import (
	"errors"
	"fmt"
	"io/fs"
)

// The identity of a store, without which no checksum can be checked, is in every
// header. It is also in a file of its own, so that even a folder with one single
// header loses nothing when that one is damaged.
const (
	idName  = "store.id"
	idTemp  = "store.id.tmp"
	idMagic = "SLUICEID"
)

// keepIdentity writes the file where it is not there yet, after the first commit:
// where it is alone, a log is missing. A disk that has no room now is asked again
// with the next segment.
func (s *Store) keepIdentity() {
	if s.w.named {
		return
	}
	if err := s.writeIdentity(); err != nil {
		if !s.w.unnamed {
			s.w.unnamed = true
			s.log.Warn("store: second copy of its identity not written, it is tried again with the next segment", "error", err)
		}
		return
	}
	s.w.named = true
}

func (s *Store) writeIdentity() error {
	if err := s.fs.Remove(idTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.fs.Create(idTemp, 0)
	if err != nil {
		return err
	}
	h := segHeader{store: s.id}
	if _, err = f.WriteAt(h.encode(idMagic), 0); err == nil {
		err = s.sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.rename(idTemp, idName)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", idName, err)
	}
	return nil
}

// identify finds out which store this is, where no snapshot has said it: from
// the newest sound header, else from the file.
func (s *Store) identify(r *recovery) (id storeID, ok bool) {
	for i := len(r.segs) - 1; i >= 0; i-- {
		if g := r.segs[i]; g.sound && g.head.id == g.id {
			return g.head.store, true
		}
	}
	return r.id, r.named
}
