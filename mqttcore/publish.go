package mqttcore

import (
	"cmp"
	"context"
	"slices"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// publication is one message on its way through the broker. Its slices belong
// to whoever publishes it.
type publication struct {
	topic, payload []byte
	props          []byte // properties that travel, without expiry, as on the wire
	qos            byte
	retain         bool
	hasExpiry      bool
	expiry         uint32 // seconds
	live           bool   // see Message.Live
	held           *kept  // the copy that is in memory already
	from           *session
	pid            uint16 // QoS 2 from a durable session or with inbox: to be remembered
	inbox          store.SID
	origin         string // see Message.Origin
}

// router carries messages to those that match. One goroutine uses it at a
// time; it comes from a pool and holds what a publish needs, so that a QoS 0
// message allocates nothing.
type router struct {
	b       *Broker
	collect func(*member, grant)

	// Of the reader: what it decodes. Here they cost no stack, which every
	// connection would keep.
	pub         packet.Publish
	ack         packet.Ack
	connect     packet.Connect
	subscribe   packet.Subscribe
	suback      packet.Suback
	unsubscribe packet.Unsubscribe
	disconnect  packet.Disconnect

	current publication
	name    []byte
	props   []byte
	topic   []byte // of the message under way
	matches []match
	many    int // matches of members that may have several
	picked  []match
	ids     []uint32 // merged subscription identifiers
	idOne   [1]uint32
	routes  []store.Route
	message *Message // for in-process subscribers: made once per message
	kept    *kept    // for queues in memory: made once per message
	noLocal *session // whose own messages it must not get
	asked   *rights  // who was asked last whether current may be read
	allowed bool     // what they said

	frame  [4][]byte // QoS 0 packets, one per version and RETAIN: encoded once
	single []byte    // with subscription identifiers: for one subscriber

	dirty []*conn // have bytes that nobody promised to flush
	tally tally

	copies []store.Route // of r.routes, see deliverShared
}

// match is one subscriber of a message.
type match struct {
	m      *member
	qos    byte
	asSent bool // keep the RETAIN flag
	id     uint32
	ids    []uint32 // more than one identifier
}

// tally counts for one batch; added to the shared counters once.
type tally struct {
	published, packets, sent, out, dropped, tooLarge uint64
	bytesIn, bytesOut                                uint64 // of payload
}

// fate is what became of a delivery.
type fate uint8

const (
	sent fate = iota
	waiting
	dropped
	tooLarge
)

func (b *Broker) takeRouter() *router { return b.routers.Get().(*router) }

func (b *Broker) newRouter() *router {
	r := &router{b: b}
	r.collect = r.take
	return r
}

// giveRouter flushes what is left and gives the router back.
func (b *Broker) giveRouter(r *router) {
	r.flush()
	t := &r.tally
	b.count.publishReceived.add(t.published)
	b.count.messagesReceived.add(t.packets)
	b.count.payloadReceived.add(t.bytesIn)
	b.count.payloadSent.add(t.bytesOut)
	b.count.publishSent.add(t.sent)
	b.count.messagesSent.add(t.sent + t.out)
	b.count.dropped.add(t.dropped)
	b.count.tooLarge.add(t.tooLarge)
	*t = tally{}
	r.pub.Topic, r.pub.Payload, r.pub.RawProps = nil, nil, nil
	r.pub.Properties.Reset()
	r.connect = packet.Connect{}
	r.current = publication{}
	r.topic, r.asked = nil, nil
	r.message, r.kept = nil, nil
	if cap(r.props) > readSize {
		r.props = nil
	}
	for i := range r.frame {
		if cap(r.frame[i]) > readSize {
			r.frame[i] = nil
		}
	}
	b.routers.Put(r)
}

// flush writes to all that were given something. Call it before any wait.
func (r *router) flush() {
	for i, c := range r.dirty {
		c.flush()
		r.dirty[i] = nil
	}
	r.dirty = r.dirty[:0]
}

// take collects one match from the tree.
func (r *router) take(m *member, g grant) {
	if m.share != nil {
		if to, g, ok := m.share.pick(r); ok {
			r.picked = append(r.picked, match{m: to, qos: g.qos(), asSent: g.asSent(), id: g.id})
		}
		return
	}
	if g.noLocal() && m.sess != nil && m.sess == r.noLocal {
		return
	}
	if m.many.Load() {
		r.many++
	}
	r.matches = append(r.matches, match{m: m, qos: g.qos(), asSent: g.asSent(), id: g.id})
}

// route delivers p to everyone who is there and notes in r.routes the durable
// sessions that must have it. matched says whether anyone subscribed.
func (r *router) route(p *publication) (matched bool) {
	r.matches, r.picked, r.routes, r.ids = r.matches[:0], r.picked[:0], r.routes[:0], r.ids[:0]
	r.many, r.message, r.kept, r.noLocal = 0, nil, nil, p.from
	r.topic, r.asked = p.topic, nil
	for i := range r.frame {
		r.frame[i] = r.frame[i][:0]
	}
	r.b.tree.MatchBytes(p.topic, r.collect)
	if r.many > 1 {
		r.merge()
	}
	for i := range r.matches {
		r.deliver(p, &r.matches[i])
	}
	r.copies = r.copies[:0]
	if len(r.picked) > 0 {
		r.deliverShared(p)
	}
	return len(r.matches)+len(r.picked) > 0
}

// merge makes one of several matches of the same subscriber: the highest QoS
// and all identifiers (MQTT 5.0, 3.3.4; MQTT-3.3.5-1 of 3.1.1).
func (r *router) merge() {
	slices.SortFunc(r.matches, func(a, b match) int { return cmp.Compare(a.m.id, b.m.id) })
	out := r.matches[:0]
	for i := 0; i < len(r.matches); {
		m := r.matches[i]
		start := len(r.ids)
		for ; i < len(r.matches) && r.matches[i].m == m.m; i++ {
			o := &r.matches[i]
			m.qos = max(m.qos, o.qos)
			m.asSent = m.asSent || o.asSent
			if o.id != 0 && !slices.Contains(r.ids[start:], o.id) {
				r.ids = append(r.ids, o.id)
			}
		}
		m.ids = r.ids[start:len(r.ids):len(r.ids)]
		out = append(out, m)
	}
	r.matches = out
}

// deliver gives the message to one subscriber.
func (r *router) deliver(p *publication, m *match) {
	qos := min(p.qos, m.qos)
	switch {
	case m.m.live != nil:
		m.m.live.fn(r.copyFor(p))
		return
	case m.m.feed != nil:
		if qos > 0 && (p.origin == "" || p.origin != m.m.feed.name) {
			r.routes = append(r.routes, store.Route{Session: m.m.feed.sid(), QoS: qos, Retain: p.retain, Prompt: m.m.feed.prompt.Load()})
		}
		return
	}
	s := m.m.sess
	if !r.readable(s) {
		return
	}
	retain := p.retain && m.asSent
	ids := m.ids
	if len(ids) == 0 && m.id != 0 {
		if qos > 0 && s.sid != 0 { // kept until the message is appended
			r.ids = append(r.ids, m.id)
			ids = r.ids[len(r.ids)-1 : len(r.ids) : len(r.ids)]
		} else {
			r.idOne[0] = m.id
			ids = r.idOne[:]
		}
	}
	if qos > 0 && s.sid != 0 {
		r.routes = append(r.routes, store.Route{Session: s.sid, QoS: qos, Retain: retain, SubIDs: ids})
		return
	}
	c := s.conn.Load()
	if c == nil {
		return
	}
	if qos == 0 {
		r.account(r.pass(c, p, retain, ids), p)
		return
	}
	r.account(s.deliver(c, r, p, qos, retain, ids), p)
	r.touch(c)
}

// readable says whether a session may read the message under way. Sessions
// with the same rights next to each other are asked once.
func (r *router) readable(s *session) bool {
	rights := s.rights.Load()
	if rights == nil {
		return true
	}
	if rights != r.asked {
		r.asked, r.allowed = rights, mayRead(rights, r.topic)
	}
	return r.allowed
}

// account counts what became of a delivery of p.
func (r *router) account(f fate, p *publication) {
	switch f {
	case sent:
		r.tally.sent++
		r.tally.bytesOut += uint64(len(p.payload))
	case dropped:
		r.tally.dropped++
	case tooLarge:
		r.tally.tooLarge++
	}
}

// pass gives a QoS 0 message to a connection.
func (r *router) pass(c *conn, p *publication, retain bool, ids []uint32) fate {
	if c.short != nil {
		return r.passShort(c, p, retain, ids)
	}
	packet := r.encode(c.version, p, retain, ids)
	if len(packet) > c.maxPacket {
		return tooLarge
	}
	taken, first, full := c.offer(packet)
	if first {
		r.dirty = append(r.dirty, c)
	}
	if full {
		c.flush()
	}
	if !taken {
		return dropped
	}
	return sent
}

// touch sees to it that c is flushed.
func (r *router) touch(c *conn) {
	first, full := c.mark()
	if first {
		r.dirty = append(r.dirty, c)
	}
	if full {
		c.flush()
	}
}

// encode gives the QoS 0 packet, encoded once for all subscribers alike.
func (r *router) encode(v packet.Version, p *publication, retain bool, ids []uint32) []byte {
	out := packet.Outgoing{Retain: retain, HasExpiry: p.hasExpiry, Expiry: p.expiry, Props: p.props}
	if v == packet.V5 && len(ids) > 0 {
		out.SubIDs = ids
		r.single = packet.AppendPublish(r.single[:0], v, p.topic, p.payload, &out)
		return r.single
	}
	i := 0
	if v == packet.V5 {
		i = 2
	}
	if retain {
		i++
	}
	if len(r.frame[i]) == 0 {
		r.frame[i] = packet.AppendPublish(r.frame[i], v, p.topic, p.payload, &out)
	}
	return r.frame[i]
}

// copyFor makes the copy that in-process subscribers share.
func (r *router) copyFor(p *publication) *Message {
	if r.message == nil {
		r.message = &Message{Topic: string(p.topic), Payload: slices.Clone(p.payload), QoS: p.qos, Retained: p.retain,
			Properties: propertiesOf(p), Live: p.live, Origin: p.origin}
	}
	return r.message
}

// keep makes the copy that queues in memory share.
func (r *router) keep(p *publication) *kept {
	if p.held != nil {
		return p.held
	}
	if r.kept == nil {
		r.kept = r.b.keep(p)
	}
	return r.kept
}

// durable says whether p must be on disk before it is acknowledged.
func (r *router) durable(p *publication) bool {
	return len(r.routes) > 0 || p.qos > 0 && p.retain && !p.live ||
		p.qos == 2 && p.publisher() != 0
}

// publisher is the durable session that remembers the identifier of p; 0: none.
func (p *publication) publisher() store.SID {
	if p.from != nil {
		return p.from.sid
	}
	return p.inbox
}

// commit makes p the retained message of its topic if it is to be one, and
// hands it to the store if that is concerned at all; else done is not called.
func (r *router) commit(p *publication, done func(error)) {
	if p.retain {
		r.b.retain(r, p, done)
		return
	}
	if r.durable(p) {
		r.append(p, false, done)
	}
}

// commitPatiently is commit with a wait for room in the store.
func (r *router) commitPatiently(ctx context.Context, p *publication, done func(error)) error {
	for {
		busy := false
		r.commit(p, func(err error) {
			if err == store.ErrBusy { // said before commit returns
				busy = true
				return
			}
			done(err)
		})
		r.flush()
		if !busy {
			return nil
		}
		if err := r.b.st.WaitRoom(ctx); err != nil {
			return err
		}
	}
}

// append hands p to the store.
func (r *router) append(p *publication, retained bool, done func(error)) {
	m := store.Message{Topic: string(p.topic), Payload: p.payload, Props: p.props, QoS: p.qos, Retain: p.retain,
		Expiry: p.expiry, HasExpiry: p.hasExpiry, StoreRetained: retained, Routes: r.routes}
	if len(r.copies) > 0 && !r.appendCopies(m) {
		done(store.ErrBusy)
		return
	}
	if p.qos == 2 {
		m.Publisher, m.PacketID = p.publisher(), p.pid
	}
	r.b.st.Append(&m, done)
}
