package mqttcore

import (
	"context"
	"fmt"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// Publish routes a message. nil means that it survives a power cut wherever
// it must: it is on disk for each durable session and consumer that it
// matched, if its QoS is above 0, and as the retained message of its topic. It
// waits for the disk and, while more waits to be committed than the store
// holds, for room.
func (b *Broker) Publish(ctx context.Context, m Message) error {
	if err := b.publishable(&m); err != nil {
		return err
	}
	r := b.takeRouter()
	defer b.giveRouter(r)
	p := r.compose(&m)
	r.route(p)
	if !r.durable(p) {
		r.commit(p, b.logged)
		return nil
	}
	disk := make(chan error, 1)
	done := m.remembered(func(err error) { disk <- err })
	if err := r.commitPatiently(ctx, p, done); err != nil {
		return fmt.Errorf("publish to %s: %w", m.Topic, err)
	}
	select {
	case err := <-disk:
		if err != nil {
			return fmt.Errorf("publish to %s: %w", m.Topic, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("publish to %s: %w", m.Topic, ctx.Err())
	}
}

// PublishAsync is Publish without any wait: done is called once with what
// Publish would have returned, perhaps before PublishAsync returns, and must
// not block. It gets store.ErrBusy where Publish would have waited for room;
// then only those who need no disk have got the message. A returned error
// means that the message is not one that can be published, and done is not
// called. The order of calls is the order in the log.
func (b *Broker) PublishAsync(m Message, done func(error)) error {
	if err := b.publishable(&m); err != nil {
		return err
	}
	r := b.takeRouter()
	defer b.giveRouter(r)
	p := r.compose(&m)
	r.route(p)
	if r.durable(p) {
		r.commit(p, m.remembered(done))
		return nil
	}
	r.commit(p, b.logged)
	done(nil)
	return nil
}

// remembered has the inbox of the message, if it has one, know it before done.
func (m *Message) remembered(done func(error)) func(error) {
	inbox, id := m.Inbox, m.PacketID
	if inbox == nil || m.QoS < 2 {
		return done
	}
	return func(err error) {
		if err == nil {
			inbox.received(id)
		}
		done(err)
	}
}

// compose makes a publication of a message.
func (r *router) compose(m *Message) *publication {
	r.b.count.inprocess.add(1)
	r.name = append(r.name[:0], m.Topic...)
	r.props = AppendProperties(r.props[:0], &m.Properties)
	r.current = publication{topic: r.name, payload: m.Payload, props: r.props, qos: m.QoS, retain: m.Retain,
		hasExpiry: m.Properties.HasExpiry, expiry: m.Properties.Expiry, live: m.Live, origin: m.Origin}
	if m.Inbox != nil {
		r.current.inbox, r.current.pid = m.Inbox.sid, m.PacketID
	}
	return &r.current
}

// largest is the most that a message may take, in bytes, so that it can still
// be sent with the identifiers of many subscriptions.
const largest = packet.MaxRemaining - 1<<20

// publishable judges a message from inside the program.
func (b *Broker) publishable(m *Message) error {
	if err := topic.ValidName(m.Topic); err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	if m.QoS > 2 {
		return fmt.Errorf("publish to %s: QoS %d: use 0, 1 or 2", m.Topic, m.QoS)
	}
	size := len(m.Topic) + len(m.Payload)
	for _, text := range []string{m.Properties.ContentType, m.Properties.ResponseTopic, string(m.Properties.Correlation)} {
		if len(text) > topic.MaxLen {
			return fmt.Errorf("publish to %s: a property of %d bytes is longer than MQTT allows", m.Topic, len(text))
		}
	}
	for _, u := range m.Properties.User {
		if len(u.Key) > topic.MaxLen || len(u.Value) > topic.MaxLen {
			return fmt.Errorf("publish to %s: a user property is longer than MQTT allows", m.Topic)
		}
		size += len(u.Key) + len(u.Value) + 5
	}
	if size > largest-4*topic.MaxLen {
		return fmt.Errorf("publish to %s: %d bytes are more than MQTT allows", m.Topic, size)
	}
	return nil
}
