// Package packet turns MQTT bytes into structs and structs into bytes, for
// MQTT 3.1, 3.1.1 and 5.0 and for both directions: all 15 packet types can be
// decoded and appended.
//
// It holds no network, no clock, no goroutine and no state. What it decodes is
// zero copy: byte slices of a decoded packet alias the input and live as long
// as the caller leaves that input alone. Memory never follows a length that
// was only claimed: it is bounded by a small multiple of the bytes given.
//
// Decoders refuse everything that one packet alone can get wrong, with the
// reason code MQTT 5 gives for it. What depends on the connection's state
// (topic aliases in use, receive maximum, who may send what) is the caller's.
//
// Sources: MQTT 5.0 and MQTT 3.1.1 (OASIS), MQTT V3.1 (IBM and Eurotech).
package packet

import "strconv"

// Version is the protocol level of a connection, as in CONNECT.
type Version byte

// The versions there are.
const (
	V31  Version = 3 // MQTT 3.1, protocol name "MQIsdp"
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// String gives "3.1", "3.1.1", "5.0", or "level N" for others.
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "level " + strconv.Itoa(int(v))
}

// Type is a control packet type (MQTT 5 table 2-1).
type Type byte

// The packet types. WillType is no packet: it names the will properties inside
// CONNECT, wherever a property list must say whose it is.
const (
	WillType    Type = 0
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15
)

var typeNames = [16]string{
	"will", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String gives the name as the standard writes it.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

// bit is the type's place in a set of types.
func (t Type) bit() uint16 { return 1 << t }

// ClientSends reports whether a client of version v may send this type.
func (t Type) ClientSends(v Version) bool {
	switch t {
	case CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT:
		return true
	case AUTH:
		return v == V5
	}
	return false
}

// ServerSends reports whether a server may send this type to a client of
// version v.
func (t Type) ServerSends(v Version) bool {
	switch t {
	case CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP:
		return true
	case DISCONNECT, AUTH:
		return v == V5
	}
	return false
}

// Packet is any of this package's packets.
type Packet interface {
	// Decode overwrites the packet with what body, the bytes after the fixed
	// header h, says in version v (CONNECT carries its own version and ignores
	// v). A refusal is an *Error; the packet is then of no use, except that a
	// Connect tells its version. Slices alias body.
	Decode(v Version, h Header, body []byte) error

	// Append appends the whole packet, fixed header first, in its shortest
	// form. It panics if a string or binary field is longer than 65,535 bytes
	// or the packet longer than MaxRemaining: it would not be MQTT.
	Append(dst []byte, v Version) []byte
}

// New makes an empty packet of type t; nil if there is no such type.
func New(t Type) Packet {
	switch t {
	case CONNECT:
		return new(Connect)
	case CONNACK:
		return new(Connack)
	case PUBLISH:
		return new(Publish)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return &Ack{Type: t}
	case SUBSCRIBE:
		return new(Subscribe)
	case SUBACK:
		return new(Suback)
	case UNSUBSCRIBE:
		return new(Unsubscribe)
	case UNSUBACK:
		return new(Unsuback)
	case PINGREQ, PINGRESP:
		return &Ping{Type: t}
	case DISCONNECT:
		return new(Disconnect)
	case AUTH:
		return new(Auth)
	}
	return nil
}

// Decode makes the packet that header h announces. A busy reader keeps its own
// structs and calls their Decode, which does not allocate.
func Decode(v Version, h Header, body []byte) (Packet, error) {
	p := New(h.Type)
	if p == nil {
		return nil, malformed(h.Type, "there is no such packet type")
	}
	if err := p.Decode(v, h, body); err != nil {
		return nil, err
	}
	return p, nil
}
