package store

import (
	"cmp"
	"slices"
	"sort"
)

// ring holds the newest committed frames, so that queues which keep up never
// read the disk. Guarded by Store.mu; the frames themselves never change and
// may be read outside it for as long as one likes.
type ring struct {
	frames []*frame // ascending, without holes
	bytes  int
}

func (r *ring) push(f *frame) {
	r.frames = append(r.frames, f)
	r.bytes += cap(f.buf)
	n := 0
	for r.bytes > ringBytes && n < len(r.frames) {
		r.bytes -= cap(r.frames[n].buf)
		r.frames[n] = nil
		n++
	}
	if n > 0 {
		r.frames = r.frames[n:]
		if cap(r.frames) > 4*len(r.frames)+64 {
			r.frames = slices.Clone(r.frames)
		}
	}
}

// dropTo forgets the frames up to the end of a segment.
func (r *ring) dropTo(seg uint64) {
	n := 0
	for ; n < len(r.frames) && r.frames[n].lsn.seg() <= seg; n++ {
		r.bytes -= cap(r.frames[n].buf)
		r.frames[n] = nil
	}
	r.frames = r.frames[n:]
}

// covers says whether everything from pos on is in the ring.
func (r *ring) covers(pos LSN) bool {
	return len(r.frames) > 0 && r.frames[0].lsn <= pos
}

// next finds the first frame at or after pos that has something for sid.
func (r *ring) next(pos LSN, sid SID) (*frame, *frameTouch) {
	i := sort.Search(len(r.frames), func(i int) bool { return r.frames[i].lsn >= pos })
	for ; i < len(r.frames); i++ {
		if t := r.frames[i].touch(sid); t != nil {
			return r.frames[i], t
		}
	}
	return nil, nil
}

func sortTouched(t []frameTouch) {
	if len(t) > 1 {
		slices.SortFunc(t, func(a, b frameTouch) int { return cmp.Compare(a.ses.id, b.ses.id) })
	}
}
