package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestValid(t *testing.T) {
	long := strings.Repeat("a", MaxLen)
	for _, c := range []struct {
		statement, topic string
		name, filter     error
	}{
		{"MQTT-4.7.3-1", "", errEmpty, errEmpty},
		{"MQTT-4.7.3-2", "a\x00b", errNUL, errNUL},
		{"MQTT-4.7.3-3", long, nil, nil},
		{"MQTT-4.7.3-3", long + "a", errLong, errLong},
		{"MQTT-1.5.4-1", "a/\xff", errUTF8, errUTF8},
		{"MQTT-1.5.4-1", "a/\xed\xa0\x80", errUTF8, errUTF8},
		{"MQTT-4.7.1-1", "sport/#", errWildName, nil},
		{"MQTT-4.7.1-1", "#", errWildName, nil},
		{"MQTT-4.7.1-1", "sport/tennis#", errWildName, errHash},
		{"MQTT-4.7.1-1", "sport/tennis/#/ranking", errWildName, errHash},
		{"MQTT-4.7.1-1", "#/", errWildName, errHash},
		{"MQTT-4.7.1-1", "a/##", errWildName, errHash},
		{"MQTT-4.7.1-2", "+", errWildName, nil},
		{"MQTT-4.7.1-2", "+/tennis/#", errWildName, nil},
		{"MQTT-4.7.1-2", "sport/+/player1", errWildName, nil},
		{"MQTT-4.7.1-2", "sport+", errWildName, errPlus},
		{"MQTT-4.7.1-2", "+sport/a", errWildName, errPlus},
		{"MQTT-4.7.1-2", "a/++/b", errWildName, errPlus},
		{"MQTT-4.7.1-2", "a/+#", errWildName, errPlus},
		{"plain", "/", nil, nil},
		{"plain", "//", nil, nil},
		{"plain", "/finance", nil, nil},
		{"plain", "Accounts payable", nil, nil},
		{"plain", "küche/温度", nil, nil},
		{"plain", "$SYS/broker", nil, nil},
		{"plain", "$", nil, nil},
	} {
		t.Run(c.statement, func(t *testing.T) {
			short := c.topic[:min(len(c.topic), 40)]
			if err := ValidName(c.topic); !errors.Is(err, c.name) {
				t.Errorf("name %q: %v, want %v", short, err, c.name)
			}
			if err := ValidName([]byte(c.topic)); !errors.Is(err, c.name) {
				t.Errorf("name %q in bytes: %v, want %v", short, err, c.name)
			}
			if err := ValidFilter(c.topic); !errors.Is(err, c.filter) {
				t.Errorf("filter %q: %v, want %v", short, err, c.filter)
			}
			if err := ValidFilter([]byte(c.topic)); !errors.Is(err, c.filter) {
				t.Errorf("filter %q in bytes: %v, want %v", short, err, c.filter)
			}
		})
	}
}

func TestParseShare(t *testing.T) {
	for _, c := range []struct {
		filter, group, inner string
		ok                   bool
		err                  error
	}{
		{"$share/g/a/b", "g", "a/b", true, nil},
		{"$share/g/#", "g", "#", true, nil},
		{"$share/g/+/b", "g", "+/b", true, nil},
		{"$share/g//", "g", "/", true, nil},
		{"$share/g//a", "g", "/a", true, nil},
		{"$share/g/$SYS/x", "g", "$SYS/x", true, nil},
		{"$share//x", "", "", true, errGroup},
		{"$share/+/x", "", "", true, errGroup},
		{"$share/#/x", "", "", true, errGroup},
		{"$share/a+/x", "", "", true, errGroup},
		{"$share/#", "", "", true, errGroup},
		{"$share/", "", "", true, errGroup},
		{"$share//", "", "", true, errGroup},
		{"$share/g", "", "", true, errShare},
		{"$share/g/", "", "", true, errShare},
		{"$share", "", "", false, nil},
		{"$shared/g/a", "", "", false, nil},
		{"a/$share/g/b", "", "", false, nil},
		{"#", "", "", false, nil},
		{"", "", "", false, nil},
	} {
		group, inner, ok, err := ParseShare(c.filter)
		if group != c.group || inner != c.inner || ok != c.ok || !errors.Is(err, c.err) {
			t.Errorf("%q: group %q, filter %q, shared %v, error %v", c.filter, group, inner, ok, err)
		}
	}
}

// matchTable has the examples of the standard and the corners.
var matchTable = []struct {
	statement, filter, name string
	want                    bool
}{
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player1", true},
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player10", false},
	{"4.7.1.2", "sport/#", "sport", true},
	{"4.7.1.2", "sport/#", "sport/", true},
	{"4.7.1.2", "#", "a", true},
	{"4.7.1.2", "#", "/", true},
	{"4.7.1.2", "a/#", "b/a", false},
	{"4.7.1.3", "sport/tennis/+", "sport/tennis/player1", true},
	{"4.7.1.3", "sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"4.7.1.3", "sport/+", "sport", false},
	{"4.7.1.3", "sport/+", "sport/", true},
	{"4.7.1.3", "+/+", "/finance", true},
	{"4.7.1.3", "/+", "/finance", true},
	{"4.7.1.3", "+", "/finance", false},
	{"4.7.1.3", "+/+/#", "a", false},
	{"4.7.1.3", "+/#", "a", true},
	{"4.7.1.3", "a/+/c", "a/b/c", true},
	{"4.7.1.3", "a/+/c", "a//c", true},
	{"4.7.1.3", "a/+/c", "a/b/d", false},
	{"4.7.1.3", "a/+/#", "a/b", true},
	{"MQTT-4.7.2-1", "#", "$SYS/uptime", false},
	{"MQTT-4.7.2-1", "+/uptime", "$SYS/uptime", false},
	{"MQTT-4.7.2-1", "+/monitor/Clients", "$SYS/monitor/Clients", false},
	{"MQTT-4.7.2-1", "$SYS/#", "$SYS/uptime", true},
	{"MQTT-4.7.2-1", "$SYS/#", "$SYS", true},
	{"MQTT-4.7.2-1", "$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"MQTT-4.7.2-1", "a/#", "a/$b", true},
	{"MQTT-4.7.2-1", "a/+", "a/$b", true},
	{"MQTT-4.7.2-1", "+", "$", false},
	{"MQTT-4.7.2-1", "/#", "/$a", true},
	{"MQTT-4.7.3-4", "ACCOUNTS", "Accounts", false},
	{"MQTT-4.7.3-4", "a", "a", true},
	{"MQTT-4.7.3-4", "a", "a/", false},
	{"MQTT-4.7.3-4", "a/", "a", false},
	{"MQTT-4.7.3-4", "a//", "a/", false},
	{"MQTT-4.7.3-4", "//", "//", true},
	{"MQTT-4.7.3-4", "é", "e\u0301", false}, // no normalization
	{"MQTT-4.7.3-4", "a", "", false},
	{"MQTT-4.7.3-4", "", "a", false},
}

// Every case, by the plain function and by both collections.
func TestMatch(t *testing.T) {
	for _, c := range matchTable {
		t.Run(c.statement, func(t *testing.T) {
			if got := Match(c.filter, c.name); got != c.want {
				t.Errorf("filter %q, name %q: %v", c.filter, c.name, got)
			}
			if got := Match([]byte(c.filter), []byte(c.name)); got != c.want {
				t.Errorf("filter %q, name %q in bytes: %v", c.filter, c.name, got)
			}
			if c.filter == "" || c.name == "" {
				return
			}
			tree := NewTree[int, int]()
			tree.Set(c.filter, 1, 2)
			found := 0
			tree.MatchBytes([]byte(c.name), func(s, v int) {
				if s != 1 || v != 2 {
					t.Errorf("subscriber %d with %d", s, v)
				}
				found++
			})
			if found > 1 || (found == 1) != c.want {
				t.Errorf("tree: filter %q, name %q found %d times", c.filter, c.name, found)
			}
			names := NewNames[int]()
			names.Put(c.name, 3)
			found = 0
			names.Match(c.filter, func(name string, v int) bool {
				if name != c.name || v != 3 {
					t.Errorf("%q with %d", name, v)
				}
				found++
				return true
			})
			if found > 1 || (found == 1) != c.want {
				t.Errorf("names: filter %q, name %q found %d times", c.filter, c.name, found)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	for topic, want := range map[string]int{"a": 1, "a/b": 2, "/": 2, "a//": 3, strings.Repeat("/", MaxLen): 65536} {
		if got := Levels(topic); got != want {
			t.Errorf("%.20q has %d levels, want %d", topic, got, want)
		}
	}
	if HasWildcard("a/b") || !HasWildcard("a/+") || !HasWildcard([]byte("#")) {
		t.Error("wildcards are not seen right")
	}
}

// As many levels as a string can have: nothing overflows, and all of it is
// gone afterwards.
func TestMostLevels(t *testing.T) {
	slashes := strings.Repeat("/", MaxLen)
	plusses := strings.Repeat("+/", MaxLen/2) + "#"
	branchy := strings.Repeat("/+", MaxLen/2) // each level leaves a branch to look at later
	tree, names := NewTree[string, int](), NewNames[int]()
	filters := []string{slashes, plusses, branchy, slashes[:100], "#"}
	for i, f := range filters {
		if err := ValidFilter(f); err != nil {
			t.Fatal(err)
		}
		tree.Set(f, "s", i)
	}
	names.Put(slashes, 1)
	for range 3 {
		want, got := 0, 0
		for _, f := range filters {
			if Match(f, slashes) {
				want++
			}
			names.Match(f, func(name string, _ int) bool {
				if !Match(f, name) {
					t.Errorf("filter of %d levels found a name it does not match", Levels(f))
				}
				return true
			})
		}
		tree.Match(slashes, func(string, int) { got++ })
		if got != want || want < 3 {
			t.Fatalf("found %d filters, want %d", got, want)
		}
	}
	for _, f := range filters {
		if !tree.Delete(f, "s") {
			t.Errorf("filter of %d levels was not there", Levels(f))
		}
	}
	if _, ok := names.Delete(slashes); !ok {
		t.Error("name was not there")
	}
	checkBare(t, &tree.trie)
	checkBare(t, &names.trie)
}

// checkBare fails unless nothing is left below the root.
func checkBare[P any](t testing.TB, trie *trie[P]) {
	t.Helper()
	r := &trie.root
	if r.kids.Load() != nil || r.plus.Load() != nil || r.own.Load() != nil || r.rest.Load() != nil {
		t.Error("an empty collection still has levels")
	}
}

// TestCovers compares Covers with Match on the names of a small world.
func TestCovers(t *testing.T) {
	var names []string
	for _, a := range []string{"a", "b", "$s", "zz"} {
		names = append(names, a)
		for _, b := range []string{"a", "b", "zz"} {
			names = append(names, a+"/"+b)
			for _, c := range []string{"a", "b", "zz"} {
				names = append(names, a+"/"+b+"/"+c)
			}
		}
	}
	filters := []string{"#", "+", "a", "$s", "$s/#", "a/#", "a/+", "a/b", "+/b", "+/+", "b/#", "a/+/b", "+/#", "a/b/#", "+/+/+", "a/a/+", "a/+/#"}
	for _, f := range filters {
		for _, o := range filters {
			want := true
			for _, n := range names {
				want = want && (!Match(o, n) || Match(f, n))
			}
			if f == "+/#" && o == "#" {
				want = false // "#" is not taken apart
			}
			if got := Covers(f, o); got != want {
				t.Errorf("Covers(%q, %q) = %v", f, o, got)
			}
		}
	}
}
