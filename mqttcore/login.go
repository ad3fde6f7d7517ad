package mqttcore

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"sluice/mqttcore/packet"
)

const (
	hashesAtOnce = 2    // each takes tens of milliseconds and up to 64 MiB
	maxVerified  = 1024 // credentials remembered; beyond, the oldest is forgotten
)

// login verifies credentials: at most a few at a time, and each good one only
// once while it stays the same.
type login struct {
	backoff
	turns chan struct{}
	key   [32]byte // of this process

	mu       sync.Mutex
	verified map[digest]struct{}
	order    []digest // of verified, as a ring
	oldest   int
}

// digest stands for a user, a password and the hash that it matched. It says
// nothing about them to who has not the key.
type digest [sha256.Size]byte

func newLogin() *login {
	l := &login{turns: make(chan struct{}, hashesAtOnce), verified: map[digest]struct{}{}}
	_, _ = rand.Read(l.key[:]) // never fails
	return l
}

func (l *login) digest(parts ...[]byte) (d digest) {
	m := hmac.New(sha256.New, l.key[:])
	for _, p := range parts {
		_ = binary.Write(m, binary.BigEndian, uint64(len(p)))
		m.Write(p)
	}
	m.Sum(d[:0])
	return d
}

// known reports whether the credential was verified before.
func (l *login) known(u *Users, user string, password []byte) bool {
	s, ok := u.list[user]
	if !ok {
		return false
	}
	d := l.digest([]byte(user), password, []byte(s.text))
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok = l.verified[d]
	return ok
}

// remember enters a verified credential.
func (l *login) remember(d digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.verified[d]; ok {
		return
	}
	if len(l.order) < maxVerified {
		l.order = append(l.order, d)
	} else {
		delete(l.verified, l.order[l.oldest])
		l.order[l.oldest] = d
		l.oldest = (l.oldest + 1) % maxVerified
	}
	l.verified[d] = struct{}{}
}

// verify hashes the password and compares. An unknown user costs what one
// that is there does. It waits for its turn; an error: that did not come.
func (l *login) verify(ctx context.Context, u *Users, user string, password []byte) (bool, error) {
	select {
	case l.turns <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-l.turns }()
	if l.known(u, user, password) { // verified while we waited
		return true, nil
	}
	s, exists := u.list[user]
	if !exists {
		s = l.decoy(u, user)
	}
	if !s.matches(password) || !exists {
		return false, nil
	}
	l.remember(l.digest([]byte(user), password, []byte(s.text)))
	return true, nil
}

// decoy gives a hash to compare with in the place of a user that is not
// there: always the same one for the same name, of those that are.
func (l *login) decoy(u *Users, user string) secret {
	if len(u.names) == 0 {
		return secret{memory: argonMemory, time: argonTime, lanes: argonLanes, salt: l.key[:saltSize], key: make([]byte, keySize)}
	}
	d := l.digest([]byte(user))
	return u.list[u.names[binary.BigEndian.Uint64(d[:])%uint64(len(u.names))]]
}

// proof is how a client has shown who it is.
type proof struct {
	user        string // "": anonymous
	secret      string // the hash that its password matched, if it had to
	certificate bool
}

// access is who may log in and what they may do. Reload replaces it.
type access struct {
	users     *Users
	acl       *acl
	anonymous bool // accepted from everywhere
	closed    bool // anonymous clients are not even accepted from this machine
	names     bool // some clients have a user
}

func newAccess(cfg *Config) *access {
	return &access{users: cfg.Users, acl: newACL(cfg.ACL), anonymous: cfg.Anonymous,
		closed: cfg.Users != nil && !cfg.Anonymous, names: cfg.Users != nil || cfg.ClientCA != ""}
}

// admits says whether a client that has shown p would be accepted still.
func (a *access) admits(p *proof, nc net.Conn) bool {
	switch {
	case p.certificate:
		return true // the listener's: it asked for it
	case p.user != "":
		s, ok := a.users.secretOf(p.user)
		return ok && s == p.secret
	}
	return a.anonymous || !a.closed && local(nc)
}

func (u *Users) secretOf(name string) (string, bool) {
	if u == nil {
		return "", false
	}
	s, ok := u.list[name]
	return s.text, ok
}

// mayTake says whether a user may take a session up. A session belongs to its
// user; that of nobody, or where nobody has a name any more, goes to whoever
// has the client identifier now.
func (a *access) mayTake(owner, user string) bool {
	return owner == user || !a.names || owner == "" && a.closed
}

// authenticate finds out who the client is. It may wait for a password to be
// hashed, within Config.ConnectTimeout.
func (c *conn) authenticate(p *packet.Connect, until time.Time) error {
	a := c.b.access.Load()
	c.access = a
	if name, ok := certificateName(c.nc); ok {
		if err := CheckUser(name); err != nil || p.HasUsername && p.Username != name {
			c.b.count.loginsFailed.add(1)
			c.b.log.Warn("login failed", "remote", remote(c.nc), "why", "the certificate is not for this user")
			return bye(packet.NotAuthorized, "the certificate is not for this user")
		}
		c.proof = proof{user: name, certificate: true}
		return nil
	}
	if a.users == nil || !p.HasUsername && (!p.HasPassword || a.anonymous) {
		if !a.admits(&c.proof, c.nc) {
			return bye(packet.NotAuthorized, "clients need a user")
		}
		return nil
	}
	return c.checkPassword(a, p, until)
}

// checkPassword judges user and password.
func (c *conn) checkPassword(a *access, p *packet.Connect, until time.Time) error {
	b, l := c.b, c.b.login
	ip := addressOf(c.nc)
	ok := l.known(a.users, p.Username, p.Password)
	if !ok {
		if wait := l.held(ip, b.clock()); wait > 0 {
			b.count.loginsHeld.add(1)
			reason := packet.ConnectionRateExceeded
			if c.version != packet.V5 {
				reason = packet.ServerBusy
			}
			return bye(reason, "too many failed logins from this address")
		}
		ctx, cancel := context.WithDeadline(b.ctx, until)
		defer cancel()
		var err error
		if ok, err = l.verify(ctx, a.users, p.Username, p.Password); err != nil {
			return bye(packet.ServerBusy, "too many logins at once")
		}
	}
	if !ok {
		c.loginFailed(a, p)
		return bye(packet.BadUserNameOrPassword, "wrong user or password")
	}
	c.proof.user = p.Username
	c.proof.secret, _ = a.users.secretOf(p.Username)
	return nil
}

// loginFailed counts, and logs the first failure from an address and when it
// is held off. A name that is no user's may be a password in the wrong field:
// it is not logged.
func (c *conn) loginFailed(a *access, p *packet.Connect) {
	b := c.b
	b.count.loginsFailed.add(1)
	first, held, begins := b.login.failed(addressOf(c.nc), b.clock())
	user := "unknown"
	if a.users.Has(p.Username) {
		user = p.Username
	}
	switch {
	case first:
		b.log.Warn("login failed", "remote", remote(c.nc), "user", user)
	case begins:
		b.log.Warn("logins held off after too many failures", "remote", remote(c.nc), "user", user, "for", held)
	}
}
