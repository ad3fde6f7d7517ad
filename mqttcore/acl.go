package mqttcore

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sluice/mqttcore/topic"
)

// Rule lets a user read and write topics. Once there is one rule, what no
// rule allows is denied, to everyone but the program itself.
type Rule struct {
	// User is whom it is for; "*" is everyone, clients without a user too.
	User string
	// Read and Write list topic filters of what the user may subscribe to and
	// publish to. {user} and {client} stand for the user's name and the client
	// identifier; names that mean something in a filter (with + # or / in them,
	// or a $ in front) are not put in, so that the filter then allows nothing.
	// Topics that begin with $ need a filter that does.
	Read, Write []string
}

// validateRules reports every wrong field of the rules.
func validateRules(rules []Rule, bad func(field, format string, args ...any)) {
	for i, r := range rules {
		if r.User != "*" {
			if err := CheckUser(r.User); err != nil {
				bad(fmt.Sprintf("acl.%d.user", i), "%w", err)
			}
		}
		for key, filters := range map[string][]string{"read": r.Read, "write": r.Write} {
			for j, f := range filters {
				if err := CheckAccessFilter(f); err != nil {
					bad(fmt.Sprintf("acl.%d.%s.%d", i, key, j), "%q: %w", f, err)
				}
			}
		}
	}
}

var placeholder = regexp.MustCompile(`\{[^{}/]*\}`)

// CheckAccessFilter says what is wrong with a filter of a [Rule].
func CheckAccessFilter(filter string) error {
	for _, name := range placeholder.FindAllString(filter, -1) {
		if name != "{user}" && name != "{client}" {
			return fmt.Errorf("%s stands for nothing: {user} and {client} do", name)
		}
	}
	if strings.HasPrefix(filter, "$share/") {
		return errors.New("write the filter inside the shared subscription, without $share and group")
	}
	return topic.ValidFilter(strings.NewReplacer("{user}", "u", "{client}", "c").Replace(filter))
}

// acl is what the rules say, ready to be asked.
type acl struct {
	rules []Rule
	// shared holds the rights of users whose clients all have the same;
	// guarded by Broker.mu.
	shared map[string]*rights
}

// maxShared bounds acl.shared: beyond, it begins anew.
const maxShared = 1024

// newACL gives nil for no rules: everything is allowed.
func newACL(rules []Rule) *acl {
	if len(rules) == 0 {
		return nil
	}
	return &acl{rules: rules, shared: map[string]*rights{}}
}

// rightsLocked gives the rights of a client, the same for all of a user where
// they do not depend on the client. Broker.mu is held.
func (a *acl) rightsLocked(user, client string) *rights {
	if a == nil {
		return nil
	}
	if r := a.shared[user]; r != nil {
		return r
	}
	r, personal := a.rights(user, client)
	if !personal {
		if len(a.shared) >= maxShared {
			clear(a.shared)
		}
		a.shared[user] = r
	}
	return r
}

// rights makes the rights of a client; personal: they depend on which client
// of the user it is. nil: everything is allowed.
func (a *acl) rights(user, client string) (r *rights, personal bool) {
	if a == nil {
		return nil, false
	}
	var read, write []string
	for i := range a.rules {
		rule := &a.rules[i]
		if rule.User != "*" && rule.User != user {
			continue
		}
		fill := func(dst, filters []string) []string {
			for _, f := range filters {
				personal = personal || strings.Contains(f, "{client}")
				if f, ok := substitute(f, user, client); ok {
					dst = append(dst, f)
				}
			}
			return dst
		}
		read, write = fill(read, rule.Read), fill(write, rule.Write)
	}
	return &rights{newPermit(read), newPermit(write)}, personal
}

// substitute puts the names into a filter; false: one cannot be put in.
func substitute(filter, user, client string) (string, bool) {
	if strings.Contains(filter, "{user}") && !harmless(user) ||
		strings.Contains(filter, "{client}") && !harmless(client) {
		return "", false
	}
	return strings.NewReplacer("{user}", user, "{client}", client).Replace(filter), true
}

// harmless says that a name in a filter stands for itself alone.
func harmless(name string) bool {
	return name != "" && name[0] != '$' && !strings.ContainsAny(name, "+#/")
}
