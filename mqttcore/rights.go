package mqttcore

import (
	"hash/maphash"
	"sync/atomic"

	"sluice/mqttcore/topic"
)

// rights is what one client may do. nil allows everything. It does not change
// but for what it remembers; any goroutine may ask it.
type rights struct {
	read, write permit
}

// permit is the filters of the topics that are allowed.
type permit struct {
	filters []string
	known   *verdicts // nil: asking one filter is as cheap
}

// verdicts remembers which topics were allowed. A place is for the topic that
// came last with its hash, so that it is bounded; nothing waits.
type verdicts [256]atomic.Pointer[verdict]

type verdict struct {
	topic string
	ok    bool
}

var topicSeed = maphash.MakeSeed()

func newPermit(filters []string) permit {
	p := permit{filters: filters}
	if len(filters) > 1 {
		p.known = new(verdicts)
	}
	return p
}

// allows judges the name of a topic. It does not allocate, except for topics
// that it does not remember.
func allows[T ~string | ~[]byte](p *permit, name T) bool {
	if p.known == nil {
		return matchesAny(p.filters, name)
	}
	var h uint64
	switch n := any(name).(type) {
	case string:
		h = maphash.String(topicSeed, n)
	case []byte:
		h = maphash.Bytes(topicSeed, n)
	}
	place := &p.known[h%uint64(len(p.known))]
	if v := place.Load(); v != nil && v.topic == string(name) {
		return v.ok
	}
	v := &verdict{string(name), matchesAny(p.filters, name)}
	place.Store(v)
	return v.ok
}

func matchesAny[T ~string | ~[]byte](filters []string, name T) bool {
	for _, f := range filters {
		if topic.Match(f, name) {
			return true
		}
	}
	return false
}

// mayRead judges the name of a topic.
func mayRead[T ~string | ~[]byte](r *rights, name T) bool { return r == nil || allows(&r.read, name) }

// mayWrite judges the name of a topic.
func mayWrite[T ~string | ~[]byte](r *rights, name T) bool { return r == nil || allows(&r.write, name) }

// maySubscribe judges a filter: something that it matches may be read. What
// of it may is decided for each message.
func (r *rights) maySubscribe(filter string) bool {
	if r == nil {
		return true
	}
	for _, f := range r.read.filters {
		if overlap(f, filter) {
			return true
		}
	}
	return false
}
