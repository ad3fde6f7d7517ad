package store

// dropTo gives up everything of a session up to seq. The caller holds s.mu.
func (s *Store) dropTo(ses *session, seq uint64, reason Reason) {
	ses.mu.Lock()
	from := ses.base + 1
	bytes := ses.backlogBytes(ses.base) - ses.backlogBytes(seq)
	lost := ses.moveTo(seq)
	ses.dropped += lost
	ses.mu.Unlock()
	s.recordDrop(ses, from, seq, lost, bytes, reason)
}

// recordDrop records a loss, with the cursor after it. The caller holds s.mu.
func (s *Store) recordDrop(ses *session, from, to, count, bytes uint64, reason Reason) {
	if count > 0 {
		s.totals.dropped[reason] += count
		if ses.lost == nil {
			ses.lost = map[Reason]uint64{}
		}
		ses.lost[reason] += count
		b := appendUint(s.scratch[:0], uint64(ses.id))
		b = appendUint(b, from)
		b = appendUint(b, to)
		b = appendUint(b, count)
		b = appendUint(b, bytes)
		b = appendString(b, string(reason))
		s.scratch = b
		s.control(recDrop, b)
	}
	ses.mu.Lock()
	s.recordCur(ses)
	ses.mu.Unlock()
}

// recordCur writes the cursor of a session. The caller holds both locks.
func (s *Store) recordCur(ses *session) {
	s.scratch = ses.appendCur(s.scratch[:0])
	f := s.control(recCur, s.scratch)
	f.bases = append(f.bases, sessionBase{ses, ses.base})
	ses.acks = 0
}

// LimitSession bounds the bytes (topics, payloads and properties) queued for a
// session; 0 = no bound of its own. Beyond it the oldest go, with the reason
// quota; it is looked at whenever another 64th of the limit has been queued.
// The limit is not stored: set it after each Open.
func (s *Store) LimitSession(sid SID, maxBytes uint64) {
	s.mu.Lock()
	if ses := s.sessions[sid]; ses != nil {
		ses.limit = maxBytes
		s.enforce(ses)
	}
	s.wakeWriter()
}

// enforce drops the oldest of a session that has more than its limit. The caller
// holds s.mu.
func (s *Store) enforce(ses *session) {
	ses.unchecked = 0
	if ses.limit == 0 || ses.deleted {
		return
	}
	ses.mu.Lock()
	base := ses.base
	ses.mu.Unlock()
	queued := ses.backlogBytes(base)
	if queued <= ses.limit {
		return
	}
	excess := queued - ses.limit
	to := base
	for _, g := range ses.pins {
		p := g.part(ses.id)
		bytes := p.bytesAbove(base)
		if bytes == 0 {
			continue
		}
		if bytes > excess {
			from := max(base+1, p.first)
			to = from - 1 + uint64(float64(p.last-from+1)*float64(excess)/float64(bytes)) + 1
			break
		}
		excess -= bytes
		to = p.last
	}
	if to = min(to, ses.committed); to > base {
		s.dropTo(ses, to, ReasonQuota)
	}
}
