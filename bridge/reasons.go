package bridge

import (
	"fmt"
	"time"
)

// verdict is what an answer's reason code asks of us.
type verdict uint8

const (
	accepted   verdict = iota
	retryLater         // not now: the same message may pass later
	giveUp             // never: the same message will be refused again
)

// Reason codes that a server gives in PUBACK, PUBREC, CONNACK or DISCONNECT
// (MQTT 5.0, 2.4) and that are treated apart.
const (
	reasonUnspecified       = 0x80
	reasonMalformed         = 0x81
	reasonProtocolError     = 0x82
	reasonImplementation    = 0x83
	reasonNotAuthorized     = 0x87
	reasonServerBusy        = 0x89
	reasonTopicName         = 0x90
	reasonIDInUse           = 0x91
	reasonReceiveMaximum    = 0x93
	reasonPacketTooLarge    = 0x95
	reasonMessageRate       = 0x96
	reasonQuota             = 0x97
	reasonPayloadFormat     = 0x99
	reasonRetain            = 0x9A
	reasonQoS               = 0x9B
	reasonConnectionRate    = 0x9F
	reasonDisconnectForWill = 0x04
)

const (
	// maxTries is how often a message is sent again that the upstream refuses
	// without saying why: with the waits of retryAfter about four minutes.
	maxTries = 8
	// retryMax bounds the wait after a refusal.
	retryMax = time.Minute
)

// judge decides on the reason code of a PUBACK or PUBREC. What is about the
// account or the server is waited for without end, what is about the message
// is final, and what says nothing is tried again for a while.
func judge(reason byte, tries int) verdict {
	switch reason {
	case reasonQuota, reasonServerBusy, reasonMessageRate:
		return retryLater
	case reasonMalformed, reasonProtocolError, reasonNotAuthorized, reasonTopicName, reasonPacketTooLarge,
		reasonPayloadFormat, reasonRetain, reasonQoS:
		return giveUp
	}
	switch {
	case reason < 0x80:
		return accepted
	case tries < maxTries:
		return retryLater
	}
	return giveUp
}

// retryAfter returns the wait before a message is sent again that was refused
// tries times.
func retryAfter(tries int) time.Duration {
	return min(retryMax, time.Second<<min(max(tries-1, 0), 10))
}

// blamesMessage tells whether a server that disconnects with this reason
// means something that we sent, rather than us or itself.
func blamesMessage(reason byte) bool {
	switch reason {
	case reasonMalformed, reasonProtocolError, reasonTopicName, reasonPacketTooLarge,
		reasonPayloadFormat, reasonRetain, reasonQoS:
		return true
	}
	return false
}

// asksForPatience tells whether a server that refuses or ends a connection
// with this reason wants us to come back more slowly.
func asksForPatience(reason byte) bool {
	switch reason {
	case reasonServerBusy, reasonMessageRate, reasonQuota, reasonConnectionRate:
		return true
	}
	return false
}

var reasonNames = map[byte]string{
	0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error",
	0x83: "implementation specific error", 0x84: "protocol version not supported",
	0x85: "client identifier not valid", 0x86: "bad user name or password", 0x87: "not authorized",
	0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned", 0x8B: "server shutting down",
	0x8C: "bad authentication method", 0x8D: "keep alive timeout",
	0x8E: "session taken over: another client uses our client id", 0x8F: "topic filter invalid",
	0x90: "topic name invalid", 0x91: "packet identifier in use", 0x92: "packet identifier not found",
	0x93: "receive maximum exceeded", 0x94: "topic alias invalid", 0x95: "packet too large",
	0x96: "message rate too high", 0x97: "quota exceeded", 0x98: "administrative action",
	0x99: "payload format invalid", 0x9A: "retain not supported", 0x9B: "QoS not supported",
	0x9C: "use another server", 0x9D: "server moved", 0x9E: "shared subscriptions not supported",
	0x9F: "connection rate exceeded", 0xA0: "maximum connect time",
	0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscriptions not supported",
}

// reasonText words a reason code for people, with the server's own words
// where it gave any.
func reasonText(code byte, said string) string {
	name := reasonNames[code]
	if name == "" {
		name = "reason"
	}
	text := fmt.Sprintf("%s (0x%02X)", name, code)
	if said != "" {
		text += fmt.Sprintf(": %q", said)
	}
	return text
}

// returnCodeText words a return code of MQTT 3.1.1 (3.2.2.3), with a remedy
// where there is one.
func returnCodeText(code byte) string {
	text := map[byte]string{
		1: "it does not speak MQTT 3.1.1: try version = 5",
		2: "it does not take our client_id",
		3: "MQTT is not available there now",
		4: "bad user name or password",
		5: "not authorized: user name, password, certificate or client_id",
	}[code]
	return fmt.Sprintf("%s (return code %d)", text, code)
}
