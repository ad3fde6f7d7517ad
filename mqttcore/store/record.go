package store

import (
	"encoding/binary"
	"errors"
)

// Record types. FORMAT.md has their bodies.
const (
	recPub    = 1  // a message and its routes
	recCur    = 2  // cursor of a session
	recRel    = 3  // PUBREC came for a QoS 2 delivery
	recInRel  = 4  // PUBREL came for a QoS 2 publication
	recSess   = 5  // a session is there
	recDel    = 6  // a session is gone
	recSub    = 7  // a subscription is there
	recUnsub  = 8  // a subscription is gone
	recWill   = 9  // will of a session, or none
	recAway   = 10 // the client of a session left or came back
	recDrop   = 11 // messages given up
	recClock  = 12 // how store time and wall time belong together
	recMark   = 13 // a snapshot is durable
	recTotals = 14 // counters; in snapshots
	recEnd    = 15 // end of a snapshot, with the number of its records
	recIndex  = 16 // what a sealed segment holds; in footers
	recIn     = 17 // inbound QoS 2 identifiers of a session; in snapshots
	recLost   = 18 // a recDrop of late, with its time; in snapshots
)

var errRecord = errors.New("record is malformed")

// decoder reads the fields of a record. It never reads beyond its bytes; after
// a field that is not there it stays bad and gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint() uint64 {
	// Almost all are one byte.
	if len(d.b) > 0 && d.b[0] < 0x80 {
		c := d.b[0]
		d.b = d.b[1:]
		return uint64(c)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uint()
	if v > 0xFFFFFFFF {
		d.bad = true
	}
	return uint32(v)
}

func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes()) }

func appendString[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// recordAt cuts the record at off out of a frame's records. end is the offset
// after it; typ 0 is the end of the frame.
func recordAt(b []byte, off int) (typ byte, body []byte, end int, err error) {
	if off >= len(b) {
		return 0, nil, off, nil
	}
	n, w := uint64(b[off]), 1
	if n >= 0x80 {
		n, w = binary.Uvarint(b[off:])
	}
	if w <= 0 || n == 0 || n > uint64(len(b)-off-w) {
		return 0, nil, off, errRecord
	}
	off += w
	return b[off], b[off+1 : off+int(n)], off + int(n), nil
}

// pub is the decoded body of a recPub, without its routes.
type pub struct {
	flags     byte
	delta     uint64 // ms after the frame's time
	topic     []byte
	expiry    uint32
	publisher SID
	pid       uint16
	props     []byte
	payload   []byte
}

const (
	pubQoS      = 3 // mask
	pubRetain   = 1 << 2
	pubExpiry   = 1 << 3
	pubStore    = 1 << 4 // it is, or clears, the retained message
	pubInbound  = 1 << 5
	pubProps    = 1 << 6
	routeQoS    = 3 // mask
	routeRetain = 1 << 2
	routeSubIDs = 1 << 3
)

// route is the decoded route of one delivery; subs still holds the identifiers
// as encoded. A seq of 0 is one more than that of the session's route before in
// the frame.
type route struct {
	sid   SID
	seq   uint64
	flags byte
	subs  decoder
	nsubs uint64
}

func (d *decoder) route(r *route) {
	r.sid = SID(d.uint32())
	r.seq = d.uint()
	r.flags = d.byte()
	r.nsubs = 0
	if r.flags&routeSubIDs != 0 {
		r.nsubs = d.uint()
		r.subs = *d
		for range r.nsubs {
			d.uint32()
			if d.bad {
				return
			}
		}
	}
}

// pubRoutes reads the front of a recPub body. findRoute or skipping the n routes
// must follow before pubRest.
func (d *decoder) pubFront(p *pub) (routes uint64) {
	p.flags = d.byte()
	p.delta = d.uint()
	return d.uint()
}

// pubRest reads what follows the routes. frame is the frame that holds the
// record: a topic that was in it before is only referred to.
func (d *decoder) pubRest(p *pub, frame []byte) error {
	ref := d.uint()
	if ref == 0 {
		p.topic = d.bytes()
	} else {
		if ref < frameHeader || ref >= uint64(len(frame)) {
			return errRecord
		}
		t := decoder{b: frame[ref:]}
		p.topic = t.bytes()
		if t.bad {
			return errRecord
		}
	}
	p.expiry, p.publisher, p.pid, p.props = 0, 0, 0, nil
	if p.flags&pubExpiry != 0 {
		p.expiry = d.uint32()
	}
	if p.flags&pubInbound != 0 {
		p.publisher = SID(d.uint32())
		p.pid = uint16(d.uint())
	}
	if p.flags&pubProps != 0 {
		p.props = d.bytes()
	}
	p.payload = d.b
	if d.bad {
		return errRecord
	}
	return nil
}

func (p *pub) size() uint64 { return uint64(len(p.topic) + len(p.props) + len(p.payload)) }
