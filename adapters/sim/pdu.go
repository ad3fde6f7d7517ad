package sim

import (
	"encoding/binary"
	"time"
)

// Exception codes of the Modbus application protocol V1.1b3 §7.
const (
	illegalFunction = 1
	illegalAddress  = 2
	illegalValue    = 3
	targetSilent    = 11 // a gateway got no answer from the device
)

// mostWide is the most registers of four bytes that an answer has room for.
const mostWide = 250 / 4

// exceptionFlag marks the function code of an exception.
const exceptionFlag = 0x80

// request is a request PDU taken apart, where its form is right.
type request struct {
	table    table
	address  uint16
	quantity int
	write    []uint16 // nil: a read
}

// parseRequest takes a PDU apart (V1.1b3 §6.1–6.6, 6.11, 6.12). code is the
// exception due if it is not right, else 0.
func parseRequest(pdu []byte) (r request, code byte) {
	switch pdu[0] {
	case 1, 2, 3, 4, 5, 6, 15, 16:
	default:
		return r, illegalFunction
	}
	if len(pdu) < 5 {
		return r, illegalValue
	}
	r.address = binary.BigEndian.Uint16(pdu[1:])
	value := binary.BigEndian.Uint16(pdu[3:])
	r.quantity = int(value)
	most, rest := 1, pdu[5:]
	switch pdu[0] {
	case 1:
		r.table, most = coil, 2000
	case 2:
		r.table, most = discrete, 2000
	case 3:
		r.table, most = holding, 125
	case 4:
		r.table, most = input, 125
	case 5:
		if value != 0 && value != 0xFF00 {
			return r, illegalValue
		}
		r.table, r.quantity, r.write = coil, 1, []uint16{value & 1}
		if value != 0 {
			r.write[0] = 1
		}
	case 6:
		r.table, r.quantity, r.write = holding, 1, []uint16{value}
	case 15:
		r.table, most = coil, 1968
		n := (r.quantity + 7) / 8
		if len(rest) != 1+n || int(rest[0]) != n {
			return r, illegalValue
		}
		r.write = make([]uint16, r.quantity)
		for i := range r.write {
			r.write[i] = uint16(rest[1+i/8]>>(i%8)) & 1
		}
		rest = nil
	case 16:
		r.table, most = holding, 123
		n := r.quantity * 2
		if len(rest) != 1+n || int(rest[0]) != n {
			return r, illegalValue
		}
		r.write = make([]uint16, r.quantity)
		for i := range r.write {
			r.write[i] = binary.BigEndian.Uint16(rest[1+2*i:])
		}
		rest = nil
	}
	if len(rest) != 0 || r.quantity < 1 || r.quantity > most {
		return r, illegalValue
	}
	if int(r.address)+r.quantity > 65536 {
		return r, illegalAddress
	}
	return r, 0
}

// serve carries out a request on the bank and gives the answer PDU.
func (b *bank) serve(at time.Time, pdu []byte) []byte {
	r, code := parseRequest(pdu)
	if code != 0 {
		return exception(pdu[0], code)
	}
	if b.most > 0 && !r.table.bits() && r.quantity > b.most {
		return exception(pdu[0], illegalValue)
	}
	if r.write != nil {
		if b.step(r.table) > 1 {
			return exception(pdu[0], illegalFunction)
		}
		if !b.write(at, cell{r.table, r.address}, r.write) {
			return exception(pdu[0], illegalAddress)
		}
		return append([]byte(nil), pdu[:5]...)
	}
	words, ok := b.read(at, cell{r.table, r.address}, r.quantity)
	if !ok {
		return exception(pdu[0], illegalAddress)
	}
	if r.table.bits() {
		n := (len(words) + 7) / 8
		answer := make([]byte, 2+n)
		answer[0], answer[1] = pdu[0], byte(n)
		for i, w := range words {
			answer[2+i/8] |= byte(w&1) << (i % 8)
		}
		return answer
	}
	answer := make([]byte, 2, 2+2*len(words))
	answer[0], answer[1] = pdu[0], byte(2*len(words))
	for _, w := range words {
		answer = binary.BigEndian.AppendUint16(answer, w)
	}
	return answer
}

func exception(function, code byte) []byte { return []byte{function | exceptionFlag, code} }
