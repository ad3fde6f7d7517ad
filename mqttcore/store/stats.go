package store

import (
	"maps"
	"time"
)

// Stats is a picture of the store; counters are since Open unless said.
type Stats struct {
	// State is "open", "full" (what needs the disk is refused until there is
	// room), "failed" (it is refused until the store is opened again) or "closed".
	State string
	Err   error // why it is full, or failed

	Sessions int
	Segments int   // in use
	Bytes    int64 // that they take on the disk, without the few kept free

	Commits      uint64
	Records      uint64
	BytesWritten uint64        // into segments and snapshots
	SyncTime     time.Duration // sum of all fdatasync
	SyncMax      time.Duration // the longest one
	Pending      int           // bytes waiting for the next commit
	Refused      uint64        // appends refused with ErrBusy
	Rejected     uint64        // and with ErrQuota
	Poisoned     uint64        // segments given up after a failed write or sync
	Snapshots    uint64
	Repacked     uint64 // segments that were packed into fewer

	RingFrames uint64 // frames that queues read from memory
	DiskFrames uint64 // frames that queues read from the disk

	// For the life of the store, across restarts: for every session and for
	// their sum Appended = Delivered + Queued + the sum of Dropped.
	Appended  uint64
	Delivered uint64
	Queued    uint64
	Dropped   map[Reason]uint64

	CorruptFrames    uint64 // damaged places found, and files that are missing
	MissingRecords   uint64 // found by Open to be missing, of those that can be counted
	TornTails        uint64 // ends cut off by a crash, without loss
	QuarantinedFiles int
	QuarantinedBytes int64
}

// Stats reports how the store is.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.State = "open"
	switch {
	case s.failed != nil:
		st.State, st.Err = "failed", s.failed
	case s.state >= stateStopped:
		st.State = "closed"
	case s.refused != nil:
		st.State, st.Err = "full", s.refused
	}
	st.Sessions = len(s.sessions)
	st.Segments = len(s.segs)
	for _, g := range s.segs {
		st.Bytes += g.size
	}
	st.BytesWritten = s.w.written.Load()
	st.SyncTime = time.Duration(s.w.syncTime.Load())
	st.SyncMax = time.Duration(s.w.syncMax.Load())
	st.Pending = s.pendingBytes
	st.Appended, st.Delivered = s.totals.goneAppended, s.totals.goneDelivered
	st.Dropped = maps.Clone(s.totals.dropped)
	for _, ses := range s.sessions {
		ses.mu.Lock()
		settled := ses.base + ses.settled
		st.Appended += ses.committed + ses.unnumbered
		st.Queued += ses.committed - settled
		st.Delivered += settled + ses.unnumbered - ses.dropped
		ses.mu.Unlock()
	}
	return st
}
