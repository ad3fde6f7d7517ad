package store

import "time"

// SID is the number of a durable session in this store. Numbers are never
// reused. 0 is no session.
type SID uint32

// LSN is a place in the log: segment number << 24 | byte offset.
type LSN uint64

// Message is one publication as it is stored. The store copies what it needs:
// all of it is the caller's again when Append returns.
type Message struct {
	Topic   string
	Payload []byte
	// Props are the MQTT 5 properties that travel with the message, encoded as
	// on the wire, without the length before them and without Message Expiry.
	Props  []byte
	QoS    byte // as published, 0–2
	Retain bool // the RETAIN flag as published
	// Expiry is the Message Expiry Interval in seconds (MQTT 5, 3.3.2.3.3); it
	// counts from Append and only if HasExpiry is set.
	Expiry    uint32
	HasExpiry bool
	// StoreRetained makes the message the retained message of its topic, or
	// removes that where Payload is empty.
	StoreRetained bool
	// Publisher and PacketID of a QoS 2 publication: the store remembers the
	// identifier as received, in the same commit, until ReleaseInbound.
	// Publisher 0 means that there is nothing to remember.
	Publisher SID
	PacketID  uint16
	// Routes are the durable sessions that must have the message, each once.
	// Routes to sessions that do not exist (any more) are left out.
	Routes []Route
	// Age is how long ago a recovered retained message was appended. Append
	// ignores it.
	Age time.Duration
}

// size is what quotas count of a message.
func (m *Message) size() uint64 { return uint64(len(m.Topic) + len(m.Props) + len(m.Payload)) }

// Route is the delivery of a message to one session.
type Route struct {
	Session SID
	QoS     byte     // granted, 0–2
	Retain  bool     // the RETAIN flag to deliver with
	SubIDs  []uint32 // subscription identifiers (MQTT 5, 3.3.2.3.8), each ≥ 1
	// Prompt says that somebody waits for the delivery: its commit does not
	// gather for Options.CommitInterval.
	Prompt bool
}

// Delivery is one message of one session's queue. Topic, Payload, Props and
// SubIDs are valid until the next call of Next on the same queue, and must not
// be changed.
type Delivery struct {
	Seq     uint64 // 1, 2, 3… in this session
	Topic   []byte
	Payload []byte
	Props   []byte // as in Message
	QoS     byte   // granted
	Retain  bool
	SubIDs  []uint32
	// Expiry is the part of the Message Expiry Interval that remains, in
	// seconds, rounded up; it is there only if HasExpiry is set.
	Expiry    uint32
	HasExpiry bool
	// Sent says that the message was handed out before, or may have been
	// before a restart: it goes out with DUP set (MQTT 5, 3.3.1.1).
	Sent bool
	// Released says that Release was recorded for it: the receiver has it, and
	// PUBREL is to be sent instead of PUBLISH (MQTT 5, 4.3.3).
	Released bool
	// At is when the message was appended, by the best wall clock known now:
	// once the clock has been set it is right for the whole boot.
	At time.Time
	// Age is how long ago that was, by store time: no set of the wall clock
	// makes a message older. Older says that it was longer ago: the machine was
	// off meanwhile, and nobody knows for how long.
	Age   time.Duration
	Older bool
}

// PacketID is the MQTT packet identifier that belongs to a sequence number:
// 1–65535, the same before and after a restart. It is unambiguous as long as
// fewer than 65535 deliveries of the session are in flight.
func PacketID(seq uint64) uint16 { return uint16(1 + (seq-1)%65535) }

// Subscription is one filter of a durable session. Options is the caller's
// packing of maximum QoS, No Local, Retain As Published and Retain Handling;
// the store keeps it as it is.
type Subscription struct {
	Filter  string
	Options byte
	SubID   uint32 // subscription identifier, 0 = none
}

// Will is the will message of a session and its delay in seconds.
type Will struct {
	Message Message // Routes, Publisher and Age are not kept
	Delay   uint32
}

// Session is the durable state of one client as Sessions reports it.
type Session struct {
	ID      SID
	Client  string
	User    string
	Expiry  uint32 // Session Expiry Interval in seconds; 0xFFFFFFFF = never
	Subs    []Subscription
	Inbound []uint16 // QoS 2 packet identifiers received and not released, ascending
	Will    *Will
	// Away is how long the client has been gone, by a clock that runs while the
	// machine sleeps. A session that was connected when the store stopped
	// counts from the last commit before that.
	Away time.Duration
}

// Reason says why a message was given up.
type Reason string

// The reasons the store itself has; Queue.Drop adds the caller's own.
const (
	ReasonExpired Reason = "expired" // its Message Expiry Interval ran out
	ReasonQuota   Reason = "quota"   // the oldest went, to keep a queue or the store within its bytes
	ReasonNewest  Reason = "newest"  // a full queue did not take it
	ReasonAge     Reason = "age"     // it waited for longer than its queue keeps messages
	ReasonCorrupt Reason = "corrupt" // the disk no longer had it
	ReasonDeleted Reason = "deleted" // its session was deleted
)
