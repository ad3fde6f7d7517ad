package line

import (
	"errors"
	"fmt"
	"time"
)

// Framer recognises the answer to one request in the bytes that came back.
type Framer interface {
	// Scan looks at all bytes that came since the request. The answer begins
	// at b[skip] and is at least total bytes long; it is complete when these
	// are there. What is before skip can't be part of it. total is at least 1
	// and may grow from call to call.
	// An error means that nothing good can follow.
	Scan(b []byte) (skip, total int, err error)
	// Fault says why b, all that came before the wait ended, is no answer.
	// b is not empty. It is nil where nothing speaks for an answer at all.
	Fault(b []byte) error
}

// Ender is a Framer of answers that end with silence. Where Pause is above 0, an
// answer that has begun is waited for until nothing has come for so long, and
// all that came is the answer if Ended says so.
type Ender interface {
	Framer
	Pause() time.Duration
	Ended(b []byte) bool
}

// ErrClosed tells that the line is not open now; it is reopened as soon as
// its port is there again.
var ErrClosed = errors.New("line is not open")

// ErrStopped comes with ErrClosed when the line is not reopened, as its Run has
// been told to end.
var ErrStopped = errors.New("the gateway stops")

// ErrListenOnly tells that nothing is sent on a line that is only listened to.
var ErrListenOnly = errors.New("the line is only listened to")

// ErrTimeout tells that no usable answer came in time.
var ErrTimeout = errors.New("no answer")

// ErrFull tells that too many jobs wait in the lane already.
var ErrFull = errors.New("too many jobs wait for the line")

// Fault is the way in which an answer was no answer.
type Fault uint8

// The faults.
const (
	Checksum Fault = iota // its checksum is wrong
	Short                 // it broke off
	Mismatch              // it answers another question: unit, function, length or echo differ
	Noise                 // the line would not fall silent
)

func (f Fault) String() string {
	return [...]string{"checksum", "short", "mismatch", "noise"}[f]
}

// FrameError tells that bytes came which are no answer to the request.
type FrameError struct {
	Fault  Fault
	Detail string
}

func (e *FrameError) Error() string { return "bad answer: " + e.Detail }

// BadFrame makes a FrameError.
func BadFrame(fault Fault, format string, args ...any) error {
	return &FrameError{fault, fmt.Sprintf(format, args...)}
}
