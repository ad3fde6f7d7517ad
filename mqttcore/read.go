package mqttcore

import (
	"bytes"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// aliasMaximum is the Topic Alias Maximum told to clients (MQTT 5.0,
// 3.2.2.3.8).
const aliasMaximum = 32

// packets handles all complete packets that were read.
func (c *conn) packets(r *router) error {
	for {
		buf := c.in.bytes()
		h, n, err := packet.ParseHeader(buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		total := n + h.Remaining
		if total > c.b.cfg.MaxPacketSize {
			return bye(packet.PacketTooLarge, "packet larger than allowed")
		}
		if len(buf) < total {
			c.in.want = total
			return nil
		}
		c.in.take(total)
		r.tally.packets++
		if err := c.handle(r, h, buf[n:total:total]); err != nil {
			return err
		}
	}
}

// handle handles one packet after CONNECT.
func (c *conn) handle(r *router, h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		if err := r.pub.Decode(c.version, h, body); err != nil {
			return err
		}
		return c.onPublish(r, &r.pub)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		if err := r.ack.Decode(c.version, h, body); err != nil {
			return err
		}
		c.onAck(&r.ack)
		return nil
	case packet.SUBSCRIBE:
		if err := r.subscribe.Decode(c.version, h, body); err != nil {
			return err
		}
		return c.onSubscribe(r, &r.subscribe)
	case packet.UNSUBSCRIBE:
		if err := r.unsubscribe.Decode(c.version, h, body); err != nil {
			return err
		}
		return c.onUnsubscribe(r, &r.unsubscribe)
	case packet.PINGREQ:
		var p packet.Ping
		if err := p.Decode(c.version, h, body); err != nil {
			return err
		}
		c.append([]byte(packet.PingrespPacket))
		r.tally.out++
		return nil
	case packet.DISCONNECT:
		if err := r.disconnect.Decode(c.version, h, body); err != nil {
			return err
		}
		return c.onDisconnect(&r.disconnect)
	case packet.AUTH:
		if c.version == packet.V5 && h.Flags != 0 { // MQTT-3.15.1-1
			return bye(packet.MalformedPacket, "flags of AUTH are not 0")
		}
	}
	// A second CONNECT (MQTT-3.1.0-2), what only servers send, and AUTH, as no
	// client here has agreed on a method (MQTT-4.12.0-6).
	return bye(packet.ProtocolError, h.Type.String()+" is not for a client to send now")
}

func (c *conn) onAck(a *packet.Ack) {
	s := c.sess
	c.acked = true
	switch a.Type {
	case packet.PUBACK:
		s.puback(a.PacketID)
	case packet.PUBREC:
		s.pubrec(c, a.PacketID, a.Reason)
	case packet.PUBCOMP:
		s.pubcomp(a.PacketID)
	case packet.PUBREL:
		c.onPubrel(a.PacketID)
	}
}

// onPublish handles PUBLISH. The answer to QoS 1 and 2 leaves when the message
// is on disk, if that is needed, and always in the order of the messages.
func (c *conn) onPublish(r *router, p *packet.Publish) error {
	r.tally.published++
	r.tally.bytesIn += uint64(len(p.Payload))
	s := c.sess
	if p.QoS > 0 {
		if err := c.admit(); err != nil {
			return err
		}
	}
	name := p.Topic
	if c.version == packet.V5 {
		if len(p.Properties.SubscriptionIDs) > 0 {
			return bye(packet.ProtocolError, "subscription identifier in a PUBLISH from a client") // MQTT-3.3.4-6
		}
		if p.Properties.Has(packet.PropTopicAlias) {
			var err error
			if name, err = c.alias(p); err != nil {
				return err
			}
		}
	}
	typ := packet.PUBACK
	if p.QoS == 2 {
		typ = packet.PUBREC
	}
	if reason := c.b.forbidden(s.rights.Load(), name); reason.Failed() {
		if p.QoS == 2 && s.underWay(p.PacketID) {
			reason = packet.Success // taken when it was allowed
		} else {
			c.b.count.deniedPublishes.add(1)
		}
		if p.QoS > 0 {
			c.answer(typ, p.PacketID, reason)
		}
		return nil
	}
	if p.QoS == 2 {
		if known, pending := s.received(p.PacketID); known {
			c.receivedAgain(p.PacketID, pending)
			return nil
		}
	}
	m := &r.current
	*m = publication{topic: name, payload: p.Payload, qos: p.QoS, retain: p.Retain, from: s, pid: p.PacketID}
	if len(p.RawProps) > 0 {
		r.props = packet.ForwardProps(r.props[:0], p.RawProps)
		m.props = r.props
		m.hasExpiry, m.expiry = p.Properties.Has(packet.PropMessageExpiry), p.Properties.MessageExpiry
	}
	matched := r.route(m)
	if p.QoS == 0 {
		r.commit(m, c.b.logged)
		return nil
	}
	reason := packet.Success
	if !matched {
		reason = packet.NoMatchingSubscribers
	}
	if !r.durable(m) {
		r.commit(m, nil)
		c.answer(typ, p.PacketID, reason)
		return nil
	}
	a := c.later(typ, p.PacketID, reason)
	a.waits = true
	if p.QoS == 2 {
		a.marks = 1
		s.committing(1)
	}
	r.commit(m, a.settle)
	for a.busy {
		a.busy = false
		r.flush()
		if err := c.b.st.WaitRoom(c.b.ctx); err != nil {
			a.settle(err)
			return nil
		}
		r.commit(m, a.settle)
	}
	return nil
}

// receivedAgain answers a QoS 2 message that was received before (MQTT 5.0,
// 4.3.3), but not before that is on disk.
func (c *conn) receivedAgain(pid uint16, pending bool) {
	if !pending || c.sess.sid == 0 {
		c.answer(packet.PUBREC, pid, packet.Success)
		return
	}
	a := c.later(packet.PUBREC, pid, packet.Success)
	c.b.st.UpdateSession(c.sess.sid, c.expiry, c.will.stored(), a.settle)
}

// onPubrel ends a QoS 2 message from the client.
func (c *conn) onPubrel(pid uint16) {
	s := c.sess
	known, pending := s.forget(pid)
	switch {
	case s.sid != 0 && known:
		a := c.later(packet.PUBCOMP, pid, packet.Success)
		a.marks = 1
		s.committing(1)
		c.b.st.ReleaseInbound(s.sid, pid, a.settle)
	case s.sid != 0 && pending: // asked again on another connection
		a := c.later(packet.PUBCOMP, pid, packet.Success)
		c.b.st.UpdateSession(s.sid, c.expiry, c.will.stored(), a.settle)
	case known:
		c.answer(packet.PUBCOMP, pid, packet.Success)
	default:
		c.answer(packet.PUBCOMP, pid, packet.PacketIdentifierNotFound)
	}
}

// alias sets or uses a topic alias (MQTT 5.0, 3.3.2.3.4).
func (c *conn) alias(p *packet.Publish) ([]byte, error) {
	n := p.Properties.TopicAlias
	if n == 0 || n > aliasMaximum {
		return nil, bye(packet.TopicAliasInvalid, "topic alias out of range")
	}
	if len(p.Topic) > 0 {
		if c.aliases == nil {
			c.aliases = make(map[uint16][]byte)
		}
		if old := c.aliases[n]; !bytes.Equal(old, p.Topic) {
			if !c.b.memory.take(len(p.Topic)) {
				return nil, bye(packet.QuotaExceeded, "no memory for another topic alias")
			}
			c.aliasBytes += len(p.Topic) - len(old)
			c.b.memory.give(len(old))
			c.aliases[n] = bytes.Clone(p.Topic)
		}
		return p.Topic, nil
	}
	name := c.aliases[n]
	if name == nil {
		return nil, bye(packet.ProtocolError, "topic alias is not set")
	}
	return name, nil
}

// forbidden judges a topic that a client publishes to.
func (b *Broker) forbidden(r *rights, name []byte) packet.Reason {
	switch {
	case name[0] == '$' && (bytes.HasPrefix(name, []byte("$SYS/")) || string(name) == "$SYS"):
		return packet.NotAuthorized // ours alone
	case topic.Levels(name) > b.cfg.MaxTopicLevels:
		return packet.TopicNameInvalid
	case !mayWrite(r, name):
		return packet.NotAuthorized
	}
	return packet.Success
}

func (c *conn) onDisconnect(p *packet.Disconnect) error {
	if !clientsReason(p.Reason) || p.Properties.Has(packet.PropServerReference) {
		return bye(packet.ProtocolError, "DISCONNECT says what only a server may say")
	}
	if p.Properties.Has(packet.PropSessionExpiry) {
		expiry := p.Properties.SessionExpiry
		if c.expiry == 0 && expiry != 0 {
			return bye(packet.ProtocolError, "session expiry interval in DISCONNECT after one of 0") // MQTT-3.1.2-23
		}
		c.expiry = c.b.capExpiry(expiry)
	}
	if p.Reason == packet.Success {
		c.will = nil // MQTT-3.14.4-3
	}
	return errNormal
}

// clientsReason reports whether a client may give this reason in DISCONNECT
// (MQTT 5.0, table 3-13).
func clientsReason(r packet.Reason) bool {
	switch r {
	case packet.NormalDisconnection, packet.DisconnectWithWill, packet.UnspecifiedError, packet.MalformedPacket,
		packet.ProtocolError, packet.ImplementationSpecificError, packet.TopicNameInvalid, packet.ReceiveMaximumExceeded,
		packet.TopicAliasInvalid, packet.PacketTooLarge, packet.MessageRateTooHigh, packet.QuotaExceeded,
		packet.AdministrativeAction, packet.PayloadFormatInvalid:
		return true
	}
	return false
}
