package packet

// Unsubscribe is UNSUBSCRIBE.
type Unsubscribe struct {
	PacketID   uint16
	Properties Properties // MQTT 5
	Filters    [][]byte   // at least one
}

// Decode reads an UNSUBSCRIBE. Filters are judged as in Subscribe.Decode.
func (u *Unsubscribe) Decode(v Version, h Header, body []byte) error {
	u.Properties.Reset()
	clear(u.Filters)
	u.Filters = u.Filters[:0]
	if err := h.check(v, 2); err != nil { // [MQTT-3.10.1-1]
		return err
	}
	r := reader{t: UNSUBSCRIBE, b: body}
	u.PacketID = r.packetID()
	if v == V5 {
		r.props(&u.Properties, UNSUBSCRIBE)
	}
	for r.err == nil && len(r.b) > 0 {
		u.Filters = append(u.Filters, r.filter())
	}
	if r.err == nil && len(u.Filters) == 0 { // [MQTT-3.10.3-2]
		r.fail(violation(UNSUBSCRIBE, "there is no topic filter"))
	}
	return r.end()
}

// Append writes the packet.
func (u *Unsubscribe) Append(dst []byte, v Version) []byte {
	start := len(dst)
	dst = begin(dst, UNSUBSCRIBE, 2)
	dst = appendUint16(dst, u.PacketID)
	if v == V5 {
		dst = u.Properties.Append(dst)
	}
	for _, f := range u.Filters {
		dst = appendPrefixed(dst, f)
	}
	return end(dst, start)
}
