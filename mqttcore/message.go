package mqttcore

// Message is one application message published from inside the program, or
// handed to a function of [Broker.Subscribe].
type Message struct {
	Topic   string // a valid topic name: no wildcards, not empty, at most 65,535 bytes
	Payload []byte
	QoS     byte // 0, 1 or 2
	// Retain replaces the retained message of Topic; with an empty Payload it
	// removes it. Given to a function of Subscribe it says that the message
	// was already there when it subscribed (MQTT 5.0, 3.3.1.3).
	Retain bool
	// Retained, given to a function of Subscribe, says that the message was
	// published with RETAIN, just now or before.
	Retained   bool
	Properties Properties
	// Live retained messages are kept in memory only: their source publishes
	// them again after a start, so they need not wear the disk.
	Live bool
	// Origin names an in-process publisher. The message is not routed to the
	// [Consumer] of that name: this is what keeps a bridge from an echo.
	Origin string
	// Inbox, where it is not nil and QoS is 2, remembers PacketID as received
	// in the same commit as the message.
	Inbox    *Inbox
	PacketID uint16
}

// Properties are the MQTT 5 properties that travel with a message from
// publisher to subscriber (MQTT 5.0, 3.3.2.3). The zero value is none.
type Properties struct {
	UTF8          bool // payload format indicator is 1: the payload is UTF-8 text
	ContentType   string
	ResponseTopic string
	Correlation   []byte
	User          []UserProperty // order is kept, names may repeat
	// Expiry is the life of the message in seconds, valid if HasExpiry.
	Expiry    uint32
	HasExpiry bool
}

// UserProperty is a name and a value (MQTT 5.0, 3.3.2.3.7).
type UserProperty struct{ Key, Value string }
