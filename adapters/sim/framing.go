package sim

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
)

// framing wraps a PDU for its way and knows how to spoil the wrapping.
type framing interface {
	frame(unit byte, pdu []byte) []byte
	spoil(adu []byte)
}

// busFraming is the framing of a serial line, whichever way its bytes go.
type busFraming interface {
	framing
	// whole reports whether adu is a complete frame.
	whole(adu []byte) bool
	// open takes an unharmed frame apart.
	open(adu []byte) (unit byte, pdu []byte, ok bool)
	// patience is how long the rest of a frame is waited for where no silence
	// ends it.
	patience() time.Duration
}

// framingOf gives the framing of a kind of line.
func framingOf(kind string) busFraming {
	if strings.HasPrefix(kind, "ascii") {
		return ascii{}
	}
	return rtu{}
}

// rtu is the framing of Modbus RTU: unit, PDU, CRC-16 with its low byte first.
type rtu struct{}

func (rtu) frame(unit byte, pdu []byte) []byte {
	adu := make([]byte, 0, len(pdu)+3)
	adu = append(append(adu, unit), pdu...)
	return binary.LittleEndian.AppendUint16(adu, crc16(adu))
}

func (rtu) spoil(adu []byte) { adu[len(adu)-1] ^= 0x5A }

func (rtu) whole(adu []byte) bool {
	size := 4
	if len(adu) > 6 {
		switch adu[1] {
		case 1, 2, 3, 4, 5, 6:
			size = 8
		case 15, 16:
			size = 9 + int(adu[6])
		}
	}
	return len(adu) >= size && crcRight(adu)
}

func (rtu) open(adu []byte) (unit byte, pdu []byte, ok bool) {
	if !crcRight(adu) {
		return 0, nil, false
	}
	return adu[0], adu[1 : len(adu)-2], true
}

func (rtu) patience() time.Duration { return stragglers }

// ascii is the framing of Modbus ASCII (Modbus over serial line V1.02 §2.5.2):
// a colon, unit, PDU and their LRC in hexadecimal digits, CR and LF.
type ascii struct{}

func (ascii) frame(unit byte, pdu []byte) []byte {
	raw := append([]byte{unit}, pdu...)
	sum := byte(0)
	for _, c := range raw {
		sum += c
	}
	return []byte(":" + strings.ToUpper(hex.EncodeToString(append(raw, -sum))) + "\r\n")
}

func (ascii) spoil(adu []byte) {
	digit := &adu[len(adu)-3]
	if *digit == '0' {
		*digit = '1'
	} else {
		*digit = '0'
	}
}

func (ascii) whole(adu []byte) bool { return strings.HasSuffix(string(adu), "\r\n") }

func (a ascii) open(adu []byte) (unit byte, pdu []byte, ok bool) {
	text := string(adu)
	start := strings.LastIndexByte(text, ':')
	if start < 0 || !a.whole(adu) {
		return 0, nil, false
	}
	raw, err := hex.DecodeString(text[start+1 : len(text)-2])
	sum := byte(0)
	for _, c := range raw {
		sum += c
	}
	if err != nil || len(raw) < 3 || sum != 0 {
		return 0, nil, false
	}
	return raw[0], raw[1 : len(raw)-1], true
}

func (ascii) patience() time.Duration { return time.Second }

// crcRight reports whether an RTU frame is complete and unharmed.
func crcRight(adu []byte) bool {
	return len(adu) >= 4 && crc16(adu) == 0 // a frame with its own CRC gives 0
}

var crcTable = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
		t[i] = crc
	}
	return t
}()

// crc16 is the CRC of Modbus over serial line V1.02 §2.5.1.2 (polynomial
// 0xA001 reflected, begun with 0xFFFF).
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc = crc>>8 ^ crcTable[byte(crc)^c]
	}
	return crc
}

// mbap is the framing of Modbus TCP: transaction, protocol 0, length, unit.
type mbap struct{ transaction uint16 }

func (m mbap) frame(unit byte, pdu []byte) []byte {
	adu := make([]byte, 0, len(pdu)+7)
	adu = binary.BigEndian.AppendUint16(adu, m.transaction)
	adu = append(adu, 0, 0)
	adu = binary.BigEndian.AppendUint16(adu, uint16(len(pdu)+1))
	return append(append(adu, unit), pdu...)
}

func (m mbap) spoil(adu []byte) { adu[0] ^= 0x5A }
