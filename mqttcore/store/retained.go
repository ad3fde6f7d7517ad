package store

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// RecoveredRetained yields the retained messages found by Open, in the order of
// their topics. Until SetRetained is called the store keeps them itself, and
// all that come after.
func (s *Store) RecoveredRetained() iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		s.mu.Lock()
		all := maps.Clone(s.retained)
		now := s.clock.now()
		s.mu.Unlock()
		for _, topic := range slices.Sorted(maps.Keys(all)) {
			m := all[topic].Message
			m.Age = time.Duration(now-min(now, all[topic].at)) * time.Millisecond
			if !yield(&m) {
				return
			}
		}
	}
}

// SetRetained hands the keeping of retained messages to the caller: all yields
// them whenever a snapshot is written, with their Age, from a goroutine of the
// store, beside everything else. It must yield each message whose done has been
// called, or a later one of the same topic. The store then forgets those it
// held, so call it after RecoveredRetained and before Run.
func (s *Store) SetRetained(all func(yield func(*Message) bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeper, s.retained = all, nil
}

// keepRetained takes a retained message in. The caller holds s.mu.
func (s *Store) keepRetained(m *Message, at uint64) {
	if len(m.Payload) == 0 {
		delete(s.retained, m.Topic)
		return
	}
	k := &keptMessage{Message: *m, at: at}
	k.Payload, k.Props = slices.Clone(m.Payload), slices.Clone(m.Props)
	k.Routes, k.Publisher, k.Age = nil, 0, 0
	s.retained[m.Topic] = k
}

// keptMessage is a retained message that the store keeps itself.
type keptMessage struct {
	Message
	at uint64 // store time
}

// appendRetained encodes a retained message; its time is absolute.
func appendRetained(b []byte, m *Message, at uint64) []byte {
	flags := m.QoS&pubQoS | pubStore | pubRetain
	if m.HasExpiry {
		flags |= pubExpiry
	}
	if len(m.Props) > 0 {
		flags |= pubProps
	}
	b = appendUint(append(b, flags), at)
	b = append(b, 0, 0) // no routes, topic follows
	b = appendString(b, m.Topic)
	if m.HasExpiry {
		b = appendUint(b, uint64(m.Expiry))
	}
	if len(m.Props) > 0 {
		b = appendString(b, m.Props)
	}
	return append(b, m.Payload...)
}
