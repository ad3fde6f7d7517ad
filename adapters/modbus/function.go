package modbus

import "sluice/adapters"

// WriteFunction is the number of a Modbus function that writes.
type WriteFunction uint8

// The functions (Modbus Application Protocol V1.1b3, 6.5, 6.6, 6.11 and 6.12).
const (
	WriteCoil      WriteFunction = 5
	WriteRegister  WriteFunction = 6
	WriteCoils     WriteFunction = 15
	WriteRegisters WriteFunction = 16
)

// several reports whether f writes more than one value.
func (f WriteFunction) several() bool { return f == WriteCoils || f == WriteRegisters }

// Fits reports whether f can write the point.
func (f WriteFunction) Fits(p PointConfig) bool {
	switch f {
	case 0:
		return true
	case WriteCoil, WriteCoils:
		return p.Table == Coil
	case WriteRegister:
		return p.Table == Holding && p.Width() == 1
	case WriteRegisters:
		return p.Table == Holding
	}
	return false
}

// Accepts tells why a command with the value v can't be carried out, nil if
// it can.
func (p PointConfig) Accepts(v adapters.Value) error {
	_, err := newPoint(p).encode(v)
	return err
}
