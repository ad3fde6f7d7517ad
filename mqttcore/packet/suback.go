package packet

// Suback is SUBACK: one reason per filter of the SUBSCRIBE, in its order.
type Suback struct {
	PacketID   uint16
	Properties Properties // MQTT 5
	Reasons    []Reason   // granted QoS, or a failure: in MQTT 3 always 0x80
}

// Decode reads a SUBACK.
func (s *Suback) Decode(v Version, h Header, body []byte) error {
	return decodeReasons(SUBACK, v, h, body, &s.PacketID, &s.Properties, &s.Reasons)
}

// Append writes the packet; in MQTT 3 every failure becomes 0x80.
func (s *Suback) Append(dst []byte, v Version) []byte {
	start := len(dst)
	dst = begin(dst, SUBACK, 0)
	dst = appendUint16(dst, s.PacketID)
	if v == V5 {
		dst = s.Properties.Append(dst)
	}
	for _, r := range s.Reasons {
		if v != V5 && r.Failed() {
			r = UnspecifiedError
		}
		dst = append(dst, byte(r))
	}
	return end(dst, start)
}

// Unsuback is UNSUBACK: one reason per filter of the UNSUBSCRIBE, in its order.
type Unsuback struct {
	PacketID   uint16
	Properties Properties // MQTT 5
	Reasons    []Reason   // MQTT 5
}

// Decode reads an UNSUBACK.
func (u *Unsuback) Decode(v Version, h Header, body []byte) error {
	return decodeReasons(UNSUBACK, v, h, body, &u.PacketID, &u.Properties, &u.Reasons)
}

// Append writes the packet; in MQTT 3 it is the packet identifier alone.
func (u *Unsuback) Append(dst []byte, v Version) []byte {
	start := len(dst)
	dst = begin(dst, UNSUBACK, 0)
	dst = appendUint16(dst, u.PacketID)
	if v == V5 {
		dst = u.Properties.Append(dst)
		for _, r := range u.Reasons {
			dst = append(dst, byte(r))
		}
	}
	return end(dst, start)
}

// decodeReasons reads what SUBACK and UNSUBACK have in common: everything.
func decodeReasons(t Type, v Version, h Header, body []byte, id *uint16, p *Properties, reasons *[]Reason) error {
	p.Reset()
	*reasons = (*reasons)[:0]
	if err := h.check(v, 0); err != nil {
		return err
	}
	r := reader{t: t, b: body}
	*id = r.packetID()
	if v == V5 {
		r.props(p, t)
	} else if t == UNSUBACK {
		return r.end()
	}
	if r.err == nil && len(r.b) == 0 {
		r.fail(malformed(t, "there is no reason code"))
	}
	for _, c := range r.b {
		reason := Reason(c)
		known := reason.In(t)
		if v != V5 { // 3.1.1: [MQTT-3.9.3-2]
			known = reason <= GrantedQoS2 || reason == UnspecifiedError
		}
		if !known {
			return violation(t, reason.String()+" is no reason for this packet")
		}
		*reasons = append(*reasons, reason)
	}
	return r.err
}
