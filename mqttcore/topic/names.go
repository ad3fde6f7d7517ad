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
		level, next := cut(name, off)
		n = m.trie.grow(n, level, next > len(name))
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
		level, next := cut(name, off)
		n = m.trie.kid(n, level)
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

// All goes through all names, in no order. Changes are allowed meanwhile.
func (m *Names[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		w := walk[V]{names: m, filter: "#", fn: yield}
		w.run(false)
	}
}

// Match calls fn for every name that a valid filter matches, in no order, until
// fn returns false. fn may change the collection.
func (m *Names[V]) Match(filter string, fn func(name string, v V) bool) {
	if filter == "" {
		return
	}
	w := walk[V]{names: m, filter: filter, fn: fn}
	w.run(true)
}

// walk is one search for the names that a filter matches.
type walk[V any] struct {
	names  *Names[V]
	filter string
	fn     func(string, V) bool
	todo   []siblings[V] // at most one per level
}

// siblings are children still to be looked at: those from slot i on.
type siblings[V any] struct {
	kids *table[named[V]]
	i    int
	off  int  // in the filter: what comes after their level
	top  bool // the first level, where a wildcard does not mean names with $
}

// run looks through the trie. hide leaves out names that start with $ where
// the filter starts with a wildcard [MQTT-4.7.2-1].
func (w *walk[V]) run(hide bool) {
	if !w.down(&w.names.trie.root, 0, hide) {
		return
	}
	for len(w.todo) > 0 {
		s := &w.todo[len(w.todo)-1]
		if s.i == len(s.kids.slots) {
			w.todo = w.todo[:len(w.todo)-1]
			continue
		}
		n := s.kids.slots[s.i].Load()
		s.i++
		if n == nil || s.top && len(n.level) > 0 && n.level[0] == '$' {
			continue
		}
		if !w.down(n, s.off, false) {
			return
		}
	}
}

// down follows the filter from off on, below n: past literal levels at once, at
// a wildcard by leaving the children to run. It returns false when fn does.
func (w *walk[V]) down(n *node[named[V]], off int, top bool) bool {
	for off <= len(w.filter) {
		level, next := cut(w.filter, off)
		switch level {
		case "#":
			next = off // and the same for everything below
			if !w.tell(n) {
				return false
			}
			fallthrough
		case "+":
			if kids := n.kids.Load(); kids != nil {
				w.todo = append(w.todo, siblings[V]{kids, 0, next, top})
			}
			return true
		}
		if n = w.names.trie.kid(n, level); n == nil {
			return true
		}
		off, top = next, false
	}
	return w.tell(n)
}

// tell calls fn if a name ends at n.
func (w *walk[V]) tell(n *node[named[V]]) bool {
	if x := n.own.Load(); x != nil {
		return w.fn(x.name, x.value)
	}
	return true
}
