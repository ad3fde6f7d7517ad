package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paholog "github.com/eclipse/paho.golang/paho/log"
	pahosession "github.com/eclipse/paho.golang/paho/session"

	"sluice/mqttcore"
)

// client5 is a connection in MQTT 5: paho's client over a session manager of
// our own.
type client5 struct {
	cfg     *Config
	paho    *paho.Client
	manager *manager
}

func newClient5(cfg *Config, c *conn, s *session, r *receiver) *client5 {
	m := &manager{session: s, receiver: r, requests: make(map[uint16]chan<- packets.ControlPacket), next: firstRequest}
	return &client5{cfg: cfg, manager: m, paho: paho.NewClient(paho.ClientConfig{
		Conn: c, Session: m, PingHandler: newPinger(c, cfg.KeepAlive), PacketTimeout: handshakeTimeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(in paho.PublishReceived) (bool, error) {
			p := in.Packet
			r.handle(inbound{p.PacketID, p.QoS, p.Retain, p.Topic, p.Payload, propertiesOf(p.Properties)})
			return true, nil
		}},
		// Both are seen as the end of the connection, with their cause.
		OnServerDisconnect: func(*paho.Disconnect) {},
		OnClientError:      func(error) {},
	})}
}

func (c *client5) connect(ctx context.Context, h hello) (welcome, error) {
	ca, err := c.paho.Connect(ctx, c.connectPacket(h))
	if err == nil {
		return welcome{ca.SessionPresent, limitsOf(c.cfg, ca)}, nil
	}
	if ca != nil && ca.ReasonCode >= 0x80 {
		said := ""
		if ca.Properties != nil {
			said = ca.Properties.ReasonString
		}
		return welcome{}, &refusal{what: refusedUs, reason: ca.ReasonCode, said: said}
	}
	return welcome{}, err
}

// connectPacket makes the CONNECT packet.
func (c *client5) connectPacket(h hello) *paho.Connect {
	p := &paho.Connect{
		ClientID:     c.cfg.ClientID,
		KeepAlive:    uint16(min(c.cfg.KeepAlive/time.Second, math.MaxUint16)),
		Username:     c.cfg.Username,
		UsernameFlag: c.cfg.Username != "",
		Password:     c.cfg.Password,
		PasswordFlag: len(c.cfg.Password) > 0,
		CleanStart:   h.purge,
		Properties: &paho.ConnectProperties{
			SessionExpiryInterval: new(uint32(c.cfg.SessionExpiry / time.Second)),
			ReceiveMaximum:        new(uint16(receiveMaximum)),
			MaximumPacketSize:     new(uint32(maxInbound)),
			RequestProblemInfo:    true,
		},
	}
	if h.purge {
		p.Properties.SessionExpiryInterval = nil
	}
	if h.will {
		p.WillMessage = &paho.WillMessage{
			Topic: c.cfg.Prefix + c.cfg.Availability, Payload: []byte(offline),
			QoS: min(1, c.cfg.QoS), Retain: true,
		}
		p.WillProperties = &paho.WillProperties{}
	}
	return p
}

func (c *client5) subscribe(ctx context.Context, filters []string, qos byte) ([]byte, error) {
	req := &paho.Subscribe{}
	for _, f := range filters {
		req.Subscriptions = append(req.Subscriptions, paho.SubscribeOptions{
			Topic: f, QoS: qos, NoLocal: true, RetainAsPublished: true,
			RetainHandling: 1, // retained messages only where the subscription is new
		})
	}
	ack, err := c.paho.Subscribe(ctx, req)
	if ack != nil {
		return ack.Reasons, nil // a refusal is no error here
	}
	return nil, err
}

func (c *client5) publish(ctx context.Context, topic, payload string, qos byte, retain bool) (byte, error) {
	res, err := c.paho.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
	if res != nil && res.ReasonCode >= 0x80 {
		return res.ReasonCode, nil
	}
	return 0, err
}

func (c *client5) acknowledge(id uint16, qos, reason byte) error {
	if qos == 2 {
		return c.manager.write(&packets.Pubrec{PacketID: id, ReasonCode: reason, Properties: &packets.Properties{}})
	}
	return c.manager.write(&packets.Puback{PacketID: id, ReasonCode: reason, Properties: &packets.Properties{}})
}

func (c *client5) complete(id uint16, known bool) error {
	p := &packets.Pubcomp{PacketID: id, Properties: &packets.Properties{}}
	if !known {
		p.ReasonCode = 0x92 // packet identifier not found: no harm, the exchange is over
	}
	return c.manager.write(p)
}

// leave lets the server publish the will, so that "offline" is right at once.
func (c *client5) leave(f farewell) {
	d := &paho.Disconnect{}
	if f.offline {
		d.ReasonCode = reasonDisconnectForWill
	}
	_ = c.paho.Disconnect(d) // it closes the connection in any case
}

func (c *client5) done() <-chan struct{} { return c.paho.Done() }

// propertiesOf translates the properties that travel with a message.
func propertiesOf(p *paho.PublishProperties) mqttcore.Properties {
	if p == nil {
		return mqttcore.Properties{}
	}
	out := mqttcore.Properties{
		UTF8:          p.PayloadFormat != nil && *p.PayloadFormat == 1,
		ContentType:   p.ContentType,
		ResponseTopic: p.ResponseTopic,
		Correlation:   p.CorrelationData,
	}
	if p.MessageExpiry != nil {
		out.Expiry, out.HasExpiry = *p.MessageExpiry, true
	}
	for _, u := range p.User {
		out.User = append(out.User, mqttcore.UserProperty{Key: u.Key, Value: u.Value})
	}
	return out
}

// manager is the session of one connection as paho asks for it.
type manager struct {
	session  *session
	receiver *receiver

	mu       sync.Mutex
	conn     io.Writer // nil before CONNACK and after the loss
	requests map[uint16]chan<- packets.ControlPacket
	next     uint16
}

var _ pahosession.SessionManager = (*manager)(nil)

// ConAckReceived implements SessionManager.
func (m *manager) ConAckReceived(w io.Writer, _ *packets.Connect, _ *packets.Connack) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = w
	return nil
}

// ConnectionLost implements SessionManager. It is called more than once.
func (m *manager) ConnectionLost(d *packets.Disconnect) error {
	var said *refusal
	if d != nil {
		said = &refusal{what: "the upstream disconnected us", reason: d.ReasonCode, said: reasonString(d.Properties)}
	}
	m.session.end(said)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = nil
	for id, resp := range m.requests {
		resp <- packets.ControlPacket{} // paho's word for "lost"; it has room for one
		delete(m.requests, id)
	}
	return nil
}

// AddToSession implements SessionManager for the requests that go through
// paho: SUBSCRIBE and the birth message. What the log holds does not come
// this way.
func (m *manager) AddToSession(_ context.Context, p pahosession.Packet, resp chan<- packets.ControlPacket) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil {
		return pahosession.ErrNoConnection
	}
	for range 65535 - firstRequest + 1 {
		id := m.next
		m.next = nextRequest(m.next)
		if _, busy := m.requests[id]; !busy {
			m.requests[id] = resp
			p.SetIdentifier(id)
			return nil
		}
	}
	return pahosession.ErrPacketIdentifiersExhausted
}

// PacketReceived implements SessionManager. It runs on paho's reader.
func (m *manager) PacketReceived(cp *packets.ControlPacket, pubs chan<- *packets.Publish) error {
	switch p := cp.Content.(type) {
	case *packets.Puback:
		return m.answered(cp, answer{packets.PUBACK, p.PacketID, p.ReasonCode, reasonString(p.Properties)})
	case *packets.Pubrec:
		return m.answered(cp, answer{packets.PUBREC, p.PacketID, p.ReasonCode, reasonString(p.Properties)})
	case *packets.Pubcomp:
		return m.answered(cp, answer{packets.PUBCOMP, p.PacketID, p.ReasonCode, reasonString(p.Properties)})
	case *packets.Suback, *packets.Unsuback:
		return m.answered(cp, answer{})
	case *packets.Publish:
		if p.PacketID == 0 {
			return errors.New("the upstream sent a PUBLISH with packet identifier 0")
		}
		select {
		case pubs <- p:
		case <-m.session.lost:
		}
	case *packets.Pubrel:
		return m.receiver.released(p.PacketID)
	}
	return nil
}

func reasonString(p *packets.Properties) string {
	if p == nil {
		return ""
	}
	return p.ReasonString
}

// answered gives an answer to the request that waits for it, or else to the
// forwarder.
func (m *manager) answered(cp *packets.ControlPacket, a answer) error {
	m.mu.Lock()
	resp, ours := m.requests[cp.PacketID()]
	delete(m.requests, cp.PacketID())
	m.mu.Unlock()
	if ours {
		resp <- *cp
		return nil
	}
	if a.kind == 0 {
		return fmt.Errorf("the upstream answered a request %d that was not made", cp.PacketID())
	}
	m.session.tell(a)
	return nil
}

// Ack implements SessionManager. paho calls it when a handler has returned,
// which is too early: the receiver acknowledges when the message is durable.
func (m *manager) Ack(*packets.Publish) error { return nil }

func (m *manager) write(p packets.Packet) error {
	m.mu.Lock()
	w := m.conn
	m.mu.Unlock()
	if w == nil {
		return pahosession.ErrNoConnection
	}
	_, err := p.WriteTo(w)
	return err
}

// Close implements SessionManager.
func (m *manager) Close() error { return nil }

// SetErrorLogger implements SessionManager; there is nothing to tell.
func (m *manager) SetErrorLogger(paholog.Logger) {}

// SetDebugLogger implements SessionManager; there is nothing to tell.
func (m *manager) SetDebugLogger(paholog.Logger) {}
