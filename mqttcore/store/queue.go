package store

import "time"

// Queue is the read side of one session. Its methods may be called from any
// goroutine, but what Next handed out belongs to one owner at a time. A queue
// that keeps up is served from memory, one that lags from the disk.
type Queue struct{}

// OpenQueue opens the queue of a session, rewound. wake is called on the
// writer's goroutine, once for each commit that added deliveries for sid; it
// must not wait. At most one queue of a session is open: opening another one
// closes the first. Nil where there is no such session.
func (s *Store) OpenQueue(sid SID, wake func()) *Queue { panic("unwritten") }

// Next hands out the next delivery, or false where there is none yet (wake will
// tell). Settled ones are skipped; expired ones are dropped on the way. An error
// means that the disk could not be read: the message is still queued, and Next
// may be called again. ErrClosed after Close.
func (q *Queue) Next(d *Delivery) (bool, error) { panic("unwritten") }

// Rewind goes back to the first delivery that is not settled: on a reconnect
// everything in flight is handed out again, with Sent set.
func (q *Queue) Rewind() { panic("unwritten") }

// Base is the sequence number up to which everything is settled.
func (q *Queue) Base() uint64 { panic("unwritten") }

// Released is the highest sequence number for which Release was called; not
// below Base.
func (q *Queue) Released() uint64 { panic("unwritten") }

// Last is the sequence number of the newest committed delivery.
func (q *Queue) Last() uint64 { panic("unwritten") }

// Len is what is queued, including what is in flight: messages, and the bytes of
// their topics, payloads and properties (close, but not exact after a restart).
func (q *Queue) Len() (messages, bytes uint64) { panic("unwritten") }

// Oldest is the age of the oldest delivery that is not settled, 0 if none is.
func (q *Queue) Oldest() time.Duration { panic("unwritten") }

// Ack settles a delivery that was handed out: PUBACK or PUBCOMP came. It counts
// in memory at once and reaches the disk lazily, so a crash may bring back what
// was acknowledged in the last second or the last 256 acknowledgements. Others
// than those handed out are ignored.
func (q *Queue) Ack(seq uint64) { panic("unwritten") }

// Release records that PUBREC came for a QoS 2 delivery. PUBREL may be sent when
// done is called with nil, not before.
func (q *Queue) Release(seq uint64, done func(error)) { panic("unwritten") }

// Drop gives up a delivery that was handed out and can never be accepted. The
// loss is recorded durably with its reason.
func (q *Queue) Drop(seq uint64, reason Reason) { panic("unwritten") }

// Close closes the queue. The deliveries stay; what is settled reaches the disk.
func (q *Queue) Close() { panic("unwritten") }
