package mqttcore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

const (
	connectSize  = 64 << 10         // largest CONNECT, in bytes
	forever      = math.MaxUint32   // a session expiry interval without end
	diskPatience = 30 * time.Second // longest wait for the disk in CONNECT and SUBSCRIBE
)

// handshake reads CONNECT and answers it.
func (c *conn) handshake() error {
	until := time.Now().Add(c.b.cfg.ConnectTimeout)
	if err := c.readUntil(until); err != nil {
		return err
	}
	if err := c.greet(until); err != nil {
		return c.refuse(0, err)
	}
	h, body, err := c.awaitConnect()
	if err != nil {
		return c.refuse(0, err)
	}
	r := c.b.takeRouter()
	defer c.b.giveRouter(r)
	p := &r.connect
	if err = p.Decode(0, h, body); err == nil {
		err = c.begin(p, until)
	}
	if err != nil {
		return c.refuse(p.Version, err)
	}
	err = c.packets(r) // what came right behind CONNECT
	r.flush()
	c.service()
	return err
}

// begin makes a client of a connection whose CONNECT is p. It is to know who
// the client is until the time given.
func (c *conn) begin(p *packet.Connect, until time.Time) error {
	c.version = p.Version
	if err := c.authenticate(p, until); err != nil {
		return err
	}
	if err := c.judge(p); err != nil {
		return err
	}
	if p.Properties.Has(packet.PropMaximumPacketSize) && len(c.connack(p, false)) > c.maxPacket {
		return bye(packet.PacketTooLarge, "CONNACK larger than the client takes") // MQTT-3.1.2-24
	}
	present, err := c.b.attach(c, p)
	if err != nil {
		return err
	}
	c.b.count.connects.add(1)
	c.keepAlive, c.since = time.Duration(p.KeepAlive)*time.Second, time.Now()
	c.accept(p, present)
	c.up = true
	c.heard, c.fresh = c.came, 0
	again, _ := c.overdue(c.heard)
	_ = c.readUntil(again) // fails only if the connection is given up: the reader will see
	c.b.log.Debug("client connected", "client", c.client, "remote", remote(c.nc), "version", c.version, "present", present)
	return nil
}

// awaitConnect reads the first packet, which must be CONNECT (MQTT-3.1.0-1).
func (c *conn) awaitConnect() (h packet.Header, body []byte, err error) {
	for {
		if err := c.fill(); err != nil {
			return h, nil, err
		}
		buf := c.in.bytes()
		if is := spoken(buf); is != "" && is != "MQTT" {
			return h, nil, c.misdialed(is)
		}
		h, n, err := packet.ParseHeader(buf)
		if err != nil {
			return h, nil, err
		}
		if h.Type != packet.CONNECT {
			return h, nil, bye(packet.ProtocolError, "first packet is "+h.Type.String()+", not CONNECT")
		}
		if n == 0 {
			continue
		}
		total := n + h.Remaining
		if total > connectSize {
			return h, nil, bye(packet.PacketTooLarge, "CONNECT larger than allowed")
		}
		if len(buf) < total {
			c.in.want = total
			continue
		}
		c.in.take(total)
		c.b.count.messagesReceived.add(1)
		return h, buf[n:total:total], nil
	}
}

// judge decides what does not depend on a session. It fills in what the
// client left to us.
func (c *conn) judge(p *packet.Connect) error {
	b := c.b
	if p.Properties.Has(packet.PropAuthMethod) {
		return bye(packet.BadAuthenticationMethod, "no enhanced authentication here")
	}
	c.window = b.cfg.MaxInflight
	switch {
	case c.version != packet.V5:
		if !p.CleanStart {
			c.expiry = b.capExpiry(forever)
		}
	default:
		c.expiry = b.capExpiry(p.Properties.SessionExpiry)
		if p.Properties.Has(packet.PropReceiveMaximum) {
			c.window = min(c.window, int(p.Properties.ReceiveMaximum))
		}
		if p.Properties.Has(packet.PropMaximumPacketSize) {
			c.maxPacket = int(min(uint32(c.maxPacket), p.Properties.MaximumPacketSize))
		}
		if most := int(p.Properties.TopicAliasMaximum); most > 0 {
			c.short = &shortNames{most: min(most, aliasesSent)}
		}
	}
	if limit := b.cfg.MaxKeepAlive; limit > 0 && c.version == packet.V5 {
		if most := uint16(min(limit/time.Second, 65535)); p.KeepAlive == 0 || p.KeepAlive > most {
			p.KeepAlive = most
			c.granted.keepAlive = true
		}
	}
	if p.ClientID == "" {
		p.ClientID = "auto-" + rand.Text()
		c.granted.clientID = true
	}
	c.client = p.ClientID
	c.will = willOf(p.Will)
	if p.Will != nil {
		rights, _ := c.access.acl.rights(c.proof.user, c.client)
		if reason := b.forbidden(rights, []byte(p.Will.Topic)); reason.Failed() {
			b.count.deniedWills.add(1)
			return bye(reason, "will topic")
		}
	}
	return nil
}

// capExpiry bounds a session expiry interval to what the configuration grants.
func (b *Broker) capExpiry(seconds uint32) uint32 {
	limit := b.cfg.SessionExpiryMax / time.Second
	if limit >= forever {
		return seconds
	}
	return min(seconds, uint32(limit))
}

// local says that the client is on this machine.
func local(nc net.Conn) bool {
	if w, ok := nc.(*webConn); ok && w.foreign {
		return false
	}
	switch a := nc.RemoteAddr().(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	default:
		return a.Network() == "pipe"
	}
}

// accept answers CONNECT and opens the way for messages.
func (c *conn) accept(p *packet.Connect, present bool) {
	c.welcome(c.connack(p, present))
	c.b.count.messagesSent.add(1)
	s := c.sess
	s.mu.Lock()
	s.win.start(c.window)
	if s.sid != 0 {
		s.queue = c.b.st.OpenQueue(s.sid, func() { c.b.jobs.push(c) })
		if s.queue != nil && s.win.base < s.queue.Base() {
			s.win.restore(s.queue.Base())
		}
	}
	s.conn.Store(c)
	s.mu.Unlock()
}

// connack is the answer that accepts p.
func (c *conn) connack(p *packet.Connect, present bool) []byte {
	ack := packet.Connack{SessionPresent: present}
	if c.version == packet.V5 {
		c.terms(&ack.Properties, p)
	}
	return ack.Append(nil, c.version)
}

// terms are the properties of CONNACK: only those that differ from what the
// client may assume (MQTT 5.0, 3.2.2.3).
func (c *conn) terms(t *packet.Properties, p *packet.Connect) {
	cfg := &c.b.cfg
	if c.expiry != p.Properties.SessionExpiry {
		t.SetUint(packet.PropSessionExpiry, c.expiry)
	}
	if cfg.ReceiveMaximum != 65535 {
		t.SetUint(packet.PropReceiveMaximum, uint32(cfg.ReceiveMaximum))
	}
	t.SetUint(packet.PropMaximumPacketSize, uint32(cfg.MaxPacketSize))
	if c.granted.clientID {
		t.SetBytes(packet.PropAssignedClientID, []byte(c.client)) // MQTT-3.2.2-16
	}
	t.SetUint(packet.PropTopicAliasMaximum, aliasMaximum)
	if c.granted.keepAlive {
		t.SetUint(packet.PropServerKeepAlive, uint32(p.KeepAlive)) // MQTT-3.1.2-21
	}
}

// refuse answers a CONNECT of version v that fails, as far as that has the
// words, and gives the error back. 0: it is not known.
func (c *conn) refuse(v packet.Version, err error) error {
	var fault *packet.Error
	var said *goodbye
	reason := packet.Success
	switch {
	case errors.As(err, &fault):
		reason = fault.Reason
	case errors.As(err, &said):
		reason = said.reason
	}
	c.b.count.refused.add(1)
	if reason == packet.Success || v == 0 {
		return err
	}
	if reason == packet.UnsupportedProtocolVersion {
		// Bridges may set the highest bit, to try without it when refused.
		if v&0x7f < packet.V5 {
			v = packet.V311
		} else {
			v = packet.V5
		}
	}
	if v != packet.V5 && reason.V3ConnackCode() == 3 && reason != packet.ServerBusy && reason != packet.ServerUnavailable {
		return err // a malformed CONNECT gets no answer in MQTT 3 (MQTT-3.1.4-1)
	}
	if v == packet.V5 && !reason.In(packet.CONNACK) {
		reason = packet.UnspecifiedError
	}
	ack := packet.Connack{Reason: reason}
	if b := ack.Append(nil, v); len(b) <= c.maxPacket { // MQTT-3.1.2-24
		c.append(b)
		c.flush()
	}
	return err
}

// attach gives the connection its session: a new one, or the one that the
// client left (MQTT 5.0, 3.1.4). It waits for the connection that has it now,
// and for the disk.
func (b *Broker) attach(c *conn, p *packet.Connect) (present bool, err error) {
	var s *session
	for {
		b.mu.Lock()
		s = b.sessions[c.client]
		if err := c.mayTakeLocked(s); err != nil {
			b.mu.Unlock()
			return false, err
		}
		if s == nil || s.owner == nil {
			break
		}
		other := s.owner
		b.mu.Unlock()
		b.count.evicted.add(1)
		other.evict(packet.SessionTakenOver, "another connection of client "+c.client) // MQTT-3.1.4-3
		select {
		case <-other.gone:
		case <-time.After(b.cfg.ConnectTimeout):
			return false, bye(packet.ServerBusy, "the session is still in use")
		case <-b.ctx.Done():
			return false, bye(packet.ServerUnavailable, "shutting down")
		}
	}
	if b.closing || b.connected >= b.cfg.MaxConnections {
		b.mu.Unlock()
		return false, bye(packet.ServerBusy, "too many connections")
	}
	if s == nil && len(b.sessions) >= b.cfg.MaxSessions {
		b.mu.Unlock()
		return false, bye(packet.QuotaExceeded, "too many sessions")
	}
	var last *will
	former := s
	if s != nil && p.CleanStart { // MQTT-3.1.2-4
		last = b.endLocked(s)
		s = nil
	}
	present = s != nil
	var disk chan error
	if present || c.expiry > 0 {
		disk = make(chan error, 1)
	}
	b.claimLocked(c, s, disk)
	b.mu.Unlock()
	b.publishWill(former, last)
	if disk != nil {
		if err := b.waitDisk(disk); err != nil {
			b.storeRefused(err)
			reason := storeReason(err)
			if c.version != packet.V5 {
				reason = packet.ServerUnavailable // the one word that MQTT 3 has for it
			}
			return false, bye(reason, fmt.Sprintf("session of %s: %v", c.client, err))
		}
	}
	return present, nil
}

// claimLocked gives c the session s, or a new one if that is nil. What the
// disk says comes to disk.
func (b *Broker) claimLocked(c *conn, s *session, disk chan error) {
	done := func(err error) { disk <- err }
	switch {
	case s != nil:
		b.ownLocked(s, c.proof.user)
		b.st.UpdateSession(s.sid, c.expiry, c.will.stored(), done)
	case c.expiry == 0:
		s = b.newSession(c.client, c.proof.user)
	case c.will == nil:
		s = b.newSession(c.client, c.proof.user)
		s.sid = b.st.CreateSession(c.client, s.user, c.expiry, done)
	default:
		s = b.newSession(c.client, c.proof.user)
		s.sid = b.st.CreateSession(c.client, s.user, c.expiry, b.logged)
		b.st.UpdateSession(s.sid, c.expiry, c.will.stored(), done)
	}
	if s.sid != 0 {
		b.st.LimitSession(s.sid, b.cfg.SessionQueue)
	}
	c.saved.expiry, c.saved.will = c.expiry, c.will != nil
	s.will = nil // MQTT-3.1.3-9: back before the delay was over
	s.owner = c
	s.round.Add(1)
	c.sess = s
	b.connected++
	b.mostConnected = max(b.mostConnected, b.connected)
}

// newSession makes a session known, with Broker.mu held.
func (b *Broker) newSession(client, user string) *session {
	s := &session{client: client, user: user}
	s.rights.Store(b.access.Load().acl.rightsLocked(user, client))
	s.member.sess = s
	s.member.id = b.memberID()
	b.sessions[client] = s
	return s
}

// detach takes the session from a connection that has ended and publishes its
// will, now or later.
func (b *Broker) detach(c *conn) {
	s := c.sess
	if s == nil {
		return
	}
	s.mu.Lock()
	s.conn.CompareAndSwap(c, nil)
	q := s.queue
	for i := range s.wait {
		b.unqueueMemory(s.wait[i].m)
	}
	s.queue, s.wait, s.waitBytes = nil, nil, 0
	s.mu.Unlock()
	if q != nil {
		q.Close()
	}
	b.mu.Lock()
	s.owner = nil
	s.round.Add(1)
	s.expiry, s.left = c.expiry, b.clock()
	b.connected--
	now := c.will
	if s.sid == 0 || c.expiry == 0 {
		b.endLocked(s)
	} else {
		if now != nil && now.delay > 0 {
			s.will, now = now, nil
			b.willLater(s, 0)
		}
		if c.saved.expiry != c.expiry || c.saved.will && s.will == nil {
			b.st.UpdateSession(s.sid, c.expiry, s.will.stored(), b.logged)
		}
		b.st.LeaveSession(s.sid, b.logged)
		b.expireLater(s, 0)
	}
	b.mu.Unlock()
	b.publishWill(s, now)
}

// endLocked ends a session for good (MQTT 5.0, 4.1). It gives the delayed will
// that is due now.
func (b *Broker) endLocked(s *session) *will {
	for _, text := range s.filters.list {
		b.filterBytes -= filterSize(text)
		if f, err := b.parseFilter(text); err == nil {
			b.leave(&s.member, f)
		}
	}
	s.filters = filterSet{}
	s.round.Add(1)
	if b.sessions[s.client] == s {
		delete(b.sessions, s.client)
	}
	if s.sid != 0 {
		b.st.DeleteSession(s.sid, b.logged)
	}
	w := s.will
	s.will = nil
	return w
}

// storeReason says the store's refusal in the words of MQTT 5.
func storeReason(err error) packet.Reason {
	switch {
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrQuota), errors.Is(err, store.ErrBusy):
		return packet.QuotaExceeded
	case errors.Is(err, store.ErrTooLarge):
		return packet.PacketTooLarge
	}
	return packet.ImplementationSpecificError
}
