package mqttcore

import "sluice/mqttcore/packet"

const (
	aliasesSent = 64 // most topic aliases towards one client
	aliasFrom   = 8  // shortest topic that gets one, in bytes: each use of an alias takes 3
	aliasCost   = 80 // what one takes in memory beside its topic, roughly
)

// shortNames are the topic aliases towards one client that takes them (MQTT
// 5.0, 3.3.2.3.4). The first topics it is sent get one, and keep it as long as
// the connection lasts: what was found to fit with an alias fits later, too.
// Guarded by outbound.mu, as an alias may be used only behind the packet that
// told it.
//
// QoS 2 goes without: a client may put such a message away as it came until
// PUBREL, even beyond the connection, and its topic would be gone. MQTT.js does
// so (5.16), and an alias saves little of four packets.
type shortNames struct {
	most  int // aliases the client takes, at most aliasesSent
	known map[string]uint16
	held  int // bytes asked from Broker.memory
}

// shorten chooses how a PUBLISH names its topic: by an alias that the client
// knows (name is empty then), in full with a new alias, or just in full. It
// sets out.Alias and gives the size of the whole packet in bytes. With fresh
// the caller must call learn if it sends the packet, and only then. The caller
// holds mu and has seen that c.short is set.
func shorten[T ~string | ~[]byte](c *conn, topic T, payload int, out *packet.Outgoing) (name T, size int, fresh bool) {
	s := c.short
	if len(topic) < aliasFrom || out.QoS == 2 {
		return topic, packet.PublishSize(c.version, len(topic), payload, out), false
	}
	if alias, ok := s.known[string(topic)]; ok {
		out.Alias = alias
		return name, packet.PublishSize(c.version, 0, payload, out), false
	}
	if len(s.known) < s.most && !c.b.memory.spent() {
		out.Alias = uint16(len(s.known) + 1)
		if size = packet.PublishSize(c.version, len(topic), payload, out); size <= c.maxPacket {
			return topic, size, true
		}
		out.Alias = 0
	}
	return topic, packet.PublishSize(c.version, len(topic), payload, out), false
}

// learn enters the alias that a packet under way gives to topic. The caller
// holds mu.
func (c *conn) learn(topic string, alias uint16) {
	s := c.short
	if s.known == nil {
		s.known = make(map[string]uint16)
	}
	s.known[topic] = alias
	c.b.memory.force(len(topic) + aliasCost)
	s.held += len(topic) + aliasCost
}

// forgetAliases gives back what the aliases took, when the connection takes no
// more messages. The caller holds mu.
func (c *conn) forgetAliases() {
	if s := c.short; s != nil {
		c.b.memory.give(s.held)
		*s = shortNames{} // takes no more
	}
}

// appendShort appends a PUBLISH to a client that takes aliases. The caller
// holds mu.
func appendShort[T ~string | ~[]byte](dst []byte, c *conn, topic T, payload []byte, out *packet.Outgoing) []byte {
	name, _, fresh := shorten(c, topic, len(payload), out)
	if fresh {
		c.learn(string(topic), out.Alias)
	}
	return packet.AppendPublish(dst, c.version, name, payload, out)
}

// fits says that a PUBLISH too large with its topic in full is not with the
// alias that the client knows for it.
func fits[T ~string | ~[]byte](c *conn, topic T, payload int, out *packet.Outgoing) bool {
	if c.short == nil {
		return false
	}
	o := *out
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	_, size, _ := shorten(c, topic, payload, &o)
	return size <= c.maxPacket
}

// offerShort is offer for a client that takes aliases: it gets the message in
// an encoding of its own.
func (c *conn) offerShort(topic, payload []byte, out *packet.Outgoing) (f fate, first, full bool) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	name, n, fresh := shorten(c, topic, len(payload), out)
	if n > c.maxPacket {
		return tooLarge, false, false
	}
	size := o.size() + n
	if o.err != nil || size > c.b.cfg.MaxQueuedBytes || !c.room(size) {
		o.dropped++
		return dropped, false, false
	}
	if fresh {
		c.learn(string(topic), out.Alias)
	}
	k := o.buffer()
	k.b = packet.AppendPublish(k.b, c.version, name, payload, out)
	first, full = !o.dirty, !o.writing && size >= flushFrom
	o.dirty = true
	o.publishes++
	return sent, first, full
}

// passShort is pass for a client that takes aliases.
func (r *router) passShort(c *conn, p *publication, retain bool, ids []uint32) fate {
	out := packet.Outgoing{Retain: retain, SubIDs: ids, HasExpiry: p.hasExpiry, Expiry: p.expiry, Props: p.props}
	f, first, full := c.offerShort(p.topic, p.payload, &out)
	if first {
		r.dirty = append(r.dirty, c)
	}
	if full {
		c.flush()
	}
	return f
}
