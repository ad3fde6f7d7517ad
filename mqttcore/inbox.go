package mqttcore

import (
	"maps"
	"slices"
	"sync"

	"sluice/mqttcore/store"
)

// Inbox remembers which QoS 2 messages the owner of a [Consumer] has received
// from elsewhere and published here, by their packet identifiers, until they
// are released (MQTT 5.0, 4.3.3). It outlives restarts: an identifier is on
// disk in the same commit as its message. Its methods may be called from any
// goroutine.
type Inbox struct {
	b   *Broker
	sid store.SID

	mu  sync.Mutex
	ids map[uint16]struct{}
}

func (b *Broker) newInbox(sid store.SID, ids []uint16) *Inbox {
	i := &Inbox{b: b, sid: sid, ids: make(map[uint16]struct{}, len(ids))}
	for _, id := range ids {
		i.ids[id] = struct{}{}
	}
	return i
}

// Has tells whether the message of that identifier is here already.
func (i *Inbox) Has(id uint16) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, known := i.ids[id]
	return known
}

// Release ends the exchange of an identifier: PUBREL came. done is called once,
// when that is on disk, before which PUBCOMP must not be sent, and must not
// block. known says whether there was such an exchange; without one there is
// nothing to write. After an error the identifier is still remembered.
func (i *Inbox) Release(id uint16, done func(known bool, err error)) {
	if !i.Has(id) {
		done(false, nil)
		return
	}
	i.b.st.ReleaseInbound(i.sid, id, func(err error) {
		if err == nil {
			i.mu.Lock()
			delete(i.ids, id)
			i.mu.Unlock()
		}
		done(true, err)
	})
}

// Clear releases all, because the sender has forgotten them. done is called
// once, when that is on disk, and must not block. After an error they are
// forgotten all the same, until a restart.
func (i *Inbox) Clear(done func(error)) {
	i.mu.Lock()
	ids := slices.Collect(maps.Keys(i.ids))
	clear(i.ids)
	i.mu.Unlock()
	if len(ids) == 0 {
		done(nil)
		return
	}
	var mu sync.Mutex
	left, failure := len(ids), error(nil)
	for _, id := range ids {
		i.b.st.ReleaseInbound(i.sid, id, func(err error) {
			mu.Lock()
			left--
			if err != nil {
				failure = err
			}
			last, why := left == 0, failure
			mu.Unlock()
			if last {
				done(why)
			}
		})
	}
}

// received notes that the message of an identifier is on disk.
func (i *Inbox) received(id uint16) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ids[id] = struct{}{}
}
