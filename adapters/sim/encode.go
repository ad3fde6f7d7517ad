package sim

import "fmt"

type table uint8

const (
	coil table = iota
	discrete
	input
	holding
)

var tableNames = [...]string{"coil", "discrete", "input", "holding"}

func (t table) String() string { return tableNames[t] }

func (t table) writable() bool { return t == coil || t == holding }

func (t table) bits() bool { return t == coil || t == discrete }

func parseTable(s string) (table, error) {
	for i, name := range tableNames {
		if s == name {
			return table(i), nil
		}
	}
	return 0, fmt.Errorf("table %q is unknown, choose coil, discrete, input or holding", s)
}

// cell is the place of one word in a slave.
type cell struct {
	table   table
	address uint16
}

// order says how the bytes of a value lie on the wire.
type order struct{ swapWords, swapBytes bool }

func parseOrder(s string) (order, error) {
	switch s {
	case "", "ABCD":
		return order{}, nil
	case "CDAB":
		return order{swapWords: true}, nil
	case "BADC":
		return order{swapBytes: true}, nil
	case "DCBA":
		return order{swapWords: true, swapBytes: true}, nil
	}
	return order{}, fmt.Errorf("order %q is unknown, choose ABCD, CDAB, BADC or DCBA", s)
}
