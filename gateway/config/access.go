package config

import (
	"errors"
	"os"

	"sluice/mqttcore"
)

// rawACL is one [[broker.acl]].
type rawACL struct {
	node
	user        string
	read, write []string
}

func newACL(n node) rawACL { return rawACL{node: n} }

var aclTable = table[rawACL]{
	must(key("user", checked(`a user name, or "*" for everyone`, checkAccessUser), func(a *rawACL) *string { return &a.user })),
	key("read", accessFilters, func(a *rawACL) *[]string { return &a.read }),
	key("write", accessFilters, func(a *rawACL) *[]string { return &a.write }),
}

var accessFilters = list(checked("a topic filter", mqttcore.CheckAccessFilter), `topic filters such as ["home/#"]`)

func checkAccessUser(s string) error {
	if s == "*" {
		return nil
	}
	return mqttcore.CheckUser(s)
}

// buildAccess settles who may log in and what they may do.
func (b *binder) buildAccess(r *rawBroker, cfg *Config) {
	if at := r.at("users"); r.has("users") && b.fine(at) {
		path := b.relative(r.users)
		users, err := mqttcore.LoadUsers(path)
		hint := ""
		if errors.Is(err, os.ErrNotExist) {
			hint = "sluice passwd " + path + " NAME  makes it, with a first user"
		}
		b.tellAll(at, hint, err)
		if users.Exposed() {
			b.warn(at, "chmod 0640 "+path, "everyone on this machine can read the hashes of the passwords in %s", path)
		}
		cfg.Broker.Users = users
	}
	for i := range r.acl {
		a := &r.acl[i]
		cfg.Broker.ACL = append(cfg.Broker.ACL, mqttcore.Rule{User: a.user, Read: a.read, Write: a.write})
		at := a.at("user")
		switch {
		case a.user == "*" || !b.fine(at, r.at("users")) || r.has("client_ca"):
		case !r.has("users"):
			b.bad(at, `write a users file with sluice passwd and name it by the key "users" in [broker], or mean everyone by "*"`,
				"nobody can log in as %s: there is no users file", shorten(a.user))
		case !cfg.Broker.Users.Has(a.user):
			b.warn(at, "", "nobody can log in as %s: this user is not in %s", shorten(a.user), b.relative(r.users))
		}
	}
}

// tellAll reports each of the errors joined in err.
func (b *binder) tellAll(at, hint string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all := joined.Unwrap()
		const most = 10
		for i, e := range all {
			if i == most {
				b.bad(at, "", "and %d more", len(all)-most)
				break
			}
			b.bad(at, hint, "%v", e)
		}
		return
	}
	if err != nil {
		b.bad(at, hint, "%v", err)
	}
}

// nobodyElse says that clients of other machines cannot show who they are and
// are not let in without.
func (r *rawBroker) nobodyElse() bool {
	return !r.anonymous && !r.has("users") && !r.has("client_ca")
}
