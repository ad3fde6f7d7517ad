package packet

// Connect is CONNECT, a client's first packet.
type Connect struct {
	// Version is V31, V311 or V5. After a refused Decode it is the level that
	// was read, even an unknown one (1 for a level of 0), so that the answer
	// can be written in words the client knows; 0 if the client does not speak
	// MQTT.
	Version     Version
	CleanStart  bool // Clean Session in MQTT 3
	KeepAlive   uint16
	Properties  Properties // MQTT 5
	ClientID    string     // empty: the server chooses one
	Will        *Will      // nil: none
	Username    string
	HasUsername bool
	Password    []byte
	HasPassword bool
}

// Will is the message that a server publishes when a client vanishes.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties Properties // MQTT 5
	RawProps   []byte     // the same as read, without their length; Append ignores it
}

// Bits of the connect flags (MQTT 5, 3.1.2.3).
const (
	flagReserved   = 0x01
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillQoS    = 0x18
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUsername   = 0x80
)

// Decode reads a CONNECT of any version; the v given is ignored.
//
// An empty client identifier is refused with ClientIdentifierNotValid where it
// cannot stand: in MQTT 3.1, and in 3.1.1 without a clean session
// [MQTT-3.1.3-8]. The 23 characters that 3.1 allows are not enforced, as no
// widespread server does. A property of CONNECT is judged; whether the
// authentication method is one we know is the caller's.
func (c *Connect) Decode(_ Version, h Header, body []byte) error {
	*c = Connect{}
	r := reader{t: CONNECT, b: body}
	name := string(r.text("protocol name"))
	level := Version(r.uint8("protocol level"))
	if r.err != nil {
		return r.err
	}
	switch {
	case name == "MQTT":
		c.Version = max(level, 1) // 0 would say that it does not speak MQTT
		if level != V311 && level != V5 {
			return refuse(UnsupportedProtocolVersion, CONNECT, "no such protocol level of MQTT")
		}
	case name == "MQIsdp":
		c.Version = level
		if level != V31 {
			return refuse(UnsupportedProtocolVersion, CONNECT, "no such protocol level of MQIsdp")
		}
	default:
		return refuse(UnsupportedProtocolVersion, CONNECT, "protocol name is neither MQTT nor MQIsdp")
	}
	if err := h.check(c.Version, 0); err != nil {
		return err
	}
	flags := r.uint8("connect flags")
	if r.err == nil {
		r.fail(connectFlagsFault(c.Version, flags))
	}
	c.CleanStart = flags&flagCleanStart != 0
	c.KeepAlive = r.uint16("keep alive")
	if c.Version == V5 {
		r.props(&c.Properties, CONNECT)
	}
	c.ClientID = string(r.text("client identifier"))
	if flags&flagWill != 0 {
		c.Will = &Will{QoS: flags & flagWillQoS >> 3, Retain: flags&flagWillRetain != 0}
		c.Will.decode(&r, c.Version)
	}
	// MQTT 3.1: a flag may be set and its string missing at the end.
	missing := func() bool { return c.Version == V31 && len(r.b) == 0 }
	if flags&flagUsername != 0 && !missing() {
		c.HasUsername, c.Username = true, string(r.text("user name"))
	}
	if flags&flagPassword != 0 && !missing() {
		c.HasPassword, c.Password = true, r.binary("password")
	}
	if err := r.end(); err != nil {
		return err
	}
	if c.ClientID == "" && c.Version != V5 && (c.Version == V31 || !c.CleanStart) {
		return refuse(ClientIdentifierNotValid, CONNECT, "client identifier is empty")
	}
	return nil
}

// connectFlagsFault judges the connect flags; nil if they are right.
func connectFlagsFault(v Version, flags byte) error {
	will := flags&flagWill != 0
	switch {
	case flags&flagReserved != 0 && v != V31: // [MQTT-3.1.2-3]
		return malformed(CONNECT, "reserved connect flag is set")
	case flags&flagWillQoS == flagWillQoS: // [MQTT-3.1.2-12]
		return malformed(CONNECT, "will QoS is 3")
	case !will && flags&(flagWillQoS|flagWillRetain) != 0 && v != V31: // [MQTT-3.1.2-11, -13]
		return malformed(CONNECT, "will QoS or will retain is set without a will")
	case flags&flagPassword != 0 && flags&flagUsername == 0 && v != V5: // 3.1.1: [MQTT-3.1.2-22]
		return malformed(CONNECT, "password without a user name")
	}
	return nil
}

func (w *Will) decode(r *reader, v Version) {
	if v == V5 {
		w.RawProps = r.props(&w.Properties, WillType)
	}
	topic := r.text("will topic")
	if r.err != nil {
		return
	}
	if len(topic) == 0 { // [MQTT-4.7.3-1]
		r.fail(violation(CONNECT, "will topic is empty"))
		return
	}
	if reason, fault := nameFault(topic); fault != "" {
		r.fail(refuse(reason, CONNECT, "will topic "+fault))
		return
	}
	w.Topic = string(topic)
	w.Payload = r.binary("will payload")
}

// Append writes the packet in c.Version; the version given is ignored.
func (c *Connect) Append(dst []byte, _ Version) []byte {
	start := len(dst)
	dst = begin(dst, CONNECT, 0)
	if c.Version == V31 {
		dst = appendPrefixed(dst, "MQIsdp")
	} else {
		dst = appendPrefixed(dst, "MQTT")
	}
	var flags byte
	if c.CleanStart {
		flags |= flagCleanStart
	}
	if w := c.Will; w != nil {
		flags |= flagWill | w.QoS<<3&flagWillQoS
		if w.Retain {
			flags |= flagWillRetain
		}
	}
	if c.HasPassword {
		flags |= flagPassword
	}
	if c.HasUsername {
		flags |= flagUsername
	}
	dst = append(dst, byte(c.Version), flags)
	dst = appendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.Properties.Append(dst)
	}
	dst = appendPrefixed(dst, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			dst = w.Properties.Append(dst)
		}
		dst = appendPrefixed(dst, w.Topic)
		dst = appendPrefixed(dst, w.Payload)
	}
	if c.HasUsername {
		dst = appendPrefixed(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendPrefixed(dst, c.Password)
	}
	return end(dst, start)
}
