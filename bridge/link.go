// Package bridge is the upstream link: it carries messages between the local
// broker and one MQTT server of version 5 or 3.1.1.
//
// Upwards it is a durable consumer like any other. It reads the log in order,
// keeps a window of messages in flight and moves its cursor only when the
// server has acknowledged, so an outage, a restart of either side or a cut at
// any point loses nothing. At QoS 2 nothing arrives twice either: packet
// identifiers follow from the place in the log, and PUBREL is sent only after
// it is on disk that the server has the message.
//
// Downwards it subscribes, hands each message to the local broker and
// acknowledges only when that is durable. At QoS 2 its identifier is on disk
// with it until the exchange has ended, so that nothing is taken twice.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// Link is one upstream link. Its methods may be called from any goroutine.
type Link struct {
	cfg    Config
	broker *mqttcore.Broker
	log    *slog.Logger
	ready  chan struct{}
	dial   func(context.Context) (net.Conn, error) // a seam for tests

	// Owned by Run.
	inbox   *mqttcore.Inbox
	backoff *backoff
	mark    []byte // of Config.Via; none without
	pace    *pace
	noWill  bool // the server refused the will's QoS or RETAIN
	// That the server grants a shorter session, or takes no wildcards, was said.
	toldGranted, toldWildcards bool
	met                        bool // there was a session in this run
	// The upstream has a session of an earlier life, and it was discarded.
	purge, purged bool
	// The session that the upstream resumed had no room for the birth message,
	// and how many of those in a row came to nothing.
	crammed bool
	jams    int

	lanes    atomic.Pointer[[]*lane] // see all
	inFlight atomic.Int64
	window   atomic.Int64

	forwarded, resent, retried, deadLettered, downgraded atomic.Uint64
	received, ignored, looped, unfit                     atomic.Uint64
	liveSent, liveDropped, connects                      atomic.Uint64
	aliases, aliasSaved                                  atomic.Int64
	aliasUses                                            atomic.Uint64
	limitedSince                                         atomic.Int64 // ns after born, 0: not now
	limitedFor                                           atomic.Int64 // ns
	born                                                 time.Time

	mu             sync.Mutex
	connected      bool
	since          time.Time
	resumed        time.Time // a session, last
	lastError      string
	errorBefore    string // the newest other one
	lastDeadLetter string
	toldDeadLetter time.Time // when one was logged last
	lastRefusal    string
}

// Stats is what a link has done since New, and how it is now.
type Stats struct {
	// Connected tells whether the upstream is usable now, Since since when
	// this has been so (or not so); Since is zero before Run.
	Connected bool
	Since     time.Time
	// LastError is why the last connection was lost or could not be made;
	// empty where that never happened.
	LastError string
	// Connects counts sessions that were established.
	Connects uint64

	// Backlog and BacklogBytes are what waits in the log for this link,
	// in flight included; OldestBacklog is the age of the oldest of it.
	Backlog, BacklogBytes uint64
	OldestBacklog         time.Duration
	// Lanes are the queues that this is in, the one that takes in last. There
	// is more than one where outages have left a backlog with the order
	// "live-first".
	Lanes []LaneStats
	// Dropped counts what was given up instead of forwarded, for whatever
	// reason, over restarts; DroppedBy counts that of this run by its reason.
	Dropped   uint64
	DroppedBy map[string]uint64
	// InFlight messages were sent and not acknowledged; Window is the most
	// there may be on this connection.
	InFlight, Window int

	// Forwarded counts messages of the log that the upstream acknowledged (at
	// QoS 0: that were written), Resent those that were sent again after
	// a cut in this run, Retried those that the upstream refused for now.
	Forwarded, Resent, Retried uint64
	// DeadLettered counts messages that were given up because the upstream
	// will never take them; LastDeadLetter says which and why.
	DeadLettered   uint64
	LastDeadLetter string
	// LastRefusal is why the upstream last refused a message for now.
	LastRefusal string
	// Downgraded counts messages of QoS 2 that may have arrived twice, because
	// the upstream had forgotten our session.
	Downgraded uint64
	// LiveSent and LiveDropped count messages of QoS 0, which are forwarded
	// only while there is a connection and the line keeps up.
	LiveSent, LiveDropped uint64
	// RateLimited tells whether messages wait now because more a second would be
	// beyond Config.Rate or what Config.Profile allows; RateWaited is how long
	// they did so together.
	RateLimited bool
	RateWaited  time.Duration
	// Aliases are the topic aliases of this connection; AliasUses counts messages
	// that named their topic by one alone, AliasSaved the bytes that this spared.
	Aliases    int
	AliasUses  uint64
	AliasSaved int64

	// Received counts messages that came down and are durable here, Ignored
	// those outside Config.In, Looped those that had been here before, Unfit
	// those that the local broker does not take.
	Received, Ignored, Looped, Unfit uint64
}

// LaneStats is one queue of a link.
type LaneStats struct {
	// Lane is its number, from 1 to mqttcore.MaxLanes.
	Lane int
	// Backlog is what waits in it, in flight included.
	Backlog uint64
}

// New makes a link of cfg, which must be valid, for the local broker b. It
// starts nothing.
func New(cfg Config, b *mqttcore.Broker, log *slog.Logger) *Link {
	cfg = cfg.withDefaults()
	l := &Link{
		cfg: cfg, broker: b, log: log.With("upstream", cfg.Name), ready: make(chan struct{}), born: time.Now(),
		backoff: newBackoff(cfg.profile().connectEvery), pace: newPace(&cfg),
	}
	if cfg.Via != "" {
		l.mark = viaMark(cfg.Via)
	}
	l.dial = func(ctx context.Context) (net.Conn, error) { return dial(ctx, &l.cfg) }
	return l
}

// ConsumerName is the name of the durable consumer of the link of that name:
// what mqttcore.Broker.RemoveConsumers must keep.
func ConsumerName(link string) string { return "upstream/" + link }

func (l *Link) consumer() string { return ConsumerName(l.cfg.Name) }

// String names the link for logs.
func (l *Link) String() string { return "upstream " + l.cfg.Name }

// Ready is closed once what is published is kept for the upstream, or refused
// because the disk cannot keep it. It does not wait for a connection, nor for
// room: a gateway starts without.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// Run keeps the link up until ctx ends, and returns nil then. It returns an
// error only if the local broker refuses the durable consumer for another
// reason than the disk. A full one it waits for; with one that takes nothing any
// more it forwards what happens now, and what can be read. It is called once.
func (l *Link) Run(ctx context.Context) error {
	// At QoS 0 upstream, too, messages are kept through an outage.
	filters := make([]mqttcore.Filter, 0, len(l.cfg.Out))
	for _, f := range l.cfg.Out {
		filters = append(filters, mqttcore.Filter{Topic: f, QoS: max(1, l.cfg.QoS)})
	}
	// A full disk keeps messages from being queued, not the gateway from starting.
	began := sync.OnceFunc(func() { close(l.ready) })
	queue, err := l.broker.AwaitConsumer(ctx, l.consumer(), filters, func(why error) {
		l.log.Error("upstream waits for room in the store", "why", why)
		l.down(why, 0)
		began()
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if l.broker.DiskFault() == nil {
			return fmt.Errorf("queue of upstream %s: %w", l.cfg.Name, err)
		}
		l.log.Error("nothing is kept for the upstream: messages go up while it is connected", "why", err)
		queue = l.broker.StoredConsumer(l.consumer())
	}
	lanes := l.openLanes(queue)
	l.inbox = queue.Inbox()
	l.lanes.Store(&lanes)
	defer l.close()
	l.shareLimit()
	l.setSince(time.Now())
	began()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		l.shareLimit()
		how, err := l.connect(ctx)
		if ctx.Err() != nil {
			l.down(err, 0)
			return nil
		}
		wait := l.backoff.until(how, time.Now())
		if !errors.Is(err, errDiscarded) {
			l.down(err, wait)
		}
		timer.Reset(wait)
	}
}

// answerTimeout is how long messages in flight may go without any answer.
func (l *Link) answerTimeout() time.Duration { return max(10*time.Second, 2*l.cfg.KeepAlive) }

// staysHere tells whether messages of a local topic do not go up: where the
// will and the birth say it better, and in MQTT 3.1.1 also where messages of
// that topic come down. A server without No Local would send them straight
// back, and a command would be carried out twice.
func (l *Link) staysHere(name []byte) bool {
	if l.cfg.Availability != "" && string(name) == l.cfg.Availability {
		return true
	}
	return l.cfg.version() != packet.V5 && slices.ContainsFunc(l.cfg.In, func(f string) bool { return topic.Match(f, name) })
}

// close gives the queues back.
func (l *Link) close() {
	for _, n := range l.all() {
		n.queue.Close()
	}
}

// backlog tells what waits in all lanes together.
func (l *Link) backlog() (messages, bytes uint64, oldest time.Duration) {
	for _, n := range l.all() {
		m, b, age := n.queue.Backlog()
		messages, bytes, oldest = messages+m, bytes+b, max(oldest, age)
	}
	return messages, bytes, oldest
}

func (l *Link) setSince(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = t
}

// up notes that there is a session and says so once.
func (l *Link) up(resumed bool, lim limits) {
	now := time.Now()
	l.connects.Add(1)
	l.window.Store(int64(lim.window))
	l.mu.Lock()
	gone := now.Sub(l.since).Round(time.Millisecond)
	l.connected, l.since = true, now
	l.mu.Unlock()
	queued, _, _ := l.backlog()
	word := "upstream back"
	if !l.met {
		word = "upstream connected"
	}
	l.met = true
	l.log.Info(word, "after", gone, "queued", queued, "session_resumed", resumed, "window", lim.window, "qos", lim.qos)
}

// down notes why there is no connection, and says so where that is new.
func (l *Link) down(err error, retry time.Duration) {
	now := time.Now()
	text := "the gateway stops"
	if err != nil && !errors.Is(err, context.Canceled) {
		text = plain(err)
	}
	l.inFlight.Store(0)
	l.mu.Lock()
	was := l.connected
	if was {
		l.connected, l.since = false, now
	}
	// A server that refuses by an alert loses it in some attempts, and two texts
	// take turns.
	news := was || text != l.lastError && text != l.errorBefore
	switch {
	case was:
		l.errorBefore = ""
	case text != l.lastError:
		l.errorBefore = l.lastError
	}
	l.lastError = text
	l.mu.Unlock()
	if !news || retry == 0 && !was {
		return
	}
	if retry == 0 {
		l.log.Info("upstream disconnected", "why", text)
		return
	}
	queued, _, _ := l.backlog()
	l.log.Warn("upstream down", "why", text, "queued", queued)
}

func (l *Link) noteRefusal(why string) {
	l.mu.Lock()
	news := why != l.lastRefusal
	l.lastRefusal = why
	l.mu.Unlock()
	if news {
		l.log.Warn("upstream refuses messages for now: they wait", "why", why)
	}
}

// deadLetterPause is how long the log keeps silent about messages given up
// after it named one; the count goes on.
const deadLetterPause = 10 * time.Second

func (l *Link) noteDeadLetter(topic, why string) {
	l.deadLettered.Add(1)
	l.mu.Lock()
	l.lastDeadLetter = topic + ": " + why
	now := time.Now()
	news := now.Sub(l.toldDeadLetter) >= deadLetterPause
	if news {
		l.toldDeadLetter = now
	}
	l.mu.Unlock()
	if news {
		l.log.Warn("message given up", "topic", topic, "why", why, "given_up", l.deadLettered.Load())
	}
}

func (l *Link) noteUnfit(topic string, err error) {
	if l.unfit.Add(1) == 1 {
		l.log.Warn("message from upstream not taken", "topic", topic, "why", err)
	}
}

// Heard tells when the upstream was last known to be there: now, while it is
// connected. A connection that has died without a word counts as one until
// the keep alive finds out. Zero before Run.
func (l *Link) Heard() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connected {
		return time.Now()
	}
	return l.since
}

// Resumed tells when the upstream last went on with a session, and began to
// send again what it held unacknowledged; the zero time is never.
func (l *Link) Resumed() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resumed
}

// Stats returns the link's figures.
func (l *Link) Stats() Stats {
	s := Stats{
		Connects: l.connects.Load(), InFlight: int(l.inFlight.Load()), Window: int(l.window.Load()),
		Forwarded: l.forwarded.Load(), Resent: l.resent.Load(), Retried: l.retried.Load(),
		DeadLettered: l.deadLettered.Load(), Downgraded: l.downgraded.Load(),
		LiveSent: l.liveSent.Load(), LiveDropped: l.liveDropped.Load(),
		Aliases: int(l.aliases.Load()), AliasUses: l.aliasUses.Load(), AliasSaved: l.aliasSaved.Load(),
		RateLimited: l.limitedSince.Load() != 0, RateWaited: time.Duration(l.limitedFor.Load()),
		Received: l.received.Load(), Ignored: l.ignored.Load(), Looped: l.looped.Load(), Unfit: l.unfit.Load(),
	}
	s.Backlog, s.BacklogBytes, s.OldestBacklog = l.backlog()
	s.DroppedBy = map[string]uint64{}
	for _, n := range l.all() {
		s.Dropped += n.queue.Dropped()
		for why, count := range n.queue.DroppedBy() {
			s.DroppedBy[why] += count
		}
		queued, _, _ := n.queue.Backlog()
		s.Lanes = append(s.Lanes, LaneStats{Lane: n.queue.Lane(), Backlog: queued})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Connected, s.Since = l.connected, l.since
	s.LastError, s.LastDeadLetter, s.LastRefusal = l.lastError, l.lastDeadLetter, l.lastRefusal
	return s
}

// noteAliases takes over what the aliases of a connection have saved.
func (l *Link) noteAliases(a *aliases) {
	l.aliases.Store(int64(len(a.slots)))
	l.aliasUses.Add(a.used)
	l.aliasSaved.Add(a.saved)
	a.used, a.saved = 0, 0
}
