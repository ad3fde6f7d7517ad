package mqttcore

import (
	"hash/maphash"
	"sync/atomic"

	"sluice/mqttcore/topic"
)

// rights is what one client may do. nil allows everything. It does not change
// but for what it remembers; any goroutine may ask it.
type rights struct {
	read, write []string
	known       *verdicts // nil: asking the filters is as cheap
}

// plainFilters is up to how many filters are asked each time.
const plainFilters = 4

// verdicts remembers for which topics read was allowed. A place is for the
// topic that came last with its hash, so that it is bounded; nothing waits.
type verdicts [256]atomic.Pointer[verdict]

type verdict struct {
	topic string
	ok    bool
}

var topicSeed = maphash.MakeSeed()

// mayRead judges the name of a topic. It does not allocate, except for topics
// that it does not remember.
func mayRead[T ~string | ~[]byte](r *rights, name T) bool {
	if r == nil {
		return true
	}
	if r.known == nil {
		return matchesAny(r.read, name)
	}
	var h uint64
	switch n := any(name).(type) {
	case string:
		h = maphash.String(topicSeed, n)
	case []byte:
		h = maphash.Bytes(topicSeed, n)
	}
	place := &r.known[h%uint64(len(r.known))]
	if v := place.Load(); v != nil && v.topic == string(name) {
		return v.ok
	}
	v := &verdict{string(name), matchesAny(r.read, name)}
	place.Store(v)
	return v.ok
}

// mayWrite judges the name of a topic.
func mayWrite[T ~string | ~[]byte](r *rights, name T) bool {
	return r == nil || matchesAny(r.write, name)
}

func matchesAny[T ~string | ~[]byte](filters []string, name T) bool {
	for _, f := range filters {
		if topic.Match(f, name) {
			return true
		}
	}
	return false
}

// maySubscribe judges a filter: something that it matches may be read. What
// of it may is decided for each message.
func (r *rights) maySubscribe(filter string) bool {
	if r == nil {
		return true
	}
	for _, f := range r.read {
		if overlap(f, filter) {
			return true
		}
	}
	return false
}
