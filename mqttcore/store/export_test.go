package store

import "slices"

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
