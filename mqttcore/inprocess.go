package mqttcore

import (
	"context"
	"errors"
	"fmt"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
	"sluice/mqttcore/topic"
)

// Publish routes a message. nil means that it survives a power cut wherever
// it must: it is on disk for each durable session and consumer that it
// matched, whatever its QoS above 0. It waits for the disk and, while more
// waits to be committed than the store holds, for room.
func (b *Broker) Publish(ctx context.Context, m Message) error {
	for {
		disk := make(chan error, 1)
		if err := b.PublishAsync(m, func(err error) { disk <- err }); err != nil {
			return err
		}
		select {
		case err := <-disk:
			if !errors.Is(err, store.ErrBusy) {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("publish to %s: %w", m.Topic, ctx.Err())
		}
		if err := b.st.WaitRoom(ctx); err != nil {
			return fmt.Errorf("publish to %s: %w", m.Topic, err)
		}
	}
}

// PublishAsync is Publish without any wait: done is called once with what
// Publish would have returned, perhaps before PublishAsync returns, and must
// not block; it gets store.ErrBusy where Publish would have waited for room. A
// returned error means that the message is not one that can be published, and
// done is not called. The order of calls is the order in the log.
func (b *Broker) PublishAsync(m Message, done func(error)) error {
	if err := b.publishable(&m); err != nil {
		return err
	}
	b.count.inprocess.add(1)
	r := b.takeRouter()
	defer b.giveRouter(r)
	r.props = appendProperties(r.props[:0], &m.Properties)
	p := &r.current
	*p = publication{topic: append(r.name[:0], m.Topic...), payload: m.Payload, props: r.props, qos: m.QoS, retain: m.Retain,
		hasExpiry: m.Properties.HasExpiry, expiry: m.Properties.Expiry, live: m.Live, origin: m.Origin}
	r.name = p.topic
	r.route(p)
	if r.durable(p) {
		r.commit(p, done)
		return nil
	}
	r.commit(p, b.logged)
	done(nil)
	return nil
}

// publishable judges a message from inside the program.
func (b *Broker) publishable(m *Message) error {
	if err := topic.ValidName(m.Topic); err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	if m.QoS > 2 {
		return fmt.Errorf("publish to %s: QoS %d: use 0, 1 or 2", m.Topic, m.QoS)
	}
	if size := len(m.Topic) + len(m.Payload) + 16; size > packet.MaxRemaining {
		return fmt.Errorf("publish to %s: payload of %d bytes is larger than MQTT allows", m.Topic, len(m.Payload))
	}
	return nil
}
