package store

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"
)

// Errors that callers decide on. All others say what happened and where.
var (
	// ErrFull means that no room could be made on the disk. The message is not
	// stored; the publisher may try again later (MQTT 5 reason 0x97).
	ErrFull = errors.New("store is full")
	// ErrBusy means that more waits to be committed than the store holds in
	// memory: see WaitRoom.
	ErrBusy = errors.New("store has too much waiting to be committed")
	// ErrFailed means that the disk failed twice in a row and that nothing is
	// accepted until the store is opened again.
	ErrFailed = errors.New("store has failed, nothing is durable until it is reopened")
	// ErrClosed means that the store was closed, or its Run has ended.
	ErrClosed = errors.New("store is closed")
	// ErrTooLarge means that the message does not fit into a segment.
	ErrTooLarge = errors.New("message is larger than the store takes")
	// ErrNoSession means that there is no session of this number.
	ErrNoSession = errors.New("no such session")
	// ErrLocked means that another process has the folder open.
	ErrLocked = errors.New("store is in use by another process")
	// ErrVersion means that the folder was written by a newer version. Nothing
	// in it was touched.
	ErrVersion = errors.New("store was written by a newer version of the program")
)

// Options of a store. Only Dir (or FS) is needed.
type Options struct {
	// Dir is the folder of the store; it is made if it does not exist.
	Dir string
	// SegmentSize in bytes, a multiple of 4096 from 64 KiB to 16 MiB; 0 = 4 MiB.
	// It may differ from run to run.
	SegmentSize int64
	// CommitInterval is how long a commit may gather more records before it is
	// written, from 0 (at once) up. It delays done, it never makes it untrue.
	CommitInterval time.Duration
	// MaxBytes bounds the log on the disk; 0 = no bound. Beyond it the oldest
	// segment goes, with what was still queued in it. At least 4 segments; kept
	// to within two segments.
	MaxBytes int64
	// FS is where the files are; nil = Disk(Dir).
	FS FS
	// Clock is the time; nil = SystemClock().
	Clock Clock
	// Log takes a line for everything an operator should know; nil = none.
	Log *slog.Logger
}

// Store is the log, open. Its methods may be called from any goroutine.
type Store struct{}

// Open opens the store of o, and recovers what a crash left. Corrupt data is
// quarantined, counted and logged; Open fails only where the folder cannot be
// used at all, with ErrLocked or ErrVersion where that is why. It starts no
// goroutine: nothing is committed before Run.
func Open(o Options) (*Store, error) { panic("unwritten") }

// Run is the writer. It returns after ctx has ended and everything appended
// before that is committed; the store then takes no more. The store is still to
// be closed.
func (s *Store) Run(ctx context.Context) error { panic("unwritten") }

// Ready is closed when Run has begun to commit.
func (s *Store) Ready() <-chan struct{} { panic("unwritten") }

// String names the task.
func (s *Store) String() string { return "store" }

// Close gives the folder back. Run must have returned, or never been called.
func (s *Store) Close() error { panic("unwritten") }

// Append encodes m into the next commit. It never waits. done is called once,
// on the writer's goroutine, after the commit is on stable storage or with the
// reason why it is not, in the order of the calls; it must not wait, and may
// call Append. done may be nil. Where the message is refused at once (ErrBusy,
// ErrTooLarge, ErrFailed, ErrClosed) done is called before Append returns.
func (s *Store) Append(m *Message, done func(error)) { panic("unwritten") }

// AppendSync appends m and waits until it is durable. When ctx ends first its
// error is returned and the message may or may not become durable.
func (s *Store) AppendSync(ctx context.Context, m *Message) error { panic("unwritten") }

// WaitRoom waits until Append would not refuse with ErrBusy.
func (s *Store) WaitRoom(ctx context.Context) error { panic("unwritten") }

// ReleaseInbound records that PUBREL came for a QoS 2 identifier of sid. done
// is called before PUBCOMP may be sent (MQTT 5, 4.3.3).
func (s *Store) ReleaseInbound(sid SID, pid uint16, done func(error)) { panic("unwritten") }

// Sessions reports all sessions, in the order of their numbers.
func (s *Store) Sessions() []Session { panic("unwritten") }

// RecoveredRetained yields the retained messages found by Open, in the order of
// their topics. Until SetRetained is called the store keeps them itself, and
// all that come after.
func (s *Store) RecoveredRetained() iter.Seq[*Message] { panic("unwritten") }

// SetRetained hands the keeping of retained messages to the caller: all yields
// them whenever a snapshot is written, from a goroutine of the store, beside
// everything else. It must yield each message whose done has been called, or
// a later one of the same topic. The store then forgets those it held, so call
// it after RecoveredRetained and before Run.
func (s *Store) SetRetained(all func(yield func(*Message) bool)) { panic("unwritten") }

// CreateSession makes a session and returns its number, which may be used at
// once. It has been durable when done is called. Client identifiers are not
// looked at: to keep one session for one client is the caller's.
func (s *Store) CreateSession(client, user string, expiry uint32, done func(error)) SID {
	panic("unwritten")
}

// UpdateSession sets expiry and will (nil = none) of a session whose client has
// just come (back).
func (s *Store) UpdateSession(sid SID, expiry uint32, will *Will, done func(error)) {
	panic("unwritten")
}

// LeaveSession records that the client has gone; Session.Away counts from here.
// UpdateSession ends that.
func (s *Store) LeaveSession(sid SID, done func(error)) { panic("unwritten") }

// DeleteSession removes a session with all that is queued for it.
func (s *Store) DeleteSession(sid SID, done func(error)) { panic("unwritten") }

// PutSubscription adds sub, or replaces the one with the same filter.
func (s *Store) PutSubscription(sid SID, sub Subscription, done func(error)) { panic("unwritten") }

// DeleteSubscription removes the subscription with this filter.
func (s *Store) DeleteSubscription(sid SID, filter string, done func(error)) { panic("unwritten") }

// Backlog is what is queued for a session: messages, and the bytes of their
// topics, payloads and properties (close, but not exact after a restart).
func (s *Store) Backlog(sid SID) (messages, bytes uint64) { panic("unwritten") }
