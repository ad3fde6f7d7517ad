package packet

import "encoding/binary"

// Outgoing is what differs between the subscribers of one message.
type Outgoing struct {
	Dup, Retain bool
	QoS         byte   // 0, 1 or 2
	PacketID    uint16 // QoS 1 and 2

	// The rest is for MQTT 5 and ignored in 3.
	Alias     uint16   // topic alias; 0 = none. With an alias that stands already, give an empty topic
	SubIDs    []uint32 // identifiers of all subscriptions that matched
	HasExpiry bool
	Expiry    uint32 // what remains of the message expiry interval, in seconds
	Props     []byte // properties that travel, as ForwardProps gives them
}

// propsLen is the length of the property list, without its own length.
func (o *Outgoing) propsLen() int {
	n := len(o.Props)
	if o.Alias != 0 {
		n += 3
	}
	if o.HasExpiry {
		n += 5
	}
	for _, id := range o.SubIDs {
		n += 1 + uvarintLen(id)
	}
	return n
}

// remaining is the Remaining Length of the PUBLISH, in bytes.
func (o *Outgoing) remaining(v Version, topic, payload int) int {
	n := 2 + topic + payload
	if o.QoS > 0 {
		n += 2
	}
	if v == V5 {
		list := o.propsLen()
		n += uvarintLen(uint32(list)) + list
	}
	return n
}

// PublishSize is the length of the whole packet that AppendPublish would
// append, in bytes: what a client's Maximum Packet Size is about. topic and
// payload are lengths.
func PublishSize(v Version, topic, payload int, o *Outgoing) int {
	n := o.remaining(v, topic, payload)
	return 1 + uvarintLen(uint32(n)) + n
}

// AppendPublish appends a whole PUBLISH.
func AppendPublish[T ~string | ~[]byte](dst []byte, v Version, topic T, payload []byte, o *Outgoing) []byte {
	return append(AppendPublishHead(dst, v, topic, len(payload), o), payload...)
}

// AppendPublishHead appends a PUBLISH up to its payload, of which only the
// length is given: the sender may hand a large payload to the network as it is.
func AppendPublishHead[T ~string | ~[]byte](dst []byte, v Version, topic T, payload int, o *Outgoing) []byte {
	n := o.remaining(v, len(topic), payload)
	dst = append(dst, byte(PUBLISH)<<4|publishFlags(o.Dup, o.QoS, o.Retain))
	dst = appendUvarint(dst, uint32(min(n, MaxRemaining+1)))
	dst = appendPrefixed(dst, topic)
	if o.QoS > 0 {
		dst = appendUint16(dst, o.PacketID)
	}
	if v != V5 {
		return dst
	}
	dst = appendUvarint(dst, uint32(o.propsLen()))
	if o.Alias != 0 {
		dst = appendUint16(append(dst, byte(PropTopicAlias)), o.Alias)
	}
	for _, id := range o.SubIDs {
		dst = appendUvarint(append(dst, byte(PropSubscriptionID)), id)
	}
	if o.HasExpiry {
		dst = binary.BigEndian.AppendUint32(append(dst, byte(PropMessageExpiry)), o.Expiry)
	}
	return append(dst, o.Props...)
}

// Frame is a PUBLISH encoded once for all subscribers that differ in packet
// identifier and DUP alone. A Frame does not change: any number of goroutines
// may use it.
type Frame struct {
	b  []byte
	id int // place of the packet identifier in b; 0 in QoS 0
}

// NewFrame encodes a message. o.PacketID and o.Dup are ignored: Append takes
// them.
func NewFrame[T ~string | ~[]byte](v Version, topic T, payload []byte, o *Outgoing) Frame {
	out := *o
	out.Dup, out.PacketID = false, 0
	size := PublishSize(v, len(topic), len(payload), &out)
	f := Frame{b: AppendPublish(make([]byte, 0, size), v, topic, payload, &out)}
	if out.QoS > 0 {
		f.id = 1 + uvarintLen(uint32(out.remaining(v, len(topic), len(payload)))) + 2 + len(topic)
	}
	return f
}

// Size is the length of the packet in bytes.
func (f Frame) Size() int { return len(f.b) }

// Bytes gives the packet of QoS 0, to be written as it is and never changed;
// nil in QoS 1 and 2, where Append is needed.
func (f Frame) Bytes() []byte {
	if f.id > 0 {
		return nil
	}
	return f.b
}

// Append appends the packet with this packet identifier and DUP flag, both
// ignored in QoS 0.
func (f Frame) Append(dst []byte, packetID uint16, dup bool) []byte {
	start := len(dst)
	dst = append(dst, f.b...)
	if f.id > 0 {
		binary.BigEndian.PutUint16(dst[start+f.id:], packetID)
		if dup {
			dst[start] |= publishDup
		}
	}
	return dst
}
