package packet

// Ack is PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Type       Type
	PacketID   uint16
	Reason     Reason     // Success in MQTT 3
	Properties Properties // MQTT 5
}

// ackFlags are the fixed flags of each kind of acknowledgement.
func ackFlags(t Type) byte {
	if t == PUBREL {
		return 2
	}
	return 0
}

// Decode reads an acknowledgement; which one is in h.
func (a *Ack) Decode(v Version, h Header, body []byte) error {
	a.Properties.Reset()
	a.Type, a.Reason = h.Type, Success
	if err := h.check(v, ackFlags(h.Type)); err != nil {
		return err
	}
	r := reader{t: h.Type, b: body}
	a.PacketID = r.packetID()
	// The reason may be left out if it is 0x00, and the properties with or
	// without it (MQTT 5, 3.4.2.1 and its likes).
	if v == V5 && len(r.b) > 0 {
		a.Reason = Reason(r.b[0])
		if !a.Reason.In(h.Type) {
			return violation(h.Type, a.Reason.String()+" is no reason for this packet")
		}
		if r.b = r.b[1:]; len(r.b) > 0 {
			r.props(&a.Properties, h.Type)
		}
	}
	return r.end()
}

// Append writes the packet.
func (a *Ack) Append(dst []byte, v Version) []byte {
	first := byte(a.Type)<<4 | ackFlags(a.Type)
	if v != V5 || a.Reason == Success && a.Properties.Empty() {
		return append(dst, first, 2, byte(a.PacketID>>8), byte(a.PacketID))
	}
	if a.Properties.Empty() {
		return append(dst, first, 3, byte(a.PacketID>>8), byte(a.PacketID), byte(a.Reason))
	}
	start := len(dst)
	dst = append(dst, first, 0, byte(a.PacketID>>8), byte(a.PacketID), byte(a.Reason))
	return end(a.Properties.Append(dst), start)
}
