package modbus

import (
	"errors"
	"fmt"
	"math"
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
type Type uint8

// The types.
const (
	Bool Type = iota // a bit, or a register that is not 0
	U16
	I16
	U32
	I32
	F32 // IEEE 754 binary32
)

// Order is the order of the bytes of a value on the wire, A being its most
// significant one. Values of one register know two orders only: ABCD and CDAB
// are high byte first as the specification says, BADC and DCBA low byte first.
type Order uint8

// The orders, as manuals print them.
const (
	ABCD Order = iota
	CDAB
	BADC
	DCBA
)

// WriteMode says what a command does to a point.
type WriteMode uint8

// The write modes.
const (
	ReadOnly WriteMode = iota
	Verify             // write, read back, compare
	Plain              // write only
)

// PointConfig is one point of a device. Its value is raw·Scale + Offset.
type PointConfig struct {
	Point    *adapters.Point
	Table    Table
	Address  uint16 // as on the wire, from 0
	Type     Type
	Order    Order
	Scale    float64 // 0 means 1
	Offset   float64
	Decimals int           // digits after the point; -1: as many as Scale and Offset imply
	Every    time.Duration // 0: the device's
	Write    WriteMode
}

// DeviceConfig is one device on a line.
type DeviceConfig struct {
	Name         string
	Unit         uint8         // 1 to 247; also 0 and 248 to 255 over TCP
	Every        time.Duration // period of its points; 0: as often as the line allows
	Delay        time.Duration // silence the device needs between two requests
	MaxRegisters int           // most registers in one read, 1 to 125; 0 means 125
	Points       []PointConfig
}

var (
	tableNames = []string{"coil", "discrete", "input", "holding"}
	typeNames  = []string{"bool", "u16", "i16", "u32", "i32", "f32"}
	orderNames = []string{"ABCD", "CDAB", "BADC", "DCBA"}
)

func parse(what, s string, names []string) (uint8, error) {
	i := slices.Index(names, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown %s %q; use one of %s", what, s, strings.Join(names, ", "))
	}
	return uint8(i), nil
}

// ParseTable reads coil, discrete, input or holding.
func ParseTable(s string) (Table, error) {
	n, err := parse("table", s, tableNames)
	return Table(n), err
}

// ParseType reads bool, u16, i16, u32, i32 or f32.
func ParseType(s string) (Type, error) { n, err := parse("type", s, typeNames); return Type(n), err }

// ParseOrder reads ABCD, CDAB, BADC or DCBA.
func ParseOrder(s string) (Order, error) {
	n, err := parse("order", s, orderNames)
	return Order(n), err
}

// String gives the word that ParseTable reads.
func (t Table) String() string { return name(int(t), tableNames) }

// String gives the word that ParseType reads.
func (t Type) String() string { return name(int(t), typeNames) }

// String gives the word that ParseOrder reads.
func (o Order) String() string { return name(int(o), orderNames) }

func name(i int, names []string) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown (%d)", i)
}

// bits reports whether the entries of the table are bits, not registers.
func (t Table) bits() bool { return t == Coil || t == Discrete }

// Width is how many registers a value takes, or how many bits of a bit table.
func (t Type) Width() int {
	switch t {
	case U32, I32, F32:
		return 2
	}
	return 1
}

const (
	mostRegisters = 125  // Modbus Application Protocol V1.1b3, 6.3
	mostBits      = 2000 // the same, 6.1
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
	if int(p.Table) >= len(tableNames) || int(p.Type) >= len(typeNames) || int(p.Order) >= len(orderNames) {
		bad("type", "table %v, type %v or order %v does not exist", p.Table, p.Type, p.Order)
		return
	}
	if p.Table.bits() && p.Type != Bool {
		bad("type", "a %v is one bit, its type is bool, not %v", p.Table, p.Type)
	}
	if p.Type.Width() > c.most(p.Table) {
		bad("type", "a value of type %v takes %d registers, but the device gives %d in one read", p.Type, p.Type.Width(), c.most(p.Table))
	}
	if int(p.Address)+p.Type.Width() > 1<<16 {
		bad(p.Table.String(), "address %d and the next are beyond 65535", p.Address)
	}
	if math.IsNaN(p.Scale) || math.IsInf(p.Scale, 0) {
		bad("scale", "scale is not a number")
	}
	if math.IsNaN(p.Offset) || math.IsInf(p.Offset, 0) {
		bad("offset", "offset is not a number")
	}
	if p.Type == Bool && (p.Scale != 0 && p.Scale != 1 || p.Offset != 0) {
		bad("scale", "a bool has no scale nor offset")
	}
	if p.Decimals < -1 || p.Decimals > 15 {
		bad("decimals", "decimals %d is outside 0 to 15", p.Decimals)
	}
	if p.Every < 0 {
		bad("every", "period %v is negative", p.Every)
	}
	if p.Write != ReadOnly && (p.Table == Discrete || p.Table == Input) {
		bad("write", "a point of the table %v can't be written; use coil or holding", p.Table)
	}
}
