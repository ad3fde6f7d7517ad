package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"sluice/mqttcore/packet"
)

// subscribeBatch is how many filters go into one SUBSCRIBE: AWS IoT Core
// takes eight.
const subscribeBatch = 8

// refusedUs is what a CONNACK that says no is.
const refusedUs = "connection refused"

// refusal is a CONNACK or DISCONNECT with a reason.
type refusal struct {
	what   string
	reason byte
	said   string
	code   byte // the return code of MQTT 3.1.1, 0 in 5
}

func (r *refusal) Error() string {
	if r.code != 0 {
		return r.what + ": " + returnCodeText(r.code)
	}
	text := r.what + ": " + reasonText(r.reason, r.said)
	if r.what == refusedUs && r.reason == reasonNotAuthorized {
		text += ": user name, password, certificate or client_id"
	}
	return text
}

// connect makes one connection, uses it until it ends, and tells how that
// went. The error says why it ended.
func (l *Link) connect(ctx context.Context) (outcome, error) {
	raw, err := l.dial(ctx)
	if err != nil {
		if errors.Is(err, errUnreached) {
			return unreached, err
		}
		return rejected, err
	}
	l.backoff.connecting(time.Now())
	c := newConn(raw)
	defer c.Close()
	s := newSession(l.cfg.Window)
	r := newReceiver(l, c)
	defer r.cancel()
	client := l.newClient(c, s, r)
	r.client = client
	will := l.cfg.Availability != "" && !l.noWill && !l.purge
	w, err := client.connect(ctx, hello{purge: l.purge, will: will})
	if err != nil {
		return l.refused(err, c)
	}
	began := time.Now()
	if l.purge || w.resumed && l.isStrange() {
		return l.discard(client)
	}
	if !w.resumed {
		l.acquaint(ctx)
		for _, n := range l.all() {
			n.forget()
		}
	} else {
		l.mu.Lock()
		l.resumed = began
		l.mu.Unlock()
	}
	close(r.open)
	var tasks sync.WaitGroup
	tasks.Go(r.run)
	f, err := l.use(ctx, client, c, s, w)
	if err == nil {
		client.leave(farewell{offline: will, lim: w.lim})
	}
	c.Close()
	r.cancel()
	<-client.done()
	tasks.Wait()
	r.settle(ctx)
	return l.judgeEnd(f, s, began, err)
}

// isStrange tells whether a session that the upstream still has is not the one
// that our queues know: it is of an earlier life, or another upstream's, and
// would take our packet identifiers for its own.
func (l *Link) isStrange() bool {
	if l.met || l.purged {
		return false
	}
	lanes := l.all()
	if note := lanes[0].queue.Note(); note != "" {
		return note != l.acquaintance()
	}
	return !slices.ContainsFunc(lanes, func(n *lane) bool { return !n.isNew() })
}

// acquaintance names the session that we have upstream.
func (l *Link) acquaintance() string {
	e, err := parseURL(l.cfg.URL)
	if err != nil {
		return ""
	}
	return l.cfg.ClientID + " at " + e.host
}

// acquaint notes, on disk, that the upstream has a new session: what it knew of
// the one before is forgotten on both sides. A disk that takes nothing is no
// reason to send nothing: what goes up makes room.
func (l *Link) acquaint(ctx context.Context) {
	queue := l.all()[0].queue // the note is of all lanes
	disk := make(chan error, 2)
	told := func(err error) { disk <- err }
	l.inbox.Clear(told)
	if name := l.acquaintance(); queue.Note() != name {
		queue.SetNote(name, told)
	} else {
		told(nil)
	}
	for range 2 {
		select {
		case err := <-disk:
			if err != nil {
				l.log.Warn("upstream's new session could not be noted", "why", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// discard removes the upstream's session by a connection with Clean Start and
// no expiry. The one that then stays is made without Clean Start, as mosquitto
// keeps only such over its own restart.
func (l *Link) discard(client client) (outcome, error) {
	l.purge, l.purged = !l.purge, l.purge
	if l.purge {
		l.log.Info("upstream has a session of an earlier life: it is discarded")
	}
	client.leave(farewell{})
	<-client.done()
	return unreached, errDiscarded
}

// errDiscarded ends the connections that only discard a session.
var errDiscarded = errors.New("a session of an earlier life is discarded")

// refused words why there was no CONNACK, or one that says no.
func (l *Link) refused(err error, c *conn) (outcome, error) {
	if no, ok := errors.AsType[*refusal](err); ok {
		if no.reason == reasonQoS || no.reason == reasonRetain {
			l.noWill = true // the will asks for what this server cannot do
		}
		if asksForPatience(no.reason) {
			return throttled, no
		}
		return rejected, no
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return rejected, fmt.Errorf("no CONNACK within %v", handshakeTimeout)
	}
	select {
	case <-c.over:
		if cause := c.cause(); !errors.Is(cause, net.ErrClosed) {
			err = cause
		}
	default:
	}
	e, bad := parseURL(l.cfg.URL)
	if bad == nil && e.tls() {
		// In TLS 1.3 a refused certificate shows only now.
		if worded := l.cfg.TLS.word(err, e, l.cfg.now()); worded != err {
			return rejected, worded
		}
	}
	if closedByPeer(err) {
		return rejected, errors.New("the upstream closed the connection on our CONNECT" + l.suspicions(e))
	}
	return rejected, fmt.Errorf("before CONNACK: %w", err)
}

// suspicions says what may be wrong where a server gives no reason.
func (l *Link) suspicions(e endpoint) string {
	var all []string
	switch {
	case !e.tls():
		all = append(all, fmt.Sprintf("if it wants TLS, use %ss://", e.scheme))
	case l.cfg.TLS.Cert != "": // an alert may be lost with the connection
		all = append(all, "perhaps it refuses our certificate in "+l.cfg.TLS.Cert)
	default:
		all = append(all, "if it demands a certificate, give it in cert and key")
	}
	if l.cfg.version() == packet.V5 {
		all = append(all, "if it speaks MQTT 3.1.1 only, set version = 3")
	}
	return ": " + strings.Join(all, "; ")
}

// use subscribes, says that we are here and forwards until the connection is
// lost, which is an error, or ctx ends.
func (l *Link) use(ctx context.Context, client client, c *conn, s *session, w welcome) (*forwarder, error) {
	l.noteGranted(&w.lim)
	if err := l.subscribe(ctx, client, &w.lim); err != nil {
		return nil, lossOf(s, c, err)
	}
	full, err := l.announce(ctx, client, w.lim)
	if err != nil {
		return nil, lossOf(s, c, err)
	}
	l.crammed = w.resumed && full
	if err := l.split(ctx, &w.lim); err != nil {
		return nil, lossOf(s, c, err)
	}
	live, cancel := l.subscribeLive()
	defer cancel()
	f := newForwarder(l, s, c, w.lim, w.resumed)
	f.live = live
	l.up(w.resumed, w.lim)
	if err := f.run(ctx); err != nil {
		return f, lossOf(s, c, err)
	}
	return f, nil
}

// lossOf says why the connection ended, where it has, and else err.
func lossOf(s *session, c *conn, err error) error {
	if d := s.goodbye(); d != nil {
		return d
	}
	select {
	case <-c.over:
		if cause := c.cause(); !errors.Is(cause, net.ErrClosed) {
			return cause
		}
	default:
	}
	return err
}

// judgeEnd tells how a connection went that began with a session.
func (l *Link) judgeEnd(f *forwarder, s *session, began time.Time, err error) (outcome, error) {
	progress := false
	if f != nil {
		progress = f.progress()
		if l.jammed(progress) {
			l.purge = true
			l.log.Warn("the upstream's session is full of messages that are not ours: it is discarded, and messages may arrive twice")
		} else {
			f.blame(err)
		}
	}
	switch d := s.goodbye(); {
	case d != nil && asksForPatience(d.reason):
		return throttled, err
	case time.Since(began) >= stableAfter:
		return stable, err
	case progress:
		return productive, err
	}
	return rejected, err
}

// announce publishes the birth message and waits for its acknowledgement. full
// tells that there was no room for it.
func (l *Link) announce(ctx context.Context, client client, lim limits) (full bool, err error) {
	if l.cfg.Availability == "" {
		return false, nil
	}
	topic := l.cfg.Prefix + l.cfg.Availability
	reason, err := client.publish(ctx, topic, online, lim.birth, lim.retain)
	if err != nil {
		return false, fmt.Errorf("birth message: %w", err)
	}
	if reason >= 0x80 {
		l.log.Warn("birth message refused by the upstream", "topic", topic, "why", reasonText(reason, ""))
	}
	return reason == reasonQuota, nil
}

// subscriptions are the filters that the server takes.
func (l *Link) subscriptions(lim *limits) []string {
	if !lim.noWildcards {
		return l.cfg.In
	}
	var plain, wild []string
	for _, f := range l.cfg.In {
		if strings.ContainsAny(f, "+#") {
			wild = append(wild, f)
		} else {
			plain = append(plain, f)
		}
	}
	if len(wild) > 0 && !l.toldWildcards {
		l.toldWildcards = true
		l.log.Warn("the upstream takes no wildcards in subscriptions: name each topic in \"in\"", "without", strings.Join(wild, " "))
	}
	return plain
}

// subscribe asks for what comes down. A filter that the upstream refuses is
// logged; the others work on.
func (l *Link) subscribe(ctx context.Context, client client, lim *limits) error {
	for batch := range slices.Chunk(l.subscriptions(lim), subscribeBatch) {
		var filters []string
		for _, f := range batch {
			filters = append(filters, l.cfg.Prefix+f)
		}
		reasons, err := client.subscribe(ctx, filters, l.cfg.QoS)
		switch {
		case errors.Is(err, paho.ErrInvalidArguments):
			l.log.Warn("upstream cannot subscribe", "filters", strings.Join(filters, " "), "why", err)
			continue
		case err != nil:
			return fmt.Errorf("subscribe: %w", err)
		case len(reasons) != len(filters):
			return fmt.Errorf("subscribe: the upstream gave %d answers to %d filters", len(reasons), len(filters))
		}
		for i, reason := range reasons {
			if reason >= 0x80 {
				l.log.Warn("subscription refused by the upstream", "filter", filters[i], "why", reasonText(reason, ""))
			}
		}
	}
	return nil
}
