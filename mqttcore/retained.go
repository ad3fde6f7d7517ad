package mqttcore

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// kept is a message that stays in memory for a while: retained, or in the
// queue of a session that ends with its connection. What it says does not
// change.
type kept struct {
	topic          string
	payload, props []byte
	qos            byte
	live           bool
	hasExpiry      bool
	dies           time.Duration // with hasExpiry: when, on the broker's clock
	queues         atomic.Int32  // of sessions in memory that hold it
}

// keep copies a publication.
func (b *Broker) keep(p *publication) *kept {
	k := &kept{topic: string(p.topic), payload: slices.Clone(p.payload), props: slices.Clone(p.props),
		qos: p.qos, live: p.live, hasExpiry: p.hasExpiry}
	if p.hasExpiry {
		k.dies = b.clock() + time.Duration(p.expiry)*time.Second
	}
	return k
}

// remaining gives what is left of the message's life in seconds, rounded up
// (MQTT 5.0, 3.3.2.3.3); false: it is over.
func (k *kept) remaining(now time.Duration) (seconds uint32, alive bool) {
	left := k.dies - now
	if left <= 0 {
		return 0, false
	}
	return uint32((left + time.Second - 1) / time.Second), true
}

// What retained messages take in memory beside their bytes, roughly: each
// message, and each level of their topics.
const (
	retainedCost = 200
	levelCost    = 120
)

// retainedSize is what all retained messages take.
func (b *Broker) retainedSize() int64 {
	return b.retainedBytes.Load() + int64(b.retained.Levels())*levelCost
}

// size is what counts against Config.MaxRetainedBytes.
func (k *kept) size() int64 { return int64(k.bytes()) + retainedCost }

func (k *kept) bytes() int { return len(k.topic) + len(k.payload) + len(k.props) }

// retain makes p the retained message of its topic, or removes it if p is
// empty (MQTT 5.0, 3.3.1.3), in memory and in the log in the same order.
func (b *Broker) retain(r *router, p *publication, done func(error)) {
	late := lateDone{done: done}
	b.retMu.Lock()
	stored := b.retainLocked(r, p)
	switch {
	case stored && !p.live:
		r.append(p, true, late.called)
	case r.durable(p):
		r.append(p, false, late.called)
	}
	b.retMu.Unlock()
	late.release()
}

// IsRetained tells whether payload is what is retained on a topic now; an empty
// one is where nothing is retained. Any goroutine may call it.
func (b *Broker) IsRetained(topic string, payload []byte) bool {
	b.retMu.Lock()
	defer b.retMu.Unlock()
	k, is := b.retained.Get(topic)
	if !is {
		return len(payload) == 0
	}
	return bytes.Equal(k.payload, payload)
}

// retainLocked changes the retained messages in memory; false: there is no
// room for it.
func (b *Broker) retainLocked(r *router, p *publication) bool {
	topic := string(p.topic)
	if len(p.payload) == 0 {
		if old, existed := b.retained.Delete(topic); existed {
			b.retainedBytes.Add(-old.size())
		}
		return true
	}
	k := r.keep(p)
	// How much more it takes than what it replaces.
	more := func() int64 {
		if old, existed := b.retained.Get(topic); existed {
			return k.size() - old.size()
		}
		return k.size() + levelCost // at least
	}
	room := func() bool { return b.retainedSize()+more() <= int64(b.cfg.MaxRetainedBytes) }
	if !room() && (!b.sweepLocked() || !room()) {
		b.count.retainedRefused.add(1)
		return false
	}
	b.retainedBytes.Add(k.size())
	if old, existed := b.retained.Put(topic, k); existed {
		b.retainedBytes.Add(-old.size())
	}
	return true
}

// sweepPause is the least time between two searches for retained messages
// whose life is over.
const sweepPause = 10 * time.Second

// sweepLocked forgets retained messages whose life is over; false: it was done
// a moment ago.
func (b *Broker) sweepLocked() bool {
	now := b.clock()
	if b.swept > 0 && now-b.swept < sweepPause {
		return false
	}
	b.swept = now
	for topic, k := range b.retained.All() {
		if k.hasExpiry && k.dies <= now {
			b.retained.Delete(topic)
			b.retainedBytes.Add(-k.size())
		}
	}
	return true
}

// lateDone holds a callback back that came while a lock was held.
type lateDone struct {
	done  func(error)
	state atomic.Uint32
	err   error
}

const (
	lateHeld = iota
	lateCame
	lateFree
)

func (l *lateDone) called(err error) {
	l.err = err
	if l.state.CompareAndSwap(lateHeld, lateCame) || l.done == nil {
		return
	}
	l.done(err)
}

func (l *lateDone) release() {
	if l.state.CompareAndSwap(lateHeld, lateFree) || l.done == nil {
		return
	}
	l.done(l.err)
}

// restoreRetained takes what the store had.
func (b *Broker) restoreRetained() {
	now := b.clock()
	for m := range b.st.RecoveredRetained() {
		k := &kept{topic: strings.Clone(m.Topic), payload: slices.Clone(m.Payload), props: slices.Clone(m.Props),
			qos: m.QoS, hasExpiry: m.HasExpiry}
		if m.HasExpiry {
			k.dies = now + time.Duration(m.Expiry)*time.Second - m.Age
			if k.dies <= now {
				continue
			}
		}
		b.retained.Put(k.topic, k)
		b.retainedBytes.Add(k.size())
	}
	b.st.SetRetained(b.storedRetained)
}

// storedRetained yields what a snapshot of the store must hold.
func (b *Broker) storedRetained(yield func(*store.Message) bool) {
	now := b.clock()
	for topic, k := range b.retained.All() {
		if k.live {
			continue
		}
		m := store.Message{Topic: topic, Payload: k.payload, Props: k.props, QoS: k.qos, Retain: true,
			HasExpiry: k.hasExpiry, StoreRetained: true}
		if k.hasExpiry {
			var alive bool
			if m.Expiry, alive = k.remaining(now); !alive {
				continue
			}
		}
		if !yield(&m) {
			return
		}
	}
}

// sendRetained gives a new subscription of s the retained messages that match
// (MQTT 5.0, 3.3.1.3).
func (b *Broker) sendRetained(r *router, c *conn, filter string, g grant) {
	s := c.sess
	var id []uint32
	if g.id != 0 {
		id = []uint32{g.id}
	}
	b.eachRetained(filter, func(p *publication) bool {
		if !mayRead(s.rights.Load(), p.topic) {
			return true
		}
		qos := min(p.qos, g.qos())
		f := sent
		switch {
		case qos > 0 && s.sid != 0:
			r.routes = append(r.routes[:0], store.Route{Session: s.sid, QoS: qos, Retain: true, SubIDs: id})
			again := *p
			again.retain = false // it is retained already
			if err := r.commitPatiently(b.ctx, &again, b.logged); err != nil {
				b.storeRefused(err)
			}
			return true
		case qos > 0:
			r.kept = nil
			f = s.deliver(c, r, p, qos, true, id)
		default:
			if !c.waitForRetained(r) {
				return false
			}
			for i := range r.frame {
				r.frame[i] = r.frame[i][:0]
			}
			f = r.pass(c, p, true, id)
		}
		r.account(f, p)
		r.touch(c)
		return true
	})
}

// waitForRetained holds the giving of retained messages at QoS 0 while their
// subscriber does not take them: it asked for all of them and may have them as
// fast as it likes. false: it is gone.
func (c *conn) waitForRetained(r *router) bool {
	if c.behind(c.b.cfg.MaxQueuedBytes / 2) {
		r.flush()
		c.waitSpace(c.b.cfg.MaxQueuedBytes / 2)
	}
	select {
	case <-c.dead:
		return false
	default:
		return true
	}
}

// eachRetained calls fn for the retained messages that match and are alive,
// until it returns false.
func (b *Broker) eachRetained(filter string, fn func(p *publication) bool) {
	now := b.clock()
	var over []*kept
	b.retained.Match(filter, func(name string, k *kept) bool {
		p := publication{topic: []byte(name), held: k, payload: k.payload, props: k.props, qos: k.qos, retain: true, live: k.live, hasExpiry: k.hasExpiry}
		if k.hasExpiry {
			var alive bool
			if p.expiry, alive = k.remaining(now); !alive {
				over = append(over, k)
				return true
			}
		}
		return fn(&p)
	})
	for _, k := range over {
		b.expireRetained(k)
	}
}

// expireRetained forgets a retained message whose life is over, unless another
// took its place.
func (b *Broker) expireRetained(k *kept) {
	b.retMu.Lock()
	defer b.retMu.Unlock()
	if now, ok := b.retained.Get(k.topic); ok && now == k {
		b.retained.Delete(k.topic)
		b.retainedBytes.Add(-k.size())
	}
}

// propertiesOf decodes the properties of a publication. They were judged when
// it came in, so that nothing is left to refuse.
func propertiesOf(p *publication) Properties {
	props, _ := ParseProperties(p.props)
	props.Expiry, props.HasExpiry = p.expiry, p.hasExpiry
	return props
}

// ParseProperties decodes properties as Delivery.Props has them. Expiry is not
// among them: the delivery says what remains. An error means that raw was not
// written by a broker; what could be read is returned with it.
func ParseProperties(raw []byte) (Properties, error) {
	if len(raw) == 0 {
		return Properties{}, nil
	}
	var w packet.Properties
	err := packet.DecodeProps(&w, raw, packet.PUBLISH)
	p := Properties{
		UTF8:          w.Has(packet.PropPayloadFormat) && w.PayloadFormat == 1,
		ContentType:   string(w.ContentType),
		ResponseTopic: string(w.ResponseTopic),
		Correlation:   slices.Clone(w.CorrelationData),
	}
	for _, u := range w.User {
		p.User = append(p.User, UserProperty{string(u.Key), string(u.Value)})
	}
	return p, err
}

// AppendProperties appends p as ParseProperties reads it: what travels with a
// message, without its expiry.
func AppendProperties(dst []byte, p *Properties) []byte {
	var w packet.Properties
	if p.UTF8 {
		w.SetUint(packet.PropPayloadFormat, 1)
	}
	if p.ContentType != "" {
		w.SetBytes(packet.PropContentType, []byte(p.ContentType))
	}
	if p.ResponseTopic != "" {
		w.SetBytes(packet.PropResponseTopic, []byte(p.ResponseTopic))
	}
	if len(p.Correlation) > 0 {
		w.SetBytes(packet.PropCorrelationData, p.Correlation)
	}
	for _, u := range p.User {
		w.User = append(w.User, packet.UserProperty{Key: []byte(u.Key), Value: []byte(u.Value)})
	}
	if w.Empty() {
		return dst
	}
	list := w.Append(nil) // with its length, of 1 to 4 bytes
	skip := 1
	for list[skip-1] >= 0x80 {
		skip++
	}
	return append(dst, list[skip:]...)
}
