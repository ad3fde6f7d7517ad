package mqttcore

import (
	"cmp"
	"slices"
	"time"
)

// ClientStats is what is known of one client that has a session here.
type ClientStats struct {
	ID      string
	User    string // whose the session is; empty: anonymous
	Address string // where it comes from; empty while it is away
	Version string // of MQTT: 3.1, 3.1.1 or 5.0; empty while it is away

	Connected bool
	Since     time.Time     // when it came, or left
	KeepAlive time.Duration // 0: none, or away
	// SessionExpiry is how long the session outlives the connection; below 0:
	// for ever. 0: it ends with it.
	SessionExpiry time.Duration
	Subscriptions int

	Inflight int // QoS 1 and 2 messages sent and not acknowledged
	// QueuedMessages wait to be sent or, in a session that outlives its
	// connection, to be acknowledged. QueuedBytes counts them as they are
	// bounded, and what waits in the connection's buffers.
	QueuedMessages, QueuedBytes uint64
	Dropped                     uint64 // deliveries that found the queue in memory full

	// Since it came; 0 while it is away.
	PublishReceived, PublishSent uint64 // PUBLISH packets from it, and to it
	BytesReceived, BytesSent     uint64
}

// Clients tells of all sessions, ordered by client identifier. It holds up no
// message: the broker is locked for some 100 ns per session, the rest looks at
// one session at a time. Figures of one client may be a packet apart.
func (b *Broker) Clients() []ClientStats {
	type look struct {
		s       *session
		user    string
		expiry  uint32
		left    time.Duration
		filters int
	}
	b.mu.Lock()
	looks := make([]look, 0, len(b.sessions))
	for _, s := range b.sessions {
		looks = append(looks, look{s, s.user, s.expiry, s.left, s.filters.len()})
	}
	b.mu.Unlock()
	all := make([]ClientStats, 0, len(looks))
	now, clock := time.Now(), b.clock()
	for _, l := range looks {
		t := ClientStats{ID: l.s.client, User: l.user, Subscriptions: l.filters}
		if c := l.s.conn.Load(); c != nil {
			c.describe(&t)
			l.expiry = c.saved.expiry
		} else {
			t.Since = now.Add(l.left - clock)
		}
		t.SessionExpiry = seconds(l.expiry)
		if l.expiry == forever {
			t.SessionExpiry = -1
		}
		l.s.describe(b, &t)
		all = append(all, t)
	}
	slices.SortFunc(all, func(x, y ClientStats) int { return cmp.Compare(x.ID, y.ID) })
	return all
}

// describe fills in what the session knows.
func (s *session) describe(b *Broker, t *ClientStats) {
	s.mu.Lock()
	t.Inflight = s.win.open
	t.QueuedMessages = uint64(len(s.wait))
	t.QueuedBytes += uint64(s.waitBytes)
	t.Dropped += s.dropped
	sid, connected := s.sid, s.conn.Load() != nil
	s.mu.Unlock()
	if !connected {
		t.Inflight = 0
	}
	if sid != 0 {
		n, bytes := b.st.Backlog(sid)
		t.QueuedMessages += n
		t.QueuedBytes += bytes
	}
}

// describe fills in what the connection knows.
func (c *conn) describe(t *ClientStats) {
	t.Connected, t.Address, t.Version = true, remote(c.nc), c.version.String()
	t.Since, t.KeepAlive = c.since, c.keepAlive
	t.PublishReceived, t.BytesReceived = c.seen.publishes.Load(), c.seen.bytes.Load()
	t.BytesSent = c.seen.sent.Load()
	o := &c.out
	o.mu.Lock()
	t.PublishSent, t.Dropped = o.publishes, o.dropped
	t.QueuedBytes = uint64(o.size())
	o.mu.Unlock()
}
