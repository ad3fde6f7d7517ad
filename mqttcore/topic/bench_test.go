package topic

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// What a broker does for each message does not allocate.
func TestNoAllocation(t *testing.T) {
	tree, names := NewTree[int, byte](), NewNames[int]()
	for i := range 100 {
		tree.Set("site/+/meter/#", i, 1)
		tree.Set(fmt.Sprintf("site/floor%d/+/+", i), i, 1)
		names.Put(fmt.Sprintf("site/floor%d/meter/v", i), i)
	}
	name := []byte("site/floor7/meter/v")
	found := 0
	count := func(int, byte) { found++ }
	for what, fn := range map[string]func(){
		"match":         func() { tree.Match("site/floor7/meter/v", count) },
		"match bytes":   func() { tree.MatchBytes(name, count) },
		"match closure": func() { n := 0; tree.MatchBytes(name, func(int, byte) { n++ }); found += n },
		"get name":      func() { names.Get("site/floor7/meter/v") },
		"plain match":   func() { Match("site/+/meter/#", name) },
		"valid name":    func() { ValidName(name) },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	if found == 0 {
		t.Error("nothing was found")
	}
}

// heap is how many bytes live on the heap.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// benchFilter is the i-th of n subscriptions of a site: mostly single devices,
// some by wildcard.
func benchFilter(i int) string {
	switch i % 10 {
	case 0:
		return fmt.Sprintf("site/%d/+/%d", i%1000, i)
	case 1:
		return fmt.Sprintf("site/%d/device%d/#", i%1000, i)
	}
	return fmt.Sprintf("site/%d/device%d/temp", i%1000, i)
}

func BenchmarkTreeMatch(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := heap()
			tree := NewTree[int, byte]()
			for i := range n {
				tree.Set(benchFilter(i), i, 1)
			}
			perSub := float64(heap()-before) / float64(n)
			topics := make([][]byte, 1024)
			for i := range topics {
				k := rand.IntN(n)
				topics[i] = fmt.Appendf(nil, "site/%d/device%d/temp", k%1000, k)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				found := 0
				for i := rand.IntN(len(topics)); pb.Next(); i++ {
					tree.MatchBytes(topics[i%len(topics)], func(int, byte) { found++ })
				}
				if found == 0 && b.N > 100 {
					b.Error("nothing was found")
				}
			})
			b.ReportMetric(perSub, "heap-B/sub")
			runtime.KeepAlive(tree)
		})
	}
}

func BenchmarkTreeSet(b *testing.B) {
	for what, filter := range map[string]func(int) string{
		"own filters": benchFilter,
		"one level":   func(i int) string { return fmt.Sprintf("device%d", i) },
		"same filter": func(int) string { return "site/#" },
	} {
		b.Run(what, func(b *testing.B) {
			tree := NewTree[int, byte]()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				tree.Set(filter(i), i, 1)
				i++
			}
			b.StopTimer()
			for i := range i {
				if !tree.Delete(filter(i), i) {
					b.Fatal("lost a subscription")
				}
			}
		})
	}
}

func BenchmarkTreeSetDelete(b *testing.B) {
	tree := NewTree[int, byte]()
	for i := range 100_000 {
		tree.Set(benchFilter(i), i, 1)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		tree.Delete(benchFilter(i%100_000), i%100_000)
		tree.Set(benchFilter(i%100_000), i%100_000, 1)
		i++
	}
}

func BenchmarkNames(b *testing.B) {
	const n = 1_000_000
	name := func(i int) string { return fmt.Sprintf("site/%d/device%d/temp", i%1000, i) }
	before := heap()
	names := NewNames[*int]()
	for i := range n {
		names.Put(name(i), nil)
	}
	perName := float64(heap()-before) / n
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok := names.Get("site/123/device123/temp"); !ok {
				b.Fatal("not found")
			}
		}
		b.ReportMetric(perName, "heap-B/name")
	})
	for _, filter := range []string{"site/7/+/temp", "site/+/device7/temp", "#"} {
		b.Run(filter, func(b *testing.B) {
			b.ReportAllocs()
			found := 0
			for b.Loop() {
				found = 0
				names.Match(filter, func(string, *int) bool { found++; return true })
			}
			b.ReportMetric(float64(found), "found")
		})
	}
	b.Run("replace", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			names.Put("site/123/device123/temp", nil)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !Match("site/+/device7/#", "site/12/device7/temp") {
			b.Fatal("no match")
		}
	}
}
