package modbus

import "encoding/binary"

// The functions that are only handed on from other masters.
const (
	maskWrite      = 22
	readWrite      = 23
	identification = 43
	deviceID       = 14 // the kind of identification that is known (MEI type)
)

// span is a run of registers or bits.
type span struct {
	table   Table
	address int
	count   int
}

// written tells what a request writes, and whether it writes at all.
func written(pdu []byte) (span, bool) {
	word := func(at int) int { return int(binary.BigEndian.Uint16(pdu[at:])) }
	switch pdu[0] {
	case writeCoil:
		return span{Coil, word(1), 1}, true
	case writeCoils:
		return span{Coil, word(1), word(3)}, true
	case writeRegister, maskWrite:
		return span{Holding, word(1), 1}, true
	case writeRegisters:
		return span{Holding, word(1), word(3)}, true
	case readWrite:
		return span{Holding, word(5), word(7)}, true
	}
	return span{}, false
}

// touches reports whether the read of b brings something of s.
func (s span) touches(b *block) bool {
	return b.points[0].Table == s.table && int(b.address) < s.address+s.count && s.address < int(b.address)+int(b.count)
}

// objection tells what is wrong with a request, 0 if nothing is: the answers to
// what it accepts have a length that is known from the request, or from their
// own begin. The numbers are those of the Modbus Application Protocol V1.1b3,
// 6.1 to 6.21.
func objection(pdu []byte) Exception {
	word := func(at int) int { return int(binary.BigEndian.Uint16(pdu[at:])) }
	within := func(n, most int) bool { return n >= 1 && n <= most }
	good := false
	switch pdu[0] {
	case readCoils, readDiscrete:
		good = len(pdu) == 5 && within(word(3), mostBits)
	case readHolding, readInput:
		good = len(pdu) == 5 && within(word(3), mostRegisters)
	case writeCoil:
		good = len(pdu) == 5 && (word(3) == 0 || word(3) == 0xFF00)
	case writeRegister:
		good = len(pdu) == 5
	case writeCoils:
		good = len(pdu) >= 6 && within(word(3), 1968) && int(pdu[5]) == (word(3)+7)/8 && len(pdu) == 6+int(pdu[5])
	case writeRegisters:
		good = len(pdu) >= 6 && within(word(3), 123) && int(pdu[5]) == 2*word(3) && len(pdu) == 6+int(pdu[5])
	case maskWrite:
		good = len(pdu) == 7
	case readWrite:
		good = len(pdu) >= 10 && within(word(3), mostRegisters) && within(word(7), 121) && int(pdu[9]) == 2*word(7) && len(pdu) == 10+int(pdu[9])
	case identification:
		good = len(pdu) == 4 && pdu[1] == deviceID && within(int(pdu[2]), 4)
	default:
		return IllegalFunction
	}
	if !good {
		return IllegalValue
	}
	return 0
}

// checkID is check for the answer to a read of the device's identification: a
// list of texts, each with its length.
func checkID(request, pdu []byte) (size int, ok bool) {
	const head = 7 // function, kind, code, conformity, more follows, next object, number of objects
	n := min(len(pdu), 3)
	if string(pdu[1:n]) != string(request[1:n]) {
		return 0, false
	}
	if len(pdu) < head {
		return head, true
	}
	size = head
	for range pdu[head-1] {
		if len(pdu) < size+2 {
			return size + 2, true
		}
		size += 2 + int(pdu[size+1])
	}
	return size, size <= mostPDU
}

// mostPDU is the longest protocol data unit, in bytes.
const mostPDU = 253
