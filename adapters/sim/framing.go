package sim

import "encoding/binary"

// framing wraps a PDU for its way and knows how to spoil the wrapping.
type framing interface {
	frame(unit byte, pdu []byte) []byte
	spoil(adu []byte)
}

// rtu is the framing of Modbus RTU: unit, PDU, CRC-16 with its low byte first.
type rtu struct{}

func (rtu) frame(unit byte, pdu []byte) []byte {
	adu := make([]byte, 0, len(pdu)+3)
	adu = append(append(adu, unit), pdu...)
	return binary.LittleEndian.AppendUint16(adu, crc16(adu))
}

func (rtu) spoil(adu []byte) { adu[len(adu)-1] ^= 0x5A }

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
