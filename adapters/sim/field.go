// Package sim is a simulated field: RS-485 lines with Modbus RTU slaves and
// UARTs with talking devices behind real ptys, and Modbus TCP endpoints. It
// lets a configuration run without hardware and is the judge in tests: bytes
// take the time they take on a real wire, silence and collisions are watched,
// devices misbehave on demand, and every value can be asked for its past.
//
// It shares no code with the masters it judges.
package sim

import (
	"context"
	"log/slog"
	"time"
)

// Field is a set of simulated lines. Its methods may be called from any
// goroutine.
type Field struct{}

// New checks the lines and opens their ptys and listeners, so that Path is
// known; it starts no goroutine. Close the Field when done with it.
func New(lines []LineConfig, log *slog.Logger) (*Field, error) { panic("soon") }

// Path gives where a master finds the line: the path of a link to a pty, or
// host:port. It stays the same over Unplug and Replug. "" if there is no
// such line.
func (f *Field) Path(line string) string { panic("soon") }

// Run plays all lines until ctx ends and then returns nil. It may be called once.
func (f *Field) Run(ctx context.Context) error { panic("soon") }

// Ready is closed when all lines are played.
func (f *Field) Ready() <-chan struct{} { panic("soon") }

// String names the task.
func (f *Field) String() string { return "simulated field" }

// Close closes ptys, links, listeners and connections. Run then returns.
func (f *Field) Close() error { panic("soon") }

// Slave gives the slave of a unit, nil if there is none.
func (f *Field) Slave(line string, unit uint8) *Slave { panic("soon") }

// Talker gives the n-th talker of a line, nil if there is none.
func (f *Field) Talker(line string, n int) *Talker { panic("soon") }

// Unplug takes the line away as pulling its adapter does: the link vanishes
// and whoever has the pty open sees it hang up; a TCP endpoint drops its
// connections and refuses new ones.
func (f *Field) Unplug(line string) error { panic("soon") }

// Replug brings the line back at the same Path. The slaves kept their values.
func (f *Field) Replug(line string) error { panic("soon") }

// Stats gives the counters of a line; zeros if there is no such line.
func (f *Field) Stats(line string) LineStats { panic("soon") }

// LineStats counts what happened on a line since New.
type LineStats struct {
	Requests    uint64 // frames from the master with a correct checksum, for any unit
	Bad         uint64 // frames from the master with a wrong checksum or length
	Answers     uint64 // answers given, faulty ones included
	Violations  uint64 // requests begun less than t3.5 after other traffic ended
	Overlaps    uint64 // requests begun while an answer was on the wire
	Collisions  uint64 // groups of bytes garbled by another transmission
	Unheard     uint64 // requests to a slave that owed an answer, or missed for want of t3.5
	BytesIn     uint64 // from the master
	BytesOut    uint64 // to the master
	Lost        uint64 // bytes to the master that nobody fetched
	Refused     uint64 // connections beyond the limit
	Unplugs     uint64
	Busy        time.Duration // time in which bytes crossed, both ways together
}

// Slave is one simulated Modbus device. Its methods may be called from any goroutine.
type Slave struct{}

// Set puts raw words (0 or 1 each for coil and discrete) at an address; they
// stay until they are written, Set or Reset. Registers the slave did not have come to be.
func (s *Slave) Set(table string, address uint16, words ...uint16) error { panic("soon") }

// Get gives n raw words as a master would read them now; nil if the slave
// does not have them all.
func (s *Slave) Get(table string, address uint16, n int) []uint16 { panic("soon") }

// SetFault replaces the faults of the slave; without arguments it is healthy.
func (s *Slave) SetFault(faults ...Fault) error { panic("soon") }

// Reset forgets all that was Set and written, as a reboot does.
func (s *Slave) Reset() { panic("soon") }

// Held reports whether the registers from address on held exactly these words
// at some time in [from, to].
func (s *Slave) Held(table string, address uint16, words []uint16, from, to time.Time) bool {
	panic("soon")
}

// HeldValue reports whether the named point had a value within tolerance of v
// at some time in [from, to].
func (s *Slave) HeldValue(point string, v, tolerance float64, from, to time.Time) bool {
	panic("soon")
}

// Wait returns nil when cond holds. cond is asked at once and after every
// request to the slave; it must not block.
func (s *Slave) Wait(ctx context.Context, cond func() bool) error { panic("soon") }

// Stats gives the slave's counters.
func (s *Slave) Stats() SlaveStats { panic("soon") }

// SlaveStats counts what a slave did.
type SlaveStats struct {
	Requests   uint64 // heard
	Answers    uint64 // given, exceptions and faulty ones included
	Exceptions uint64 // answers that were exceptions
	Writes     uint64 // carried out
	Faults     map[FaultKind]uint64
}

// Talker is one simulated device on a UART. Its methods may be called from any goroutine.
type Talker struct{}

// Value gives the value of a point as text, as the talker would say it now;
// "" if there is no such point.
func (t *Talker) Value(point string) string { panic("soon") }

// Set gives a point a value that stays.
func (t *Talker) Set(point string, v float64) error { panic("soon") }

// Say sends raw bytes as soon as the line is free.
func (t *Talker) Say(b []byte) error { panic("soon") }

// SetSilent stops and resumes both the lines and the answers.
func (t *Talker) SetSilent(silent bool) { panic("soon") }
