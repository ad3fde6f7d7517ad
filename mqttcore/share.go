package mqttcore

import (
	"slices"
	"sync"
	"sync/atomic"
)

// share is one shared subscription: a group of sessions of which one gets each
// message (MQTT 5.0, 4.8.2). The topic tree holds it under the inner filter.
type share struct {
	member
	mu   sync.Mutex // writers
	list atomic.Pointer[[]sharer]
	turn atomic.Uint32
}

type sharer struct {
	m *member
	g grant
}

// set adds or replaces a session's part; it reports whether it was there.
func (s *share) set(m *member, g grant) (existed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []sharer
	if old := s.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	i := slices.IndexFunc(list, func(p sharer) bool { return p.m == m })
	if i >= 0 {
		list[i].g = g
	} else {
		list = append(list, sharer{m, g})
	}
	s.list.Store(&list)
	return i >= 0
}

// remove takes a session out and tells how many are left.
func (s *share) remove(m *member) (existed bool, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(*s.list.Load())
	n := len(list)
	list = slices.DeleteFunc(list, func(p sharer) bool { return p.m == m })
	s.list.Store(&list)
	return len(list) < n, len(list)
}

// pick chooses who gets the next message: in turn among those connected; if
// nobody is, among those whose queue is durable. Who may not read the topic is
// passed over.
func (s *share) pick(r *router) (*member, grant, bool) {
	p := s.list.Load()
	if p == nil || len(*p) == 0 {
		return nil, grant{}, false
	}
	list := *p
	start := int(s.turn.Add(1) % uint32(len(list)))
	for i := range list {
		o := &list[(start+i)%len(list)]
		if o.m.sess.conn.Load() != nil && r.readable(o.m.sess) {
			return o.m, o.g, true
		}
	}
	for i := range list {
		o := &list[(start+i)%len(list)]
		if o.m.sess.sid != 0 && o.g.qos() > 0 && r.readable(o.m.sess) {
			return o.m, o.g, true
		}
	}
	return nil, grant{}, false
}

// subscribe enters a subscription into the tree, shared or not. The filter
// was judged before. Set is called with Broker.mu held.
func (b *Broker) enter(m *member, f filter, g grant) (existed bool) {
	if f.group == "" {
		_, existed = b.tree.Set(f.inner, m, g)
		return existed
	}
	s := b.shares[f.key()]
	if s == nil {
		s = &share{}
		s.member.share = s
		s.member.id = b.memberID()
		b.shares[f.key()] = s
	}
	if existed = s.set(m, g); !existed {
		b.shared++
	}
	b.tree.Set(f.inner, &s.member, grant{})
	return existed
}

// leave takes a subscription out of the tree again, with Broker.mu held.
func (b *Broker) leave(m *member, f filter) (existed bool) {
	if f.group == "" {
		return b.tree.Delete(f.inner, m)
	}
	s := b.shares[f.key()]
	if s == nil {
		return false
	}
	existed, left := s.remove(m)
	if existed {
		b.shared--
	}
	if left == 0 {
		b.tree.Delete(f.inner, &s.member)
		delete(b.shares, f.key())
	}
	return existed
}
