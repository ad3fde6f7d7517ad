// Package uart turns lines of text that devices send on a UART into readings,
// and commands into lines of text.
package uart

import (
	"context"
	"log/slog"
	"regexp"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// Type says what the text of a point is.
type Type uint8

// The types.
const (
	Auto   Type = iota // a number if it reads as one, else text
	Number             // anything else is invalid
	Bool               // on/off, true/false, 1/0
	Text
)

// PointConfig is one point. With From it is read from each matching line,
// with Send it takes commands; it may have both.
type PointConfig struct {
	Point    *adapters.Point
	From     string // name of a group of the device's Match
	Type     Type
	Scale    float64 // 0 means 1
	Offset   float64
	Decimals int           // digits after the point; -1: as the text, Scale and Offset imply
	Send     string        // text to send; {value} stands for the commanded value
	Expect   string        // regular expression of the line that confirms the command; "": none comes. A group named value is the value read back
	Timeout  time.Duration // wait for that line; 0 means the line's
}

// DeviceConfig is one device that speaks on a UART line.
type DeviceConfig struct {
	Name   string
	Match  *regexp.Regexp // lines that don't match are counted and ignored
	Until  string         // end of a line; "" means "\n"
	Max    int            // longest line in bytes, without its end; 0 means 1024
	Stale  time.Duration  // nothing good for so long: offline; 0: never
	Points []PointConfig
}

// Validate reports everything that is wrong with c, joined; each error has a
// Field method that names its key.
func (c DeviceConfig) Validate() error { panic("unwritten") }

// Listener serves the devices of one UART line.
type Listener struct{}

// NewListener makes the listener of line l, which must be of kind uart. It
// starts nothing; call it before l.Run.
func NewListener(l *line.Line, devices []DeviceConfig, sink adapters.Sink, log *slog.Logger) *Listener {
	panic("unwritten")
}

// Run watches over silence until ctx ends.
func (u *Listener) Run(ctx context.Context) error { panic("unwritten") }

// Ready is closed when Run has begun.
func (u *Listener) Ready() <-chan struct{} { panic("unwritten") }

// String names the task.
func (u *Listener) String() string { panic("unwritten") }

// Device gives the device of that name to write to, nil if it is not on this line.
func (u *Listener) Device(name string) adapters.Writer { panic("unwritten") }

// Stats gives a snapshot of each device's figures, in the order of the configuration.
func (u *Listener) Stats() []DeviceStats { panic("unwritten") }

// DeviceStats is what was counted of one device. Counters never go back.
type DeviceStats struct {
	Name   string
	Online bool
	Reason string
	Since  time.Time

	Lines       uint64 // complete lines
	Matched     uint64
	Unmatched   uint64
	Partial     uint64 // lines dropped because their begin was missed
	Overlong    uint64 // lines dropped because they exceeded Max
	Writes      uint64
	WriteErrors uint64
	LastMatch   time.Time // zero: never
}
