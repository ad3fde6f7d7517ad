package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// session is the state of one durable session. The first part is guarded by
// Store.mu, the second by its own.
type session struct {
	id      SID
	client  string
	user    string
	expiry  uint32
	subs    map[string]Subscription
	inbound map[uint16]struct{}
	will    *Will
	away    uint64 // store time when the client left, 0 = connected

	last      uint64 // newest sequence number given
	committed uint64 // newest that is durable
	durBase   uint64 // base as it is on the disk
	pins      []*segment
	queue     *Queue
	held      uint64 // bytes in pins
	limit     Limit
	maxAge    atomic.Uint64 // of limit, ms
	unchecked uint64        // bytes queued since that was looked at
	waiting   uint64        // bytes appended and not committed
	losses    []loss        // not recorded yet
	lost      map[Reason]uint64
	deleted   bool
	unsaved   bool     // in Store.unsaved
	unsubs    []string // filters that are gone, and that the disk did not hear of
	inrels    []uint16 // identifiers of which that is so

	touchFrame *frame // newest frame with a delivery, and where in its list
	touchIndex int
	read       uint64 // newest number read in a frame; of recovery
	mark       uint64 // record that routes to it; finds duplicates
	woken      uint64 // newest commit that woke its queue

	mu sync.Mutex // of cursor
	cursor
}

// findSession is the session of a number. The caller holds s.mu.
func (s *Store) findSession(sid SID) (*session, error) {
	if err := s.refusal(); err != nil {
		return nil, err
	}
	if s.pendingBytes > 2*maxPending {
		s.stats.Refused++
		return nil, ErrBusy
	}
	ses := s.sessions[sid]
	if ses == nil {
		return nil, ErrNoSession
	}
	return ses, nil
}

// change applies a change to a session: body changes it in memory, and gives the
// record that does the same after a restart. notes tell its frame what is to be
// undone, or done again, should the disk refuse it.
func (s *Store) change(sid SID, typ byte, done func(error), body func(ses *session, b []byte) []byte, notes ...func(f *frame, ses *session)) {
	s.mu.Lock()
	ses, err := s.findSession(sid)
	if err != nil {
		s.mu.Unlock()
		if done != nil {
			done(err)
		}
		return
	}
	s.scratch = body(ses, appendUint(s.scratch[:0], uint64(sid)))
	f := s.control(typ, s.scratch)
	if ses.deleted {
		f.gone = append(f.gone, ses)
	}
	f.changed = append(f.changed, ses)
	for _, note := range notes {
		note(f, ses)
	}
	if done != nil {
		f.dones = append(f.dones, done)
	}
	s.wakeWriter()
}

// CreateSession makes a session and returns its number, which may be used at
// once. It has been durable when done is called. Client identifiers are not
// looked at: to keep one session for one client is the caller's. 0 is returned
// where the store accepts nothing; done has the reason.
func (s *Store) CreateSession(client, user string, expiry uint32, done func(error)) SID {
	s.mu.Lock()
	if err := s.refusal(); err != nil {
		s.mu.Unlock()
		if done != nil {
			done(err)
		}
		return 0
	}
	sid := s.nextSID
	s.nextSID++
	ses := newSession(sid)
	ses.client, ses.user, ses.expiry = client, user, expiry
	s.sessions[sid] = ses
	s.scratch = ses.appendSess(s.scratch[:0])
	f := s.control(recSess, s.scratch)
	f.changed = append(f.changed, ses)
	if done != nil {
		f.dones = append(f.dones, done)
	}
	s.wakeWriter()
	return sid
}

func newSession(sid SID) *session {
	ses := &session{id: sid, subs: map[string]Subscription{}, inbound: map[uint16]struct{}{}}
	ses.next = 1
	return ses
}

func (ses *session) appendSess(b []byte) []byte {
	b = appendUint(b, uint64(ses.id))
	b = appendUint(b, uint64(ses.expiry))
	b = appendUint(b, ses.away)
	b = appendString(b, ses.client)
	return appendString(b, ses.user)
}

// OwnSession gives a session to another user.
func (s *Store) OwnSession(sid SID, user string, done func(error)) {
	s.change(sid, recSess, done, func(ses *session, b []byte) []byte {
		ses.user = user
		return ses.appendSess(b[:0])
	})
}

// UpdateSession sets expiry and will (nil = none) of a session whose client has
// just come (back).
func (s *Store) UpdateSession(sid SID, expiry uint32, will *Will, done func(error)) {
	s.change(sid, recWill, done, func(ses *session, b []byte) []byte {
		ses.expiry, ses.away = expiry, 0
		ses.will = will.clone()
		return ses.appendWill(b)
	})
}

// LeaveSession records that the client has gone; Session.Away counts from here.
// UpdateSession ends that. Its will stays until the next UpdateSession.
func (s *Store) LeaveSession(sid SID, done func(error)) {
	s.change(sid, recAway, done, func(ses *session, b []byte) []byte {
		ses.away = max(1, s.clock.now())
		return appendUint(b, ses.away)
	})
}

// DeleteSession removes a session with all that is queued for it, which is
// counted as dropped, and closes its queue.
func (s *Store) DeleteSession(sid SID, done func(error)) {
	var q *Queue
	s.change(sid, recDel, done, func(ses *session, b []byte) []byte {
		q = ses.queue
		ses.mu.Lock()
		if len(ses.losses) > 0 {
			s.recordCur(ses)
		}
		ses.mu.Unlock()
		s.forget(ses)
		return b
	})
	if q != nil {
		q.Close()
	}
}

// forget takes a session out of memory. Its segments stay pinned until that is
// durable.
func (s *Store) forget(ses *session) {
	ses.deleted = true
	delete(s.sessions, ses.id)
	ses.mu.Lock()
	queued := ses.last - ses.base - ses.settled
	s.totals.goneAppended += ses.last + ses.unnumbered
	s.totals.goneDelivered += ses.last + ses.unnumbered - queued - ses.dropped
	ses.mu.Unlock()
	if queued > 0 {
		s.totals.dropped[ReasonDeleted] += queued
	}
}

// PutSubscription adds sub, or replaces the one with the same filter.
func (s *Store) PutSubscription(sid SID, sub Subscription, done func(error)) {
	s.change(sid, recSub, done, func(ses *session, b []byte) []byte {
		ses.subs[sub.Filter] = sub
		return sub.append(b)
	})
}

func (sub *Subscription) append(b []byte) []byte {
	b = append(b, sub.Options)
	b = appendUint(b, uint64(sub.SubID))
	return appendString(b, sub.Filter)
}

// DeleteSubscription removes the subscription with this filter.
func (s *Store) DeleteSubscription(sid SID, filter string, done func(error)) {
	s.change(sid, recUnsub, done, func(ses *session, b []byte) []byte {
		delete(ses.subs, filter)
		return appendString(b, filter)
	}, func(f *frame, ses *session) {
		f.unsubs = append(f.unsubs, sessionFilter{ses, filter})
	})
}

// ReleaseInbound records that PUBREL came for a QoS 2 identifier of sid. done
// is called before PUBCOMP may be sent (MQTT 5, 4.3.3).
func (s *Store) ReleaseInbound(sid SID, pid uint16, done func(error)) {
	s.change(sid, recInRel, done, func(ses *session, b []byte) []byte {
		delete(ses.inbound, pid)
		return appendUint(b, uint64(pid))
	}, func(f *frame, ses *session) {
		f.inrels = append(f.inrels, inboundID{ses, pid})
	})
}

// Sessions reports all sessions, in the order of their numbers.
func (s *Store) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	all := make([]Session, 0, len(s.sessions))
	for _, ses := range s.sessions {
		away := time.Duration(0)
		if ses.away != 0 && now > ses.away {
			away = time.Duration(now-ses.away) * time.Millisecond
		}
		all = append(all, Session{
			ID: ses.id, Client: ses.client, User: ses.user, Expiry: ses.expiry,
			Subs: slices.SortedFunc(maps.Values(ses.subs), func(a, b Subscription) int {
				return cmp.Compare(a.Filter, b.Filter)
			}),
			Inbound: slices.Sorted(maps.Keys(ses.inbound)),
			Will:    ses.will.clone(),
			Away:    away,
		})
	}
	slices.SortFunc(all, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (w *Will) clone() *Will {
	if w == nil {
		return nil
	}
	c := *w
	c.Message.Payload = slices.Clone(w.Message.Payload)
	c.Message.Props = slices.Clone(w.Message.Props)
	c.Message.Routes, c.Message.Publisher, c.Message.Age = nil, 0, 0
	return &c
}

// appendWill encodes expiry and will of a session.
func (ses *session) appendWill(b []byte) []byte {
	b = appendUint(b, uint64(ses.expiry))
	b = appendUint(b, ses.away)
	if ses.will == nil {
		return append(b, 0)
	}
	m := &ses.will.Message
	b = append(b, 1)
	b = appendUint(b, uint64(ses.will.Delay))
	flags := m.QoS & pubQoS
	if m.Retain {
		flags |= pubRetain
	}
	if m.HasExpiry {
		flags |= pubExpiry
	}
	if m.StoreRetained {
		flags |= pubStore
	}
	b = append(b, flags)
	b = appendUint(b, uint64(m.Expiry))
	b = appendString(b, m.Topic)
	b = appendString(b, m.Props)
	return appendString(b, m.Payload)
}

func (ses *session) decodeWill(d *decoder) {
	ses.expiry = d.uint32()
	ses.away = d.uint()
	ses.will = nil
	if d.byte() == 0 {
		return
	}
	w := &Will{Delay: d.uint32()}
	flags := d.byte()
	w.Message = Message{
		QoS: flags & pubQoS, Retain: flags&pubRetain != 0, HasExpiry: flags&pubExpiry != 0,
		StoreRetained: flags&pubStore != 0, Expiry: d.uint32(), Topic: d.string(),
		Props: slices.Clone(d.bytes()), Payload: slices.Clone(d.bytes()),
	}
	if !d.bad {
		ses.will = w
	}
}
