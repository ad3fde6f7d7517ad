package store

import "time"

// Stats is a picture of the store; counters are since Open unless said.
type Stats struct {
	State string // "open", "failed" or "closed"
	Err   error  // why it failed

	Sessions int
	Segments int   // in use
	Free     int   // in the pool
	Bytes    int64 // on the disk: segments in use, and the pool

	Commits      uint64
	Records      uint64
	BytesWritten uint64        // into segments and snapshots
	SyncTime     time.Duration // sum of all fdatasync
	SyncMax      time.Duration // the longest one
	Pending      int           // bytes waiting for the next commit
	Refused      uint64        // appends refused with ErrBusy
	Poisoned     uint64        // segments given up after a failed write or sync
	Snapshots    uint64

	RingFrames uint64 // frames that queues read from memory
	DiskFrames uint64 // frames that queues read from the disk

	// For the life of the store, across restarts: for every session and for
	// their sum Appended = Delivered + Queued + the sum of Dropped.
	Appended  uint64
	Delivered uint64
	Queued    uint64
	Dropped   map[Reason]uint64

	CorruptFrames    uint64 // damaged places found
	TornTails        uint64 // ends cut off by a crash, without loss
	QuarantinedFiles int
	QuarantinedBytes int64
}

// Stats reports how the store is.
func (s *Store) Stats() Stats { panic("unwritten") }
