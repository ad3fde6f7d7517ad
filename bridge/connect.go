package bridge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"sluice/mqttcore"
)

// subscribeBatch is how many filters go into one SUBSCRIBE: AWS IoT Core
// takes eight.
const subscribeBatch = 8

// refusal is a CONNACK or DISCONNECT with a reason.
type refusal struct {
	what   string
	reason byte
	said   string
}

func (r *refusal) Error() string { return r.what + ": " + reasonText(r.reason, r.said) }

// connect makes one connection, uses it until it ends, and tells how that
// went. The error says why it ended.
func (l *Link) connect(ctx context.Context, queue *mqttcore.Consumer) (outcome, error) {
	raw, err := l.dial(ctx)
	if err != nil {
		if errors.Is(err, errUnreached) {
			return unreached, err
		}
		return rejected, err
	}
	c := newConn(raw)
	defer c.Close()
	s := newSession(l.inbox, l.cfg.Window)
	r := newReceiver(l, s, c)
	defer r.cancel()
	pinger := newPinger(c, l.cfg.KeepAlive)
	client := paho.NewClient(paho.ClientConfig{
		Conn: c, Session: s, PingHandler: pinger, PacketTimeout: handshakeTimeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){r.handle},
		// Both are seen as the end of the connection, with their cause.
		OnServerDisconnect: func(*paho.Disconnect) {},
		OnClientError:      func(error) {},
	})
	ca, err := client.Connect(ctx, l.connectPacket())
	if err != nil {
		return l.refused(ca, err, c)
	}
	began := time.Now()
	lim, resumed := limitsOf(&l.cfg, ca), ca.SessionPresent
	if l.purge || resumed && l.isNew(queue) {
		return l.discard(client)
	}
	if !resumed {
		l.inbox.clear()
		l.forgotten = queue.Released()
		clear(l.renewed)
	}
	var tasks sync.WaitGroup
	tasks.Go(r.run)
	f, err := l.use(ctx, client, c, s, queue, lim, resumed)
	if err == nil {
		l.bid(client)
	}
	c.Close()
	r.cancel()
	<-client.Done()
	tasks.Wait()
	r.settle(ctx)
	return l.judgeEnd(f, s, began, err)
}

// isNew tells whether nothing of the queue was ever sent. A session that the
// upstream still has is then of an earlier life, and would take our packet
// identifiers for its own.
func (l *Link) isNew(queue *mqttcore.Consumer) bool {
	return !l.met && !l.purged && l.untried && queue.Base() == 0 && queue.Released() == 0
}

// discard removes the upstream's session by a connection with Clean Start and
// no expiry. The one that then stays is made without Clean Start, as mosquitto
// keeps only such over its own restart.
func (l *Link) discard(client *paho.Client) (outcome, error) {
	l.purge, l.purged = !l.purge, l.purge
	if l.purge {
		l.log.Info("upstream has a session of an earlier life: it is discarded")
	}
	_ = client.Disconnect(&paho.Disconnect{}) // it closes the connection in any case
	return unreached, errDiscarded
}

// errDiscarded ends the connections that only discard a session.
var errDiscarded = errors.New("a session of an earlier life is discarded")

// refused words why there was no CONNACK, or one that says no.
func (l *Link) refused(ca *paho.Connack, err error, c *conn) (outcome, error) {
	if ca != nil && ca.ReasonCode >= 0x80 {
		if ca.ReasonCode == reasonQoS || ca.ReasonCode == reasonRetain {
			l.noWill = true // the will asks for what this server cannot do
		}
		said := ""
		if ca.Properties != nil {
			said = ca.Properties.ReasonString
		}
		how := rejected
		if asksForPatience(ca.ReasonCode) {
			how = throttled
		}
		return how, &refusal{"connection refused", ca.ReasonCode, said}
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
	return rejected, fmt.Errorf("before CONNACK: %w", err)
}

// use subscribes, says that we are here and forwards until the connection is
// lost, which is an error, or ctx ends.
func (l *Link) use(ctx context.Context, client *paho.Client, c *conn, s *session, queue *mqttcore.Consumer,
	lim limits, resumed bool) (*forwarder, error) {
	if err := l.subscribe(ctx, client); err != nil {
		return nil, lossOf(s, c, err)
	}
	if err := l.announce(ctx, client, lim); err != nil {
		return nil, lossOf(s, c, err)
	}
	live, cancel := l.subscribeLive()
	defer cancel()
	f := newForwarder(l, queue, s, c, lim, resumed)
	f.live = live
	l.up(resumed, lim)
	if err := f.run(ctx); err != nil {
		return f, lossOf(s, c, err)
	}
	return f, nil
}

// lossOf says why the connection ended, where it has, and else err.
func lossOf(s *session, c *conn, err error) error {
	if d := s.goodbye(); d != nil {
		return &refusal{"the upstream disconnected us", d.ReasonCode, reasonString(d.Properties)}
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
		progress = f.progress
		if seq := l.suspect.lost(f.ending(err)); seq != 0 {
			f.giveUp(seq, f.w.at(seq).topic, fmt.Sprintf("the upstream ended each connection on which it was sent: %s", plain(err)))
		}
	}
	switch d := s.goodbye(); {
	case d != nil && asksForPatience(d.ReasonCode):
		return throttled, err
	case time.Since(began) >= stableAfter:
		return stable, err
	case progress:
		return productive, err
	}
	return rejected, err
}

// connectPacket makes the CONNECT packet.
func (l *Link) connectPacket() *paho.Connect {
	p := &paho.Connect{
		ClientID:     l.cfg.ClientID,
		KeepAlive:    uint16(min(l.cfg.KeepAlive/time.Second, math.MaxUint16)),
		Username:     l.cfg.Username,
		UsernameFlag: l.cfg.Username != "",
		Password:     l.cfg.Password,
		PasswordFlag: len(l.cfg.Password) > 0,
		CleanStart:   l.purge,
		Properties: &paho.ConnectProperties{
			SessionExpiryInterval: new(uint32(l.cfg.SessionExpiry / time.Second)),
			ReceiveMaximum:        new(uint16(receiveMaximum)),
			MaximumPacketSize:     new(uint32(maxInbound)),
			RequestProblemInfo:    true,
		},
	}
	if l.purge {
		p.Properties.SessionExpiryInterval = nil
	}
	if l.cfg.Availability != "" && !l.noWill && !l.purge {
		p.WillMessage = &paho.WillMessage{
			Topic: l.cfg.Prefix + l.cfg.Availability, Payload: []byte("offline"),
			QoS: min(1, l.cfg.QoS), Retain: true,
		}
		p.WillProperties = &paho.WillProperties{}
	}
	return p
}

// announce publishes the birth message and waits for its acknowledgement.
func (l *Link) announce(ctx context.Context, client *paho.Client, lim limits) error {
	if l.cfg.Availability == "" {
		return nil
	}
	res, err := client.Publish(ctx, &paho.Publish{
		Topic: l.cfg.Prefix + l.cfg.Availability, Payload: []byte("online"),
		QoS: lim.birth, Retain: lim.retain,
	})
	if res != nil && res.ReasonCode >= 0x80 {
		l.log.Warn("birth message refused by the upstream", "topic", l.cfg.Prefix+l.cfg.Availability,
			"why", reasonText(res.ReasonCode, ""))
		return nil
	}
	if err != nil {
		return fmt.Errorf("birth message: %w", err)
	}
	return nil
}

// subscribe asks for what comes down. A filter that the upstream refuses is
// logged; the others work on.
func (l *Link) subscribe(ctx context.Context, client *paho.Client) error {
	for from := 0; from < len(l.cfg.In); from += subscribeBatch {
		batch := l.cfg.In[from:min(from+subscribeBatch, len(l.cfg.In))]
		req := &paho.Subscribe{}
		for _, f := range batch {
			req.Subscriptions = append(req.Subscriptions, paho.SubscribeOptions{
				Topic: l.cfg.Prefix + f, QoS: l.cfg.QoS, NoLocal: true, RetainAsPublished: true,
				RetainHandling: 1, // retained messages only where the subscription is new
			})
		}
		ack, err := client.Subscribe(ctx, req)
		switch {
		case errors.Is(err, paho.ErrInvalidArguments):
			l.log.Warn("upstream cannot subscribe", "filters", strings.Join(batch, " "), "why", err)
			continue
		case ack == nil || len(ack.Reasons) != len(batch):
			return fmt.Errorf("subscribe: %w", err)
		}
		for i, reason := range ack.Reasons {
			if reason >= 0x80 {
				l.log.Warn("subscription refused by the upstream", "filter", l.cfg.Prefix+batch[i],
					"why", reasonText(reason, ""))
			}
		}
	}
	return nil
}

// bid says goodbye in an orderly stop. The server publishes our will then,
// where there is one, so that "offline" is right at once.
func (l *Link) bid(client *paho.Client) {
	d := &paho.Disconnect{}
	if l.cfg.Availability != "" && !l.noWill {
		d.ReasonCode = reasonDisconnectForWill
	}
	_ = client.Disconnect(d) // it closes the connection in any case
}
