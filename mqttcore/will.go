package mqttcore

import (
	"slices"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// will is the message to publish when a client is gone without a word (MQTT
// 5.0, 3.1.2.5).
type will struct {
	topic          string
	payload, props []byte
	qos            byte
	retain         bool
	hasExpiry      bool
	expiry         uint32
	delay          uint32 // seconds
}

func willOf(w *packet.Will) *will {
	if w == nil {
		return nil
	}
	l := &will{topic: w.Topic, payload: slices.Clone(w.Payload), props: packet.ForwardProps(nil, w.RawProps), qos: w.QoS, retain: w.Retain}
	l.expiry, l.hasExpiry = packet.ExpiryOf(w.RawProps)
	if w.Properties.Has(packet.PropWillDelay) {
		l.delay = w.Properties.WillDelay
	}
	return l
}

// stored is the form in which it outlives the broker.
func (w *will) stored() *store.Will {
	if w == nil {
		return nil
	}
	return &store.Will{Delay: w.delay, Message: store.Message{Topic: w.topic, Payload: w.payload, Props: w.props,
		QoS: w.qos, Retain: w.retain, Expiry: w.expiry, HasExpiry: w.hasExpiry}}
}

func willFrom(s *store.Will) *will {
	if s == nil {
		return nil
	}
	m := &s.Message
	return &will{topic: m.Topic, payload: m.Payload, props: m.Props, qos: m.QoS, retain: m.Retain,
		hasExpiry: m.HasExpiry, expiry: m.Expiry, delay: s.Delay}
}

// publishWill publishes the will w of s if its user may still do that; nil is
// none.
func (b *Broker) publishWill(s *session, w *will) {
	if w == nil {
		return
	}
	if !mayWrite(s.rights.Load(), w.topic) {
		b.count.deniedWills.add(1)
		return
	}
	b.say(&publication{topic: []byte(w.topic), payload: w.payload, props: w.props, qos: w.qos, retain: w.retain,
		hasExpiry: w.hasExpiry, expiry: w.expiry})
}

// say publishes on the broker's own behalf.
func (b *Broker) say(p *publication) {
	r := b.takeRouter()
	defer b.giveRouter(r)
	r.route(p)
	if err := r.commitPatiently(b.ctx, p, b.logged); err != nil {
		b.storeRefused(err)
	}
}
