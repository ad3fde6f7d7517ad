package config

import (
	"fmt"

	"sluice/adapters/modbus"
)

// numbering is how a manual counts the registers of a table.
type numbering string

const (
	fromZero numbering = "pdu"   // as on the wire, from 0
	fromOne  numbering = "one"   // from 1
	byManual numbering = "40001" // with the table as its first digit: 1xxxx, 3xxxx, 4xxxx
)

// manualBase is the number before the first of each table in the numbering
// 40001, in its form of five and of six digits. Coils have the digit 0, which
// leaves no trace in a number.
var manualBase = map[modbus.Table][2]int64{
	modbus.Coil:     {0, 0},
	modbus.Discrete: {10000, 100000},
	modbus.Input:    {30000, 300000},
	modbus.Holding:  {40000, 400000},
}

// wireAddress turns the number n of a register or bit, as the device's manual
// counts, into the address on the wire. Otherwise text says in the manual's
// own numbers what is expected, and hint what may have been meant.
func (num numbering) wireAddress(table modbus.Table, n int64) (wire uint16, text, hint string) {
	switch num {
	case fromZero:
		if n >= 0 && n <= 65535 {
			return uint16(n), "", ""
		}
		text = fmt.Sprintf(`%d is out of range: expected an address from 0 to 65535`, n)
		if manualTable(n) != "" {
			hint = `if the manual counts 40001, 30001 …, set numbering = "40001" for the device`
		}
		return 0, text, hint
	case fromOne:
		if n >= 1 && n <= 65536 {
			return uint16(n - 1), "", ""
		}
		text = fmt.Sprintf(`%d is out of range: expected a number from 1 to 65536, as numbering is "one"`, n)
		if n == 0 {
			hint = `if the first register has the number 0, set numbering = "pdu"`
		}
		return 0, text, hint
	}
	base := manualBase[table]
	if five := n - base[0]; five >= 1 && five <= 9999 {
		return uint16(five - 1), "", ""
	}
	if six := n - base[1]; six >= 1 && six <= 65536 {
		return uint16(six - 1), "", ""
	}
	if table == modbus.Coil {
		text = fmt.Sprintf(`%d is no coil: expected 1 to 65536, as numbering is "40001"`, n)
	} else {
		text = fmt.Sprintf(`%d is no %s: expected %d to %d or %d to %d, as numbering is "40001"`,
			n, table, base[0]+1, base[0]+9999, base[1]+1, base[1]+65536)
	}
	switch other := manualTable(n); {
	case other != "" && other != table.String():
		hint = fmt.Sprintf("did you mean %s = %d?", other, n)
	case n >= 0 && n <= 65536:
		hint = `if the manual counts from 0 or from 1, set numbering = "pdu" or "one"`
	}
	return 0, text, hint
}

// manualTable tells the table that a number of the numbering 40001 belongs to;
// "" if it could be any.
func manualTable(n int64) string {
	for table, base := range manualBase {
		if table != modbus.Coil && (n > base[0] && n <= base[0]+9999 || n > base[1] && n <= base[1]+65536) {
			return table.String()
		}
	}
	return ""
}
