package mqttcore

import (
	"context"
	"log/slog"
	"net"

	"sluice/mqttcore/store"
)

// Broker routes messages between MQTT clients, in-process subscribers and
// durable consumers. All methods may be called from any goroutine.
type Broker struct{}

// New prepares a broker over an opened store. It starts nothing.
func New(cfg Config, st *store.Store, log *slog.Logger) *Broker { panic("not yet") }

// Run serves until ctx ends. The store's Run must outlive it.
func (b *Broker) Run(ctx context.Context) error { panic("not yet") }

// Ready is closed when all listeners accept connections.
func (b *Broker) Ready() <-chan struct{} { panic("not yet") }

// String names the task.
func (b *Broker) String() string { return "broker" }

// Addrs gives the addresses of the listeners, in the order of Config.Listen;
// valid after Ready.
func (b *Broker) Addrs() []net.Addr { panic("not yet") }

// Validate reports every wrong field; each error has a Field method.
func (c Config) Validate() error { panic("not yet") }

// Publish routes a message. nil means that it survives a power cut wherever
// it must: it is on disk for each durable session and consumer it matched.
func (b *Broker) Publish(ctx context.Context, m Message) error { panic("not yet") }

// PublishAsync is Publish without the wait: done is called once with what
// Publish would have returned, perhaps before PublishAsync returns, and must
// not block. A returned error means that the message was refused and done is
// not called. The order of calls is the order in the log.
func (b *Broker) PublishAsync(m Message, done func(error)) error { panic("not yet") }

// Subscribe calls fn for each message that matches filter, at QoS 0, on the
// publisher's goroutine: fn must not block. The message may be kept but not
// changed. Retained messages that match come first, during the call, with
// Retain set. Subscribe panics if filter is not a valid topic filter.
func (b *Broker) Subscribe(filter string, fn func(m *Message)) (cancel func()) { panic("not yet") }
