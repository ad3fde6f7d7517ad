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
