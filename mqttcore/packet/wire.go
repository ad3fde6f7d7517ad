package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// reader takes fields off the front of a packet's body. After its first fault
// it gives zero values and keeps that fault in err.
type reader struct {
	t   Type
	b   []byte
	err error
}

// fail notes a fault and leaves nothing more to read; a nil error is none.
func (r *reader) fail(err error) {
	if err == nil || r.err != nil {
		return
	}
	r.err, r.b = err, nil
}

func (r *reader) uint8(what string) byte {
	if len(r.b) < 1 {
		r.fail(malformed(r.t, what+" is missing"))
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint16(what string) uint16 {
	if len(r.b) < 2 {
		r.fail(malformed(r.t, what+" is missing or cut short"))
		return 0
	}
	n := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return n
}

// packetID reads a packet identifier, which is never 0 [MQTT-2.2.1-3].
func (r *reader) packetID() uint16 {
	id := r.uint16("packet identifier")
	if id == 0 && r.err == nil {
		r.fail(violation(r.t, "packet identifier is 0"))
	}
	return id
}

// binary reads binary data: two bytes of length, then that many bytes.
func (r *reader) binary(what string) []byte {
	b, n := prefixed(r.b)
	if n == 0 {
		r.fail(malformed(r.t, what+" is missing or cut short"))
		return nil
	}
	r.b = r.b[n:]
	return b
}

// text reads a UTF-8 encoded string.
func (r *reader) text(what string) []byte {
	b := r.binary(what)
	if r.err == nil && !validText(b) {
		r.fail(malformed(r.t, what+" is not UTF-8 or holds U+0000"))
		return nil
	}
	return b
}

// props reads a property list and gives it raw as well, without its length.
func (r *reader) props(p *Properties, of Type) (raw []byte) {
	p.Reset()
	if r.err != nil {
		return nil
	}
	n, err := p.Decode(r.b, of)
	if err != nil {
		r.fail(err)
		return nil
	}
	_, width := uvarint(r.b)
	raw = r.b[width:n:n]
	r.b = r.b[n:]
	return raw
}

// end gives the first fault; bytes left over are one.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(malformed(r.t, "bytes are left over at the end"))
	}
	return r.err
}

// prefixed splits off a field with two bytes of length; n is what it takes of
// b, 0 if b is too short.
func prefixed(b []byte) (field []byte, n int) {
	if len(b) < 2 {
		return nil, 0
	}
	n = 2 + int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, 0
	}
	return b[2:n:n], n
}

// validText reports whether b is a string as 1.5.4 wants it: UTF-8 without
// surrogates [MQTT-1.5.4-1] and without U+0000 [MQTT-1.5.4-2].
func validText(b []byte) bool {
	return bytes.IndexByte(b, 0) < 0 && utf8.Valid(b)
}

// nameFault judges b as a topic name: "" if it is one. An empty one is not
// judged here: with a topic alias it is right.
func nameFault(b []byte) (r Reason, fault string) {
	if plainName(b) {
		return Success, ""
	}
	if !validText(b) {
		return MalformedPacket, "is not UTF-8 or holds U+0000"
	}
	if bytes.ContainsAny(b, "+#") {
		return TopicNameInvalid, "holds a wildcard"
	}
	return Success, ""
}

// plainName reports whether b is ASCII without U+0000 and wildcards, as nearly
// every topic is; it looks at eight bytes at a time.
func plainName(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		plus, hash := x^('+'*ones), x^('#'*ones)
		// (y - ones) &^ y has a high bit where y has a zero byte.
		if (x|(x-ones)&^x|(plus-ones)&^plus|(hash-ones)&^hash)&highs != 0 {
			return false
		}
	}
	for _, c := range b {
		if c == 0 || c == '+' || c == '#' || c >= 0x80 {
			return false
		}
	}
	return true
}

func appendUint16(dst []byte, n uint16) []byte { return append(dst, byte(n>>8), byte(n)) }

func appendPrefixed[T ~string | ~[]byte](dst []byte, s T) []byte {
	if len(s) > 0xffff {
		panic("packet: a field is longer than 65,535 bytes")
	}
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}
