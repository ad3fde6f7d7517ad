package topic

import (
	"strings"
	"testing"
)

// FuzzTopic: whatever the filters and the name, both collections find what the
// plain Match finds, and are bare once everything is deleted. filters are
// separated by new lines. Each process hashes its own way, so coverage does not
// repeat and minimizing by it is in vain: fuzz with -fuzzminimizetime=1x.
func FuzzTopic(f *testing.F) {
	for _, c := range matchTable {
		f.Add(c.filter+"\n#\na/+", c.name)
	}
	f.Add("$share/g/a\n"+strings.Repeat("+/", 50)+"#", strings.Repeat("/", 49))
	f.Fuzz(func(t *testing.T, filters, name string) {
		if ValidName(name) != nil {
			return
		}
		tree, names := NewTree[string, int](), NewNames[int]()
		names.Put(name, 1)
		want := map[string]bool{}
		var all []string
		for filter := range strings.SplitSeq(filters, "\n") {
			if ValidFilter(filter) != nil {
				continue
			}
			all = append(all, filter)
			tree.Set(filter, filter, 0)
			match := Match(filter, name)
			if match {
				want[filter] = true
			}
			found := false
			names.Match(filter, func(n string, _ int) bool { found = n == name; return true })
			if found != match {
				t.Fatalf("names: filter %q, name %q: %v, want %v", filter, name, found, match)
			}
			if _, _, shared, err := ParseShare(filter); shared != strings.HasPrefix(filter, "$share/") || !shared && err != nil {
				t.Fatalf("%q: shared %v, error %v", filter, shared, err)
			}
		}
		tree.Match(name, func(filter string, _ int) {
			if !want[filter] {
				t.Fatalf("tree: filter %q found for name %q, or found twice", filter, name)
			}
			delete(want, filter)
		})
		if len(want) > 0 {
			t.Fatalf("tree: name %q does not find %v", name, want)
		}
		for _, filter := range all {
			tree.Delete(filter, filter)
		}
		names.Delete(name)
		if tree.Len() != 0 || names.Len() != 0 {
			t.Fatalf("%d filters and %d names left", tree.Len(), names.Len())
		}
		checkBare(t, &tree.trie)
		checkBare(t, &names.trie)
	})
}
