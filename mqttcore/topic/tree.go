package topic

import "sync"

// Tree holds subscriptions: which subscriber S asked for which filter, with
// options V. Match, by any number of goroutines, takes no lock and allocates
// nothing; it sees every change that was complete before it began, and may or
// may not see those made meanwhile. Changes wait for each other and cost about
// the same however large the tree is.
//
// The zero Tree is not ready: NewTree makes one.
type Tree[S comparable, V any] struct {
	mu   sync.Mutex // writers
	trie trie[audience[S, V]]
	len  int
}

// NewTree makes an empty tree.
func NewTree[S comparable, V any]() *Tree[S, V] {
	t := new(Tree[S, V])
	t.trie.init()
	return t
}

// Set adds the subscription of s to a valid filter, or replaces its options;
// then it gives the old ones. A shared subscription is set under the filter
// inside, with an S that stands for the group. The tree may keep the filter's
// memory as long as the subscription.
func (t *Tree[S, V]) Set(filter string, s S, v V) (old V, existed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &t.trie.root
	place := &n.own
	for off := 0; off <= len(filter); {
		l, next := t.trie.cut(filter, off)
		if l.text == "#" {
			place = &n.rest
			break
		}
		n = t.trie.grow(n, l, next > len(filter))
		place = &n.own
		off = next
	}
	a := place.Load()
	if a == nil {
		a = new(audience[S, V])
		a.put(s, v) // before readers see it
		place.Store(a)
	} else {
		old, existed = a.put(s, v)
	}
	if !existed {
		t.len++
	}
	return old, existed
}

// find gives the node where a filter ends, nil if there is none; rest says
// that it ends with #, which is kept with its parent level.
func (t *Tree[S, V]) find(filter string) (n *node[audience[S, V]], rest bool) {
	n = &t.trie.root
	for off := 0; off <= len(filter) && n != nil; {
		l, next := t.trie.cut(filter, off)
		switch l.text {
		case "#":
			return n, true
		case "+":
			n = n.plus.Load()
		default:
			n = n.kid(l)
		}
		off = next
	}
	return n, false
}

// Get gives the options of a subscription.
func (t *Tree[S, V]) Get(filter string, s S) (v V, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, rest := t.find(filter)
	if n == nil {
		return v, false
	}
	a := n.own.Load()
	if rest {
		a = n.rest.Load()
	}
	if a == nil {
		return v, false
	}
	return a.get(s)
}

// Delete removes a subscription and reports whether there was one. Levels that
// nobody uses any more go with it.
func (t *Tree[S, V]) Delete(filter string, s S) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, rest := t.find(filter)
	if n == nil {
		return false
	}
	place := &n.own
	if rest {
		place = &n.rest
	}
	a := place.Load()
	if a == nil {
		return false
	}
	if _, existed := a.remove(s); !existed {
		return false
	}
	t.len--
	if a.empty() {
		place.Store(nil)
		t.trie.prune(n)
	}
	return true
}

// Len is the number of subscriptions.
func (t *Tree[S, V]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.len
}

// Levels is how many levels of filters are held, those that filters begin
// with alike counted once. It says what the tree takes in memory: some 100 to
// 200 bytes each.
func (t *Tree[S, V]) Levels() int { return int(t.trie.nodes.Load()) }

// Match calls fn once for every subscription whose filter matches a valid
// name, in no order: a subscriber with two such filters is told twice. fn must
// not change the tree.
func (t *Tree[S, V]) Match(name string, fn func(s S, v V)) {
	if name == "" {
		return
	}
	type branch struct {
		n     *node[audience[S, V]]
		depth int // levels of the name behind it
	}
	// Most names have no more levels than this; the others take a slice. At
	// most one branch waits per level.
	var levelRoom [12]level
	var todoRoom [12]branch
	levels, todo := levelRoom[:0], todoRoom[:0]
	off := 0 // where the name goes on after levels
	// $ names are not for filters that start with a wildcard [MQTT-4.7.2-1].
	hidden := name[0] == '$'
	at := branch{n: &t.trie.root}
	for {
		if !hidden {
			at.n.rest.Load().each(fn)
		}
		if at.depth == len(levels) && off <= len(name) {
			l, next := t.trie.cut(name, off)
			levels, off = append(levels, l), next
		}
		if at.depth == len(levels) {
			at.n.own.Load().each(fn)
		} else {
			if p := at.n.plus.Load(); p != nil && !hidden {
				todo = append(todo, branch{p, at.depth + 1})
			}
			hidden = false
			if k := at.n.kid(levels[at.depth]); k != nil {
				at = branch{k, at.depth + 1}
				continue
			}
		}
		if len(todo) == 0 {
			return
		}
		at, todo = todo[len(todo)-1], todo[:len(todo)-1]
	}
}

// MatchBytes is Match for a name in bytes, which must not change meanwhile.
func (t *Tree[S, V]) MatchBytes(name []byte, fn func(s S, v V)) {
	t.Match(text(name), fn)
}
