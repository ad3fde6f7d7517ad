package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/mqttcore/packet"
)

// client3 is a connection in MQTT 3.1.1, on the broker's own codec. There are
// no reason codes: a server that does not like what it gets closes the
// connection, and nothing tells how much it takes at once.
type client3 struct {
	cfg      *Config
	conn     *conn
	session  *session
	receiver *receiver
	ended    chan struct{}

	// For the verdict that the server is silent: heard is set by each packet
	// that came, listening while the reader waits for the next. A reader that
	// is held up by our own disk is no silent server.
	heard, listening atomic.Bool

	mu       sync.Mutex
	requests map[uint16]chan []packet.Reason // SUBSCRIBE, and PUBLISH beside the log
	next     uint16
}

func newClient3(cfg *Config, c *conn, s *session, r *receiver) *client3 {
	return &client3{
		cfg: cfg, conn: c, session: s, receiver: r, ended: make(chan struct{}),
		requests: make(map[uint16]chan []packet.Reason), next: firstRequest,
	}
}

func (c *client3) connect(ctx context.Context, h hello) (welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	if err := c.write(c.connectPacket(h)); err != nil {
		return welcome{}, errors.Join(ctx.Err(), err)
	}
	head, body, err := c.read()
	if err != nil {
		return welcome{}, errors.Join(ctx.Err(), err)
	}
	if head.Type != packet.CONNACK {
		return welcome{}, fmt.Errorf("the upstream answered CONNECT with %v", head.Type)
	}
	var ca packet.Connack
	if err := ca.Decode(packet.V311, head, body); err != nil {
		return welcome{}, fmt.Errorf("the upstream sent a wrong CONNACK: %w", err)
	}
	if ca.Reason != packet.Success {
		return welcome{}, &refusal{what: refusedUs, reason: byte(ca.Reason), code: ca.Reason.V3ConnackCode()}
	}
	if !stop() {
		return welcome{}, ctx.Err() // it is being closed
	}
	var running sync.WaitGroup
	over := make(chan struct{})
	running.Go(func() {
		defer close(over)
		c.listen()
	})
	running.Go(func() { c.ping(over) })
	go func() {
		running.Wait()
		close(c.ended)
	}()
	return welcome{ca.SessionPresent, limitsOf3(c.cfg)}, nil
}

// connectPacket makes the CONNECT packet.
func (c *client3) connectPacket(h hello) packet.Packet {
	p := &packet.Connect{
		Version: packet.V311, CleanStart: h.purge, ClientID: c.cfg.ClientID,
		KeepAlive: uint16(c.cfg.KeepAlive / time.Second),
		Username:  c.cfg.Username, HasUsername: c.cfg.Username != "",
		Password: c.cfg.Password, HasPassword: len(c.cfg.Password) > 0,
	}
	if h.will {
		p.Will = &packet.Will{
			Topic: c.cfg.Prefix + c.cfg.Availability, Payload: []byte(offline), QoS: min(1, c.cfg.QoS), Retain: true,
		}
	}
	return p
}

func (c *client3) subscribe(ctx context.Context, filters []string, qos byte) ([]byte, error) {
	reasons, err := c.ask(ctx, func(id uint16) packet.Packet {
		p := &packet.Subscribe{PacketID: id}
		for _, f := range filters {
			p.Filters = append(p.Filters, packet.Filter{Topic: []byte(f), QoS: qos})
		}
		return p
	})
	all := make([]byte, 0, len(reasons))
	for _, r := range reasons {
		all = append(all, byte(r))
	}
	return all, err
}

func (c *client3) publish(ctx context.Context, topic, payload string, qos byte, retain bool) (byte, error) {
	p := &packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, Retain: retain}
	if qos == 0 {
		return 0, c.write(p)
	}
	_, err := c.ask(ctx, func(id uint16) packet.Packet {
		p.PacketID = id
		return p
	})
	return 0, err
}

func (c *client3) acknowledge(id uint16, qos, _ byte) error {
	a := &packet.Ack{Type: packet.PUBACK, PacketID: id}
	if qos == 2 {
		a.Type = packet.PUBREC
	}
	return c.write(a)
}

func (c *client3) complete(id uint16, _ bool) error {
	return c.write(&packet.Ack{Type: packet.PUBCOMP, PacketID: id})
}

// leave publishes what the will would say: DISCONNECT takes it away.
func (c *client3) leave(f farewell) {
	if f.offline {
		ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
		defer cancel()
		_, _ = c.publish(ctx, c.cfg.Prefix+c.cfg.Availability, offline, f.lim.birth, f.lim.retain)
	}
	_ = c.write(&packet.Disconnect{})
	c.conn.Close()
}

func (c *client3) done() <-chan struct{} { return c.ended }

func (c *client3) write(p packet.Packet) error {
	c.conn.Lock()
	_, _ = c.conn.Write(p.Append(nil, packet.V311))
	c.conn.Unlock()
	select {
	case <-c.conn.over:
		return c.conn.cause()
	default:
		return nil
	}
}

// ask sends a request and waits for its answer.
func (c *client3) ask(ctx context.Context, request func(id uint16) packet.Packet) ([]packet.Reason, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	resp := make(chan []packet.Reason, 1)
	c.mu.Lock()
	id := c.next
	c.next = nextRequest(c.next)
	c.requests[id] = resp // one at a time, so none is overwritten
	c.mu.Unlock()
	if err := c.write(request(id)); err != nil {
		return nil, err
	}
	select {
	case reasons := <-resp:
		return reasons, nil
	case <-c.session.lost:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answered gives an answer to the request that waits for it.
func (c *client3) answered(id uint16, reasons []packet.Reason) (ours bool) {
	c.mu.Lock()
	resp, ours := c.requests[id]
	delete(c.requests, id)
	c.mu.Unlock()
	if ours {
		resp <- reasons
	}
	return ours
}

// read waits for the next packet.
func (c *client3) read() (packet.Header, []byte, error) {
	raw, err := c.conn.next()
	if err != nil {
		return packet.Header{}, nil, err
	}
	head, n, err := packet.ParseHeader(raw)
	if err != nil {
		return packet.Header{}, nil, fmt.Errorf("the upstream does not speak MQTT: %w", err)
	}
	return head, raw[n:], nil
}

// listen takes what comes until the connection is over.
func (c *client3) listen() {
	defer c.session.end(nil)
	for {
		c.listening.Store(true)
		head, body, err := c.read()
		c.listening.Store(false)
		c.heard.Store(true)
		if err == nil {
			err = c.take(head, body)
		}
		if err != nil {
			c.conn.fail(err)
			return
		}
	}
}

func (c *client3) take(head packet.Header, body []byte) error {
	switch head.Type {
	case packet.PUBLISH:
		var p packet.Publish
		if err := p.Decode(packet.V311, head, body); err != nil {
			return fmt.Errorf("the upstream sent a wrong PUBLISH: %w", err)
		}
		c.receiver.handle(inbound{id: p.PacketID, qos: p.QoS, retain: p.Retain, topic: string(p.Topic), payload: p.Payload})
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		var a packet.Ack
		if err := a.Decode(packet.V311, head, body); err != nil {
			return fmt.Errorf("the upstream sent a wrong %v: %w", head.Type, err)
		}
		if head.Type == packet.PUBREL {
			return c.receiver.released(a.PacketID)
		}
		if !c.answered(a.PacketID, nil) {
			c.session.tell(answer{kind: byte(head.Type), id: a.PacketID})
		}
	case packet.SUBACK:
		var s packet.Suback
		if err := s.Decode(packet.V311, head, body); err != nil {
			return fmt.Errorf("the upstream sent a wrong SUBACK: %w", err)
		}
		if !c.answered(s.PacketID, slices.Clone(s.Reasons)) {
			return fmt.Errorf("the upstream answered a request %d that was not made", s.PacketID)
		}
	case packet.PINGRESP:
	default:
		return fmt.Errorf("the upstream sent %v, which no server of MQTT 3.1.1 does", head.Type)
	}
	return nil
}

// ping keeps the connection alive and ends it where nothing comes any more: a
// dead server is noticed within one and a half of the keep alive.
func (c *client3) ping(over <-chan struct{}) {
	tick := time.NewTicker(c.cfg.KeepAlive * 3 / 4)
	defer tick.Stop()
	asked := false
	for {
		select {
		case <-tick.C:
		case <-over:
			return
		}
		if heard := c.heard.Swap(false); asked && !heard && c.listening.Load() {
			c.conn.fail(fmt.Errorf("the upstream is silent: nothing came within %v of a ping", c.cfg.KeepAlive*3/4))
			return
		}
		asked = true
		_ = c.write(&packet.Ping{Type: packet.PINGREQ}) // an error shows as the end of the connection
	}
}
