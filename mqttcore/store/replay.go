package store

import (
	"fmt"
)

// replay goes through a segment: what lies below the snapshot is only indexed,
// the rest changes the state again. Records from ordinal stop on were written
// again to the next segment, after a fault.
func (s *Store) replay(r *recovery, g *recoverSeg, file File, stop uint64, last bool) error {
	next, footed := g.readFooter(file)
	g.footed = footed
	if footed && g.id < r.from.seg() && !r.thorough {
		r.read = max(r.read, next)
		r.ordinal, r.prev = max(r.ordinal, next), 0
		return nil
	}
	g.ranges, g.dense = nil, 0
	want, prev, chained := g.ordinal, uint32(0), false
	// Below live all frames were durable and lie side by side.
	live := int64(0)
	if footed {
		live = g.end
	}
	if g.id == r.from.seg() {
		live = max(live, r.from.off())
	}
	off, again := g.begin, int64(0)
	for off+blockSize <= g.size {
		f, b, ok, unread := readPatiently(&s.w.patience, file, off, g.size, g.seed, r.buf)
		if ok && f.flags&flagFooter == 0 && f.ordinal == want && f.ordinal < stop && (!chained || f.prev == prev) {
			_, n, err := s.applyFrame(r, b[:frameHeader+int(f.length)], makeLSN(g.id, off), f.time, g)
			if err != nil {
				s.log.Error("store: frame has a malformed record", "place", makeLSN(g.id, off), "error", err)
				s.stats.CorruptFrames++
			}
			want, prev, chained = f.ordinal+n, f.crc, true
			g.dense += int64(f.length)
			if makeLSN(g.id, off) >= r.from {
				s.w.sinceSnap += uint64(f.size())
			}
			off += f.size()
			continue
		}
		if want >= stop {
			break
		}
		// Something else: the end of the log, or damage. It is damage where a
		// later frame says that this place was durable before it was written, or
		// where the footer or the snapshot does.
		if unread != nil && !isDamage(unread) {
			return unread
		}
		to, later := s.durableAfter(file, g, off, live, want, stop, r.buf)
		if to < g.size && again != off {
			again = off // who only looks may have come while it was written
			continue
		}
		if to < g.size {
			g.hurt = true
			s.setAside(&g.segment, file, off, to)
			want, chained = later.ordinal, false
			off = to
			continue
		}
		if unread != nil {
			// It may have been the end of what was durable.
			g.hurt = true
			s.setAside(&g.segment, file, off, off+blockSize)
		} else if last && !footed && f.ordinal == want && f.length > 0 && f.length < maxFrame {
			s.stats.TornTails++
			s.log.Info("store: the end was cut off by a crash, nothing acknowledged was in it", "place", makeLSN(g.id, off))
		} else if end := min(next, stop); footed && want < end || !footed && !last && r.covered < stop && f.length > 0 {
			// The segment had more than that, or the next one goes on elsewhere.
			if !footed {
				end = stop
			}
			g.hurt = true
			s.setAside(&g.segment, file, off, off+blockSize)
			s.stats.MissingRecords += end - want
			r.ordinal = max(r.ordinal, end)
		}
		break
	}
	g.end = off
	r.read = max(r.read, want)
	r.ordinal, r.prev = max(r.ordinal, want), prev
	if !chained {
		r.prev = 0
	}
	if g.id >= r.from.seg() && s.failed == nil {
		// What was read may still only be in the page cache of a process that
		// was killed: before anyone relies on it, it goes to the disk.
		if err := s.sync(file); err != nil {
			g.hurt = true
			s.log.Error("store: recovered segment could not be synced", "segment", segName(g.id), "error", err)
		}
	}
	return nil
}

// durableAfter looks behind off for a frame that proves off to have been
// durable, or that lies below live itself; g.size where there is none.
func (s *Store) durableAfter(file File, g *recoverSeg, off, live int64, want, stop uint64, buf []byte) (int64, frameInfo) {
	hole := makeLSN(g.id, off)
	for p := off + blockSize; p < g.size; p += blockSize {
		to, f := probe(file, p, g.size, g.seed, buf)
		if to == g.size {
			break
		}
		if f.ordinal >= want && f.ordinal < stop && (to < live || f.synced > hole) {
			return to, f
		}
		p = to
	}
	return g.size, frameInfo{}
}

// applyFrame replays the records of one frame. With a segment they are the
// log's, and indexed; without they are a snapshot's. n is how many there were;
// end is true where a recEnd came after them.
func (s *Store) applyFrame(r *recovery, b []byte, lsn LSN, time uint64, g *recoverSeg) (end bool, n uint64, err error) {
	r.newest = max(r.newest, time)
	apply := g == nil || lsn >= r.from
	for off := frameHeader; ; n++ {
		typ, body, next, err := recordAt(b, off)
		if err != nil {
			return false, n, fmt.Errorf("record at %d: %w", off, err)
		}
		if typ == 0 {
			return false, n, nil
		}
		off = next
		d := decoder{b: body}
		if (typ == recDrop || typ == recLost) && r.drops != nil {
			switch o := decodeDrop(typ, &d, time); {
			case d.bad:
			case g == nil:
				r.late = append(r.late, o)
			default:
				r.drops(o)
			}
			d = decoder{b: body}
		}
		switch {
		case typ == recEnd:
			r.total = d.uint()
			return true, n, nil
		case typ == recPub:
			if err := s.applyPub(r, &d, b, time, lsn, g, apply); err != nil {
				return false, n, err
			}
		case apply:
			s.apply(r, typ, &d, time)
			if d.bad {
				return false, n, fmt.Errorf("record of type %d: %w", typ, errRecord)
			}
		}
	}
}

func (s *Store) applyPub(r *recovery, d *decoder, frame []byte, time uint64, lsn LSN, g *recoverSeg, apply bool) error {
	var p pub
	type delivery struct {
		ses *session
		seq uint64
	}
	var first [8]delivery
	deliveries := first[:0]
	for n := d.pubFront(&p); n > 0 && !d.bad; n-- {
		var rt route
		d.route(&rt)
		if ses := s.sessions[rt.sid]; ses != nil && !d.bad {
			if rt.seq == 0 {
				rt.seq = ses.read + 1
			}
			ses.read = rt.seq
			deliveries = append(deliveries, delivery{ses, rt.seq})
		}
	}
	if err := d.pubRest(&p, frame); err != nil {
		return err
	}
	if g != nil {
		r.newest = max(r.newest, time+p.delta)
	}
	if g != nil {
		for _, v := range deliveries {
			part := g.add(v.ses.id, v.seq, v.seq, p.size(), lsn.off())
			part.first = min(part.first, v.seq)
			if apply {
				v.ses.last = max(v.ses.last, v.seq)
			}
		}
	}
	if !apply {
		return nil
	}
	if p.flags&pubInbound != 0 {
		if ses := s.sessions[p.publisher]; ses != nil {
			ses.inbound[p.pid] = struct{}{}
		}
	}
	if p.flags&pubStore != 0 {
		s.keepRetained(&Message{
			Topic: string(p.topic), Payload: p.payload, Props: p.props, QoS: p.flags & pubQoS,
			Retain: true, HasExpiry: p.flags&pubExpiry != 0, Expiry: p.expiry, StoreRetained: true,
		}, time+p.delta)
	}
	return nil
}

// apply replays a record other than a message.
func (s *Store) apply(r *recovery, typ byte, d *decoder, time uint64) {
	switch typ {
	case recDrop, recLost:
		o := decodeDrop(typ, d, time)
		if d.bad {
			return
		}
		s.noteDrop(o)
		if typ == recDrop && s.sessions[o.Session] != nil {
			s.totals.dropped[o.Reason] += o.Count // the cursor behind it has the rest
		}
		return
	case recSess:
		s.applySess(d)
		return
	case recClock:
		var e epoch
		if e.decode(d); !d.bad {
			s.clock.add(e)
			r.newest = max(r.newest, e.start)
		}
		return
	case recMark:
		r.marked = max(r.marked, LSN(d.uint()))
		return
	case recTotals:
		s.nextSID = max(s.nextSID, SID(d.uint32()))
		s.totals.goneAppended, s.totals.goneDelivered = d.uint(), d.uint()
		for n := d.uint(); n > 0 && !d.bad; n-- {
			reason := Reason(d.string())
			s.totals.dropped[reason] = d.uint()
		}
		r.clean = d.byte() == 1
		return
	}
	ses := s.sessions[SID(d.uint32())]
	if ses == nil {
		return // deleted since
	}
	switch typ {
	case recCur:
		ses.decodeCur(d)
	case recRel:
		ses.release(d.uint(), ses.last)
	case recInRel:
		delete(ses.inbound, uint16(d.uint()))
	case recIn:
		for len(d.b) > 0 && !d.bad {
			ses.inbound[uint16(d.uint())] = struct{}{}
		}
	case recDel:
		s.forget(ses)
	case recSub:
		sub := Subscription{Options: d.byte(), SubID: d.uint32(), Filter: d.string()}
		if !d.bad {
			ses.subs[sub.Filter] = sub
		}
	case recUnsub:
		delete(ses.subs, d.string())
	case recWill:
		ses.decodeWill(d)
	case recAway:
		ses.away = d.uint()
	}
}

func (s *Store) applySess(d *decoder) {
	sid := SID(d.uint32())
	expiry, away := d.uint32(), d.uint()
	client, user := d.string(), d.string()
	if d.bad {
		return
	}
	ses := s.sessions[sid]
	if ses == nil {
		ses = newSession(sid)
		s.sessions[sid] = ses
	}
	ses.client, ses.user, ses.expiry, ses.away = client, user, expiry, away
	s.nextSID = max(s.nextSID, sid+1)
}
