package packet

import (
	"encoding/binary"
	"slices"
)

// Decode adds the property list at the start of b, its length first, to p: call
// Reset before to replace instead. of is the packet it belongs to, WillType for
// a will's. n is how many bytes the list took. It refuses properties that do
// not belong there, repeat, or have a value the standard excludes; a repeated
// subscription identifier is right in PUBLISH alone. Slices alias b.
func (p *Properties) Decode(b []byte, of Type) (n int, err error) {
	size, width := uvarint(b)
	if width <= 0 {
		return 0, malformed(of, "length of the properties is missing or too long")
	}
	if width > uvarintLen(size) {
		return 0, malformed(of, "length of the properties is written in more bytes than it needs")
	}
	if uint64(size) > uint64(len(b)-width) {
		return 0, malformed(of, "properties are cut short")
	}
	n = width + int(size)
	for list := b[width:n:n]; len(list) > 0; {
		took, err := p.decodeOne(list, of)
		if err != nil {
			return 0, err
		}
		list = list[took:]
	}
	if p.Has(PropAuthData) && !p.Has(PropAuthMethod) {
		return 0, violation(of, "authentication data without an authentication method")
	}
	return n, nil
}

// decodeOne reads the property at the start of b and gives its length.
func (p *Properties) decodeOne(b []byte, of Type) (int, error) {
	id := PropID(b[0])
	if !id.In(of) {
		return 0, malformed(of, id.String()+" does not belong here")
	}
	once := id != PropUser && (id != PropSubscriptionID || of != PUBLISH)
	if once && p.Has(id) {
		return 0, violation(of, id.String()+" is there twice")
	}
	n := propLen(b)
	if n == 0 {
		return 0, malformed(of, id.String()+" is cut short")
	}
	value := b[1:n:n]
	switch id.kind() {
	case kindText, kindBinary:
		field := value[2:]
		if id.kind() == kindText && !validText(field) {
			return 0, malformed(of, id.String()+" is not UTF-8 or holds U+0000")
		}
		if id == PropResponseTopic {
			if len(field) == 0 {
				return 0, violation(of, "response topic is empty")
			}
			// A wildcard would make it a filter [MQTT-3.3.2-14].
			if r, fault := nameFault(field); fault != "" {
				return 0, refuse(r, of, "response topic "+fault)
			}
		}
		p.SetBytes(id, field)
	case kindPair:
		key, k := prefixed(value)
		val, _ := prefixed(value[k:])
		if !validText(key) || !validText(val) {
			return 0, malformed(of, "user property is not UTF-8 or holds U+0000")
		}
		if len(p.User) == MaxUserProperties {
			return 0, refuse(QuotaExceeded, of, "more than 1024 user properties")
		}
		p.User = append(p.User, UserProperty{key, val})
	default:
		v, err := number(id, value, of)
		if err != nil {
			return 0, err
		}
		p.SetUint(id, v)
	}
	return n, nil
}

// number reads a numeric value, already known to be complete, and judges it.
func number(id PropID, value []byte, of Type) (uint32, error) {
	switch id.kind() {
	case kindByte:
		// All of them are flags, but for QoS; and the maximum QoS is 0 or 1.
		if value[0] > 1 {
			return 0, violation(of, id.String()+" is neither 0 nor 1")
		}
		return uint32(value[0]), nil
	case kindUint16:
		v := binary.BigEndian.Uint16(value)
		if v == 0 && id == PropReceiveMaximum {
			return 0, violation(of, "receive maximum is 0")
		}
		if v == 0 && id == PropTopicAlias {
			return 0, refuse(TopicAliasInvalid, of, "topic alias is 0")
		}
		return uint32(v), nil
	case kindUint32:
		v := binary.BigEndian.Uint32(value)
		if v == 0 && id == PropMaximumPacketSize {
			return 0, violation(of, "maximum packet size is 0")
		}
		return v, nil
	}
	v, width := uvarint(value) // the subscription identifier
	if width > uvarintLen(v) {
		return 0, malformed(of, id.String()+" is written in more bytes than it needs")
	}
	if v == 0 {
		return 0, violation(of, id.String()+" is 0")
	}
	return v, nil
}

// propLen is the length of the property at the start of b, identifier included;
// 0 if it is unknown or cut short.
func propLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	n := 0
	switch PropID(b[0]).kind() {
	case kindByte:
		n = 2
	case kindUint16:
		n = 3
	case kindUint32:
		n = 5
	case kindUvarint:
		_, width := uvarint(b[1:])
		if width <= 0 {
			return 0
		}
		n = 1 + width
	case kindText, kindBinary:
		_, width := prefixed(b[1:])
		if width == 0 {
			return 0
		}
		n = 1 + width
	case kindPair:
		_, key := prefixed(b[1:])
		if key == 0 {
			return 0
		}
		_, value := prefixed(b[1+key:])
		if value == 0 {
			return 0
		}
		n = 1 + key + value
	}
	if n > len(b) {
		return 0
	}
	return n
}

// Append appends the list with its length in front. The order is that of the
// identifiers; user properties keep theirs.
func (p *Properties) Append(dst []byte) []byte {
	at := len(dst)
	return fillLength(p.AppendRaw(append(dst, 0)), at)
}

// AppendRaw appends the list without its length, as Publish.RawProps has it.
func (p *Properties) AppendRaw(dst []byte) []byte {
	if p.Empty() {
		return dst
	}
	for id := range PropID(propIDs) {
		switch {
		case !p.Has(id):
		case id == PropUser:
			for _, u := range p.User {
				dst = appendPrefixed(append(dst, byte(id)), u.Key)
				dst = appendPrefixed(dst, u.Value)
			}
		case id == PropSubscriptionID:
			for _, s := range p.SubscriptionIDs {
				dst = appendUvarint(append(dst, byte(id)), s)
			}
		default:
			dst = p.appendOne(append(dst, byte(id)), id)
		}
	}
	return dst
}

func (p *Properties) appendOne(dst []byte, id PropID) []byte {
	switch id {
	case PropPayloadFormat:
		return append(dst, p.PayloadFormat)
	case PropMessageExpiry:
		return binary.BigEndian.AppendUint32(dst, p.MessageExpiry)
	case PropContentType:
		return appendPrefixed(dst, p.ContentType)
	case PropResponseTopic:
		return appendPrefixed(dst, p.ResponseTopic)
	case PropCorrelationData:
		return appendPrefixed(dst, p.CorrelationData)
	case PropSessionExpiry:
		return binary.BigEndian.AppendUint32(dst, p.SessionExpiry)
	case PropAssignedClientID:
		return appendPrefixed(dst, p.AssignedClientID)
	case PropServerKeepAlive:
		return appendUint16(dst, p.ServerKeepAlive)
	case PropAuthMethod:
		return appendPrefixed(dst, p.AuthMethod)
	case PropAuthData:
		return appendPrefixed(dst, p.AuthData)
	case PropRequestProblemInfo:
		return append(dst, p.RequestProblemInfo)
	case PropWillDelay:
		return binary.BigEndian.AppendUint32(dst, p.WillDelay)
	case PropRequestResponseInfo:
		return append(dst, p.RequestResponseInfo)
	case PropResponseInfo:
		return appendPrefixed(dst, p.ResponseInfo)
	case PropServerReference:
		return appendPrefixed(dst, p.ServerReference)
	case PropReasonString:
		return appendPrefixed(dst, p.ReasonString)
	case PropReceiveMaximum:
		return appendUint16(dst, p.ReceiveMaximum)
	case PropTopicAliasMaximum:
		return appendUint16(dst, p.TopicAliasMaximum)
	case PropTopicAlias:
		return appendUint16(dst, p.TopicAlias)
	case PropMaximumQoS:
		return append(dst, p.MaximumQoS)
	case PropRetainAvailable:
		return append(dst, p.RetainAvailable)
	case PropMaximumPacketSize:
		return binary.BigEndian.AppendUint32(dst, p.MaximumPacketSize)
	case PropWildcardSubAvailable:
		return append(dst, p.WildcardSubAvailable)
	case PropSubIDAvailable:
		return append(dst, p.SubIDAvailable)
	case PropSharedSubAvailable:
		return append(dst, p.SharedSubAvailable)
	}
	panic("packet: " + id.String() + " cannot be appended")
}

// Clone copies the list and all it points to, so that it outlives the input.
func (p *Properties) Clone() Properties {
	c := *p
	for _, b := range []*[]byte{
		&c.ContentType, &c.ResponseTopic, &c.CorrelationData, &c.AssignedClientID, &c.AuthMethod,
		&c.AuthData, &c.ResponseInfo, &c.ServerReference, &c.ReasonString,
	} {
		*b = slices.Clone(*b)
	}
	c.SubscriptionIDs = slices.Clone(c.SubscriptionIDs)
	c.User = slices.Clone(c.User)
	for i, u := range c.User {
		c.User[i] = UserProperty{slices.Clone(u.Key), slices.Clone(u.Value)}
	}
	return c
}
