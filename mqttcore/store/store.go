package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
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
	// ErrFailed means that nothing is accepted until the store is opened again:
	// the disk failed twice in a row, or could not be used from the start. The
	// error says why, and what can be done.
	ErrFailed = errors.New("store keeps nothing until it is opened again")
	// ErrQuota means that a queue that the message goes to is full, and set to
	// Reject. The message is stored for nobody (MQTT 5 reason 0x97).
	ErrQuota = errors.New("a queue is full and refuses more")
	// ErrClosed means that the store was closed, or its Run has ended.
	ErrClosed = errors.New("store is closed")
	// ErrTooLarge means that the message does not fit into half a segment.
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
	// It may differ from run to run. A message may take half a segment.
	SegmentSize int64
	// CommitInterval is how long a commit may gather more records before it is
	// written, from 0 (at once) up. It delays done, it never makes it untrue. It
	// is cut short by 64 KiB and by Route.Prompt; by nothing else, so that it
	// bounds how often the medium is written.
	CommitInterval time.Duration
	// MaxBytes bounds the log on the disk; 0 = no bound. Beyond it the oldest
	// segment goes, with what was still queued in it. At least 4 segments; kept
	// to within two segments and one commit (4 MiB).
	MaxBytes int64
	// FS is where the files are; nil = Disk(Dir).
	FS FS
	// Clock is the time; nil = SystemClock().
	Clock Clock
	// Log takes a line for everything an operator should know; nil = none.
	Log *slog.Logger
}

const (
	ringBytes    = 1 << 20  // recent frames kept in memory
	maxPending   = 4 << 20  // bytes that may wait for a commit
	gatherBytes  = 64 << 10 // a gathering commit starts when so much waits
	cursorEvery  = time.Second
	cursorAcks   = 256
	snapEvery    = 32 << 20 // bytes of log between snapshots
	snapSoon     = 2 << 20  // the same where commits are slow
	snapShare    = 16       // and the bytes of log for each of the snapshot
	snapPause    = 5 * time.Second
	snapInterval = 15 * time.Minute
	snapRetry    = 10 * time.Second
	fillRetry    = 10 * time.Second
	poolMin      = 2 // free segments held ready, the ballast of a full disk
	poolMax      = 4
	maxWindow    = 65535 // deliveries in flight that packet ids can tell apart
)

func (o *Options) setDefaults() error {
	if o.SegmentSize == 0 {
		o.SegmentSize = defSegmentSize
	}
	if o.SegmentSize < minSegmentSize || o.SegmentSize > maxSegmentSize || o.SegmentSize%blockSize != 0 {
		return fmt.Errorf("store: segment size %d: must be a multiple of %d from %d to %d",
			o.SegmentSize, blockSize, minSegmentSize, maxSegmentSize)
	}
	if o.MaxBytes != 0 && o.MaxBytes < 4*o.SegmentSize {
		return fmt.Errorf("store: %d bytes at most: must be 4 segments (%d bytes) or more", o.MaxBytes, 4*o.SegmentSize)
	}
	if o.CommitInterval < 0 {
		return fmt.Errorf("store: commit interval %v: must not be negative", o.CommitInterval)
	}
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store is the log, open. Its methods may be called from any goroutine.
//
// Locks are taken in this order: Queue.mu, Store.mu, session.mu. No file is
// touched under Store.mu or session.mu.
type Store struct {
	opt      Options
	frameMax int // regular frames are not larger
	fs       FS
	log      *slog.Logger
	id       storeID
	lock     io.Closer
	ready    chan struct{}
	kick     chan struct{} // wakes the writer
	snaps    chan snapshotJob
	done     chan snapshotResult
	packs    chan *repackJob
	packed   chan repackResult
	stopping atomic.Bool // no more packing

	curDue atomic.Bool // a cursor has gathered enough to be written now

	mu       sync.Mutex
	state    runState
	failed   error // see fail; changed with mu held, and before Run
	clock    storeClock
	sessions map[SID]*session
	nextSID  SID
	retained map[string]*keptMessage // until SetRetained
	keeper   func(yield func(*Message) bool)

	// What waits for the next commit.
	pending      []*frame
	cur          *frame // the last of pending, still open; may be nil
	pendingBytes int
	prompt       bool   // somebody waits for what is pending
	ordinal      uint64 // of the next record
	topics       map[string]uint32
	curStart     time.Time
	scratch      []byte
	idle         bool // the writer sleeps until it is kicked
	gathering    bool // the writer waits for more, kick it when enough
	roomc        chan struct{}
	unsaved      []*session // changed by records that the disk did not take
	refused      error      // why the last commit was, for want of room
	dirty        []*session // cursors newer than the disk
	losing       []*session // with losses that are not recorded
	aging        bool       // there are limits of age
	dirtySince   time.Time

	// What is committed.
	segs   []*segment // ascending
	active *segment   // the last of segs, or nil
	end    LSN        // everything below is durable
	ring   ring
	totals totals
	drops  []Drop // the newest losses recorded
	stats  Stats
	damage []LSN // damaged places that were reported

	w writerState // of the writer's goroutine alone
}

type runState uint8

const (
	stateOpen runState = iota
	stateRunning
	stateStopped // Run has returned
	stateClosed
)

// totals are the counters that outlive the process, of deleted sessions and of
// losses by reason.
type totals struct {
	goneAppended, goneDelivered uint64
	dropped                     map[Reason]uint64
}

// Ready is closed when Run has begun to commit.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// String names the task.
func (s *Store) String() string { return "store" }

// Close gives the folder back. Run must have returned, or never been called.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.state == stateRunning {
		s.mu.Unlock()
		return errors.New("store: closed while it runs; end its context first")
	}
	if s.state == stateClosed {
		s.mu.Unlock()
		return nil
	}
	s.state = stateClosed
	var queues []*Queue
	for _, ses := range s.sessions {
		if ses.queue != nil {
			queues = append(queues, ses.queue)
		}
	}
	active := s.active
	lost := s.takePending()
	s.mu.Unlock()
	fail(lost, ErrClosed)
	for _, q := range queues {
		q.Close()
	}
	var err error
	if active != nil {
		err = active.file.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// WaitRoom waits until Append would not refuse with ErrBusy.
func (s *Store) WaitRoom(ctx context.Context) error {
	for {
		s.mu.Lock()
		if err := s.refusal(); err != nil {
			s.mu.Unlock()
			return err
		}
		if s.pendingBytes < maxPending/2 {
			s.mu.Unlock()
			return nil
		}
		if s.roomc == nil {
			s.roomc = make(chan struct{})
		}
		c := s.roomc
		s.mu.Unlock()
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Err is why the store accepts nothing until it is opened again; it wraps
// ErrFailed. Nil where that is not so. What the log holds can still be read.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// refusal is why nothing is accepted, or nil. The caller holds s.mu.
func (s *Store) refusal() error {
	if s.failed != nil {
		return s.failed
	}
	if s.state >= stateStopped {
		return ErrClosed
	}
	return nil
}

func (s *Store) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
