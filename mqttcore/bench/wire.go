package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Packet types of MQTT 3.1.1 as the first byte of a packet, flags zero.
const (
	typeConnect   = 0x10
	typeConnack   = 0x20
	typePublish   = 0x30
	typePuback    = 0x40
	typePubrec    = 0x50
	typePubrel    = 0x60
	typePubcomp   = 0x70
	typeSubscribe = 0x80
	typeSuback    = 0x90
)

var errMalformed = errors.New("malformed packet")

// appendHeader appends a fixed header (MQTT 3.1.1 section 2.2).
func appendHeader(dst []byte, first byte, remaining int) []byte {
	return binary.AppendUvarint(append(dst, first), uint64(remaining)) // the same encoding as MQTT's
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendConnect(dst []byte, id string, clean bool) []byte {
	dst = appendHeader(dst, typeConnect, 10+2+len(id))
	dst = appendString(dst, "MQTT")
	var flags byte
	if clean {
		flags = 0x02
	}
	return appendString(append(dst, 4, flags, 0, 0), id) // level 4, no keep alive
}

func appendSubscribe(dst []byte, id uint16, filter string, qos byte) []byte {
	dst = appendHeader(dst, typeSubscribe|0x02, 2+2+len(filter)+1)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(appendString(dst, filter), qos)
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func appendAck(dst []byte, kind byte, id uint16) []byte {
	if kind == typePubrel {
		kind |= 0x02
	}
	return append(dst, kind, 2, byte(id>>8), byte(id))
}

// The payload begins with the number of the publisher (4 bytes), the number
// of the message (8 bytes) and the time of sending (8 bytes).
const stampSize = 20

// template is an encoded PUBLISH that is copied and numbered for each message.
type template struct {
	bytes   []byte
	id      int // offset of the packet identifier; 0 = QoS 0
	payload int
}

func newTemplate(topic string, qos byte, publisher, size int) template {
	size = max(size, stampSize)
	n := 2 + len(topic) + size
	if qos > 0 {
		n += 2
	}
	t := template{bytes: appendString(appendHeader(nil, typePublish|qos<<1, n), topic)}
	if qos > 0 {
		t.id = len(t.bytes)
		t.bytes = append(t.bytes, 0, 0)
	}
	t.payload = len(t.bytes)
	t.bytes = append(t.bytes, make([]byte, size)...)
	binary.BigEndian.PutUint32(t.bytes[t.payload:], uint32(publisher))
	for i := t.payload + stampSize; i < len(t.bytes); i++ {
		t.bytes[i] = byte('a' + i%26)
	}
	return t
}

// appendTo appends the message of number seq, sent at now.
func (t *template) appendTo(dst []byte, seq uint64, now int64) []byte {
	at := len(dst)
	dst = append(dst, t.bytes...)
	if t.id > 0 {
		binary.BigEndian.PutUint16(dst[at+t.id:], packetID(seq))
	}
	binary.BigEndian.PutUint64(dst[at+t.payload+4:], seq)
	binary.BigEndian.PutUint64(dst[at+t.payload+12:], uint64(now))
	return dst
}

// packetID gives the identifier of a publisher's message: 1 to 65535, again
// and again. A window of fewer messages than that keeps them apart.
func packetID(seq uint64) uint16 { return uint16(seq%65535) + 1 }

// publish is what a receiver needs to know of a PUBLISH.
type publish struct {
	id        uint16
	publisher uint32
	seq       uint64
	sent      int64
}

func parsePublish(first byte, body []byte) (p publish, err error) {
	if len(body) < 2 {
		return p, errMalformed
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	if first&0x06 != 0 {
		at += 2
	}
	if len(body) < at+stampSize {
		return p, errMalformed
	}
	if first&0x06 != 0 {
		p.id = binary.BigEndian.Uint16(body[at-2:])
	}
	stamp := body[at:]
	p.publisher = binary.BigEndian.Uint32(stamp)
	p.seq = binary.BigEndian.Uint64(stamp[4:])
	p.sent = int64(binary.BigEndian.Uint64(stamp[12:]))
	return p, nil
}

// packets cuts a stream into packets. One goroutine at a time.
type packets struct {
	from   io.Reader
	buf    []byte
	lo, hi int // unread bytes
}

func newPackets(from io.Reader, size int) packets {
	return packets{from: from, buf: make([]byte, size)}
}

// cut gives the sizes of the header and the whole of the packet that begins
// the unread bytes, and whether all of it is there.
func (p *packets) cut() (head, whole int, complete bool, err error) {
	b := p.buf[p.lo:p.hi]
	remaining, shift := 0, 0
	for i := 1; i < len(b); i++ {
		remaining |= int(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			head, whole = i+1, i+1+remaining
			return head, whole, whole <= len(b), nil
		}
		if shift += 7; shift > 21 {
			return 0, 0, false, errMalformed
		}
	}
	return 0, 0, false, nil
}

// more says whether a complete packet waits in the buffer: what is to be
// written once per batch is written when none does.
func (p *packets) more() bool {
	_, _, complete, err := p.cut()
	return complete && err == nil
}

// next gives the first byte, the body and the whole of the next packet; it
// blocks until there is one. The slices are valid until the call after.
func (p *packets) next() (first byte, body, whole []byte, err error) {
	for {
		head, n, complete, err := p.cut()
		if err != nil {
			return 0, nil, nil, err
		}
		if complete {
			whole = p.buf[p.lo : p.lo+n]
			p.lo += n
			return whole[0], whole[head:], whole, nil
		}
		if n > len(p.buf) {
			return 0, nil, nil, fmt.Errorf("%w: of %d bytes", errMalformed, n)
		}
		if p.lo > 0 {
			p.hi = copy(p.buf, p.buf[p.lo:p.hi])
			p.lo = 0
		}
		got, err := p.from.Read(p.buf[p.hi:])
		p.hi += got
		if err != nil && got == 0 {
			return 0, nil, nil, err
		}
	}
}
