package modbus

import (
	"bytes"
	"encoding/binary"

	"sluice/adapters/line"
)

// The functions of the Modbus Application Protocol V1.1b3 that are used.
const (
	readCoils      = 1
	readDiscrete   = 2
	readHolding    = 3
	readInput      = 4
	writeCoil      = 5
	writeRegister  = 6
	writeCoils     = 15
	writeRegisters = 16
	exceptionBit   = 0x80
)

// reads is the function that reads the table.
func (t Table) reads() byte {
	return [...]byte{Coil: readCoils, Discrete: readDiscrete, Input: readInput, Holding: readHolding}[t]
}

// question is one read.
type question struct {
	function byte
	address  uint16
	count    uint16 // registers or bits
	wide     bool   // each register is answered with four bytes; see DeviceConfig.Wide
}

// size is how many bytes of data answer it.
func (q question) size() int {
	if q.bits() {
		return (int(q.count) + 7) / 8
	}
	return q.width() * int(q.count)
}

// check tells whether pdu, a protocol data unit that may be incomplete,
// begins as an answer to the unit request, and how long the whole answer is;
// wide is as in question. goburrow's client would not look at any of this.
func check(request, pdu []byte, wide bool) (size int, ok bool) {
	function := request[0]
	if len(pdu) == 0 {
		return 2, true
	}
	switch pdu[0] {
	case function | exceptionBit:
		return 2, len(pdu) < 2 || pdu[1] != 0
	case function:
	default:
		return 0, false
	}
	switch function {
	case identification:
		return checkID(request, pdu)
	case readCoils, readDiscrete, readHolding, readInput, readWrite:
		q := question{function, 0, binary.BigEndian.Uint16(request[3:]), wide}
		return 2 + q.size(), len(pdu) < 2 || int(pdu[1]) == q.size()
	}
	// Writes repeat the address and the value or the count, or both masks.
	echo := request[1:5]
	if function == maskWrite {
		echo = request[1:7]
	}
	n := min(len(pdu)-1, len(echo))
	return 1 + len(echo), bytes.Equal(pdu[1:1+n], echo[:n])
}

// rtuFramer finds the answer to request, a whole RTU frame, among noise,
// late answers and the adapter's echo.
type rtuFramer struct {
	request []byte
	wide    bool
}

// The bytes of an RTU frame beside its protocol data unit: the unit, and the
// checksum at the end.
const (
	rtuExtra     = 3
	rtuException = 5
)

func (f rtuFramer) pdu() []byte { return f.request[1 : len(f.request)-2] }

// Scan implements line.Framer. A complete answer wins over a place at which
// another one might only have begun.
func (f rtuFramer) Scan(b []byte) (skip, total int, err error) {
	begun, missing, spoilt := -1, 0, -1
	for i := range b {
		if b[i] != f.request[0] {
			continue
		}
		size, ok := check(f.pdu(), b[i+1:], f.wide)
		size += rtuExtra
		switch {
		case !ok:
		case len(b)-i < size:
			if begun < 0 {
				begun, missing = i, size
			}
		case checksumFits(b[i : i+size]):
			return i, size, nil
		case spoilt < 0:
			spoilt = i
		}
	}
	switch {
	case spoilt >= 0 && (begun < 0 || spoilt < begun):
		// All of it is there, and wrong. Only if more follows at once is
		// there any sense in waiting.
		return spoilt, len(b) - spoilt + 1, nil
	case begun >= 0:
		return begun, missing, nil
	case f.echo(b):
	case len(b) >= rtuException && !f.foreign(b):
		return 0, len(b) + 1, nil // spoilt from its first byte on
	}
	return len(b), rtuException, nil
}

// echo reports whether b is no more than the adapter hearing itself.
func (f rtuFramer) echo(b []byte) bool {
	return len(b) < len(f.request)+rtuException && bytes.Equal(b[:min(len(b), len(f.request))], f.request[:min(len(b), len(f.request))])
}

// foreign reports whether b holds a valid frame, which then answers something
// that was asked before: the answer may still come.
func (f rtuFramer) foreign(b []byte) bool {
	for i := range b {
		if wholeFrame(b[i:]) > 0 {
			return true
		}
	}
	return false
}

// Fault implements line.Framer.
func (f rtuFramer) Fault(b []byte) error {
	for i := range b {
		if n := wholeFrame(b[i:]); n > 0 {
			if b[i] != f.request[0] {
				return stranger{line.BadFrame(line.Mismatch, "unit %d answered instead of unit %d", b[i], f.request[0]), b[i]}
			}
			return line.BadFrame(line.Mismatch, "unit %d answered another question (function %d, %d bytes)", b[i], b[i+1], n)
		}
	}
	for i := range b {
		if b[i] != f.request[0] {
			continue
		}
		size, ok := check(f.pdu(), b[i+1:], f.wide)
		switch size += rtuExtra; {
		case !ok || len(b)-i < 2:
		case len(b)-i < size:
			return line.BadFrame(line.Short, "the answer broke off after %d of %d bytes", len(b)-i, size)
		default:
			return line.BadFrame(line.Checksum, "the checksum of the answer is wrong")
		}
	}
	return line.BadFrame(line.Checksum, "%d bytes came that are no frame; if it is always so, speed, parity or A/B are wrong", len(b))
}

// stranger tells that another unit answered than was asked.
type stranger struct {
	error
	unit byte
}

func (s stranger) Unwrap() error { return s.error }

// wholeFrame gives the length of the valid answer with which b begins, 0 if
// there is none.
func wholeFrame(b []byte) int {
	if len(b) < rtuException {
		return 0
	}
	size := 8
	switch function := b[1]; {
	case function&exceptionBit != 0:
		size = rtuException
	case function >= readCoils && function <= readInput, function == readWrite:
		size = 2 + rtuExtra + int(b[2])
	case function == maskWrite:
		size = 10
	}
	if len(b) < size || !checksumFits(b[:size]) {
		return 0
	}
	return size
}

// checksumFits checks the CRC at the end of an RTU frame.
func checksumFits(frame []byte) bool {
	n := len(frame) - 2
	return checksum(frame[:n]) == binary.LittleEndian.Uint16(frame[n:])
}

// checksum is the CRC of Modbus over Serial Line V1.02, 6.2.2.
func checksum(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc = crc>>8 ^ checksumTable[byte(crc)^c]
	}
	return crc
}

var checksumTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
		table[i] = crc
	}
	return table
}()

// tcpFramer finds the answer to request, a whole TCP frame, and skips answers
// to earlier transactions (Modbus Messaging on TCP/IP V1.0b, 3.1.3).
type tcpFramer struct {
	request []byte
	wide    bool
}

const tcpHeader = 7 // transaction, protocol and length with two bytes each, unit

// Scan implements line.Framer.
func (f tcpFramer) Scan(b []byte) (skip, total int, err error) {
	for {
		rest := b[skip:]
		if len(rest) < tcpHeader {
			return skip, tcpHeader + 2, nil
		}
		length := int(binary.BigEndian.Uint16(rest[4:]))
		if rest[2] != 0 || rest[3] != 0 || length < 3 || length > 254 {
			return skip, 1, line.BadFrame(line.Noise, "what came is no Modbus TCP; is it RTU over TCP?")
		}
		size := tcpHeader - 1 + length
		if len(rest) < size {
			return skip, size, nil
		}
		if !bytes.Equal(rest[:2], f.request[:2]) {
			skip += size
			continue
		}
		want, ok := check(f.request[tcpHeader:], rest[tcpHeader:size], f.wide)
		switch {
		case rest[6] != f.request[6]:
			return skip, size, line.BadFrame(line.Mismatch, "unit %d answered instead of unit %d", rest[6], f.request[6])
		case !ok || want != size-tcpHeader:
			return skip, size, line.BadFrame(line.Mismatch, "the answer fits another question (function %d, %d bytes)", rest[tcpHeader], size)
		}
		return skip, size, nil
	}
}

// Fault implements line.Framer.
func (f tcpFramer) Fault(b []byte) error {
	skip, total, err := f.Scan(b)
	switch {
	case err != nil:
		return err
	case skip < len(b):
		return line.BadFrame(line.Short, "the answer broke off after %d of %d bytes", len(b)-skip, total)
	}
	return nil // only late answers: still none to this question
}
