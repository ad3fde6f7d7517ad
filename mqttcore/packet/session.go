package packet

// The pings are the same two bytes in every version; append them as they are.
const (
	PingreqPacket  = "\xc0\x00"
	PingrespPacket = "\xd0\x00"
)

// Ping is PINGREQ or PINGRESP.
type Ping struct{ Type Type }

// Decode reads a ping; which one is in h.
func (p *Ping) Decode(v Version, h Header, body []byte) error {
	p.Type = h.Type
	if err := h.check(v, 0); err != nil {
		return err
	}
	r := reader{t: h.Type, b: body}
	return r.end()
}

// Append writes the packet.
func (p *Ping) Append(dst []byte, _ Version) []byte {
	return append(dst, byte(p.Type)<<4, 0)
}

// Disconnect is DISCONNECT. MQTT 3 knows it from clients only, and empty.
type Disconnect struct {
	Reason     Reason // NormalDisconnection in MQTT 3
	Properties Properties
}

// Decode reads a DISCONNECT. Which reasons and properties only one side may
// send is the caller's to judge, as is a session expiry interval that was 0
// before.
func (d *Disconnect) Decode(v Version, h Header, body []byte) error {
	d.Properties.Reset()
	d.Reason = NormalDisconnection
	if err := h.check(v, 0); err != nil { // [MQTT-3.14.1-1]
		return err
	}
	r := reader{t: DISCONNECT, b: body}
	if v == V5 && len(body) > 0 {
		d.Reason = Reason(r.uint8("reason code"))
		if !d.Reason.In(DISCONNECT) { // [MQTT-3.14.2-1]
			return violation(DISCONNECT, d.Reason.String()+" is no reason for this packet")
		}
		if len(r.b) > 0 {
			r.props(&d.Properties, DISCONNECT)
		}
	}
	return r.end()
}

// Append writes the packet; in MQTT 3 without the reason.
func (d *Disconnect) Append(dst []byte, v Version) []byte {
	start := len(dst)
	dst = begin(dst, DISCONNECT, 0)
	if v != V5 || d.Reason == NormalDisconnection && d.Properties.Empty() {
		return dst
	}
	dst = append(dst, byte(d.Reason))
	if !d.Properties.Empty() {
		dst = d.Properties.Append(dst)
	}
	return end(dst, start)
}

// Auth is AUTH, a step of an enhanced authentication (MQTT 5, 4.12).
type Auth struct {
	Reason     Reason // Success, ContinueAuthentication or Reauthenticate
	Properties Properties
}

// Decode reads an AUTH; there is none before MQTT 5. An AUTH that is not empty
// names its authentication method (3.15.2.2.2).
func (a *Auth) Decode(v Version, h Header, body []byte) error {
	a.Properties.Reset()
	a.Reason = Success
	if v != V5 {
		return malformed(AUTH, "packet type 15 is reserved before MQTT 5")
	}
	if err := h.check(v, 0); err != nil { // [MQTT-3.15.1-1]
		return err
	}
	if len(body) == 0 {
		return nil
	}
	r := reader{t: AUTH, b: body}
	a.Reason = Reason(r.uint8("reason code"))
	if !a.Reason.In(AUTH) { // [MQTT-3.15.2-1]
		return violation(AUTH, a.Reason.String()+" is no reason for this packet")
	}
	r.props(&a.Properties, AUTH)
	if r.err == nil && !a.Properties.Has(PropAuthMethod) {
		r.fail(violation(AUTH, "authentication method is missing"))
	}
	return r.end()
}

// Append writes the packet, always as MQTT 5.
func (a *Auth) Append(dst []byte, _ Version) []byte {
	start := len(dst)
	dst = begin(dst, AUTH, 0)
	if a.Reason == Success && a.Properties.Empty() {
		return dst
	}
	return end(a.Properties.Append(append(dst, byte(a.Reason))), start)
}
