package mqttcore

import (
	"crypto/tls"
	"net"

	"sluice/mqttcore/packet"
)

// mayTakeLocked says whether the connection's client may have the session, nil
// for a new one. Nothing has been done to it before.
func (c *conn) mayTakeLocked(s *session) error {
	// The rules may have changed since the client was judged by them.
	if a := c.b.access.Load(); a != c.access {
		if !a.admits(&c.proof, c.nc) {
			return bye(packet.NotAuthorized, "its user may no longer connect")
		}
		c.access = a
	}
	if s != nil && !c.access.mayTake(s.user, c.proof.user) {
		c.b.count.loginsFailed.add(1)
		return bye(packet.NotAuthorized, "the session of client "+c.client+" belongs to another user")
	}
	return nil
}

// ownLocked gives a session to a user who may take it.
func (b *Broker) ownLocked(s *session, user string) {
	if s.user == user {
		return
	}
	s.user = user
	s.rights.Store(b.access.Load().acl.rightsLocked(user, s.client))
	if s.sid != 0 {
		b.st.OwnSession(s.sid, user, b.logged)
	}
}

// certificateName gives the common name of the certificate that a client has
// shown and that one of the authorities asked for has signed.
func certificateName(nc net.Conn) (string, bool) {
	t, ok := nc.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return "", false
	}
	state := t.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return "", false
	}
	return state.VerifiedChains[0][0].Subject.CommonName, true
}
