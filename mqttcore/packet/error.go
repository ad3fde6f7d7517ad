package packet

// Error is why a packet was refused.
type Error struct {
	Reason Reason // what a DISCONNECT or CONNACK of MQTT 5 says about it
	Type   Type   // the packet refused
	Text   string // what is wrong, in words
}

// Error gives "PUBLISH: QoS 3 (malformed packet)".
func (e *Error) Error() string {
	return e.Type.String() + ": " + e.Text + " (" + e.Reason.String() + ")"
}

// malformed: the bytes cannot be parsed by the standard (MQTT 5, 1.2).
func malformed(t Type, text string) error {
	return &Error{Reason: MalformedPacket, Type: t, Text: text}
}

// violation: the bytes parse, and say what the protocol does not allow.
func violation(t Type, text string) error {
	return &Error{Reason: ProtocolError, Type: t, Text: text}
}

func refuse(r Reason, t Type, text string) error {
	return &Error{Reason: r, Type: t, Text: text}
}
