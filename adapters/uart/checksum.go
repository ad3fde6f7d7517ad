package uart

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Checksum is what stands at the end of a frame, before its end mark, and
// proves it.
type Checksum uint8

// The checksums. But for NMEAXOR they cover all bytes before them, a start mark
// included.
const (
	NoChecksum  Checksum = iota
	NMEAXOR              // "*" and the exclusive or, in two hexadecimal digits, of what is between "$" or "!" and the "*" (NMEA 0183)
	CRC16Modbus          // that of Modbus RTU, low byte first
	Sum8                 // the sum, one byte
	Sum16                // the sum, two bytes, high byte first
	XOR8                 // the exclusive or
	LRC                  // what takes the sum to 0, one byte
)

var checksumNames = []string{"", "nmea-xor", "crc16-modbus", "sum8", "sum16", "xor8", "lrc"}

// Checksums gives the names that ParseChecksum reads.
func Checksums() []string { return slices.Clone(checksumNames[1:]) }

// ParseChecksum reads the name of a checksum.
func ParseChecksum(s string) (Checksum, error) {
	i := slices.Index(checksumNames, s)
	if i < 1 {
		return 0, fmt.Errorf("unknown checksum %q; use one of %s", s, strings.Join(checksumNames[1:], ", "))
	}
	return Checksum(i), nil
}

// fits reports whether text ends with its checksum.
func (c Checksum) fits(text []byte) bool {
	if c == NoChecksum {
		return true
	}
	end := len(text) - len(c.Of(nil))
	if end < 0 {
		return false
	}
	have, want := text[end:], c.Of(text[:end])
	if c == NMEAXOR {
		have = bytes.ToUpper(have)
	}
	return bytes.Equal(have, want)
}

// Of gives the checksum that belongs behind text.
func (c Checksum) Of(text []byte) []byte {
	sum, xor := uint16(0), byte(0)
	for _, b := range text {
		sum += uint16(b)
		xor ^= b
	}
	switch c {
	case NMEAXOR:
		if len(text) > 0 && (text[0] == '$' || text[0] == '!') {
			xor ^= text[0]
		}
		return []byte("*" + strings.ToUpper(hex.EncodeToString([]byte{xor})))
	case CRC16Modbus:
		crc := crc16(text)
		return []byte{byte(crc), byte(crc >> 8)}
	case Sum8:
		return []byte{byte(sum)}
	case Sum16:
		return []byte{byte(sum >> 8), byte(sum)}
	case XOR8:
		return []byte{xor}
	case LRC:
		return []byte{-byte(sum)}
	}
	return nil
}

// crc16 is the CRC of Modbus over Serial Line V1.02, 6.2.2.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			low := crc & 1
			if crc >>= 1; low != 0 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}
