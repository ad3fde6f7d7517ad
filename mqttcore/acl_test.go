package mqttcore

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/mqttcore/topic"
)

// TestOverlap judges overlap by names: some name matches both filters, or none
// of all that matter does.
func TestOverlap(t *testing.T) {
	levels := []string{"a", "b", "$c", "", "+"}
	var names []string
	var grow func(prefix string, depth int)
	grow = func(prefix string, depth int) {
		for _, l := range []string{"a", "b", "$c", "", "z"} {
			name := prefix + l
			if name != "" {
				names = append(names, name)
			}
			if depth < 4 {
				grow(name+"/", depth+1)
			}
		}
	}
	grow("", 1)
	filter := rapid.Custom(func(t *rapid.T) string {
		f := strings.Join(rapid.SliceOfN(rapid.SampledFrom(levels), 1, 3).Draw(t, "levels"), "/")
		if rapid.Bool().Draw(t, "open") {
			f += "/#"
		}
		if f == "" {
			f = "#"
		}
		return f
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := filter.Draw(t, "a"), filter.Draw(t, "b")
		common := ""
		for _, n := range names {
			if topic.Match(a, n) && topic.Match(b, n) {
				common = n
				break
			}
		}
		if overlap(a, b) != (common != "") || overlap(b, a) != (common != "") {
			t.Fatalf("overlap(%q, %q) = %v, both ways %v; common is %q", a, b, overlap(a, b), overlap(b, a), common)
		}
	})
}

func TestRights(t *testing.T) {
	a := newACL([]Rule{
		{User: "*", Read: []string{"public/#"}, Write: []string{"from/{client}/+"}},
		{User: "panel", Read: []string{"home/#", "$SYS/broker/uptime"}, Write: []string{"home/+/set"}},
		{User: "*", Read: []string{"own/{user}/#"}},
	})
	for _, c := range []struct {
		user, client string
		reads        string // topics, + allowed, - denied
		writes       string
	}{
		{"panel", "p1", "+public/a +home/a +own/panel/x +$SYS/broker/uptime -own/other/x -$SYS/broker/version -from/p1/a",
			"+home/a/set +from/p1/a -from/p2/a -home/a -public/a -$SYS/broker/uptime"},
		{"", "p1", "+public/a -home/a -own//x -own/panel/x -own/p1/x", "+from/p1/a -home/a/set"},
		{"+", "#", "+public/a -own/panel/x -own/+/x", "-from/p1/a -from/#/a"},
		{"a/b", "a/b", "-own/a/b/c", "-from/a/b -from/a/b/c"},
		{"{client}", "{user}", "+own/{client}/x -own/{user}/x", "+from/{user}/a -from/{client}/a"},
		{"$SYS", "x", "-own/$SYS/x", "+from/x/y"},
	} {
		r, _ := a.rights(c.user, c.client)
		for _, w := range strings.Fields(c.reads) {
			if mayRead(r, w[1:]) != (w[0] == '+') || mayRead(r, []byte(w[1:])) != (w[0] == '+') {
				t.Errorf("user %q client %q reads %s: wrong", c.user, c.client, w)
			}
		}
		for _, w := range strings.Fields(c.writes) {
			if mayWrite(r, w[1:]) != (w[0] == '+') {
				t.Errorf("user %q client %q writes %s: wrong", c.user, c.client, w)
			}
		}
	}
}

// TestPlaceholderInFront: a client cannot name itself into the topics that
// begin with $.
func TestPlaceholderInFront(t *testing.T) {
	a := newACL([]Rule{{User: "*", Read: []string{"{client}/#"}}})
	if r, _ := a.rights("", "$SYS"); mayRead(r, "$SYS/broker/uptime") || r.maySubscribe("$SYS/#") {
		t.Error("$SYS may be read")
	}
}

// TestVerdicts: what is remembered of many filters is what they say.
func TestVerdicts(t *testing.T) {
	rule := Rule{User: "*"}
	for _, l := range "abcdefgh" {
		rule.Read = append(rule.Read, string(l)+"/+/x")
	}
	r, _ := newACL([]Rule{rule}).rights("", "")
	if r.read.known == nil {
		t.Fatal("nothing is remembered")
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-k]/[0-9]{1,2}/[xy]`).Draw(t, "name")
		if got, want := mayRead(r, []byte(name)), matchesAny(rule.Read, name); got != want {
			t.Fatalf("%s: %v", name, got)
		}
	})
	name := []byte("a/1/x")
	if n := testing.AllocsPerRun(100, func() { mayRead(r, name) }); n > 0 {
		t.Errorf("%v allocations for a topic that is known", n)
	}
}

// TestSharedRights: clients of one user have their rights in common, unless
// these depend on the client, and the table of them is bounded.
func TestSharedRights(t *testing.T) {
	a := newACL([]Rule{{User: "own", Read: []string{"{client}/#"}}, {User: "*", Read: []string{"{user}"}}})
	if a.rightsLocked("panel", "1") != a.rightsLocked("panel", "2") {
		t.Error("made twice")
	}
	if a.rightsLocked("own", "1") == a.rightsLocked("own", "2") {
		t.Error("one client's rights given to another")
	}
	for i := range 3 * maxShared {
		a.rightsLocked(strings.Repeat("u", i+1), "")
	}
	if len(a.shared) > maxShared {
		t.Errorf("%d rights are kept", len(a.shared))
	}
}

func TestAccessFilter(t *testing.T) {
	for f, ok := range map[string]bool{
		"home/#": true, "{user}/{client}/+": true, "a{user}b/#": true, "$SYS/#": true, "{}x": false,
		"{usr}/#": false, "home/#/x": false, "": false, "$share/g/x": false, "a#": false, "{user}#": false, "x{y/z}": true,
	} {
		if err := CheckAccessFilter(f); (err == nil) != ok {
			t.Errorf("%q: %v", f, err)
		}
	}
	err := Config{ACL: []Rule{{User: "a:b", Read: []string{"ok", "{x}"}, Write: []string{"#/"}}}}.Validate()
	for _, field := range []string{"acl.0.user", "acl.0.read.1", "acl.0.write.0"} {
		found := false
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			found = found || e.(*fieldError).Field() == field
		}
		if !found {
			t.Errorf("%s is not named in %v", field, err)
		}
	}
}

func BenchmarkMayRead(b *testing.B) {
	for name, filters := range map[string][]string{
		"1 filter":   {"home/#"},
		"2 filters":  {"home/+/+/set", "home/#"},
		"20 filters": strings.Fields(strings.Repeat("site/+/line/1/# ", 19) + "home/#"),
	} {
		b.Run(name, func(b *testing.B) {
			r, _ := newACL([]Rule{{User: "*", Read: filters}}).rights("", "")
			topic := []byte("home/floor1/meter/voltage_l1")
			b.ReportAllocs()
			for b.Loop() {
				mayRead(r, topic)
			}
		})
	}
}
