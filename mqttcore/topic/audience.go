package topic

import "sync/atomic"

// subscriber is one of a filter's.
type subscriber[S comparable, V any] struct {
	s S
	v V
}

// audience is all subscribers of one filter: a chain of short slices, each
// replaced as a whole when something in it changes, so that a change costs the
// same however many there are. A subscriber never moves to another slice, so
// that a reader who walks the chain meets nobody twice.
type audience[S comparable, V any] struct {
	some atomic.Pointer[[]subscriber[S, V]]
	next atomic.Pointer[audience[S, V]]

	// The rest is the writer's. The first of a chain knows where everybody is
	// and which link has room; it keeps no index while it is alone.
	prev  *audience[S, V]
	index map[S]*audience[S, V]
	room  *audience[S, V]
}

// linkSize is how many subscribers one link of the chain holds.
const linkSize = 64

// each calls fn for every subscriber, without waiting and without allocating.
func (a *audience[S, V]) each(fn func(s S, v V)) {
	for ; a != nil; a = a.next.Load() {
		if some := a.some.Load(); some != nil {
			for i := range *some {
				fn((*some)[i].s, (*some)[i].v)
			}
		}
	}
}

// link finds the link of the chain that holds s, and s in it.
func (a *audience[S, V]) link(s S) (at *audience[S, V], i int) {
	at = a
	if a.index != nil {
		if at = a.index[s]; at == nil {
			return nil, 0
		}
	}
	for i, x := range at.list() {
		if x.s == s {
			return at, i
		}
	}
	return nil, 0
}

func (a *audience[S, V]) list() []subscriber[S, V] {
	if some := a.some.Load(); some != nil {
		return *some
	}
	return nil
}

func (a *audience[S, V]) get(s S) (v V, ok bool) {
	if at, i := a.link(s); at != nil {
		return at.list()[i].v, true
	}
	return v, false
}

// put adds or replaces a subscriber of the chain that starts at a.
func (a *audience[S, V]) put(s S, v V) (old V, existed bool) {
	if at, i := a.link(s); at != nil {
		was := at.list()
		old = was[i].v
		now := append([]subscriber[S, V](nil), was...)
		now[i].v = v
		at.some.Store(&now)
		return old, true
	}
	at := a.roomy()
	was := at.list()
	now := make([]subscriber[S, V], len(was)+1)
	copy(now, was)
	now[len(was)] = subscriber[S, V]{s, v}
	at.some.Store(&now)
	if a.index != nil {
		a.index[s] = at
	}
	return old, false
}

// roomy gives a link that has room, a new one if need be.
func (a *audience[S, V]) roomy() *audience[S, V] {
	if a.room == nil {
		a.room = a
	}
	if len(a.room.list()) < linkSize {
		return a.room
	}
	if a.index == nil {
		a.index = make(map[S]*audience[S, V])
		for _, x := range a.list() {
			a.index[x.s] = a
		}
	}
	fresh := &audience[S, V]{prev: a}
	if second := a.next.Load(); second != nil {
		fresh.next.Store(second)
		second.prev = fresh
	}
	a.next.Store(fresh)
	a.room = fresh
	return fresh
}

// remove takes s out. The chain is empty when its first link is alone and
// empty, which the caller looks at with empty.
func (a *audience[S, V]) remove(s S) (old V, existed bool) {
	at, i := a.link(s)
	if at == nil {
		return old, false
	}
	was := at.list()
	old = was[i].v
	now := make([]subscriber[S, V], 0, len(was)-1)
	now = append(append(now, was[:i]...), was[i+1:]...)
	at.some.Store(&now)
	delete(a.index, s)
	switch {
	case at != a && len(now) == 0:
		next := at.next.Load()
		at.prev.next.Store(next)
		if next != nil {
			next.prev = at.prev
		}
		if a.room == at {
			a.room = nil
		}
		if a.next.Load() == nil {
			a.index = nil
		}
	case len(now) < linkSize/2:
		a.room = at // fill this one up before making another
	}
	return old, true
}

func (a *audience[S, V]) empty() bool {
	return a.next.Load() == nil && len(a.list()) == 0
}
