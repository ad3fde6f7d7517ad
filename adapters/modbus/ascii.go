package modbus

import (
	"bytes"
	"encoding/hex"

	"sluice/adapters/line"
)

// Modbus ASCII (Modbus over Serial Line V1.02, 2.5.2): a colon, two
// hexadecimal digits for each byte of unit, protocol data unit and checksum,
// carriage return, line feed.
const (
	asciiStart = ':'
	asciiEnd   = "\r\n"
	asciiLeast = 11 // an exception
)

// asciiFramer finds the answer to request, a whole ASCII frame. A colon begins
// a frame wherever it comes, so that noise can't spoil what follows it.
type asciiFramer struct {
	request []byte
	wide    bool
}

// asciiSize is the length of the frame of a protocol data unit of n bytes.
func asciiSize(n int) int { return 1 + 2*(1+n+1) + len(asciiEnd) }

// digits counts the hexadecimal digits behind the colon with which b begins.
func digits(b []byte) int {
	n := 0
	for n+1 < len(b) && isHex(b[n+1]) {
		n++
	}
	return n
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f' }

// asciiBytes gives the bytes for which the digits of b stand.
func asciiBytes(b []byte) []byte {
	raw := make([]byte, digits(b)/2)
	_, _ = hex.Decode(raw, b[1:1+2*len(raw)]) // they are digits
	return raw
}

// wholeASCII gives the unit and the protocol data unit of the valid frame with
// which b begins, and its length, 0 if there is none.
func wholeASCII(b []byte) (unit byte, pdu []byte, size int) {
	if len(b) < asciiLeast || b[0] != asciiStart {
		return 0, nil, 0
	}
	raw := asciiBytes(b)
	size = asciiSize(len(raw) - 2)
	if len(raw) < 4 || len(b) < size || string(b[size-len(asciiEnd):size]) != asciiEnd {
		return 0, nil, 0
	}
	sum := byte(0) // the checksum takes it to 0
	for _, c := range raw {
		sum += c
	}
	if sum != 0 {
		return 0, nil, 0
	}
	return raw[0], raw[1 : len(raw)-1], size
}

// begins reports whether b may grow into a frame of size characters.
func begins(b []byte, size int) bool {
	end := size - len(asciiEnd)
	return len(b) < size && digits(b) >= min(len(b), end)-1 &&
		(len(b) <= end || b[end] == asciiEnd[0])
}

// Scan implements line.Framer.
func (f asciiFramer) Scan(b []byte) (skip, total int, err error) {
	unit, request, _ := wholeASCII(f.request)
	spoilt, foreign := -1, false
	for i := range b {
		if b[i] != asciiStart {
			continue
		}
		_, _, whole := wholeASCII(b[i:])
		raw := asciiBytes(b[i:])
		n, ok := check(request, raw[min(1, len(raw)):], f.wide)
		switch size := asciiSize(n); {
		case len(raw) > 0 && raw[0] != unit || !ok:
			foreign = foreign || whole > 0
		case whole == size || begins(b[i:], size):
			return i, size, nil
		case spoilt < 0:
			spoilt = i
		}
	}
	if spoilt < 0 && len(b) >= asciiLeast && !foreign && !f.echo(b) {
		spoilt = 0 // from its first byte on
	}
	if spoilt >= 0 {
		// Only if more follows at once is there any sense in waiting.
		return spoilt, len(b) - spoilt + 1, nil
	}
	return len(b), asciiLeast, nil
}

// echo reports whether b is no more than the adapter hearing itself.
func (f asciiFramer) echo(b []byte) bool {
	n := min(len(b), len(f.request))
	return len(b) < len(f.request)+asciiLeast && bytes.Equal(b[:n], f.request[:n])
}

// Fault implements line.Framer.
func (f asciiFramer) Fault(b []byte) error {
	unit, request, _ := wholeASCII(f.request)
	for i := range b {
		other, pdu, size := wholeASCII(b[i:])
		switch {
		case size == 0:
		case other != unit:
			return stranger{line.BadFrame(line.Mismatch, "unit %d answered instead of unit %d", other, unit), other}
		default:
			return line.BadFrame(line.Mismatch, "unit %d answered another question (function %d, %d characters)", other, pdu[0], size)
		}
	}
	for i := range b {
		if b[i] != asciiStart {
			continue
		}
		raw := asciiBytes(b[i:])
		if len(raw) < 2 || raw[0] != unit {
			continue
		}
		n, ok := check(request, raw[1:], f.wide)
		switch size := asciiSize(n); {
		case !ok:
		case begins(b[i:], size) || digits(b[i:]) < size-1-len(asciiEnd):
			return line.BadFrame(line.Short, "the answer broke off after %d of %d characters", 1+digits(b[i:]), size)
		default:
			return line.BadFrame(line.Checksum, "the checksum of the answer is wrong")
		}
	}
	return line.BadFrame(line.Checksum, "%d bytes came that are no ASCII frame; if it is always so, the device speaks RTU, or speed, parity or A/B are wrong", len(b))
}
