package mqttcore

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// Config is what a [Broker] can be told. The zero value of a field stands for
// its default.
type Config struct {
	// Listen lists the addresses of the listeners: tcp://host:port,
	// tls://host:port, ws://host:port (MQTT over WebSocket), wss://host:port
	// (with TLS) or unix:///path, a socket file for the user and the group of
	// the process. Port 0 takes any free one; [Broker.URLs] names it. None: no
	// listener.
	Listen []string
	// Cert and Key are the files of a certificate, with those that lead to its
	// authority behind it, and of its key, in PEM. tls:// and wss:// need them.
	// New files are taken within a second of handshakes, and with
	// [Broker.Reload]; those that are not good are logged and not taken.
	Cert, Key string
	// ClientCA is a file of authorities in PEM. With it clients of tls:// and
	// wss:// are asked for a certificate. They may have none; who shows one
	// that an authority has signed is the user of its common name.
	ClientCA string
	// Anonymous accepts clients without a user from everywhere. Without it
	// they are accepted from this machine only, and if there are Users from
	// nowhere.
	Anonymous bool
	// Users is who may log in with a password; nil: user names are not looked
	// at. See [LoadUsers] and [Broker.Reload].
	Users *Users
	// ACL says who may read and write what; none: everyone everything.
	ACL []Rule
	// MaxConnections bounds the clients connected at the same time (1000, or
	// less: it is kept 200 below the limit of open files of the process).
	MaxConnections int
	// MaxPacketSize bounds a packet from a client, in bytes with its header
	// (1 MiB; 64 B to 255 MiB). Told to MQTT 5 clients.
	MaxPacketSize int
	// ReceiveMaximum bounds the QoS 1 and 2 messages that a client may send
	// before they are acknowledged (1024; 1 to 65535). Told to MQTT 5 clients.
	ReceiveMaximum uint16
	// SessionExpiryMax bounds how long a session outlives its connection
	// (30 days). It holds for MQTT 3.1.1 clients too, whose sessions would
	// otherwise never end.
	SessionExpiryMax time.Duration
	// MaxInflight bounds the QoS 1 and 2 messages sent to a client and not
	// acknowledged, below what the client itself allows (256; 1 to 16384).
	MaxInflight int
	// MaxQueuedBytes bounds what waits in memory for one client (8 MiB). At
	// the bound new messages for that client are dropped and counted;
	// durable sessions wait in the log instead.
	MaxQueuedBytes int
	// MaxQueuedTotal bounds what waits in memory for all clients together
	// (64 MiB), with what they have sent of packets above 32 KiB. Each client
	// may have 64 KiB beside it, so that those who keep up are not touched by
	// those who do not. At the bound it goes as at MaxQueuedBytes; a client
	// in the midst of a large packet is disconnected.
	MaxQueuedTotal int
	// SessionQueue bounds what waits in the log for one session of a client that
	// outlives its connection. Without MaxBytes it is 512 MiB.
	SessionQueue Limit
	// MaxSubscriptions bounds the subscriptions of one client (10000).
	MaxSubscriptions int
	// MaxSubscriptionBytes bounds what the subscriptions of all clients take in
	// memory, roughly (64 MiB). At the bound new ones are refused.
	MaxSubscriptionBytes int
	// MaxSessions bounds the sessions of clients, connected or not (10000, at
	// least MaxConnections). At the bound new ones are refused.
	MaxSessions int
	// MaxTopicLevels bounds the levels of a topic name or filter (64).
	MaxTopicLevels int
	// MaxRetainedBytes bounds what all retained messages take in memory
	// (64 MiB). What does not fit is delivered, but not retained, and counted.
	MaxRetainedBytes int
	// MaxKeepAlive is the longest keep alive granted, told to MQTT 5 clients
	// as Server Keep Alive. 0: what the client wishes.
	MaxKeepAlive time.Duration
	// ConnectTimeout bounds the wait for CONNECT (10 s).
	ConnectTimeout time.Duration
	// WriteTimeout bounds how long a client may take no bytes at all while
	// some wait for it (30 s).
	WriteTimeout time.Duration
	// SysInterval is the period of the $SYS topics (10 s). Negative: none.
	SysInterval time.Duration
	// Version is the program's version, published under $SYS.
	Version string
}

// usualConnections is the default of Config.MaxConnections.
const usualConnections = 1000

// fieldError is an error of one field of a Config.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// Field names the key in the configuration file.
func (e *fieldError) Field() string { return e.field }

// Validate reports every wrong field, joined; each error has a method Field
// that names its key.
func (c Config) Validate() error {
	var all []error
	bad := func(field, format string, args ...any) {
		all = append(all, &fieldError{field, fmt.Errorf(format, args...)})
	}
	for i, s := range c.Listen {
		if _, err := parseEndpoint(s); err != nil {
			bad(fmt.Sprintf("listen.%d", i), "%w", err)
		}
	}
	validateRules(c.ACL, bad)
	c.validateKeys(bad)
	c = c.withDefaults()
	between := func(field string, n, low, high int) {
		if n < low || n > high {
			bad(field, "%d is out of range: from %d to %d", n, low, high)
		}
	}
	between("max_connections", c.MaxConnections, 1, 1_000_000)
	between("max_packet_size", c.MaxPacketSize, 64, largest)
	between("max_inflight", c.MaxInflight, 1, maxSpan/2)
	between("queue.max_bytes", c.MaxQueuedBytes, 1<<10, 1<<30)
	between("queue.total", c.MaxQueuedTotal, 1<<10, math.MaxInt)
	if c.SessionQueue.MaxAge < 0 {
		bad("queue.disk_max_age", "%v is negative", c.SessionQueue.MaxAge)
	}
	between("max_subscriptions", c.MaxSubscriptions, 1, 1_000_000)
	between("max_subscription_bytes", c.MaxSubscriptionBytes, 1<<10, math.MaxInt)
	between("max_sessions", c.MaxSessions, 1, 10_000_000)
	between("max_topic_levels", c.MaxTopicLevels, 1, 65536)
	between("max_retained_bytes", c.MaxRetainedBytes, 1<<10, math.MaxInt)
	positive := func(field string, d, low time.Duration) {
		if d < low {
			bad(field, "%v is too short: at least %v", d, low)
		}
	}
	positive("session_expiry_max", c.SessionExpiryMax, time.Second)
	positive("connect_timeout", c.ConnectTimeout, time.Millisecond)
	positive("write_timeout", c.WriteTimeout, time.Millisecond)
	if c.MaxKeepAlive != 0 {
		positive("max_keepalive", c.MaxKeepAlive, time.Second)
	}
	return errors.Join(all...)
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	c.MaxConnections = cmp.Or(c.MaxConnections, usualConnections)
	c.MaxPacketSize = cmp.Or(c.MaxPacketSize, 1<<20)
	c.ReceiveMaximum = cmp.Or(c.ReceiveMaximum, 1024)
	c.SessionExpiryMax = cmp.Or(c.SessionExpiryMax, 30*24*time.Hour)
	c.MaxInflight = cmp.Or(c.MaxInflight, 256)
	c.MaxQueuedBytes = cmp.Or(c.MaxQueuedBytes, 8<<20)
	c.MaxQueuedTotal = cmp.Or(c.MaxQueuedTotal, 64<<20)
	c.SessionQueue.MaxBytes = cmp.Or(c.SessionQueue.MaxBytes, 512<<20)
	c.MaxSubscriptions = cmp.Or(c.MaxSubscriptions, 10_000)
	c.MaxSubscriptionBytes = cmp.Or(c.MaxSubscriptionBytes, 64<<20)
	c.MaxSessions = cmp.Or(c.MaxSessions, max(10_000, c.MaxConnections))
	c.MaxTopicLevels = cmp.Or(c.MaxTopicLevels, 64)
	c.MaxRetainedBytes = cmp.Or(c.MaxRetainedBytes, 64<<20)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	c.SysInterval = cmp.Or(c.SysInterval, 10*time.Second)
	return c
}
