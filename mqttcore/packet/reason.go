package packet

import "fmt"

// Reason is a reason code (MQTT 5 table 2-6); 0x80 and above are failures.
type Reason byte

// The reason codes. 0x00 has three names, one per use.
const (
	Success                             Reason = 0x00
	NormalDisconnection                 Reason = 0x00
	GrantedQoS0                         Reason = 0x00
	GrantedQoS1                         Reason = 0x01
	GrantedQoS2                         Reason = 0x02
	DisconnectWithWill                  Reason = 0x04
	NoMatchingSubscribers               Reason = 0x10
	NoSubscriptionExisted               Reason = 0x11
	ContinueAuthentication              Reason = 0x18
	Reauthenticate                      Reason = 0x19
	UnspecifiedError                    Reason = 0x80
	MalformedPacket                     Reason = 0x81
	ProtocolError                       Reason = 0x82
	ImplementationSpecificError         Reason = 0x83
	UnsupportedProtocolVersion          Reason = 0x84
	ClientIdentifierNotValid            Reason = 0x85
	BadUserNameOrPassword               Reason = 0x86
	NotAuthorized                       Reason = 0x87
	ServerUnavailable                   Reason = 0x88
	ServerBusy                          Reason = 0x89
	Banned                              Reason = 0x8A
	ServerShuttingDown                  Reason = 0x8B
	BadAuthenticationMethod             Reason = 0x8C
	KeepAliveTimeout                    Reason = 0x8D
	SessionTakenOver                    Reason = 0x8E
	TopicFilterInvalid                  Reason = 0x8F
	TopicNameInvalid                    Reason = 0x90
	PacketIdentifierInUse               Reason = 0x91
	PacketIdentifierNotFound            Reason = 0x92
	ReceiveMaximumExceeded              Reason = 0x93
	TopicAliasInvalid                   Reason = 0x94
	PacketTooLarge                      Reason = 0x95
	MessageRateTooHigh                  Reason = 0x96
	QuotaExceeded                       Reason = 0x97
	AdministrativeAction                Reason = 0x98
	PayloadFormatInvalid                Reason = 0x99
	RetainNotSupported                  Reason = 0x9A
	QoSNotSupported                     Reason = 0x9B
	UseAnotherServer                    Reason = 0x9C
	ServerMoved                         Reason = 0x9D
	SharedSubscriptionsNotSupported     Reason = 0x9E
	ConnectionRateExceeded              Reason = 0x9F
	MaximumConnectTime                  Reason = 0xA0
	SubscriptionIdentifiersNotSupported Reason = 0xA1
	WildcardSubscriptionsNotSupported   Reason = 0xA2
)

// Sets of packet types that share reason codes.
const (
	inConnack    = 1 << CONNACK
	inPub        = 1<<PUBACK | 1<<PUBREC
	inRel        = 1<<PUBREL | 1<<PUBCOMP
	inSuback     = 1 << SUBACK
	inUnsuback   = 1 << UNSUBACK
	inDisconnect = 1 << DISCONNECT
	inAuth       = 1 << AUTH
)

// reasons says what each code is called and which packets may carry it.
var reasons = [256]struct {
	name string
	in   uint16
}{
	0x00: {"success", inConnack | inPub | inRel | inSuback | inUnsuback | inDisconnect | inAuth},
	0x01: {"granted QoS 1", inSuback},
	0x02: {"granted QoS 2", inSuback},
	0x04: {"disconnect with will message", inDisconnect},
	0x10: {"no matching subscribers", inPub},
	0x11: {"no subscription existed", inUnsuback},
	0x18: {"continue authentication", inAuth},
	0x19: {"re-authenticate", inAuth},
	0x80: {"unspecified error", inConnack | inPub | inSuback | inUnsuback | inDisconnect},
	0x81: {"malformed packet", inConnack | inDisconnect},
	0x82: {"protocol error", inConnack | inDisconnect},
	0x83: {"implementation specific error", inConnack | inPub | inSuback | inUnsuback | inDisconnect},
	0x84: {"unsupported protocol version", inConnack},
	0x85: {"client identifier not valid", inConnack},
	0x86: {"bad user name or password", inConnack},
	0x87: {"not authorized", inConnack | inPub | inSuback | inUnsuback | inDisconnect},
	0x88: {"server unavailable", inConnack},
	0x89: {"server busy", inConnack | inDisconnect},
	0x8A: {"banned", inConnack},
	0x8B: {"server shutting down", inDisconnect},
	0x8C: {"bad authentication method", inConnack | inDisconnect},
	0x8D: {"keep alive timeout", inDisconnect},
	0x8E: {"session taken over", inDisconnect},
	0x8F: {"topic filter invalid", inSuback | inUnsuback | inDisconnect},
	0x90: {"topic name invalid", inConnack | inPub | inDisconnect},
	0x91: {"packet identifier in use", inPub | inSuback | inUnsuback},
	0x92: {"packet identifier not found", inRel},
	0x93: {"receive maximum exceeded", inDisconnect},
	0x94: {"topic alias invalid", inDisconnect},
	0x95: {"packet too large", inConnack | inDisconnect},
	0x96: {"message rate too high", inDisconnect},
	0x97: {"quota exceeded", inConnack | inPub | inSuback | inDisconnect},
	0x98: {"administrative action", inDisconnect},
	0x99: {"payload format invalid", inConnack | inPub | inDisconnect},
	0x9A: {"retain not supported", inConnack | inDisconnect},
	0x9B: {"QoS not supported", inConnack | inDisconnect},
	0x9C: {"use another server", inConnack | inDisconnect},
	0x9D: {"server moved", inConnack | inDisconnect},
	0x9E: {"shared subscriptions not supported", inSuback | inDisconnect},
	0x9F: {"connection rate exceeded", inConnack | inDisconnect},
	0xA0: {"maximum connect time", inDisconnect},
	0xA1: {"subscription identifiers not supported", inSuback | inDisconnect},
	0xA2: {"wildcard subscriptions not supported", inSuback | inDisconnect},
}

// String gives the code's name in lower case, or "reason 0xNN" for a code that
// the standard does not know.
func (r Reason) String() string {
	if s := reasons[r].name; s != "" {
		return s
	}
	return fmt.Sprintf("reason 0x%02X", byte(r))
}

// Failed reports whether the code says that something did not work.
func (r Reason) Failed() bool { return r >= 0x80 }

// In reports whether a packet of type t may carry the code in MQTT 5.
func (r Reason) In(t Type) bool { return reasons[r].in&t.bit() != 0 }

// V3ConnackCode gives the return code, 0 to 5, that says the same to a client
// of MQTT 3.1 or 3.1.1 (table 3.1 there). What those versions have no word for
// becomes 3, server unavailable.
func (r Reason) V3ConnackCode() byte {
	switch r {
	case Success:
		return 0
	case UnsupportedProtocolVersion:
		return 1
	case ClientIdentifierNotValid:
		return 2
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return 4
	case NotAuthorized, Banned:
		return 5
	}
	return 3
}

// reasonOfV3 is the other direction; ok is false for the reserved codes.
func reasonOfV3(code byte) (r Reason, ok bool) {
	known := [...]Reason{
		Success, UnsupportedProtocolVersion, ClientIdentifierNotValid,
		ServerUnavailable, BadUserNameOrPassword, NotAuthorized,
	}
	if int(code) >= len(known) {
		return UnspecifiedError, false
	}
	return known[code], true
}
