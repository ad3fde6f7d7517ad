package mqttcore

import "sluice/mqttcore/packet"

// Reload puts the access rules of cfg, its Users, ACL and Anonymous, in the
// place of those in force. Connections whose user is gone, has another
// password or may no longer be anonymous end; for all others, connected or
// not, the new rules hold from the next message on, also for those that are
// queued already. Certificates are read anew if their files have changed. An
// error means that cfg is not valid and that nothing has changed. The rest of
// cfg takes effect with the next start.
func (b *Broker) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	b.keys.look()
	a := newAccess(&cfg)
	var out []*conn
	b.mu.Lock()
	b.access.Store(a)
	for _, s := range b.sessions {
		s.rights.Store(a.acl.rightsLocked(s.user, s.client))
		if s.owner != nil && !a.admits(&s.owner.proof, s.owner.nc) {
			out = append(out, s.owner)
		}
	}
	b.mu.Unlock()
	for _, c := range out {
		c.evict(packet.NotAuthorized, "its user may no longer connect")
	}
	b.log.Info("access rules taken", "users", a.users.Len(), "rules", len(cfg.ACL), "disconnected", len(out))
	return nil
}
