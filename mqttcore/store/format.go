package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The sizes of FORMAT.md.
const (
	blockSize      = 4096 // every frame begins on such a boundary
	headerSize     = blockSize
	formatVersion  = 2 // the newest
	plainVersion   = 1 // of all files but segments
	minSegmentSize = 64 << 10
	maxSegmentSize = 16 << 20
	maxSegment     = 1 << 39 // no id is as high; an LSN has 40 bits for it
	defSegmentSize = 4 << 20
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

type storeID [16]byte

// seed is where the checksums of a segment or snapshot start. It makes frames
// of another store, and what a recycled segment held before, invalid.
func (id storeID) seed(number uint64) uint32 {
	var b [24]byte
	copy(b[:], id[:])
	le.PutUint64(b[16:], number)
	return crc32.Checksum(b[:], castagnoli)
}

func makeLSN(seg uint64, off int64) LSN { return LSN(seg<<24 | uint64(off)) }

func (l LSN) seg() uint64 { return uint64(l >> 24) }
func (l LSN) off() int64  { return int64(l & (1<<24 - 1)) }

// String gives segment and offset in hexadecimal.
func (l LSN) String() string { return fmt.Sprintf("%x+%06x", l.seg(), l.off()) }

func roundUp(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }

// File names.

const (
	quarantineFolder = "quarantine"
	snapTemp         = "snap.tmp"
)

func segName(id uint64) string  { return fmt.Sprintf("seg-%016x.log", id) }
func freeName(id uint64) string { return fmt.Sprintf("free-%016x.seg", id) }
func snapName(l LSN) string     { return fmt.Sprintf("snap-%016x.snap", uint64(l)) }

// parseName takes the number out of a file name like the ones above.
func parseName(name, prefix, suffix string) (uint64, bool) {
	s, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	if s, ok = strings.CutSuffix(s, suffix); !ok || len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}

// Segment header, in a block of its own:
//
//	 0  magic "SLUICELG"
//	 8  u32 version
//	12  u32 crc32c of all other 4092 bytes
//	16  store id, 16 bytes
//	32  u64 segment id
//	40  u64 ordinal of the first record
//	48  u64 store time, ms
//	56  u64 segment size
//	64  u64 of a packed segment: the ordinal behind the run that it stands for, else 0
//	72  zero
//
// A snapshot begins with the same block, with the magic "SLUICESN", its LSN for
// the segment id and size 0. So does the file with the identity of the store,
// with the magic "SLUICEID".
const (
	segMagic  = "SLUICELG"
	snapMagic = "SLUICESN"
)

type segHeader struct {
	store   storeID
	id      uint64
	ordinal uint64
	time    uint64
	size    int64
	until   uint64 // not 0: packed
	version uint32 // as read
}

func (h *segHeader) encode(magic string) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	le.PutUint32(b[8:], plainVersion)
	if magic == segMagic {
		le.PutUint32(b[8:], formatVersion)
	}
	copy(b[16:], h.store[:])
	le.PutUint64(b[32:], h.id)
	le.PutUint64(b[40:], h.ordinal)
	le.PutUint64(b[48:], h.time)
	le.PutUint64(b[56:], uint64(h.size))
	le.PutUint64(b[64:], h.until)
	le.PutUint32(b[12:], headerSum(b))
	return b
}

func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// decodeHeader reports ErrVersion for a sound header of a newer version, and
// ok false for anything that is not a sound header.
func decodeHeader(b []byte, magic string) (h segHeader, ok bool, err error) {
	if len(b) < headerSize || string(b[:8]) != magic || headerSum(b[:headerSize]) != le.Uint32(b[12:]) {
		return h, false, nil
	}
	if v := le.Uint32(b[8:]); v > formatVersion {
		return h, false, fmt.Errorf("%w: format %d, this program knows %d", ErrVersion, v, formatVersion)
	}
	copy(h.store[:], b[16:32])
	h.id = le.Uint64(b[32:])
	h.ordinal = le.Uint64(b[40:])
	h.time = le.Uint64(b[48:])
	h.size = int64(le.Uint64(b[56:]))
	h.version = le.Uint32(b[8:])
	if h.version > plainVersion {
		h.until = le.Uint64(b[64:])
	}
	if magic != segMagic {
		return h, h.size == 0, nil
	}
	return h, h.size >= minSegmentSize && h.size <= maxSegmentSize && h.size%blockSize == 0, nil
}
