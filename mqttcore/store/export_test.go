package store

import (
	"bytes"
	"slices"
)

// WithVersion gives the header of a file another version and a sound checksum.
func WithVersion(b []byte, version uint32) []byte {
	b = slices.Clone(b)
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], headerSum(b[:headerSize]))
	return b
}

// WithID gives the header of a segment another number and a sound checksum.
func WithID(b []byte, id uint64) []byte {
	b = slices.Clone(b)
	le.PutUint64(b[32:], id)
	le.PutUint32(b[12:], headerSum(b[:headerSize]))
	return b
}

// fuzzID is the identity of the stores made here.
var fuzzID = storeID{1, 2, 3}

// SegmentOf makes a segment of one sound frame with these records, which may be
// anything, and a footer with the same.
func SegmentOf(records []byte) []byte {
	records = records[:min(len(records), 16<<10)]
	h := segHeader{store: fuzzID, id: 1, size: minSegmentSize}
	image := make([]byte, minSegmentSize)
	copy(image, h.encode(segMagic))
	copy(image[headerSize:], frameOf(records, fuzzID.seed(1), 0, 0))
	foot := frameOf(records, fuzzID.seed(1), flagFooter, 8)
	le.PutUint32(foot[len(foot)-8:], uint32(len(foot)))
	le.PutUint32(foot[len(foot)-4:], footMagic)
	sealFrame(foot, &frameInfo{length: uint32(len(foot) - frameHeader), flags: flagFooter}, fuzzID.seed(1))
	if len(foot) <= minSegmentSize/4 {
		copy(image[len(image)-len(foot):], foot)
	}
	return image
}

// SnapshotOf makes a snapshot of one sound frame with these records.
func SnapshotOf(records []byte) []byte {
	lsn := makeLSN(1, headerSize)
	h := segHeader{store: fuzzID, id: uint64(lsn)}
	return append(h.encode(snapMagic), frameOf(records, fuzzID.seed(uint64(lsn)), 0, 0)...)
}

func frameOf(records []byte, seed uint32, flags uint16, room int) []byte {
	b := append(make([]byte, frameHeader), records...)
	b = append(b, make([]byte, roundUp(int64(len(b)+room))-int64(len(b)))...)
	sealFrame(b, &frameInfo{length: uint32(len(records)), flags: flags}, seed)
	return b
}

// RecordsOf takes the records of all sound frames out of a segment.
func RecordsOf(segment []byte) (records []byte) {
	h, _, _ := decodeHeader(segment, segMagic)
	for off := int64(headerSize); off < int64(len(segment)); {
		f, b, ok, _ := readFrame(bytes.NewReader(segment), off, int64(len(segment)), h.store.seed(h.id), nil)
		if !ok {
			break
		}
		records = append(records, b[frameHeader:frameHeader+f.length]...)
		off += f.size()
	}
	return records
}
