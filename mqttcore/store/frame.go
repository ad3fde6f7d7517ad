package store

import (
	"hash/crc32"
	"time"
)

// A frame is the unit of writing and of damage. It begins on a 4 KiB boundary
// and is padded with zeros to the next one:
//
//	 0  u32 length of the body (the records), without header and padding
//	 4  u32 crc32c over [0,4), [8,40), body and padding, from the segment's seed
//	 8  u64 ordinal of the first record
//	16  u64 synced: everything below this LSN was durable before this frame was issued
//	24  u64 store time of the frame, ms
//	32  u32 crc of the frame before it in the log
//	36  u16 flags
//	38  u16 zero
//	40  records…
const (
	frameHeader = 40
	frameTarget = 64 << 10 // a frame is closed before it grows beyond this
	maxFrame    = maxSegmentSize

	flagFooter = 1 // the index of a sealed segment, at its end
)

type frameInfo struct {
	length  uint32
	crc     uint32
	ordinal uint64
	synced  LSN
	time    uint64
	prev    uint32
	flags   uint16
}

// size is what the frame takes on the disk.
func (f *frameInfo) size() int64 { return roundUp(frameHeader + int64(f.length)) }

func parseFrameInfo(b []byte) frameInfo {
	return frameInfo{
		length:  le.Uint32(b),
		crc:     le.Uint32(b[4:]),
		ordinal: le.Uint64(b[8:]),
		synced:  LSN(le.Uint64(b[16:])),
		time:    le.Uint64(b[24:]),
		prev:    le.Uint32(b[32:]),
		flags:   le.Uint16(b[36:]),
	}
}

// sealFrame writes the header of the padded frame b.
func sealFrame(b []byte, f *frameInfo, seed uint32) {
	le.PutUint32(b, f.length)
	le.PutUint64(b[8:], f.ordinal)
	le.PutUint64(b[16:], uint64(f.synced))
	le.PutUint64(b[24:], f.time)
	le.PutUint32(b[32:], f.prev)
	le.PutUint16(b[36:], f.flags)
	le.PutUint16(b[38:], 0)
	f.crc = frameSum(b, seed)
	le.PutUint32(b[4:], f.crc)
}

func frameSum(b []byte, seed uint32) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, b[:4]), castagnoli, b[8:])
}

// readerAt is what frames are read through; reads that cross the end of the
// data come back short with io.EOF.
type readerAt interface {
	ReadAt(p []byte, off int64) (int, error)
}

// readFrame reads the frame at off, which must end at or before limit. buf is
// used, and grown, for it; b is the whole padded frame. ok is false when there
// is no sound frame at off; err is only for a disk that cannot be read.
func readFrame(r readerAt, off, limit int64, seed uint32, buf []byte) (f frameInfo, b []byte, ok bool, err error) {
	if off < 0 || off+blockSize > limit {
		return f, buf, false, nil
	}
	n := min(int64(cap(buf))&^(blockSize-1), limit-off)
	if n < blockSize {
		buf = make([]byte, blockSize)
		n = blockSize
	}
	b = buf[:n]
	if got, err := r.ReadAt(b, off); int64(got) < blockSize {
		return f, buf, false, notEOF(err)
	} else {
		b = b[:int64(got)&^(blockSize-1)]
	}
	f = parseFrameInfo(b)
	size := f.size()
	if f.length > maxFrame || off+size > limit {
		return f, buf, false, nil
	}
	if size > int64(len(b)) {
		if size > int64(cap(buf)) {
			// Grow only for a length that the file really has.
			grown := make([]byte, size)
			copy(grown, b)
			buf = grown
		}
		have := len(b)
		b = buf[:size]
		if got, err := r.ReadAt(b[have:], off+int64(have)); have+got < len(b) {
			return f, buf, false, notEOF(err)
		}
	}
	b = b[:size]
	return f, b, frameSum(b, seed) == f.crc, nil
}

// readPatiently is readFrame for a disk that may be better a moment later.
func readPatiently(patience *time.Duration, r readerAt, off, limit int64, seed uint32, buf []byte) (f frameInfo, b []byte, ok bool, err error) {
	err = patiently(patience, func() error {
		f, b, ok, err = readFrame(r, off, limit, seed, buf)
		return err
	})
	return f, b, ok, err
}

// frameTouch is what a frame holds for one session.
type frameTouch struct {
	ses         *session
	first, last uint64
	count       uint32
	off         uint32 // of the first record, from the start of the frame
	bytes       uint64
}

// frame is a frame on its way to the disk, and after that in the ring. Once
// committed it never changes.
type frame struct {
	buf     []byte // header and records; padded when placed
	info    frameInfo
	lsn     LSN
	records uint64
	touched []frameTouch // sorted by session once placed
	bases   []sessionBase
	gone    []*session // deleted in this frame
	changed []*session // with any other record of theirs, but for cursors
	inbound []inboundID
	inrels  []inboundID
	unsubs  []sessionFilter
	rels    []sessionSeq // PUBREC came for them
	losses  []sessionLoss
	dones   []func(error)
}

// sessionBase is a cursor that becomes durable with a frame.
type sessionBase struct {
	ses  *session
	base uint64
}

type sessionLoss struct {
	ses *session
	loss
}

// sessionFilter is a subscription that goes with a frame.
type sessionFilter struct {
	ses    *session
	filter string
}

type sessionSeq struct {
	ses *session
	seq uint64
}

type inboundID struct {
	ses *session
	pid uint16
}

func (f *frame) end() LSN { return f.lsn + LSN(len(f.buf)) }

// touch finds what the frame holds for a session.
func (f *frame) touch(sid SID) *frameTouch {
	lo, hi := 0, len(f.touched)
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		if f.touched[m].ses.id < sid {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(f.touched) && f.touched[lo].ses.id == sid {
		return &f.touched[lo]
	}
	return nil
}
