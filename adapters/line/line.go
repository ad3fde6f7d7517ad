// Package line owns the wires: one serial port or one network endpoint has
// one owner goroutine, and nobody else ever touches it. Who wants something
// of the line hands in a job; jobs wait in lanes. The owner keeps the silences
// a bus needs, reopens a port that was unplugged and measures what happens.
package line

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Lane is a queue of jobs. Commands go before polls; but after each command a
// waiting poll gets its turn, so that neither waits longer than one job of
// the other lane.
type Lane uint8

// The lanes, in the order of their priority.
const (
	Command Lane = iota
	Poll
)

// ErrClosed tells that the line is not open now; it is reopened as soon as
// its port is there again.
var ErrClosed = errors.New("line is not open")

// ErrTimeout tells that no usable answer came in time.
var ErrTimeout = errors.New("no answer")

// ErrFull tells that too many jobs wait in the lane already.
var ErrFull = errors.New("too many jobs wait for the line")

// Line is one line. Its methods may be called from any goroutine.
type Line struct{ cfg Config }

// New makes a line; it starts nothing and opens nothing.
func New(cfg Config, log *slog.Logger) *Line { return &Line{cfg: cfg} }

// Run owns the line until ctx ends. A port that can't be opened, or vanishes,
// is no error: it is tried again for as long as Run runs.
func (l *Line) Run(ctx context.Context) error { panic("unwritten") }

// Ready is closed after the first attempt to open the port, whatever its end.
func (l *Line) Ready() <-chan struct{} { panic("unwritten") }

// String names the task.
func (l *Line) String() string { return "line " + l.cfg.Name }

// Config gives what the line was made of.
func (l *Line) Config() Config { return l.cfg }

// OnState asks to be told of every change between open and closed, and of the
// first state. fn runs on the owner goroutine and must not block nor call Do.
// Call it before Run; several may ask.
func (l *Line) OnState(fn func(open bool, reason string)) { panic("unwritten") }

// Listen takes what comes in unasked on a UART line. fn runs on the owner
// goroutine, as jobs do, and must not block nor keep chunk. fresh marks the
// first chunk after the port was opened: it may begin anywhere. Call it
// before Run; several may listen.
func (l *Line) Listen(fn func(chunk []byte, at time.Time, fresh bool)) { panic("unwritten") }

// Do runs fn on the owner goroutine when the lane's turn comes, and returns
// its error once it has ended. While fn waits its turn, the end of ctx
// withdraws it; once begun, fn is waited for (its exchanges heed ctx too). On
// a line that is not open Do returns ErrClosed at once.
func (l *Line) Do(ctx context.Context, lane Lane, fn func(ctx context.Context, c *Conn) error) error {
	panic("unwritten")
}

// Stats gives a snapshot of the figures.
func (l *Line) Stats() Stats { panic("unwritten") }

// Conn is the open line in the hands of a job; valid only inside its fn.
type Conn struct{}

// Exchange sends req and returns the answer that expect recognises. timeout
// bounds the wait for the first byte, 0 means the line's own.
func (c *Conn) Exchange(req []byte, expect Framer, timeout time.Duration) ([]byte, error) {
	panic("unwritten")
}

// Send sends req where no answer is expected.
func (c *Conn) Send(req []byte) error { panic("unwritten") }

// Framer recognises the answer to one request in the bytes that came back.
type Framer interface {
	// Scan looks at all bytes that came since the request. The answer begins
	// at b[skip] and is at least total bytes long; it is complete when these
	// are there. What is before skip can't be part of it.
	// An error means that nothing good can follow.
	Scan(b []byte) (skip, total int, err error)
	// Fault says why b, all that came before the line fell silent, is no answer.
	Fault(b []byte) error
}
