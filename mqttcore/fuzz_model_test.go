package mqttcore

import (
	"fmt"
	"slices"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// world is what must happen between clients and a broker: MQTT as one would
// explain it, without I/O, time or concurrency.
type world struct {
	now      time.Duration
	inflight int // Config.MaxInflight
	sessions map[string]*modelSession
	retained map[string]modelMessage
	batch    int
}

// modelSession is one client's session.
type modelSession struct {
	id        string
	connected bool
	version   packet.Version
	limit     int
	durable   bool // in the log: what is in flight comes again
	expiry    time.Duration
	left      time.Duration
	subs      map[string]modelSub
	inbound   map[uint16]bool
	acks      []modelAck     // that the client is owed, in this order
	fleeting  []modelMessage // QoS 0 messages that it is owed
	queue     []modelMessage // QoS 1 and 2 messages not settled, in order
}

type modelSub struct {
	packet.Filter
	id uint32
}

// modelMessage is one message for one session. Those of one batch, as retained
// messages are, may come in any order.
type modelMessage struct {
	topic, payload string
	qos            byte
	retain         bool
	ids            []uint32
	batch          int

	pid   uint16
	state modelState
	here  bool // sent, or its PUBREL was, on this connection
}

type modelState byte

const (
	unsent modelState = iota
	sentOut
	recorded // PUBREC was sent: PUBREL is what may come
)

type modelAck struct {
	typ packet.Type
	pid uint16
}

// connect tells whether the session was present.
func (w *world) connect(id string, p *packet.Connect) (present bool) {
	old := w.sessions[id]
	if old != nil && old.connected {
		w.disconnect(old)
		old = w.sessions[id]
	}
	s := old
	if s == nil || p.CleanStart {
		s = &modelSession{id: id, subs: map[string]modelSub{}, inbound: map[uint16]bool{}}
		w.sessions[id] = s
	}
	s.connected, s.version, s.limit = true, p.Version, w.inflight
	s.expiry = time.Duration(p.Properties.SessionExpiry) * time.Second
	if p.Version != packet.V5 {
		s.expiry = 0
		if !p.CleanStart {
			s.expiry = 30 * 24 * time.Hour
		}
	}
	if p.Properties.Has(packet.PropReceiveMaximum) {
		s.limit = min(s.limit, int(p.Properties.ReceiveMaximum))
	}
	present = s == old
	s.durable = present || s.expiry > 0
	s.acks, s.fleeting = nil, nil
	for i := range s.queue {
		s.queue[i].here = false
	}
	return present
}

func (w *world) disconnect(s *modelSession) {
	s.connected, s.left = false, w.now
	if s.expiry == 0 {
		delete(w.sessions, s.id)
	}
	s.fleeting = nil
}

func (w *world) pass(d time.Duration) {
	w.now += d
	for id, s := range w.sessions {
		if !s.connected && s.left+s.expiry < w.now {
			delete(w.sessions, id)
		}
	}
}

// restart ends all connections and the broker.
func (w *world) restart() {
	for _, s := range w.sessions {
		if s.connected {
			w.disconnect(s)
		}
	}
}

func (w *world) subscribe(s *modelSession, sub modelSub) {
	f := string(sub.Topic)
	_, known := s.subs[f]
	s.subs[f] = sub
	w.batch++
	if sub.RetainHandling == 2 || sub.RetainHandling == 1 && known {
		return
	}
	for name, m := range w.retained {
		if topic.Match(f, name) {
			m.qos, m.retain, m.batch = min(m.qos, sub.QoS), true, w.batch
			if m.ids = nil; sub.id != 0 {
				m.ids = []uint32{sub.id}
			}
			s.give(m)
		}
	}
}

// give owes a message to a session.
func (s *modelSession) give(m modelMessage) {
	switch {
	case m.qos > 0:
		s.queue = append(s.queue, m)
	case s.connected:
		s.fleeting = append(s.fleeting, m)
	}
}

// publish is a message from a session.
func (w *world) publish(from *modelSession, p *packet.Publish) {
	switch p.QoS {
	case 1:
		from.acks = append(from.acks, modelAck{packet.PUBACK, p.PacketID})
	case 2:
		from.acks = append(from.acks, modelAck{packet.PUBREC, p.PacketID})
		if from.inbound[p.PacketID] {
			return
		}
		from.inbound[p.PacketID] = true
	}
	w.batch++
	m := modelMessage{topic: string(p.Topic), payload: string(p.Payload), qos: p.QoS, batch: w.batch}
	if p.Retain {
		if w.retained[m.topic] = m; m.payload == "" {
			delete(w.retained, m.topic)
		}
	}
	for _, s := range w.sessions {
		c, matched, qos := m, false, byte(0)
		for f, sub := range s.subs {
			if !topic.Match(f, m.topic) || sub.NoLocal && s == from {
				continue
			}
			matched = true
			qos = max(qos, sub.QoS)
			c.retain = c.retain || p.Retain && sub.RetainAsPublished
			if sub.id != 0 && !slices.Contains(c.ids, sub.id) {
				c.ids = append(c.ids, sub.id)
			}
		}
		if matched {
			c.qos = min(m.qos, qos)
			s.give(c)
		}
	}
}

func (w *world) pubrel(s *modelSession, pid uint16) {
	delete(s.inbound, pid)
	s.acks = append(s.acks, modelAck{packet.PUBCOMP, pid})
}

// get judges a packet that the session's client got.
func (s *modelSession) get(in packet.Packet) error {
	switch p := in.(type) {
	case *packet.Publish:
		if p.QoS == 0 {
			i, err := find(s, s.fleeting, p, func(*modelMessage) bool { return true })
			if err == nil {
				s.fleeting = slices.Delete(s.fleeting, i, i+1)
			}
			return err
		}
		due := func(m *modelMessage) bool { return !m.here && m.state != recorded }
		i, err := find(s, s.queue, p, due)
		if err != nil {
			return err
		}
		// Within its batch it takes the place that is next.
		k := slices.IndexFunc(s.queue, func(m modelMessage) bool { return due(&m) })
		m := s.queue[i]
		copy(s.queue[k+1:i+1], s.queue[k:i])
		switch {
		case p.Dup != (m.state != unsent):
			return fmt.Errorf("message %q: DUP is %v", p.Payload, p.Dup)
		case m.state != unsent && m.pid != p.PacketID:
			return fmt.Errorf("message %q comes again as %d, it was %d", p.Payload, p.PacketID, m.pid)
		}
		for _, o := range s.queue {
			if o.pid == p.PacketID && o.payload != m.payload {
				return fmt.Errorf("message %q: identifier %d is in use", p.Payload, p.PacketID)
			}
		}
		m.pid, m.here, m.state = p.PacketID, true, sentOut
		s.queue[k] = m
		return nil
	case *packet.Ack:
		if p.Type == packet.PUBREL {
			for i := range s.queue {
				m := &s.queue[i]
				if m.state == recorded && m.pid == p.PacketID && !m.here {
					m.here = true
					return nil
				}
			}
			return fmt.Errorf("unexpected PUBREL %d", p.PacketID)
		}
		if len(s.acks) == 0 || s.acks[0] != (modelAck{p.Type, p.PacketID}) {
			return fmt.Errorf("got %v %d, owed %v", p.Type, p.PacketID, s.acks)
		}
		s.acks = s.acks[1:]
		return nil
	}
	return fmt.Errorf("unexpected %T %+v", in, in)
}

// find finds the message that p is: the first that is due, or one of its batch.
func find(s *modelSession, list []modelMessage, p *packet.Publish, due func(*modelMessage) bool) (int, error) {
	batch := 0
	for i := range list {
		m := &list[i]
		if !due(m) {
			continue
		}
		if batch == 0 {
			batch = m.batch
		}
		if m.batch != batch {
			break
		}
		if m.topic == string(p.Topic) && m.payload == string(p.Payload) && m.qos == p.QoS && m.retain == p.Retain && s.sameIDs(m.ids, p) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("got QoS %d message %q on %q (retain %v, identifiers %v), owed %+v", p.QoS, p.Payload, p.Topic, p.Retain,
		p.Properties.SubscriptionIDs, list)
}

func (s *modelSession) sameIDs(want []uint32, p *packet.Publish) bool {
	got := slices.Sorted(slices.Values(p.Properties.SubscriptionIDs))
	if s.version != packet.V5 {
		return len(got) == 0
	}
	return slices.Equal(got, slices.Sorted(slices.Values(want)))
}

// settled wants everything to have come that is due.
func (s *modelSession) settled() error {
	if len(s.acks) > 0 || len(s.fleeting) > 0 {
		return fmt.Errorf("owed: %+v %+v", s.acks, s.fleeting)
	}
	open := 0
	for i := range s.queue {
		if s.queue[i].here {
			open++
		} else if s.queue[i].state == recorded && open < s.limit {
			return fmt.Errorf("PUBREL %d is owed", s.queue[i].pid)
		}
	}
	if want := min(s.limit, len(s.queue)); open < want || open > s.limit {
		return fmt.Errorf("%d in flight of %d, the limit is %d: %+v", open, len(s.queue), s.limit, s.queue)
	}
	return nil
}
