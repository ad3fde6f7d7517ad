package mqttcore

import "time"

// Stats is a snapshot of the broker's counters since its start.
type Stats struct {
	Uptime        time.Duration
	Connected     int // clients connected now
	Sessions      int // sessions, connected or not, without consumers
	Subscriptions int
	Retained      int    // retained messages
	RetainedBytes uint64 // their topics and payloads

	Connects, Refused     uint64 // CONNECT accepted and refused
	MessagesReceived      uint64 // MQTT packets of every type from clients
	MessagesSent          uint64
	PublishReceived       uint64 // PUBLISH packets from clients
	PublishSent           uint64
	BytesReceived         uint64
	BytesSent             uint64
	Dropped               uint64 // deliveries dropped at a full queue
	Expired               uint64 // deliveries whose message expiry passed first
	TooLarge              uint64 // deliveries above the client's maximum packet size
	Panics                uint64 // connections ended by a fault of the program
	ProtocolErrors        uint64 // connections ended for what the client sent
	KeepAliveTimeouts     uint64
	InprocessPublished    uint64
	WriteTimeouts, Evicts uint64 // clients that took no bytes; taken-over connections
}

// Stats may be called at any time from any goroutine.
func (b *Broker) Stats() Stats { panic("not yet") }
