// Package modbus polls Modbus devices over a line and carries out commands.
package modbus

import (
	"context"
	"log/slog"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// Poller polls the devices of one line.
type Poller struct{}

// NewPoller makes the poller of line l, which must be of kind rtu or tcp. It
// starts nothing; call it before l.Run.
func NewPoller(l *line.Line, devices []DeviceConfig, sink adapters.Sink, log *slog.Logger) *Poller {
	panic("unwritten")
}

// Run polls until ctx ends.
func (p *Poller) Run(ctx context.Context) error { panic("unwritten") }

// Ready is closed when polling has begun.
func (p *Poller) Ready() <-chan struct{} { panic("unwritten") }

// String names the task.
func (p *Poller) String() string { panic("unwritten") }

// Device gives the device of that name to write to, nil if it is not on this line.
func (p *Poller) Device(name string) adapters.Writer { panic("unwritten") }

// Stats gives a snapshot of each device's figures, in the order of the configuration.
func (p *Poller) Stats() []DeviceStats { panic("unwritten") }

// DeviceStats is what was measured of one device. Counters never go back.
type DeviceStats struct {
	Name   string
	Unit   uint8
	Online bool
	Reason string    // why it is not online
	Since  time.Time // of the last change of Online

	Requests     uint64
	Answers      uint64
	Timeouts     uint64
	BadFrames    uint64 // wrong checksum, broken off, of another unit, function or length
	Exceptions   uint64
	Writes       uint64
	WriteErrors  uint64
	BadRegisters int           // points that the device says it does not have
	LastAnswer   time.Time     // zero: never
	P50, P99     time.Duration // from request to answer, over the last 128 answers
	Timeout      time.Duration // the wait for an answer as learned so far
}
