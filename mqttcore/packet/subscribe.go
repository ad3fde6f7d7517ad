package packet

import "bytes"

// Subscribe is SUBSCRIBE.
type Subscribe struct {
	PacketID   uint16
	Properties Properties // MQTT 5
	Filters    []Filter   // at least one
}

// Filter is one topic filter of a SUBSCRIBE and its options.
type Filter struct {
	Topic             []byte
	QoS               byte // 0, 1 or 2
	NoLocal           bool // MQTT 5, and the two below
	RetainAsPublished bool
	RetainHandling    byte // 0 = send retained, 1 = if the subscription is new, 2 = never
}

// Bits of the subscription options (MQTT 5, 3.8.3.1).
const (
	optionQoS      = 0x03
	optionNoLocal  = 0x04
	optionRAP      = 0x08
	optionHandling = 0x30
	optionReserved = 0xC0
)

// Options packs all but the topic into one byte, as on the wire in MQTT 5.
func (f *Filter) Options() byte {
	b := f.QoS&optionQoS | f.RetainHandling<<4&optionHandling
	if f.NoLocal {
		b |= optionNoLocal
	}
	if f.RetainAsPublished {
		b |= optionRAP
	}
	return b
}

// SetOptions unpacks what Options packed; reserved bits are ignored.
func (f *Filter) SetOptions(b byte) {
	f.QoS, f.RetainHandling = b&optionQoS, b&optionHandling>>4
	f.NoLocal, f.RetainAsPublished = b&optionNoLocal != 0, b&optionRAP != 0
}

// Decode reads a SUBSCRIBE. Filters are checked to be strings that are not
// empty; whether their wildcards are in the right places is the caller's, who
// can refuse one filter and grant the next.
func (s *Subscribe) Decode(v Version, h Header, body []byte) error {
	s.Properties.Reset()
	clear(s.Filters)
	s.Filters = s.Filters[:0]
	if err := h.check(v, 2); err != nil { // [MQTT-3.8.1-1]
		return err
	}
	r := reader{t: SUBSCRIBE, b: body}
	s.PacketID = r.packetID()
	if v == V5 {
		r.props(&s.Properties, SUBSCRIBE)
	}
	for r.err == nil && len(r.b) > 0 {
		f := Filter{Topic: r.filter()}
		options := r.uint8("subscription options")
		if r.err == nil {
			r.fail(optionsFault(v, f.Topic, options))
		}
		if v != V5 {
			options &= optionQoS
		}
		f.SetOptions(options)
		s.Filters = append(s.Filters, f)
	}
	if r.err == nil && len(s.Filters) == 0 { // [MQTT-3.8.3-2]
		r.fail(violation(SUBSCRIBE, "there is no topic filter"))
	}
	return r.end()
}

// filter reads a topic filter [MQTT-4.7.3-1].
func (r *reader) filter() []byte {
	f := r.text("topic filter")
	if r.err == nil && len(f) == 0 {
		r.fail(violation(r.t, "topic filter is empty"))
	}
	return f
}

// optionsFault judges the options of one filter; nil if they are right.
func optionsFault(v Version, filter []byte, options byte) error {
	reserved := byte(optionReserved)
	if v != V5 {
		reserved = ^byte(optionQoS)
	}
	switch {
	case options&reserved != 0 && v != V31: // [MQTT-3.8.3-5]
		return malformed(SUBSCRIBE, "reserved subscription options are set")
	case options&optionQoS == 3 && v == V5:
		return violation(SUBSCRIBE, "QoS is 3")
	case options&optionQoS == 3:
		return malformed(SUBSCRIBE, "QoS is 3")
	case v != V5:
		return nil
	case options&optionHandling == optionHandling:
		return violation(SUBSCRIBE, "retain handling is 3")
	case options&optionNoLocal != 0 && bytes.HasPrefix(filter, []byte("$share/")): // [MQTT-3.8.3-4]
		return violation(SUBSCRIBE, "no local is set on a shared subscription")
	}
	return nil
}

// Append writes the packet; in MQTT 3 of the options only the QoS.
func (s *Subscribe) Append(dst []byte, v Version) []byte {
	start := len(dst)
	dst = begin(dst, SUBSCRIBE, 2)
	dst = appendUint16(dst, s.PacketID)
	if v == V5 {
		dst = s.Properties.Append(dst)
	}
	for i := range s.Filters {
		f := &s.Filters[i]
		dst = appendPrefixed(dst, f.Topic)
		if v == V5 {
			dst = append(dst, f.Options())
		} else {
			dst = append(dst, f.QoS&optionQoS)
		}
	}
	return end(dst, start)
}
