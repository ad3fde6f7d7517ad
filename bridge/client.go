package bridge

import (
	"context"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
)

// client is one connection to the upstream in one version of MQTT. The
// forwarder writes its messages to the conn itself; their answers, and why the
// connection ended, it has from the session. What comes down goes to the
// receiver. Before connect has returned without an error nothing else is
// called, and nothing is running.
type client interface {
	// connect does the handshake of MQTT. The error is a *refusal where the
	// server said no.
	connect(ctx context.Context, h hello) (welcome, error)
	// subscribe asks for filters of remote topics, at most subscribeBatch, and
	// returns a reason for each.
	subscribe(ctx context.Context, filters []string, qos byte) (reasons []byte, err error)
	// publish sends a retained message beside the log and waits for its
	// acknowledgement, whose reason it returns.
	publish(ctx context.Context, topic, payload string, qos byte, retain bool) (reason byte, err error)
	// acknowledge sends PUBACK or PUBREC for a message of the upstream.
	acknowledge(id uint16, qos, reason byte) error
	// complete sends PUBCOMP; known tells whether there was such an exchange.
	complete(id uint16, known bool) error
	// leave says goodbye and closes the connection.
	leave(f farewell)
	// done is closed when all has ended that connect started.
	done() <-chan struct{}
}

// hello is what differs between the CONNECT packets of one link.
type hello struct {
	purge bool // for discarding the session that the server may have
	will  bool // with the will
}

// welcome is what a CONNACK said.
type welcome struct {
	resumed bool // the server has kept our session
	lim     limits
}

// farewell is how a connection is left.
type farewell struct {
	offline bool // with the word that is our will
	lim     limits
}

// inbound is a message that came down.
type inbound struct {
	id     uint16
	qos    byte
	retain bool
	topic  string
	// payload is the receiver's own.
	payload []byte
	props   mqttcore.Properties
}

// The retained words of Config.Availability.
const (
	online  = "online"
	offline = "offline"
)

// newClient makes the client of one connection in the version that is
// configured.
func (l *Link) newClient(c *conn, s *session, r *receiver) client {
	if l.cfg.version() == packet.V5 {
		return newClient5(&l.cfg, c, s, r)
	}
	return newClient3(&l.cfg, c, s, r)
}
