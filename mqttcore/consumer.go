package mqttcore

import (
	"context"
	"time"

	"sluice/mqttcore/store"
)

// Filter is a subscription of a [Consumer].
type Filter struct {
	Topic string
	QoS   byte // 1 or 2: the most that is delivered
}

// Delivery is one message read from a durable queue; see [store.Delivery].
type Delivery = store.Delivery

// Consumer is a durable in-process subscriber: like a client with a session
// that never expires, it gets each QoS 1 and 2 message that its filters match,
// over restarts. It has one owner: all methods but Backlog are called from
// one goroutine at a time.
type Consumer struct{}

// Consumer opens the durable consumer of that name, creating it if needed.
// Its filters replace the previous ones. It waits for the disk.
func (b *Broker) Consumer(ctx context.Context, name string, filters []Filter) (*Consumer, error) {
	panic("not yet")
}

// RemoveConsumers deletes all consumers but those named, with what is queued
// for them.
func (b *Broker) RemoveConsumers(keep ...string) { panic("not yet") }

// Wake receives after something was committed for the consumer. It has room
// for one: drain Next until false before waiting again.
func (c *Consumer) Wake() <-chan struct{} { panic("not yet") }

// Next fills d with the next message; false: none is committed yet. What d
// points to is valid until the next call.
func (c *Consumer) Next(d *Delivery) (bool, error) { panic("not yet") }

// Rewind makes Next start again after Base: for a new upstream connection.
func (c *Consumer) Rewind() { panic("not yet") }

// Ack settles a message: it was acknowledged for good (PUBACK, PUBCOMP).
func (c *Consumer) Ack(seq uint64) { panic("not yet") }

// Release records that the receiver has a QoS 2 message (PUBREC); done is
// called when that is on disk, before which PUBREL must not be sent.
func (c *Consumer) Release(seq uint64, done func(error)) { panic("not yet") }

// Drop settles a message that can never be delivered and records why.
func (c *Consumer) Drop(seq uint64, reason string) { panic("not yet") }

// Base is the sequence number up to which all is settled.
func (c *Consumer) Base() uint64 { panic("not yet") }

// Released is the sequence number up to which QoS 2 messages were released.
func (c *Consumer) Released() uint64 { panic("not yet") }

// Backlog tells what is queued and the age of the oldest of it.
func (c *Consumer) Backlog() (messages, bytes uint64, oldest time.Duration) { panic("not yet") }

// Close gives the consumer back; its queue stays on disk.
func (c *Consumer) Close() { panic("not yet") }

// ParseProperties decodes Delivery.Props. Expiry is not among them: the
// delivery has what remains.
func ParseProperties(raw []byte) (Properties, error) { panic("not yet") }
