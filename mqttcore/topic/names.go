package topic

import (
	"iter"
	"sync"
	"sync/atomic"
)

// Names holds values by topic name, as retained messages are. All methods may
// be called by any number of goroutines: reading takes no lock, writing waits
// for other writers. A reader sees every change that was complete before it
// began, and may or may not see those made meanwhile.
//
// The zero Names is not ready: NewNames makes one.
type Names[V any] struct {
	mu   sync.Mutex // writers
	trie trie[named[V]]
	len  atomic.Int64
}

// named is what stands in the trie where a name ends.
type named[V any] struct {
	name  string
	value V
}

// NewNames makes an empty collection.
func NewNames[V any]() *Names[V] {
	n := new(Names[V])
	n.trie.init()
	return n
}

// Put sets the value of a valid name and gives the one it had. The name's
// memory is kept.
func (m *Names[V]) Put(name string, v V) (old V, existed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := &m.trie.root
	for off := 0; off <= len(name); {
		l, next := m.trie.cut(name, off)
		n = m.trie.grow(n, l, next > len(name))
		off = next
	}
	was := n.own.Load()
	if was != nil {
		n.own.Store(&named[V]{was.name, v})
		return was.value, true
	}
	n.own.Store(&named[V]{name, v})
	m.len.Add(1)
	return old, false
}

// find gives the node of a name; nil if there is none.
func (m *Names[V]) find(name string) *node[named[V]] {
	n := &m.trie.root
	for off := 0; off <= len(name) && n != nil; {
		l, next := m.trie.cut(name, off)
		n = n.kid(l)
		off = next
	}
	return n
}

// Get gives the value of a name.
func (m *Names[V]) Get(name string) (v V, ok bool) {
	if n := m.find(name); n != nil {
		if x := n.own.Load(); x != nil {
			return x.value, true
		}
	}
	return v, false
}

// Delete removes a name and gives the value it had. Levels that nobody uses any
// more go with it.
func (m *Names[V]) Delete(name string) (old V, existed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(name)
	if n == nil {
		return old, false
	}
	was := n.own.Load()
	if was == nil {
		return old, false
	}
	n.own.Store(nil)
	m.trie.prune(n)
	m.len.Add(-1)
	return was.value, true
}

// Len is the number of names.
func (m *Names[V]) Len() int { return int(m.len.Load()) }

// Levels is how many levels of names are held, those that names begin with
// alike counted once. It says what the collection takes in memory: some 100 to
// 200 bytes each.
func (m *Names[V]) Levels() int { return int(m.trie.nodes.Load()) }

// All goes through all names, in no order. Changes are allowed meanwhile.
func (m *Names[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		w := walk[V]{trie: &m.trie, filter: "#", fn: yield}
		w.run(false)
	}
}

// Match calls fn for every name that a valid filter matches, in no order, until
// fn returns false. fn may change the collection. A name that is there all the
// time is found once; one that is deleted and put again meanwhile may be found
// again.
func (m *Names[V]) Match(filter string, fn func(name string, v V) bool) {
	if filter == "" {
		return
	}
	w := walk[V]{trie: &m.trie, filter: filter, fn: fn}
	w.run(true)
}
