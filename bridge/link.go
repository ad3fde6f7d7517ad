// Package bridge is the upstream link: it carries messages between the local
// broker and one MQTT 5 server.
//
// Upwards it is a durable consumer like any other. It reads the log in order,
// keeps a window of messages in flight and moves its cursor only when the
// server has acknowledged, so an outage, a restart of either side or a cut at
// any point loses nothing. Downwards it subscribes, hands each message to the
// local broker and acknowledges only when that is durable.
package bridge

import (
	"context"
	"log/slog"
	"time"

	"sluice/mqttcore"
)

// Link is one upstream link. Its methods may be called from any goroutine.
type Link struct {
	cfg    Config
	broker *mqttcore.Broker
	log    *slog.Logger
	ready  chan struct{}
}

// Stats is what a link has done since New, and how it is now.
type Stats struct {
	// Connected tells whether the upstream is usable now, Since since when
	// this has been so (or not so); Since is zero before Run.
	Connected bool
	Since     time.Time
	// LastError is why the last connection was lost or could not be made;
	// empty while connected for the first time.
	LastError string
	// Connects counts sessions that were established.
	Connects uint64

	// Backlog and BacklogBytes are what waits in the log for this link,
	// in flight included; OldestBacklog is the age of the oldest of it.
	Backlog, BacklogBytes uint64
	OldestBacklog         time.Duration
	// InFlight messages were sent and not acknowledged; Window is the most
	// there may be on this connection.
	InFlight, Window int

	// Forwarded counts messages that the upstream acknowledged (at QoS 0:
	// that were written), Resent those that were sent again after a cut,
	// Retried those that the upstream refused for now.
	Forwarded, Resent, Retried uint64
	// DeadLettered counts messages that were given up because the upstream
	// will never take them; LastDeadLetter says which and why.
	DeadLettered   uint64
	LastDeadLetter string
	// Downgraded counts messages of QoS 2 that may arrive twice, because the
	// upstream had forgotten our session.
	Downgraded uint64

	// Received counts messages that came down and are durable here, Ignored
	// those outside Config.In, Looped those that had been here before.
	Received, Ignored, Looped uint64
}

// New makes a link of cfg, which must be valid, for the local broker b. It
// starts nothing.
func New(cfg Config, b *mqttcore.Broker, log *slog.Logger) *Link {
	cfg = cfg.withDefaults()
	return &Link{cfg: cfg, broker: b, log: log.With("upstream", cfg.Name), ready: make(chan struct{})}
}

// String names the link for logs.
func (l *Link) String() string { return "upstream " + l.cfg.Name }

// Ready is closed once the link reads its queue. It does not wait for the
// upstream: a gateway starts without one.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// Run keeps the link up until ctx ends, and returns nil then. It returns an
// error only if the local broker refuses the durable consumer.
func (l *Link) Run(ctx context.Context) error { panic("not yet") }

// Stats returns the link's figures.
func (l *Link) Stats() Stats { panic("not yet") }
