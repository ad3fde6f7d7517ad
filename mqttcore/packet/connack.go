package packet

// Connack is CONNACK, a server's answer to CONNECT.
type Connack struct {
	SessionPresent bool
	Reason         Reason     // in MQTT 3 one of those that have a return code there
	Properties     Properties // MQTT 5
}

// Decode reads a CONNACK. A return code of MQTT 3 becomes the reason code that
// says the same.
func (c *Connack) Decode(v Version, h Header, body []byte) error {
	c.Properties.Reset()
	if err := h.check(v, 0); err != nil {
		return err
	}
	r := reader{t: CONNACK, b: body}
	flags := r.uint8("acknowledge flags")
	if flags&^1 != 0 && v != V31 {
		r.fail(malformed(CONNACK, "reserved acknowledge flags are set"))
	}
	c.SessionPresent = flags&1 != 0 && v != V31 // 3.1 has no such flag
	code := r.uint8("reason code")
	if v != V5 {
		known := false
		if c.Reason, known = reasonOfV3(code); !known {
			r.fail(violation(CONNACK, "return code is reserved"))
		}
	} else {
		c.Reason = Reason(code)
		if !c.Reason.In(CONNACK) {
			r.fail(violation(CONNACK, c.Reason.String()+" is no reason for a CONNACK"))
		}
		r.props(&c.Properties, CONNACK)
	}
	if c.SessionPresent && c.Reason != Success { // [MQTT-3.2.2-6]
		r.fail(violation(CONNACK, "session present in a refusal"))
	}
	return r.end()
}

// Append writes the packet. A refusal never says that a session is present.
func (c *Connack) Append(dst []byte, v Version) []byte {
	start := len(dst)
	dst = begin(dst, CONNACK, 0)
	var flags byte
	if c.SessionPresent && c.Reason == Success && v != V31 {
		flags = 1
	}
	if v != V5 {
		return end(append(dst, flags, c.Reason.V3ConnackCode()), start)
	}
	dst = append(dst, flags, byte(c.Reason))
	return end(c.Properties.Append(dst), start)
}
