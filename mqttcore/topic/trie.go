package topic

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// node is one level of a trie of topics. P is what a topic that ends here
// carries. Writers, one at a time, change the atomic fields only; readers
// follow them without waiting. A node that was pruned may still be under a
// reader's feet: it stays as it was and is simply no longer found.
type node[P any] struct {
	level  level // does not change
	parent *node[P]
	kids   atomic.Pointer[table[P]] // nil: none
	own    atomic.Pointer[P]        // of the topic that ends here; nil: none
	plus   atomic.Pointer[node[P]]  // the level +
	rest   atomic.Pointer[P]        // of the filter that goes on with # alone
}

// trie is the root and what all its nodes share.
type trie[P any] struct {
	seed maphash.Seed
	root node[P]
	// gone stands in a table where a node was. It carries nothing and its
	// level is in no topic, so that readers need not know it.
	gone  *node[P]
	nodes atomic.Int64 // without the root
}

func (t *trie[P]) init() {
	t.seed = maphash.MakeSeed()
	t.gone = &node[P]{level: level{text: "#"}}
}

// cut splits off the level that starts at off; next is where the following one
// starts, len(s)+1 if there is none.
func cut(s string, off int) (level string, next int) {
	if i := strings.IndexByte(s[off:], '/'); i >= 0 {
		return s[off : off+i], off + i + 1
	}
	return s[off:], len(s) + 1
}

// level is one level of a topic that is looked up, hashed once however many
// nodes it is looked for in.
type level struct {
	text string
	hash uint64
}

// cut splits off the level of s that starts at off, as the function does.
func (t *trie[P]) cut(s string, off int) (l level, next int) {
	text, next := cut(s, off)
	return level{text, maphash.String(t.seed, text)}, next
}

// kid finds the child for a level.
func (n *node[P]) kid(l level) *node[P] {
	if kids := n.kids.Load(); kids != nil {
		return kids.find(l)
	}
	return nil
}

// grow finds or makes the child for a level. last says that the topic ends
// with it: then the text of the level is shared with the topic, which whoever
// holds the topic pays for. Others are copied so as not to keep all of it.
func (t *trie[P]) grow(n *node[P], l level, last bool) *node[P] {
	if l.text == "+" {
		if p := n.plus.Load(); p != nil {
			return p
		}
		p := &node[P]{level: l, parent: n}
		t.nodes.Add(1)
		n.plus.Store(p)
		return p
	}
	kids := n.kids.Load()
	if kids != nil {
		if k := kids.find(l); k != nil {
			return k
		}
	}
	if !last {
		l.text = strings.Clone(l.text)
	}
	k := &node[P]{level: l, parent: n}
	t.nodes.Add(1)
	if kids == nil {
		kids = newTable[P](1)
		kids.add(k, t.gone)
		n.kids.Store(kids)
		return k
	}
	if !kids.add(k, t.gone) {
		kids = kids.resized(t.gone)
		kids.add(k, t.gone)
		n.kids.Store(kids)
	}
	return k
}

// prune takes n out of the trie if it carries nothing any more, and then its
// parents.
func (t *trie[P]) prune(n *node[P]) {
	for n != &t.root && n.own.Load() == nil && n.rest.Load() == nil &&
		n.kids.Load() == nil && n.plus.Load() == nil {
		up := n.parent
		t.nodes.Add(-1)
		if n.level.text == "+" {
			up.plus.Store(nil)
		} else {
			kids := up.kids.Load()
			kids.remove(n, t.gone)
			switch {
			case kids.live == 0:
				up.kids.Store(nil)
			case int(kids.live)*8 < len(kids.slots):
				up.kids.Store(kids.resized(t.gone))
			}
		}
		n = up
	}
}

// table is a hash table of children, open addressing with linear probing.
// Readers use slots alone; used and live are the writer's.
type table[P any] struct {
	slots []atomic.Pointer[node[P]] // a power of two
	used  uint32                    // slots that are not nil
	live  uint32                    // of them, without those marked gone
}

// Up to crowded slots a table may be full, as a probe then ends soon anyway.
const crowded = 8

func newTable[P any](size int) *table[P] {
	return &table[P]{slots: make([]atomic.Pointer[node[P]], size)}
}

func (t *table[P]) find(l level) *node[P] {
	mask := uint64(len(t.slots) - 1)
	for i := range uint64(len(t.slots)) {
		n := t.slots[(l.hash+i)&mask].Load()
		if n == nil || n.level == l {
			return n
		}
	}
	return nil
}

// add puts in a node that is not there yet; false if it has no room.
func (t *table[P]) add(n, gone *node[P]) bool {
	if t.full() {
		return false
	}
	mask := uint64(len(t.slots) - 1)
	for i := n.level.hash; ; i++ {
		slot := &t.slots[i&mask]
		if was := slot.Load(); was == nil || was == gone {
			if was == nil {
				t.used++
			}
			t.live++
			slot.Store(n)
			return true
		}
	}
}

func (t *table[P]) full() bool {
	if len(t.slots) <= crowded {
		return int(t.used) == len(t.slots)
	}
	return int(t.used)*4 >= len(t.slots)*3
}

func (t *table[P]) remove(n, gone *node[P]) {
	mask := uint64(len(t.slots) - 1)
	for i := range uint64(len(t.slots)) {
		slot := &t.slots[(n.level.hash+i)&mask]
		if slot.Load() == n {
			slot.Store(gone)
			t.live--
			return
		}
	}
}

// resized copies the table with room for about as many nodes again. The old
// one is left as it is for those who read it now.
func (t *table[P]) resized(gone *node[P]) *table[P] {
	size, live := 1, int(t.live)
	for size < live+1 || size > crowded && size*2 < live*3 {
		size *= 2
	}
	r := newTable[P](size)
	for i := range t.slots {
		if n := t.slots[i].Load(); n != nil && n != gone {
			r.add(n, gone)
		}
	}
	return r
}
