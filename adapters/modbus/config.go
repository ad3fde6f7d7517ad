package modbus

import (
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

// ParseTable reads coil, discrete, input or holding.
func ParseTable(s string) (Table, error) { panic("unwritten") }

// ParseType reads bool, u16, i16, u32, i32 or f32.
func ParseType(s string) (Type, error) { panic("unwritten") }

// ParseOrder reads ABCD, CDAB, BADC or DCBA.
func ParseOrder(s string) (Order, error) { panic("unwritten") }

// Validate reports everything that is wrong with c, joined; each error has a
// Field method that names its key.
func (c DeviceConfig) Validate() error { panic("unwritten") }
