package mqttcore

import (
	"sync/atomic"
	"time"
)

// Stats is a snapshot of the broker's figures. Counters are since its start.
type Stats struct {
	Uptime        time.Duration
	Connected     int    // clients connected now
	MostConnected int    // at the same time, ever
	Sessions      int    // sessions, connected or not, without consumers
	Subscriptions int    // of all sessions, consumers and in-process subscribers, without shared ones
	Shared        int    // shared subscriptions, each of its sessions counted
	Retained      int    // retained messages
	RetainedBytes uint64 // what they take in memory, roughly
	QueuedBytes   uint64 // what waits in memory for slow clients, of Config.MaxQueuedTotal

	Connects, Refused  uint64 // CONNECT accepted, and connections refused
	MessagesReceived   uint64 // MQTT packets of every type from clients
	MessagesSent       uint64
	PublishReceived    uint64 // PUBLISH packets from clients
	PublishSent        uint64
	BytesReceived      uint64
	BytesSent          uint64
	PayloadReceived    uint64 // bytes of payload in PUBLISH packets from clients
	PayloadSent        uint64 // and to them
	InprocessPublished uint64

	Dropped         uint64 // deliveries dropped at a full queue in memory
	SessionsExpired uint64 // sessions whose client stayed away too long
	Expired         uint64 // deliveries whose message expiry passed first
	TooLarge        uint64 // deliveries above the client's maximum packet size
	RetainedRefused uint64 // messages not retained for want of room
	StoreRefused    uint64 // messages that the store did not take, reads it failed

	LoginsFailed     uint64 // wrong user or password
	LoginsHeld       uint64 // refused unheard after too many of those
	DeniedPublishes  uint64 // messages dropped that their publisher may not send
	DeniedSubscribes uint64 // filters refused
	DeniedDeliveries uint64 // queued messages dropped whose reader may no longer read them
	DeniedWills      uint64 // connections refused for their will, and wills not published

	Panics            uint64 // connections ended by a fault of the program
	ProtocolErrors    uint64 // connections ended for what the client sent
	KeepAliveTimeouts uint64 // connections ended for what it did not
	WriteTimeouts     uint64 // connections whose client took no bytes
	Stalled           uint64 // connections whose client began a packet and did not go on
	Evicted           uint64 // connections that another one of the same client ended
	AcceptErrors      uint64
	Misdialed         uint64 // connections in a wrong protocol, or whose TLS failed
}

// counter is one figure that only grows.
type counter struct{ n atomic.Uint64 }

func (c *counter) add(n uint64) {
	if n > 0 {
		c.n.Add(n)
	}
}

type counters struct {
	connects, refused, messagesReceived, messagesSent, publishReceived, publishSent counter
	bytesReceived, bytesSent, inprocess, dropped, expired, tooLarge, evicted        counter
	panics, protocolErrors, keepAliveTimeouts, writeTimeouts, stalled               counter
	retainedRefused, storeRefused, acceptErrors, misdialed                          counter
	loginsFailed, loginsHeld                                                        counter
	deniedPublishes, deniedSubscribes, deniedDeliveries, deniedWills                counter
	payloadReceived, payloadSent, sessionsExpired                                   counter
}

// published counts a PUBLISH to a client.
func (c *counters) published(payload int) {
	c.publishSent.add(1)
	c.messagesSent.add(1)
	c.payloadSent.add(uint64(payload))
}

// Stats may be called at any time from any goroutine.
func (b *Broker) Stats() Stats {
	c := &b.count
	s := Stats{
		QueuedBytes: uint64(max(b.memory.used.Load(), 0)), Retained: b.retained.Len(), RetainedBytes: uint64(b.retainedSize()),
		Connects: c.connects.n.Load(), Refused: c.refused.n.Load(),
		MessagesReceived: c.messagesReceived.n.Load(), MessagesSent: c.messagesSent.n.Load(),
		PublishReceived: c.publishReceived.n.Load(), PublishSent: c.publishSent.n.Load(),
		BytesReceived: c.bytesReceived.n.Load(), BytesSent: c.bytesSent.n.Load(),
		InprocessPublished: c.inprocess.n.Load(),
		PayloadReceived:    c.payloadReceived.n.Load(), PayloadSent: c.payloadSent.n.Load(),
		SessionsExpired: c.sessionsExpired.n.Load(),
		Dropped:         c.dropped.n.Load(), Expired: c.expired.n.Load(), TooLarge: c.tooLarge.n.Load(),
		RetainedRefused: c.retainedRefused.n.Load(), StoreRefused: c.storeRefused.n.Load(),
		LoginsFailed: c.loginsFailed.n.Load(), LoginsHeld: c.loginsHeld.n.Load(),
		DeniedPublishes: c.deniedPublishes.n.Load(), DeniedSubscribes: c.deniedSubscribes.n.Load(),
		DeniedDeliveries: c.deniedDeliveries.n.Load(), DeniedWills: c.deniedWills.n.Load(),
		Panics: c.panics.n.Load(), ProtocolErrors: c.protocolErrors.n.Load(),
		KeepAliveTimeouts: c.keepAliveTimeouts.n.Load(), WriteTimeouts: c.writeTimeouts.n.Load(), Stalled: c.stalled.n.Load(),
		Evicted: c.evicted.n.Load(), AcceptErrors: c.acceptErrors.n.Load(), Misdialed: c.misdialed.n.Load(),
	}
	select {
	case <-b.ready:
		s.Uptime = time.Since(b.born)
	default:
	}
	b.mu.Lock()
	s.Connected, s.MostConnected, s.Sessions = b.connected, b.mostConnected, len(b.sessions)
	s.Subscriptions, s.Shared = b.tree.Len()-len(b.shares), b.shared
	b.mu.Unlock()
	return s
}
