package bridge

import (
	"sluice/mqttcore/packet"
)

const (
	// mostAliases bounds the topic aliases of a connection, whatever the
	// server takes.
	mostAliases = 1024
	// aliasFrom is the shortest topic that gets one, in bytes: each use takes 3.
	aliasFrom = 8
	// aliasIdle is after how many messages without its topic an alias may go to
	// another: topics that come round in turn must not drive each other out.
	aliasIdle = 4096
)

// aliases are the topic aliases of one connection towards the server (MQTT 5.0,
// 3.3.2.3.4): first come, first served, until one falls out of use. They exist
// in what is written only, never in what is stored.
type aliases struct {
	known map[string]uint16
	slots []aliasSlot // of alias i+1
	most  int
	next  int // slot that is looked at next for one out of use
	now   uint64

	used  uint64 // packets that named their topic by an alias alone
	saved int64  // bytes that this spared, those that told the server taken off
}

type aliasSlot struct {
	topic string
	used  uint64 // aliases.now, then
}

func newAliases(most int) *aliases {
	return &aliases{known: map[string]uint16{}, most: min(most, mostAliases)}
}

// name returns how a PUBLISH names its topic: "" with an alias that the server
// knows, or the topic itself, perhaps with a new alias. It sets o.Alias. The
// packet must be written, as the first or after those named before. room is
// how many bytes the packet may still grow.
func (a *aliases) name(topic []byte, o *packet.Outgoing, room int) []byte {
	if a.most == 0 || len(topic) < aliasFrom {
		return topic
	}
	a.now++
	if alias, ok := a.known[string(topic)]; ok {
		a.slots[alias-1].used = a.now
		o.Alias = alias
		a.used++
		a.saved += int64(len(topic) - 3)
		return nil
	}
	if room < 3 {
		return topic
	}
	alias := a.free()
	if alias == 0 {
		return topic
	}
	s := &a.slots[alias-1]
	delete(a.known, s.topic)
	s.topic, s.used = string(topic), a.now
	a.known[s.topic] = alias
	o.Alias = alias
	a.saved -= 3
	return topic
}

// free returns an alias that may get a new topic, 0 where there is none. It
// looks at one that is in use for each call.
func (a *aliases) free() uint16 {
	if len(a.slots) < a.most {
		a.slots = append(a.slots, aliasSlot{})
		return uint16(len(a.slots))
	}
	i := a.next
	a.next = (a.next + 1) % len(a.slots)
	if a.now-a.slots[i].used > aliasIdle {
		return uint16(i + 1)
	}
	return 0
}
