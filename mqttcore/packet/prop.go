package packet

import "fmt"

// PropID is the identifier of a property (MQTT 5 table 2-4).
type PropID byte

// The properties of MQTT 5.
const (
	PropPayloadFormat        PropID = 0x01
	PropMessageExpiry        PropID = 0x02
	PropContentType          PropID = 0x03
	PropResponseTopic        PropID = 0x08
	PropCorrelationData      PropID = 0x09
	PropSubscriptionID       PropID = 0x0B
	PropSessionExpiry        PropID = 0x11
	PropAssignedClientID     PropID = 0x12
	PropServerKeepAlive      PropID = 0x13
	PropAuthMethod           PropID = 0x15
	PropAuthData             PropID = 0x16
	PropRequestProblemInfo   PropID = 0x17
	PropWillDelay            PropID = 0x18
	PropRequestResponseInfo  PropID = 0x19
	PropResponseInfo         PropID = 0x1A
	PropServerReference      PropID = 0x1C
	PropReasonString         PropID = 0x1F
	PropReceiveMaximum       PropID = 0x21
	PropTopicAliasMaximum    PropID = 0x22
	PropTopicAlias           PropID = 0x23
	PropMaximumQoS           PropID = 0x24
	PropRetainAvailable      PropID = 0x25
	PropUser                 PropID = 0x26
	PropMaximumPacketSize    PropID = 0x27
	PropWildcardSubAvailable PropID = 0x28
	PropSubIDAvailable       PropID = 0x29
	PropSharedSubAvailable   PropID = 0x2A
)

const propIDs = 0x2B // one more than the last

// Sets of packet types that share properties.
const (
	messageProps = 1<<PUBLISH | 1<<WillType
	connProps    = 1<<CONNECT | 1<<CONNACK
	everywhere   = 0xffff &^ (1<<PINGREQ | 1<<PINGRESP)
	withReason   = everywhere &^ (messageProps | 1<<CONNECT | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE)
)

// What Reset keeps for the next use, in entries.
const maxKept = 64

// MaxUserProperties is how many user properties one list may have; one more is
// refused with QuotaExceeded. The standard has no limit, our memory has.
const MaxUserProperties = 1024

// kind is how a property's value is written.
type kind uint8

const (
	kindNone kind = iota
	kindByte
	kindUint16
	kindUint32
	kindUvarint
	kindText
	kindBinary
	kindPair
)

// props says what each property is called, how it is written and which packets
// may carry it.
var props = [propIDs]struct {
	name string
	kind kind
	in   uint16
}{
	PropPayloadFormat:        {"payload format indicator", kindByte, messageProps},
	PropMessageExpiry:        {"message expiry interval", kindUint32, messageProps},
	PropContentType:          {"content type", kindText, messageProps},
	PropResponseTopic:        {"response topic", kindText, messageProps},
	PropCorrelationData:      {"correlation data", kindBinary, messageProps},
	PropSubscriptionID:       {"subscription identifier", kindUvarint, 1<<PUBLISH | 1<<SUBSCRIBE},
	PropSessionExpiry:        {"session expiry interval", kindUint32, connProps | 1<<DISCONNECT},
	PropAssignedClientID:     {"assigned client identifier", kindText, 1 << CONNACK},
	PropServerKeepAlive:      {"server keep alive", kindUint16, 1 << CONNACK},
	PropAuthMethod:           {"authentication method", kindText, connProps | 1<<AUTH},
	PropAuthData:             {"authentication data", kindBinary, connProps | 1<<AUTH},
	PropRequestProblemInfo:   {"request problem information", kindByte, 1 << CONNECT},
	PropWillDelay:            {"will delay interval", kindUint32, 1 << WillType},
	PropRequestResponseInfo:  {"request response information", kindByte, 1 << CONNECT},
	PropResponseInfo:         {"response information", kindText, 1 << CONNACK},
	PropServerReference:      {"server reference", kindText, 1<<CONNACK | 1<<DISCONNECT},
	PropReasonString:         {"reason string", kindText, withReason},
	PropReceiveMaximum:       {"receive maximum", kindUint16, connProps},
	PropTopicAliasMaximum:    {"topic alias maximum", kindUint16, connProps},
	PropTopicAlias:           {"topic alias", kindUint16, 1 << PUBLISH},
	PropMaximumQoS:           {"maximum QoS", kindByte, 1 << CONNACK},
	PropRetainAvailable:      {"retain available", kindByte, 1 << CONNACK},
	PropUser:                 {"user property", kindPair, everywhere},
	PropMaximumPacketSize:    {"maximum packet size", kindUint32, connProps},
	PropWildcardSubAvailable: {"wildcard subscription available", kindByte, 1 << CONNACK},
	PropSubIDAvailable:       {"subscription identifiers available", kindByte, 1 << CONNACK},
	PropSharedSubAvailable:   {"shared subscription available", kindByte, 1 << CONNACK},
}

// String gives the property's name in lower case.
func (id PropID) String() string {
	if int(id) < len(props) && props[id].name != "" {
		return props[id].name
	}
	return fmt.Sprintf("property 0x%02X", byte(id))
}

// In reports whether packets of type t (WillType for a will) may carry the
// property.
func (id PropID) In(t Type) bool { return id.kind() != kindNone && props[id].in&t.bit() != 0 }

func (id PropID) kind() kind {
	if int(id) < len(props) {
		return props[id].kind
	}
	return kindNone
}

// UserProperty is one name and value of the user's own; names may repeat.
type UserProperty struct{ Key, Value []byte }

// Properties is a property list; the zero value is an empty one. A field counts
// only if Has says so: set it through SetUint and SetBytes. User and
// SubscriptionIDs are set directly and count while they are not empty.
// Times are in seconds, sizes in bytes.
type Properties struct {
	set uint64 // bit per PropID, without PropUser and PropSubscriptionID

	MessageExpiry, SessionExpiry, WillDelay                        uint32
	MaximumPacketSize                                              uint32
	ServerKeepAlive, ReceiveMaximum, TopicAliasMaximum, TopicAlias uint16
	PayloadFormat, RequestProblemInfo, RequestResponseInfo         byte
	MaximumQoS, RetainAvailable                                    byte
	WildcardSubAvailable, SubIDAvailable, SharedSubAvailable       byte
	ContentType, ResponseTopic, CorrelationData                    []byte
	AssignedClientID, AuthMethod, AuthData                         []byte
	ResponseInfo, ServerReference, ReasonString                    []byte
	SubscriptionIDs                                                []uint32
	User                                                           []UserProperty
}

// Has reports whether the list has the property.
func (p *Properties) Has(id PropID) bool {
	switch id {
	case PropUser:
		return len(p.User) > 0
	case PropSubscriptionID:
		return len(p.SubscriptionIDs) > 0
	}
	return p.set>>(id&63)&1 != 0
}

// Empty reports whether the list has no property at all.
func (p *Properties) Empty() bool {
	return p.set == 0 && len(p.User) == 0 && len(p.SubscriptionIDs) == 0
}

// Reset empties the list. Small slices of User and SubscriptionIDs are kept for
// the next use, so that decoding does not allocate.
func (p *Properties) Reset() {
	if p.Empty() {
		return
	}
	user, ids := p.User[:0], p.SubscriptionIDs[:0]
	if cap(user) > maxKept {
		user = nil
	}
	if cap(ids) > maxKept {
		ids = nil
	}
	clear(p.User) // what they point to may go
	*p = Properties{User: user, SubscriptionIDs: ids}
}

// Remove takes the property out of the list.
func (p *Properties) Remove(id PropID) {
	switch id {
	case PropUser:
		p.User = p.User[:0]
	case PropSubscriptionID:
		p.SubscriptionIDs = p.SubscriptionIDs[:0]
	}
	p.set &^= 1 << (id & 63)
}

// SetUint puts a number into the list. A subscription identifier is added to
// those already there. It panics if the property is not a number.
func (p *Properties) SetUint(id PropID, n uint32) {
	switch id {
	case PropPayloadFormat:
		p.PayloadFormat = byte(n)
	case PropMessageExpiry:
		p.MessageExpiry = n
	case PropSubscriptionID:
		p.SubscriptionIDs = append(p.SubscriptionIDs, n)
		return
	case PropSessionExpiry:
		p.SessionExpiry = n
	case PropServerKeepAlive:
		p.ServerKeepAlive = uint16(n)
	case PropRequestProblemInfo:
		p.RequestProblemInfo = byte(n)
	case PropWillDelay:
		p.WillDelay = n
	case PropRequestResponseInfo:
		p.RequestResponseInfo = byte(n)
	case PropReceiveMaximum:
		p.ReceiveMaximum = uint16(n)
	case PropTopicAliasMaximum:
		p.TopicAliasMaximum = uint16(n)
	case PropTopicAlias:
		p.TopicAlias = uint16(n)
	case PropMaximumQoS:
		p.MaximumQoS = byte(n)
	case PropRetainAvailable:
		p.RetainAvailable = byte(n)
	case PropMaximumPacketSize:
		p.MaximumPacketSize = n
	case PropWildcardSubAvailable:
		p.WildcardSubAvailable = byte(n)
	case PropSubIDAvailable:
		p.SubIDAvailable = byte(n)
	case PropSharedSubAvailable:
		p.SharedSubAvailable = byte(n)
	default:
		panic("packet: " + id.String() + " is not a number")
	}
	p.set |= 1 << id
}

// SetBytes puts a string or binary data into the list, without copying it. It
// panics if the property is neither.
func (p *Properties) SetBytes(id PropID, b []byte) {
	switch id {
	case PropContentType:
		p.ContentType = b
	case PropResponseTopic:
		p.ResponseTopic = b
	case PropCorrelationData:
		p.CorrelationData = b
	case PropAssignedClientID:
		p.AssignedClientID = b
	case PropAuthMethod:
		p.AuthMethod = b
	case PropAuthData:
		p.AuthData = b
	case PropResponseInfo:
		p.ResponseInfo = b
	case PropServerReference:
		p.ServerReference = b
	case PropReasonString:
		p.ReasonString = b
	default:
		panic("packet: " + id.String() + " is neither a string nor binary data")
	}
	p.set |= 1 << id
}
