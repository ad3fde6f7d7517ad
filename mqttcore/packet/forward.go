package packet

import "encoding/binary"

// travels reports whether a server must hand the property on, unaltered, to
// whoever gets the message [MQTT-3.3.2-4, -15, -16, -17, -20]. The message
// expiry interval travels too, but counts down on the way.
func travels(id PropID) bool {
	switch id {
	case PropPayloadFormat, PropContentType, PropResponseTopic, PropCorrelationData, PropUser:
		return true
	}
	return false
}

// ForwardProps appends to dst the properties that travel with a message from
// its publisher to its subscribers: payload format, content type, response
// topic, correlation data and user properties, in their order. raw is a list
// without its length, as Publish.RawProps and Will.RawProps have it. The
// message expiry interval is left out, for ExpiryOf and Outgoing.Expiry.
func ForwardProps(dst, raw []byte) []byte {
	start := 0 // of the run of travelling properties that ends at i
	i := 0
	for i < len(raw) {
		n := propLen(raw[i:])
		if n == 0 {
			break // decoded lists have no such end
		}
		if !travels(PropID(raw[i])) {
			dst = append(dst, raw[start:i]...)
			start = i + n
		}
		i += n
	}
	return append(dst, raw[start:i]...)
}

// ExpiryOf finds the message expiry interval, in seconds, in a list without its
// length.
func ExpiryOf(raw []byte) (seconds uint32, ok bool) {
	for len(raw) > 0 {
		n := propLen(raw)
		if n == 0 {
			break
		}
		if PropID(raw[0]) == PropMessageExpiry {
			return binary.BigEndian.Uint32(raw[1:n]), true
		}
		raw = raw[n:]
	}
	return 0, false
}

// DecodeProps reads a list without its length into p, replacing what p held.
// of says whose properties it is judged as. Slices alias raw.
func DecodeProps(p *Properties, raw []byte, of Type) error {
	p.Reset()
	for len(raw) > 0 {
		n, err := p.decodeOne(raw, of)
		if err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}
