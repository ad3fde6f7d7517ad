// Package mqttcore is an MQTT broker for a gateway: MQTT 3.1, 3.1.1 and 5.0
// for clients over TCP, TLS, WebSocket and socket files, and the same topics
// for the program it lives in, through [Broker.Publish], [Broker.Subscribe] and [Broker.Consumer].
// CONFORMANCE.md says which test holds it to which statement of the standards.
//
// It keeps one promise above all: a PUBACK or PUBREC leaves, and Publish
// returns nil, only after the message is on disk for every durable session
// and consumer that it matched.
//
// A session that outlives its connection (session expiry above 0) is durable:
// its QoS 1 and 2 messages go through the log of package store and nothing of
// its queue is held in memory. All other deliveries stay in memory, bounded,
// and what a full queue drops is counted.
//
// Who may connect is said by [Config.Users], by certificates and by where a
// client comes from; what it may read and write by [Config.ACL], asked for each
// message. A session belongs to its user. [Broker.Reload] changes the rules
// under running clients.
//
// One goroutine per connection reads. Writing is done by whoever has
// something for the connection, in one non-blocking write per batch; only a
// connection that does not take its bytes gets a goroutine to wait for it.
// TLS and WebSocket turn bytes into other bytes in memory before that write;
// they never wait for a client themselves.
package mqttcore
