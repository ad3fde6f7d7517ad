package topic

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// Few words, so that topics meet.
func drawName(t *rapid.T) string {
	return rapid.StringMatching(`(\$S|a|b|c|)(/(a|b|\$S|)){0,3}`).
		Filter(func(s string) bool { return s != "" }).Draw(t, "name")
}

func drawFilter(t *rapid.T) string {
	return rapid.StringMatching(`(\$S|a|b|\+|)(/(a|b|\+|\$S|)){0,3}(/#)?|#`).
		Filter(func(s string) bool { return s != "" }).Draw(t, "filter")
}

type subscription struct {
	filter string
	s      int
}

// The tree does what a list of subscriptions and Match would do.
func TestTreeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, model := NewTree[int, int](), map[subscription]int{}
		wide := rapid.SampledFrom([]int{3, 300}).Draw(t, "subscribers") // 300 is several links
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k := subscription{drawFilter(t), rapid.IntRange(1, wide).Draw(t, "s")}
				v := rapid.Int().Draw(t, "v")
				want, had := model[k]
				old, existed := tree.Set(k.filter, k.s, v)
				if old != want || existed != had {
					t.Fatalf("set %v: old %d %v, want %d %v", k, old, existed, want, had)
				}
				model[k] = v
			},
			"crowd": func(t *rapid.T) {
				f := drawFilter(t)
				from := rapid.IntRange(1, wide).Draw(t, "from")
				for s := from; s < from+wide/2; s++ {
					tree.Set(f, s, -s)
					model[subscription{f, s}] = -s
				}
			},
			"disperse": func(t *rapid.T) {
				f := drawFilter(t)
				step := rapid.IntRange(1, 3).Draw(t, "step")
				for s := 1; s <= 2*wide; s += step {
					k := subscription{f, s}
					_, had := model[k]
					if got := tree.Delete(f, s); got != had {
						t.Fatalf("delete %v: %v, want %v", k, got, had)
					}
					delete(model, k)
				}
			},
			"delete": func(t *rapid.T) {
				k := subscription{drawFilter(t), rapid.IntRange(1, wide).Draw(t, "s")}
				_, had := model[k]
				if got := tree.Delete(k.filter, k.s); got != had {
					t.Fatalf("delete %v: %v, want %v", k, got, had)
				}
				delete(model, k)
			},
			"get": func(t *rapid.T) {
				k := subscription{drawFilter(t), rapid.IntRange(1, wide).Draw(t, "s")}
				want, had := model[k]
				if got, ok := tree.Get(k.filter, k.s); got != want || ok != had {
					t.Fatalf("get %v: %d %v, want %d %v", k, got, ok, want, had)
				}
			},
			"": func(t *rapid.T) {
				name := drawName(t)
				want, got := map[[2]int]int{}, map[[2]int]int{}
				for k, v := range model {
					if Match(k.filter, name) {
						want[[2]int{k.s, v}]++
					}
				}
				tree.Match(name, func(s, v int) { got[[2]int{s, v}]++ })
				if !maps.Equal(got, want) {
					t.Fatalf("%q finds %v, want %v", name, got, want)
				}
				if tree.Len() != len(model) {
					t.Fatalf("%d subscriptions, want %d", tree.Len(), len(model))
				}
			},
		})
		for k := range model {
			if !tree.Delete(k.filter, k.s) {
				t.Fatalf("%v was not there at the end", k)
			}
		}
		if tree.trie.root.kids.Load() != nil || tree.trie.root.plus.Load() != nil || tree.trie.root.rest.Load() != nil {
			t.Fatal("an empty tree still has levels")
		}
	})
}

// The names do what a map and Match would do.
func TestNamesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names, model := NewNames[int](), map[string]int{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				name, v := drawName(t), rapid.Int().Draw(t, "v")
				want, had := model[name]
				if old, existed := names.Put(name, v); old != want || existed != had {
					t.Fatalf("put %q: old %d %v, want %d %v", name, old, existed, want, had)
				}
				model[name] = v
			},
			"put many": func(t *rapid.T) { // tables that grow
				base := drawName(t)
				for i := range rapid.IntRange(1, 40).Draw(t, "n") {
					name := fmt.Sprintf("%s/%d", base, i)
					names.Put(name, i)
					model[name] = i
				}
			},
			"delete many": func(t *rapid.T) { // and shrink
				for _, name := range slices.Sorted(maps.Keys(model)) {
					if rapid.IntRange(0, 3).Draw(t, "keep") == 0 {
						continue
					}
					if v, ok := names.Delete(name); !ok || v != model[name] {
						t.Fatalf("delete %q: %d %v, want %d", name, v, ok, model[name])
					}
					delete(model, name)
				}
			},
			"delete": func(t *rapid.T) {
				name := drawName(t)
				want, had := model[name]
				if old, existed := names.Delete(name); old != want || existed != had {
					t.Fatalf("delete %q: %d %v, want %d %v", name, old, existed, want, had)
				}
				delete(model, name)
			},
			"": func(t *rapid.T) {
				name := drawName(t)
				want, had := model[name]
				if got, ok := names.Get(name); got != want || ok != had {
					t.Fatalf("get %q: %d %v, want %d %v", name, got, ok, want, had)
				}
				filter := drawFilter(t)
				expect, got := map[string]int{}, map[string]int{}
				for name, v := range model {
					if Match(filter, name) {
						expect[name] = v
					}
				}
				names.Match(filter, func(name string, v int) bool {
					if _, twice := got[name]; twice {
						t.Fatalf("%q is found twice", name)
					}
					got[name] = v
					return true
				})
				if !maps.Equal(got, expect) {
					t.Fatalf("%q finds %v, want %v", filter, got, expect)
				}
				if all := maps.Collect(names.All()); !maps.Equal(all, model) || names.Len() != len(model) {
					t.Fatalf("all are %v (%d), want %v", all, names.Len(), model)
				}
			},
		})
		for name := range model {
			names.Delete(name)
		}
		if names.trie.root.kids.Load() != nil {
			t.Fatal("an empty collection still has levels")
		}
	})
}

// The caller may stop early, and change the collection from within.
func TestNamesMatchStops(t *testing.T) {
	names := NewNames[int]()
	for i := range 100 {
		names.Put(fmt.Sprintf("a/%d/b", i), i)
	}
	for _, filter := range []string{"#", "a/+/b", "a/#", "a/7/b"} {
		calls := 0
		names.Match(filter, func(string, int) bool { calls++; return false })
		if calls != 1 {
			t.Errorf("%q: %d calls after false", filter, calls)
		}
	}
	for range names.All() {
		break
	}
	names.Match("#", func(name string, _ int) bool {
		names.Delete(name)
		return true
	})
	if names.Len() != 0 {
		t.Errorf("%d names left", names.Len())
	}
}

// Readers while the tree changes: what stays subscribed is found exactly once,
// what comes and goes at most once, and what does not match never.
func TestTreeConcurrent(t *testing.T) {
	tree := NewTree[int, int]()
	const steady, visitors = 200, 400
	filters := []string{"a/b/c", "a/+/c", "a/b/#", "#", "+/b/c"}
	for i, f := range filters {
		for s := range steady {
			tree.Set(f, s, i)
		}
	}
	tree.Set("a/b/d", -1, -1)
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for round := range 30 {
				for s := range visitors {
					s := steady + w*visitors + s
					tree.Set(filters[(s+round)%len(filters)], s, (s+round)%len(filters))
					tree.Set(fmt.Sprintf("a/x%d/c", s), s, 99)
				}
				for s := range visitors {
					s := steady + w*visitors + s
					if !tree.Delete(filters[(s+round)%len(filters)], s) || !tree.Delete(fmt.Sprintf("a/x%d/c", s), s) {
						t.Errorf("visitor %d was not there", s)
					}
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for done := false; !done; { // once more after the last change
				done = stop.Load()
				seen := map[[2]int]int{}
				tree.Match("a/b/c", func(s, v int) { seen[[2]int{s, v}]++ })
				for i := range filters {
					for s := range steady {
						if n := seen[[2]int{s, i}]; n != 1 {
							t.Errorf("subscriber %d of %q was found %d times", s, filters[i], n)
							return
						}
					}
				}
				for k, n := range seen {
					if n != 1 || k[0] < 0 || k[1] == 99 {
						t.Errorf("subscriber %d with %d was found %d times", k[0], k[1], n)
						return
					}
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	if want := steady*len(filters) + 1; tree.Len() != want {
		t.Errorf("%d subscriptions left, want %d", tree.Len(), want)
	}
}

// Readers while names come and go: those that stay are always found.
func TestNamesConcurrent(t *testing.T) {
	names := NewNames[int]()
	const steady = 50
	for i := range steady {
		names.Put(fmt.Sprintf("a/%d/v", i), i)
	}
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for range 30 {
				for i := range 300 {
					names.Put(fmt.Sprintf("a/%d-%d/v", w, i), -1)
				}
				for i := range 300 {
					names.Delete(fmt.Sprintf("a/%d-%d/v", w, i))
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for done := false; !done; { // once more after the last change
				done = stop.Load()
				for _, filter := range []string{"#", "a/+/v", "+/#"} {
					found, before := 0, map[string]bool{}
					names.Match(filter, func(name string, v int) bool {
						if v < 0 {
							return true // it comes and goes, perhaps during this search
						}
						if before[name] {
							t.Errorf("%q found twice", name)
						}
						before[name] = true
						found++
						return true
					})
					if found != steady {
						t.Errorf("%q found %d names of %d that stay", filter, found, steady)
						return
					}
				}
				if v, ok := names.Get("a/7/v"); !ok || v != 7 {
					t.Errorf("a/7/v is %d %v", v, ok)
					return
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	if names.Len() != steady {
		t.Errorf("%d names left, want %d", names.Len(), steady)
	}
}
