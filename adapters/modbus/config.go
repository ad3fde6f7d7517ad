package modbus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/adapters"
)

// Table is one of the four tables of a Modbus device.
type Table uint8

// The tables.
const (
	Coil     Table = iota // one bit, read and write
	Discrete              // one bit, read only
	Input                 // 16 bits, read only
	Holding               // 16 bits, read and write
)

// Type is how a value lies in registers.
type Type = adapters.Type

// The types.
const (
	Bool   = adapters.TypeBool // a bit, or a register that is not 0
	U8     = adapters.TypeU8   // the low byte of a register
	I8     = adapters.TypeI8
	U16    = adapters.TypeU16
	I16    = adapters.TypeI16
	U24    = adapters.TypeU24 // the low three bytes of two registers
	I24    = adapters.TypeI24
	U32    = adapters.TypeU32
	I32    = adapters.TypeI32
	U48    = adapters.TypeU48
	I48    = adapters.TypeI48
	U64    = adapters.TypeU64
	I64    = adapters.TypeI64
	F16    = adapters.TypeF16
	F32    = adapters.TypeF32
	F64    = adapters.TypeF64
	BCD16  = adapters.TypeBCD16
	BCD32  = adapters.TypeBCD32
	String = adapters.TypeString // PointConfig.Length registers of two bytes each
)

// Order is the order of the bytes of a value on the wire.
type Order = adapters.Order

// The orders, as manuals print them.
const (
	ABCD = adapters.ABCD
	CDAB = adapters.CDAB
	BADC = adapters.BADC
	DCBA = adapters.DCBA
)

// WriteMode says what a command does to a point.
type WriteMode uint8

// The write modes.
const (
	ReadOnly WriteMode = iota
	Verify             // write, read back, compare
	Plain              // write only
)

// Priority says what is read first where a line can't carry all that it is
// asked for. A less urgent class keeps a fifth of the time of the line.
type Priority int8

// The priorities.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
)

// Once is the period of points that are read once after each time the device
// comes online.
const Once time.Duration = 100 * 365 * 24 * time.Hour

// PointConfig is one point of a device.
type PointConfig struct {
	Point   *adapters.Point
	Table   Table
	Address uint16 // as on the wire, from 0
	Type    Type
	Length  int  // registers of a String; 0 for other types
	Wide    bool // as DeviceConfig.Wide, which goes before it
	Order   Order
	Field   adapters.Field // bits of the register to take instead of all; one bit is a bool if Bit
	Bit     bool
	adapters.Mapping
	Every    time.Duration // 0: the device's; or Once
	Write    WriteMode
	Priority Priority
	// Function is the one to write with; 0: that for one value, where there is one.
	Function WriteFunction
}

// DeviceConfig is one device on a line.
type DeviceConfig struct {
	Name         string
	Unit         uint8         // 1 to 247; also 0 and 248 to 255 over TCP
	Every        time.Duration // period of its points; 0: as often as the line allows
	Delay        time.Duration // silence the device needs between two requests
	MaxRegisters int           // most registers in one read, 1 to 125; 0 means 125, or 62 where they are wide
	// Wide devices answer four bytes for each register asked for, where the
	// protocol has two. They are only read.
	Wide   bool
	Stale  time.Duration // where a Tap listens: silence after which it is offline; not 0 there
	Points []PointConfig
}

var tableNames = []string{"coil", "discrete", "input", "holding"}

// ParseTable reads coil, discrete, input or holding.
func ParseTable(s string) (Table, error) {
	i := slices.Index(tableNames, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown table %q; use one of %s", s, strings.Join(tableNames, ", "))
	}
	return Table(i), nil
}

// String gives the word that ParseTable reads.
func (t Table) String() string {
	if int(t) < len(tableNames) {
		return tableNames[t]
	}
	return fmt.Sprintf("unknown (%d)", t)
}

// bits reports whether the entries of the table are bits, not registers.
func (t Table) bits() bool { return t == Coil || t == Discrete }

// Width is how many registers the value takes, or how many bits of a bit table.
func (p PointConfig) Width() int {
	switch {
	case p.Table.bits():
		return 1
	case p.Type == String:
		return p.Length
	case p.Wide:
		return (p.Type.Bytes() + 3) / 4
	}
	return (p.Type.Bytes() + 1) / 2
}

const (
	mostRegisters = 125               // Modbus Application Protocol V1.1b3, 6.3
	mostBits      = 2000              // the same, 6.1
	mostData      = 2 * mostRegisters // bytes of data in an answer
)

// most is how many entries of table t the device gives in one read.
func (c DeviceConfig) most(t Table) int {
	registers := c.MaxRegisters
	if registers <= 0 {
		registers = mostRegisters
	}
	if t.bits() {
		return min(mostBits, 16*registers)
	}
	if c.Wide {
		return min(registers, mostData/4)
	}
	return registers
}

// fieldError is an error of one configuration key.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.text }

// Field names the key, relative to the DeviceConfig.
func (e *fieldError) Field() string { return e.field }

// Validate reports everything that is wrong with c, joined; each error has a
// Field method that names its key, such as "points.temp.scale".
func (c DeviceConfig) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fieldError{field, fmt.Sprintf(format, args...)})
	}
	if c.Name == "" {
		bad("name", "a device needs a name")
	}
	if c.Unit == 0 || c.Unit > 247 && c.Unit != 255 {
		bad("unit", "unit %d; use 1 to 247 (255 for a network device that has no unit id)", c.Unit)
	}
	if c.Every < 0 {
		bad("every", "period %v is negative", c.Every)
	}
	if c.Delay < 0 || c.Delay > 10*time.Second {
		bad("delay", "delay %v is outside 0s to 10s", c.Delay)
	}
	if c.MaxRegisters < 0 || c.MaxRegisters > mostRegisters {
		bad("max_registers", "max_registers %d is outside 1 to %d", c.MaxRegisters, mostRegisters)
	}
	seen := make(map[string]bool)
	for i, p := range c.Points {
		if p.Point == nil || p.Point.Name == "" {
			bad("points", "point %d has no name", i+1)
			continue
		}
		field := "points." + p.Point.Name
		if seen[p.Point.Name] {
			bad(field, "the device has two points named %q", p.Point.Name)
		}
		seen[p.Point.Name] = true
		p.validate(c, func(key, format string, args ...any) { bad(field+"."+key, format, args...) })
	}
	return errors.Join(errs...)
}

func (p PointConfig) validate(c DeviceConfig, bad func(key, format string, args ...any)) {
	p.Wide = c.Wide
	if int(p.Table) >= len(tableNames) || !p.Type.Known() || !p.Order.Known() {
		bad("type", "table %v, type %v or order %v does not exist", p.Table, p.Type, p.Order)
		return
	}
	if p.Table.bits() && p.Type != Bool {
		bad("type", "a %v is one bit, its type is bool, not %v", p.Table, p.Type)
	}
	if (p.Type == String) != (p.Length > 0) || p.Length < 0 {
		bad("length", "length %d: a string takes 1 register or more, other types have no length", p.Length)
	}
	if c.Wide && !p.Table.bits() && (p.Type == String || (p.Type.Bytes()+1)/2%2 != 0) {
		bad("type", "a value of type %v does not fill registers of four bytes; use one of 32 or 64 bits", p.Type)
	}
	if c.Wide && p.Write != ReadOnly {
		bad("write", "a device that answers four bytes per register is only read")
	}
	if p.Width() > c.most(p.Table) {
		bad("type", "a value of type %v takes %d registers, but the device gives %d in one read", p.Type, p.Width(), c.most(p.Table))
	}
	if int(p.Address)+p.Width() > 1<<16 {
		bad(p.Table.String(), "address %d and the next are beyond 65535", p.Address)
	}
	if f := p.Field; f.Bits > 0 && (!p.Type.Integer() || int(f.Shift)+int(f.Bits) > 8*p.Type.Bytes()) {
		bad("bits", "a value of type %v has no bits %d to %d", p.Type, f.Shift, f.Shift+f.Bits-1)
	}
	p.Mapping.Check(bad)
	if !p.Type.Number() && (p.Scale != 0 && p.Scale != 1 || p.Offset != 0) {
		bad("scale", "a %v has no scale nor offset", p.Type)
	}
	if p.Every < 0 {
		bad("every", "period %v is negative", p.Every)
	}
	if !p.Function.Fits(p) {
		bad("fc", "function %d can't write a value of type %v in the table %v", p.Function, p.Type, p.Table)
	}
	if p.Write != ReadOnly && (p.Table == Discrete || p.Table == Input) {
		bad("write", "a point of the table %v can't be written; use coil or holding", p.Table)
	}
}
