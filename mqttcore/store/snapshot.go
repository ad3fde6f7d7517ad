package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"
)

// A snapshot file is a header block and then frames like those of the log: the
// clock, the totals, all sessions and all retained messages, and a recEnd. It
// stands for the whole log below its LSN.

// snapshotState is what a snapshot needs of the moment it is taken at.
type snapshotState struct {
	frames   snapFrames
	retained []*keptMessage
	keeper   func(yield func(*Message) bool)
	now      uint64
}

type snapshotJob struct {
	*snapshotState
	lsn     LSN
	ordinal uint64
	older   []LSN // to be given up where the disk is full
}

type snapshotResult struct {
	lsn    LSN
	bytes  uint64
	gaveUp int // of older
	err    error
}

// snapFrames builds frames of records, not yet sealed.
type snapFrames struct {
	frames  [][]byte
	records []uint64 // in each
}

func (w *snapFrames) add(typ byte, body []byte) {
	n := len(w.frames)
	if n == 0 || len(w.frames[n-1])+len(body)+recordHead > frameTarget {
		w.frames = append(w.frames, make([]byte, frameHeader, blockSize))
		w.records = append(w.records, 0)
		n++
	}
	b := appendUint(w.frames[n-1], uint64(1+len(body)))
	w.frames[n-1] = append(append(b, typ), body...)
	w.records[n-1]++
}

// snapshotDue says whether it is time. frames are about to be committed.
func (s *Store) snapshotDue(last bool, frames []*frame) bool {
	dirty := s.w.sinceSnap > 0 || len(frames) > 0 || s.w.wantSnap
	if !dirty {
		return false
	}
	if last || s.w.wantSnap && !time.Now().Before(s.w.nextSnap) {
		return true
	}
	every := int64(snapEvery)
	if s.opt.MaxBytes > 0 {
		every = max(s.opt.SegmentSize, min(every, s.opt.MaxBytes/8))
	}
	// Where there is time and it costs little, with each segment: then segments
	// are used again, and no new space, which is dearer to write (see writeAhead).
	soon := min(every, max(s.opt.SegmentSize, snapSoon, snapShare*int64(s.w.snapBytes)))
	size, age := int64(s.w.sinceSnap), time.Since(s.w.lastSnap)
	return !time.Now().Before(s.w.nextSnap) && (size >= every || size >= soon && age >= snapPause || age >= snapInterval)
}

// snapshotState takes the moment: exactly what all commits up to and including
// the one being written say. The caller holds s.mu.
func (s *Store) snapshotState(clean bool) *snapshotState {
	st := &snapshotState{keeper: s.keeper, now: s.clock.now()}
	w := &st.frames
	var b []byte
	for _, e := range s.clock.epochs() {
		w.add(recClock, e.append(b[:0]))
	}
	b = appendUint(b[:0], uint64(s.nextSID))
	b = appendUint(b, s.totals.goneAppended)
	b = appendUint(b, s.totals.goneDelivered)
	b = appendUint(b, uint64(len(s.totals.dropped)))
	for _, r := range slices.Sorted(maps.Keys(s.totals.dropped)) {
		b = appendString(b, string(r))
		b = appendUint(b, s.totals.dropped[r])
	}
	if clean {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	w.add(recTotals, b)
	for _, sid := range slices.Sorted(maps.Keys(s.sessions)) {
		ses := s.sessions[sid]
		w.add(recSess, ses.appendSess(b[:0]))
		for _, filter := range slices.Sorted(maps.Keys(ses.subs)) {
			sub := ses.subs[filter]
			w.add(recSub, sub.append(appendUint(b[:0], uint64(sid))))
		}
		w.add(recWill, ses.appendWill(appendUint(b[:0], uint64(sid))))
		if len(ses.inbound) > 0 {
			b = appendUint(b[:0], uint64(sid))
			for pid := range ses.inbound {
				b = appendUint(b, uint64(pid))
			}
			w.add(recIn, b)
		}
		ses.mu.Lock()
		w.add(recCur, ses.appendCur(b[:0]))
		ses.mu.Unlock()
	}
	for i := range s.drops {
		d := &s.drops[i]
		l := loss{d.From, d.To, d.Count, d.Bytes, d.Reason}
		b = l.append(appendUint(b[:0], uint64(d.Session)))
		w.add(recLost, appendUint(b, d.time))
	}
	for _, m := range s.retained {
		st.retained = append(st.retained, m)
	}
	return st
}

// startSnapshot hands the state to the goroutine that writes it. What the state
// says is durable now, so it stands for the log up to s.end.
func (s *Store) startSnapshot(st *snapshotState) {
	s.w.snapping, s.w.wantSnap = true, false
	s.w.sinceSnap = 0
	s.w.lastSnap = time.Now()
	s.snaps <- snapshotJob{snapshotState: st, lsn: s.end, ordinal: s.w.ordinal, older: slices.Clone(s.w.kept)}
}

// writeSnapshots is the goroutine that writes them, so that commits never wait
// for one.
func (s *Store) writeSnapshots() {
	for job := range s.snaps {
		r := s.writeSnapshot(job)
		for isFull(r.err) && r.gaveUp < len(job.older)-1 {
			// An older one is worth less than going on.
			name := snapName(job.older[r.gaveUp])
			if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				break
			}
			n := r.gaveUp + 1
			r = s.writeSnapshot(job)
			r.gaveUp = n
		}
		s.done <- r
	}
}

func (s *Store) writeSnapshot(job snapshotJob) (r snapshotResult) {
	r.lsn = job.lsn
	if err := s.fs.Remove(snapTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.err = err
		return r
	}
	file, err := s.fs.Create(snapTemp, 0)
	if err != nil {
		r.err = err
		return r
	}
	n, err := s.fillSnapshot(file, job)
	r.bytes = n
	if err == nil {
		err = s.sync(file)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = s.rename(snapTemp, snapName(job.lsn))
	}
	if err != nil {
		r.err = fmt.Errorf("%s: %w", snapName(job.lsn), err)
	}
	return r
}

// fillSnapshot writes header and frames; retained messages go frame by frame, so
// that no copy of all of them is ever in memory.
func (s *Store) fillSnapshot(file File, job snapshotJob) (off uint64, err error) {
	h := segHeader{store: s.id, id: uint64(job.lsn), ordinal: job.ordinal, time: job.now}
	if _, err := file.WriteAt(h.encode(snapMagic), 0); err != nil {
		return 0, err
	}
	off = headerSize
	seed := s.id.seed(uint64(job.lsn))
	info := frameInfo{synced: job.lsn}
	flush := func(w *snapFrames) error {
		for i, b := range w.frames {
			info.length = uint32(len(b) - frameHeader)
			b = append(b, zeroBlock[:roundUp(int64(len(b)))-int64(len(b))]...)
			sealFrame(b, &info, seed)
			info.prev = info.crc
			if _, err := file.WriteAt(b, int64(off)); err != nil {
				return err
			}
			off += uint64(len(b))
			info.ordinal += w.records[i]
		}
		return nil
	}
	// The state stays as it is: it may be needed for another try.
	if err := flush(&job.frames); err != nil {
		return off, err
	}
	w := &snapFrames{}
	var buf []byte
	keep := func(m *Message, at uint64) bool {
		buf = appendRetained(buf[:0], m, at)
		w.add(recPub, buf)
		if len(w.frames) > 1 {
			err = flush(w)
			*w = snapFrames{}
		}
		return err == nil
	}
	for _, m := range job.retained {
		if !keep(&m.Message, m.at) {
			break
		}
	}
	if job.keeper != nil && err == nil {
		job.keeper(func(m *Message) bool {
			age := uint64(max(0, m.Age.Milliseconds()))
			return keep(m, job.now-min(job.now, age))
		})
	}
	if err != nil {
		return off, err
	}
	total := info.ordinal
	for _, n := range w.records {
		total += n
	}
	w.add(recEnd, appendUint(nil, total))
	return off, flush(w)
}

// snapshotDone takes the result in: which log is now superfluous.
func (s *Store) snapshotDone(r snapshotResult) {
	s.w.snapping = false
	s.w.kept = s.w.kept[r.gaveUp:]
	if r.err != nil {
		s.w.wantSnap = true
		if n := len(s.w.pool) - 1; isFull(r.err) && n >= 0 && s.fs.Remove(s.w.pool[n]) == nil {
			s.w.pool = s.w.pool[:n] // ballast: the snapshot will free more
			return
		}
		if !s.w.snapSaid {
			s.w.snapSaid = true
			s.log.Error("store: snapshot not written, the log grows until one is", "error", r.err)
		}
		s.w.nextSnap = time.Now().Add(snapRetry)
		return
	}
	s.w.snapSaid = false
	s.w.snapBytes = r.bytes
	s.w.written.Add(r.bytes)
	s.mu.Lock()
	s.stats.Snapshots++
	s.mu.Unlock()
	if n := len(s.w.kept); n == 0 || s.w.kept[n-1] != r.lsn {
		s.w.kept = append(s.w.kept, r.lsn)
	}
	for len(s.w.kept) > 2 {
		if err := s.fs.Remove(snapName(s.w.kept[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("store: old snapshot stays", "error", err)
		}
		s.w.kept = s.w.kept[1:]
	}
	if len(s.w.kept) == 2 {
		s.w.safe = s.w.kept[0]
	}
	if s.w.short {
		s.w.short = false
		s.w.safe = r.lsn // room is worth more than the fallback
	}
	s.w.mark = true
	s.recycle()
	s.startRepack()
}
