// Package adapters holds the words that every field adapter and the gateway
// share: what a point is, what a reading of it looks like, and how a command
// is answered. It knows no bus and no MQTT.
package adapters

import (
	"context"
	"errors"
	"time"
)

// Point is the identity of one value of one device, as all rooms know it.
// A Point is created once from the configuration and shared by pointer; it is
// never changed afterwards, so it may be read from any goroutine.
type Point struct {
	Device string // name of the device, unique in the configuration
	Name   string // name of the point, unique in its device
	Unit   string // physical unit as shown to people, "" if none
	Class  string // what is measured, in Home Assistant's words, "" if not told

	Writable bool
	Text     bool // takes any text as it stands: 007 is no 7 to it
	// Min and Max clamp a commanded number, in the point's unit; nil = no bound.
	Min, Max *float64
	// Names maps a raw number to the word that is published for it, and back
	// for commands; nil if the point is a plain number.
	Names map[int64]string
}

// Quality says how far a reading can be trusted.
type Quality uint8

// The qualities, in the order of the payload contract.
const (
	Good        Quality = iota // the register asked for, just now
	Stale                      // nothing new for longer than it should be
	Offline                    // the device does not answer
	BadRegister                // the device says that it has no such register
	OutOfRange                 // read, but outside the configured range
	Invalid                    // read, but it is not a number (NaN, sentinel, no match)
)

var qualityNames = [...]string{"good", "stale", "offline", "bad_register", "out_of_range", "invalid"}

// String gives the word used in payloads.
func (q Quality) String() string {
	if int(q) < len(qualityNames) {
		return qualityNames[q]
	}
	return "invalid"
}

// Reading is one observation of a point. Value is None unless Quality is Good.
type Reading struct {
	Point   *Point
	Value   Value
	Quality Quality
	// Aside tells that the point was read out of turn, since it was written:
	// what is read in turn with it was not.
	Aside bool
	Time  time.Time // when the answer arrived
}

// Sink takes what the adapters read. Its methods never block: a sink that
// can't keep up queues within a bound and counts what it drops, so that
// neither a disk nor a network ever stops a poll. They may be called from
// any goroutine; readings of one device always come from one.
type Sink interface {
	// Put hands over readings. The slice is the caller's again on return.
	Put(readings []Reading)
	// Availability tells that a device began or ceased to answer. It is
	// called once for each device when it is first known and then on change.
	Availability(device string, online bool, reason string)
}

// Command asks for a point to be set.
type Command struct {
	Point string // name of the point in its device
	Value Value
}

// Result is the truth about a command.
type Result struct {
	Value   Value // what was read back; None where nothing could be read
	Written Value // what was sent, after the point's bounds; None where nothing was
	Elapsed time.Duration
	Time    time.Time
	Err     error // nil: written, and read back where the point asks for it
}

// Writer is a device that takes commands. Write returns when the command has
// been carried out or has failed; ctx bounds the whole of it. It may be called
// from any goroutine.
type Writer interface {
	Write(ctx context.Context, c Command) Result
}

// What the error of a Result may wrap.
var (
	// ErrOffline: the device did not answer or could not be reached, so that
	// the command may be tried again when it is back.
	ErrOffline = errors.New("device does not answer")
	// ErrStopping: the gateway stops. Nobody knows whether the command was
	// carried out; it is for the next start.
	ErrStopping = errors.New("the gateway stops")
)

// Mark makes err wrap sign, too, and leaves its text as it is.
func Mark(err, sign error) error { return &marked{err, sign} }

type marked struct{ err, sign error }

func (m *marked) Error() string   { return m.err.Error() }
func (m *marked) Unwrap() []error { return []error{m.err, m.sign} }
