package sim

import (
	"fmt"
	"slices"
	"time"
)

// FaultKind names one way in which a device or its line misbehaves.
type FaultKind string

// The faults. Where nothing else is said the data on the wire keeps a correct
// checksum, so that only a careful master notices.
const (
	// Late answers Delay later than it should (default 330 ms).
	Late FaultKind = "late"
	// BadCRC spoils the checksum; on TCP the transaction identifier.
	BadCRC FaultKind = "bad-crc"
	// GarbageBefore and GarbageAfter put Bytes, or N random bytes (default
	// 3), directly before or after the answer. A break or a parity error
	// arrives as a single 0x00.
	GarbageBefore FaultKind = "garbage-before"
	GarbageAfter  FaultKind = "garbage-after"
	// Truncated sends only the first N bytes (default: half).
	Truncated FaultKind = "truncated"
	// WrongUnit answers in the name of the next unit.
	WrongUnit FaultKind = "wrong-unit"
	// WrongFunction answers with a related function code (3 for 4, 6 for 5 …).
	WrongFunction FaultKind = "wrong-function"
	// WrongCount answers a read with one register or byte too few (with one
	// too many if only one was asked), in itself consistent; it answers a
	// write with another value or quantity than was sent.
	WrongCount FaultKind = "wrong-count"
	// Echo repeats the request before the answer.
	Echo FaultKind = "echo"
	// Duplicate sends the answer again, Delay after it (default 5 ms).
	Duplicate FaultKind = "duplicate"
	// Replay sends the slave's previous answer of the same function instead.
	Replay FaultKind = "replay"
	// Split cuts the answer into pieces of N bytes (default 8) with pauses of
	// Delay (default 20 ms) between them.
	Split FaultKind = "split"
	// Exception answers with exception Code (default 6, busy) and does not
	// carry out the request. Code 5 is an acknowledge, 10 and 11 come from
	// gateways.
	Exception FaultKind = "exception"
	// SilentUnknown is silent where exception 2 would be due.
	SilentUnknown FaultKind = "silent-unknown"
	// Dead does not hear.
	Dead FaultKind = "dead"
	// Babble sends N random bytes (default 16) unasked, every Delay (default
	// 100 ms). Serial lines only.
	Babble FaultKind = "babble"
	// Twin is a second device with the same unit: it answers too, Delay later
	// (default 1 ms), with other data. On a serial line the two collide.
	Twin FaultKind = "twin"
)

var faultKinds = []FaultKind{Late, BadCRC, GarbageBefore, GarbageAfter, Truncated, WrongUnit, WrongFunction,
	WrongCount, Echo, Duplicate, Replay, Split, Exception, SilentUnknown, Dead, Babble, Twin}

// Fault is one way to misbehave and how often. The zero values of Probability
// and Count mean always and for ever. Several faults of one slave may befall
// the same answer.
type Fault struct {
	Kind        FaultKind
	Probability float64       // 0–1, per request (per burst for Babble); 0 is 1
	Count       int           // ends after so many times; 0: never
	Functions   []byte        // only requests of these function codes; nil: all
	Delay       time.Duration // see the kinds; 0 is the default of the kind
	N           int           // see the kinds; 0 is the default of the kind
	Bytes       []byte        // see GarbageBefore
	Code        byte          // see Exception
}

func (f Fault) validate() error {
	if !slices.Contains(faultKinds, f.Kind) {
		return fmt.Errorf("%q is no fault, choose one of %v", f.Kind, faultKinds)
	}
	if f.Probability < 0 || f.Probability > 1 {
		return fmt.Errorf("probability %v is outside 0–1", f.Probability)
	}
	if f.Count < 0 || f.Delay < 0 || f.N < 0 {
		return fmt.Errorf("count, delay and n of fault %s must not be negative", f.Kind)
	}
	return nil
}
