package topic

// walk is one search for the names that a filter matches.
type walk[V any] struct {
	trie   *trie[named[V]]
	filter string
	fn     func(string, V) bool
	levels []level       // of the filter, as far as anybody came
	off    int           // where the filter goes on after levels
	todo   []siblings[V] // at most one per level
}

// siblings are children still to be looked at: those from slot i on.
type siblings[V any] struct {
	kids  *table[named[V]]
	i     int
	depth int  // levels of the filter behind them
	top   bool // the first level, where a wildcard does not mean names with $
}

// run looks through the trie. hide leaves out names that start with $ where
// the filter starts with a wildcard [MQTT-4.7.2-1].
func (w *walk[V]) run(hide bool) {
	if !w.down(&w.trie.root, 0, hide) {
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
		if n == nil || s.top && n.level.text != "" && n.level.text[0] == '$' {
			continue
		}
		if !w.down(n, s.depth, false) {
			return
		}
	}
}

// down follows the filter from level depth on, below n: past literal levels at
// once, at a wildcard by leaving the children to run. It returns false when fn
// does.
func (w *walk[V]) down(n *node[named[V]], depth int, top bool) bool {
	for w.reach(depth) {
		l := w.levels[depth]
		depth++
		switch l.text {
		case "#":
			depth-- // and the same for everything below
			if !w.tell(n) {
				return false
			}
			fallthrough
		case "+":
			if kids := n.kids.Load(); kids != nil {
				w.todo = append(w.todo, siblings[V]{kids, 0, depth, top})
			}
			return true
		}
		if n = n.kid(l); n == nil {
			return true
		}
		top = false
	}
	return w.tell(n)
}

// reach reports whether the filter has a level so deep, and cuts it off.
func (w *walk[V]) reach(depth int) bool {
	if depth == len(w.levels) && w.off <= len(w.filter) {
		l, next := w.trie.cut(w.filter, w.off)
		w.levels, w.off = append(w.levels, l), next
	}
	return depth < len(w.levels)
}

// tell calls fn if a name ends at n.
func (w *walk[V]) tell(n *node[named[V]]) bool {
	if x := n.own.Load(); x != nil {
		return w.fn(x.name, x.value)
	}
	return true
}
