package mqttcore

import "time"

// Config is what a [Broker] can be told. The zero value of a field stands for
// its default.
type Config struct {
	// Listen lists the addresses of the listeners, as tcp://host:port. Port 0
	// takes any free one; [Broker.Addrs] names it. None: no listener.
	Listen []string
	// Anonymous accepts clients without a user from everywhere, not only from
	// this machine.
	Anonymous bool
	// MaxConnections bounds the clients connected at the same time (1000).
	MaxConnections int
	// MaxPacketSize bounds a packet from a client, in bytes with its header
	// (1 MiB; 64 B to 256 MiB). Told to MQTT 5 clients.
	MaxPacketSize int
	// ReceiveMaximum bounds the QoS 1 and 2 messages that a client may send
	// before they are acknowledged (1024; 1 to 65535). Told to MQTT 5 clients.
	ReceiveMaximum uint16
	// SessionExpiryMax bounds how long a session outlives its connection
	// (30 days). It holds for MQTT 3.1.1 clients too, whose sessions would
	// otherwise never end.
	SessionExpiryMax time.Duration
	// MaxInflight bounds the QoS 1 and 2 messages sent to a client and not
	// acknowledged, below what the client itself allows (1024; 1 to 16384).
	MaxInflight int
	// MaxQueuedBytes bounds what waits in memory for one client (8 MiB). At
	// the bound new messages for that client are dropped and counted;
	// durable sessions wait in the log instead.
	MaxQueuedBytes int
	// MaxSubscriptions bounds the subscriptions of one client (10000).
	MaxSubscriptions int
	// MaxTopicLevels bounds the levels of a topic name or filter (64).
	MaxTopicLevels int
	// MaxRetainedBytes bounds topic and payload of all retained messages
	// together (64 MiB). What does not fit is delivered, but not retained.
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
