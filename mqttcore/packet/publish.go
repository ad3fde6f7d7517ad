package packet

// Publish is PUBLISH, one message on its way. For sending, a server uses
// AppendPublish and Frame, which take a message's properties as bytes.
type Publish struct {
	Dup        bool
	QoS        byte // 0, 1 or 2
	Retain     bool
	Topic      []byte // empty with a topic alias alone
	PacketID   uint16 // 0 in QoS 0
	Properties Properties
	RawProps   []byte // the same as read, without their length; Append ignores it
	Payload    []byte
}

// Bits of the fixed header of PUBLISH.
const (
	publishRetain = 0x01
	publishDup    = 0x08
)

// Decode reads a PUBLISH. It does not allocate while the lists in p.Properties
// have room. It refuses an empty topic without an alias, a topic with
// wildcards (TopicNameInvalid), the alias 0 (TopicAliasInvalid) and packet
// identifier 0. Subscription identifiers are accepted, as a server may send
// them: a server refuses those that a client sends [MQTT-3.3.4-6].
func (p *Publish) Decode(v Version, h Header, body []byte) error {
	p.Properties.Reset()
	p.RawProps, p.PacketID = nil, 0
	p.Dup, p.QoS, p.Retain = h.Flags&publishDup != 0, h.Flags>>1&3, h.Flags&publishRetain != 0
	if h.Padded && v == V5 {
		return h.check(v, h.Flags)
	}
	if p.QoS == 3 { // [MQTT-3.3.1-4]
		return malformed(PUBLISH, "QoS is 3")
	}
	if p.Dup && p.QoS == 0 && v != V31 { // [MQTT-3.3.1-2]
		return malformed(PUBLISH, "DUP is set with QoS 0")
	}
	topic, n := prefixed(body)
	if n == 0 {
		return malformed(PUBLISH, "topic is missing or cut short")
	}
	if reason, fault := nameFault(topic); fault != "" {
		return refuse(reason, PUBLISH, "topic "+fault)
	}
	p.Topic, body = topic, body[n:]
	if p.QoS > 0 {
		if len(body) < 2 {
			return malformed(PUBLISH, "packet identifier is missing or cut short")
		}
		p.PacketID = uint16(body[0])<<8 | uint16(body[1])
		if p.PacketID == 0 { // [MQTT-2.2.1-3]
			return violation(PUBLISH, "packet identifier is 0")
		}
		body = body[2:]
	}
	if v == V5 {
		n, err := p.Properties.Decode(body, PUBLISH)
		if err != nil {
			return err
		}
		_, width := uvarint(body)
		p.RawProps, body = body[width:n:n], body[n:]
	}
	if len(topic) == 0 && !p.Properties.Has(PropTopicAlias) {
		return violation(PUBLISH, "topic is empty and there is no topic alias")
	}
	p.Payload = body
	return nil
}

// Append writes the packet with the properties in p.Properties.
func (p *Publish) Append(dst []byte, v Version) []byte {
	start := len(dst)
	dst = begin(dst, PUBLISH, publishFlags(p.Dup, p.QoS, p.Retain))
	dst = appendPrefixed(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.Properties.Append(dst)
	}
	return end(append(dst, p.Payload...), start)
}

func publishFlags(dup bool, qos byte, retain bool) byte {
	flags := qos & 3 << 1
	if dup && qos > 0 {
		flags |= publishDup
	}
	if retain {
		flags |= publishRetain
	}
	return flags
}
