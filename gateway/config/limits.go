package config

import (
	"time"

	"sluice/mqttcore"
)

// rawLimits are the keys of [broker] that bound its memory. What is 0 takes
// the broker's default.
type rawLimits struct {
	maxSessions      int
	maxSubscriptions int
	maxSubscribed    int // bytes of all subscriptions
	maxRetained      int // bytes of all retained messages
	maxTopicLevels   int
	maxKeepAlive     time.Duration
	waiting          rawWaiting
}

// rawWaiting is the queue of [broker]: what may wait for clients, in memory and,
// for sessions that outlive their connection, on disk.
type rawWaiting struct {
	node
	maxBytes, total int
	disk            rawQueue
}

func newWaiting(n node) rawWaiting {
	return rawWaiting{node: n, disk: rawQueue{maxBytes: usualDisk}}
}

var waitingTable = table[rawWaiting]{
	key("max_bytes", size[int](kib, gib), func(q *rawWaiting) *int { return &q.maxBytes }),
	key("total", size[int](kib, gib), func(q *rawWaiting) *int { return &q.total }),
	key("disk_max_bytes", size[int64](256*kib, 16*tib), func(q *rawWaiting) *int64 { return &q.disk.maxBytes }),
	key("disk_max_age", duration(second, 3650*day), func(q *rawWaiting) *time.Duration { return &q.disk.maxAge }),
	key("disk_when_full", whenFull, func(q *rawWaiting) *mqttcore.WhenFull { return &q.disk.whenFull }),
}

var limitKeys = table[rawBroker]{
	key("max_keepalive", duration(second, 18*hour), func(b *rawBroker) *time.Duration { return &b.maxKeepAlive }),
	key("queue", sub(waitingTable, "the queue of [broker]", newWaiting), func(b *rawBroker) *rawWaiting { return &b.waiting }),
	key("max_retained_bytes", size[int](kib, gib), func(b *rawBroker) *int { return &b.maxRetained }),
	key("max_sessions", integer[int](1, 10_000_000), func(b *rawBroker) *int { return &b.maxSessions }),
	key("max_subscriptions", integer[int](1, 1_000_000), func(b *rawBroker) *int { return &b.maxSubscriptions }),
	key("max_subscription_bytes", size[int](kib, gib), func(b *rawBroker) *int { return &b.maxSubscribed }),
	key("max_topic_levels", integer[int](1, 65536), func(b *rawBroker) *int { return &b.maxTopicLevels }),
}

// bound settles the limits of the broker.
func (l *rawLimits) bound(c *mqttcore.Config) {
	c.MaxKeepAlive = l.maxKeepAlive
	c.MaxQueuedBytes, c.MaxQueuedTotal = l.waiting.maxBytes, l.waiting.total
	c.SessionQueue = l.waiting.disk.limit()
	c.MaxRetainedBytes, c.MaxSessions = l.maxRetained, l.maxSessions
	c.MaxSubscriptions, c.MaxSubscriptionBytes = l.maxSubscriptions, l.maxSubscribed
	c.MaxTopicLevels = l.maxTopicLevels
}
