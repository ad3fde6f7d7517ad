package packet

// MaxRemaining is the largest Remaining Length that four bytes can say (MQTT 5,
// 1.5.5), in bytes.
const MaxRemaining = 268_435_455

// Header is a packet's fixed header.
type Header struct {
	Type      Type
	Flags     byte // the low four bits of the first byte
	Remaining int  // length of the rest of the packet, in bytes
	// Padded says that Remaining was written in more bytes than it needs.
	// MQTT 5 forbids this [MQTT-1.5.5-1] and 3.1.1 does not, so only the
	// decoders, which know the version, refuse it.
	Padded bool
}

// ParseHeader reads the fixed header at the start of b and gives its length n,
// 2 to 5. n == 0 without an error: b ends before the header does. The error is
// an *Error; flags are judged by the decoders.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return h, 0, nil
	}
	h.Type, h.Flags = Type(b[0]>>4), b[0]&15
	if h.Type == 0 {
		return h, 0, malformed(h.Type, "packet type 0 is reserved")
	}
	if len(b) == 1 {
		return h, 0, nil
	}
	if b[1] < 0x80 {
		h.Remaining = int(b[1])
		return h, 2, nil
	}
	value, width := uvarint(b[1:])
	switch {
	case width > 0:
		h.Remaining = int(value)
		h.Padded = width > uvarintLen(value)
		return h, 1 + width, nil
	case width < 0:
		return h, 0, malformed(h.Type, "remaining length takes more than four bytes")
	}
	return h, 0, nil
}

// check judges what every fixed header has in common. want is the flags that
// MQTT 3.1.1 and 5 demand; MQTT 3.1 leaves them unused or means other things.
func (h Header) check(v Version, want byte) error {
	if v == V5 && h.Padded {
		return malformed(h.Type, "remaining length is written in more bytes than it needs")
	}
	if v != V31 && h.Flags != want {
		return malformed(h.Type, "reserved flags of the fixed header are wrong")
	}
	return nil
}

// uvarint reads a variable byte integer: width 0 if b is too short, -1 if it
// does not end within four bytes.
func uvarint(b []byte) (value uint32, width int) {
	for i := range min(len(b), 4) {
		value |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return value, i + 1
		}
	}
	if len(b) < 4 {
		return 0, 0
	}
	return 0, -1
}

// uvarintLen is the number of bytes that a variable byte integer takes.
func uvarintLen(n uint32) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendUvarint(dst []byte, n uint32) []byte {
	if n > MaxRemaining {
		panic("packet: a variable byte integer ends at 268,435,455")
	}
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// begin appends a fixed header whose length is not known yet; end, given the
// length of dst before begin, fills it in.
func begin(dst []byte, t Type, flags byte) []byte {
	return append(dst, byte(t)<<4|flags, 0)
}

func end(dst []byte, start int) []byte { return fillLength(dst, start+1) }

// fillLength makes the byte at place at the length of what follows it, moving
// that where the length takes more bytes.
func fillLength(dst []byte, at int) []byte {
	n := len(dst) - at - 1
	if n > MaxRemaining {
		panic("packet: longer than 268,435,455 bytes")
	}
	width := uvarintLen(uint32(n))
	if width > 1 {
		var room [3]byte
		dst = append(dst, room[:width-1]...)
		copy(dst[at+width:], dst[at+1:at+1+n])
	}
	appendUvarint(dst[:at], uint32(n))
	return dst
}
