package mqttcore

import (
	"context"
	"errors"
	"slices"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
	"sluice/mqttcore/topic"
)

// filter is a topic filter taken apart.
type filter struct {
	text  string // as the client wrote it
	group string // of a shared subscription; else empty
	inner string // the filter proper
}

// key names a shared subscription: neither part may hold U+0000.
func (f filter) key() string { return f.group + "\x00" + f.inner }

var errLevels = errors.New("topic filter has too many levels")

// parseFilter judges a filter (MQTT 5.0, 4.7 and 4.8.2).
func (b *Broker) parseFilter(text string) (filter, error) {
	group, inner, shared, err := topic.ParseShare(text)
	if err != nil {
		return filter{}, err
	}
	if !shared {
		inner = text
	}
	if err := topic.ValidFilter(inner); err != nil {
		return filter{}, err
	}
	if topic.Levels(inner) > b.cfg.MaxTopicLevels {
		return filter{}, errLevels
	}
	return filter{text, group, inner}, nil
}

// onSubscribe handles SUBSCRIBE. The answer leaves when all is on disk that
// must be, the retained messages after it.
func (c *conn) onSubscribe(r *router, p *packet.Subscribe) error {
	if answerSize(len(p.Filters)) > c.maxPacket { // MQTT-3.1.2-24
		return bye(packet.PacketTooLarge, "SUBACK larger than the client takes")
	}
	b, s := c.b, c.sess
	var id uint32
	if ids := p.Properties.SubscriptionIDs; len(ids) > 0 {
		id = ids[0]
	}
	ack := &r.suback
	ack.PacketID, ack.Reasons = p.PacketID, ack.Reasons[:0]
	var news []fresh
	var save []store.Subscription
	for some := range slices.Chunk(p.Filters, lockedFilters) {
		news, save = c.subscribeSome(some, id, ack, news, save)
	}
	if len(save) > 0 {
		r.flush()
		err := b.await(func(done func(error)) {
			for _, sub := range save[:len(save)-1] {
				b.st.PutSubscription(s.sid, sub, nil)
			}
			b.st.PutSubscription(s.sid, save[len(save)-1], done)
		})
		if err != nil {
			b.storeRefused(err)
			return bye(storeReason(err), "store: "+err.Error())
		}
	}
	c.append(ack.Append(nil, c.version))
	r.tally.out++
	for _, n := range news {
		b.sendRetained(r, c, n.filter, n.g)
	}
	return nil
}

// fresh is a subscription to which retained messages are due.
type fresh struct {
	filter string
	g      grant
}

// lockedFilters is how many filters are entered before others have their turn.
const lockedFilters = 256

// subscribeSome enters subscriptions and adds to the answer, to those that
// retained messages are due to and to what the store must know.
func (c *conn) subscribeSome(filters []packet.Filter, id uint32, ack *packet.Suback, news []fresh, save []store.Subscription) ([]fresh, []store.Subscription) {
	b, s := c.b, c.sess
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range filters {
		o := &filters[i]
		f, err := b.parseFilter(string(o.Topic))
		if err != nil {
			ack.Reasons = append(ack.Reasons, packet.TopicFilterInvalid)
			continue
		}
		if !s.rights.Load().maySubscribe(f.inner) {
			b.count.deniedSubscribes.add(1)
			ack.Reasons = append(ack.Reasons, packet.NotAuthorized)
			continue
		}
		g := grant{options: o.Options(), id: id}
		known := s.filters.has(f.text)
		if !known && (s.filters.len() >= b.cfg.MaxSubscriptions || !b.subscribable(f.text)) {
			ack.Reasons = append(ack.Reasons, packet.QuotaExceeded)
			continue
		}
		if !known {
			s.filters.add(f.text)
			b.filterBytes += filterSize(f.text)
			if s.filters.len() > 1 {
				s.many.Store(true)
			}
		}
		b.enter(&s.member, f, g)
		ack.Reasons = append(ack.Reasons, packet.Reason(o.QoS))
		if s.sid != 0 {
			save = append(save, store.Subscription{Filter: f.text, Options: g.options, SubID: id})
		}
		if f.group == "" && (o.RetainHandling == 0 || o.RetainHandling == 1 && !known) {
			news = append(news, fresh{f.inner, g})
		}
	}
	return news, save
}

// answerSize gives the length of a SUBACK or UNSUBACK of MQTT 5 with n reason
// codes, in bytes.
func answerSize(n int) int {
	size := 1 + 1 + 2 + 1 + n // header, length, packet identifier, no properties
	for rest := (n + 3) >> 7; rest > 0; rest >>= 7 {
		size++
	}
	return size
}

// onUnsubscribe handles UNSUBSCRIBE.
func (c *conn) onUnsubscribe(r *router, p *packet.Unsubscribe) error {
	if answerSize(len(p.Filters)) > c.maxPacket { // MQTT-3.1.2-24
		return bye(packet.PacketTooLarge, "UNSUBACK larger than the client takes")
	}
	b, s := c.b, c.sess
	ack := packet.Unsuback{PacketID: p.PacketID}
	var gone []string
	b.mu.Lock()
	for _, t := range p.Filters {
		f, err := b.parseFilter(string(t))
		switch {
		case err != nil:
			ack.Reasons = append(ack.Reasons, packet.TopicFilterInvalid)
		case b.leave(&s.member, f):
			ack.Reasons = append(ack.Reasons, packet.Success)
			s.filters.remove(f.text)
			b.filterBytes -= filterSize(f.text)
			gone = append(gone, f.text)
		default:
			ack.Reasons = append(ack.Reasons, packet.NoSubscriptionExisted)
		}
	}
	b.mu.Unlock()
	if s.sid != 0 && len(gone) > 0 {
		r.flush()
		err := b.await(func(done func(error)) {
			for _, f := range gone[:len(gone)-1] {
				b.st.DeleteSubscription(s.sid, f, nil)
			}
			b.st.DeleteSubscription(s.sid, gone[len(gone)-1], done)
		})
		if err != nil {
			b.storeRefused(err)
			return bye(storeReason(err), "store: "+err.Error())
		}
	}
	c.append(ack.Append(nil, c.version))
	r.tally.out++
	return nil
}

// await asks the store for something and waits for its answer. Broker.mu must
// not be held.
func (b *Broker) await(ask func(done func(error))) error {
	disk := make(chan error, 1)
	ask(func(err error) { disk <- err })
	return b.waitDisk(disk)
}

func (b *Broker) waitDisk(disk <-chan error) error {
	ctx, cancel := context.WithTimeout(b.ctx, diskPatience)
	defer cancel()
	select {
	case err := <-disk:
		return err
	case <-ctx.Done():
		return errors.New("the disk did not answer in time")
	}
}

// observer is an in-process subscriber.
type observer struct {
	member
	fn func(*Message)
}

// Subscribe calls fn for each message that matches filter, on the publisher's
// goroutine: fn must not block. The message may be kept but not changed; its
// QoS is the one it was published with. Retained messages that match come
// first, during the call, with Retain set. Subscribe panics if filter is not a
// valid topic filter, or a shared one.
func (b *Broker) Subscribe(filter string, fn func(m *Message)) (cancel func()) {
	if err := topic.ValidFilter(filter); err != nil {
		panic("mqttcore: Subscribe: " + err.Error())
	}
	l := &observer{fn: fn}
	l.member.live = l
	l.member.id = b.memberID()
	b.tree.Set(filter, &l.member, grant{options: 2})
	b.eachRetained(filter, func(p *publication) bool {
		fn(&Message{Topic: string(p.topic), Payload: p.payload, QoS: p.qos, Retain: true, Retained: true, Properties: propertiesOf(p), Live: p.live})
		return true
	})
	return func() { b.tree.Delete(filter, &l.member) }
}
