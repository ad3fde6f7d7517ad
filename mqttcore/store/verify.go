package store

import (
	"errors"
	"fmt"
	"math"
)

// Verified is what Verify has looked at.
type Verified struct {
	Files  int
	Bytes  int64
	Queued uint64 // messages that the log has for those who wait for them
	Moved  bool   // a running store got rid of files meanwhile: those were left out
}

// Verify reads what Inspect took from footers, and the older snapshot: every
// checksum, the order of all records, and whether each queue has the messages it
// counts. What is wrong is added to Findings.
func (i *Inspection) Verify() (Verified, error) {
	v := Verified{}
	for n, g := range i.r.segs {
		v.Files++
		v.Bytes += g.size
		if g.sound && g.size < g.head.size && g.id < i.r.from.seg() {
			i.found.add(segName(g.id), g.size, "segment was cut off, it had %d bytes", g.head.size)
		}
		if !g.footed || g.id >= i.r.from.seg() {
			continue // was read
		}
		if err := i.verifySegment(n, g); err != nil {
			return v, err
		}
	}
	for _, f := range i.files {
		if f.Name == idName { // was read
			v.Files++
			v.Bytes += f.Size
		}
		lsn, ok := parseName(f.Name, "snap-", ".snap")
		if !ok {
			continue
		}
		v.Files++
		v.Bytes += f.Size
		if LSN(lsn) < i.r.from {
			i.verifySnapshot(LSN(lsn))
		}
	}
	for _, o := range i.s.Sessions() {
		held := uint64(0)
		if err := i.Each(o.ID, func(*Delivery) error { held++; return nil }); err != nil {
			return v, err
		}
		v.Queued += held
		ses := i.s.sessions[o.ID]
		if queued, _ := ses.backlog(); held != queued && !i.moved {
			i.found.add("", -1, "the queue of client=%q has %d messages by its cursor and %d in the log", ses.client, queued, held)
		}
		if settled := ses.base + ses.settled; settled < ses.dropped-ses.unnumbered {
			i.found.add("", -1, "the queue of client=%q has settled %d messages and dropped %d", ses.client, settled, ses.dropped-ses.unnumbered)
		}
	}
	i.balance()
	v.Moved = i.moved
	return v, nil
}

// balance checks that no message is unaccounted for.
func (i *Inspection) balance() {
	st := i.s.Stats()
	sum := st.Delivered + st.Queued
	for _, n := range st.Dropped {
		sum += n
	}
	if st.Appended != sum {
		i.found.add("", -1, "%d messages were appended, but %d delivered, %d are queued and %d were dropped", st.Appended, st.Delivered, st.Queued, sum-st.Delivered-st.Queued)
	}
}

// verifySegment reads the frames that a footer stands for.
func (i *Inspection) verifySegment(n int, g *recoverSeg) error {
	before, stop := len(i.found.list), uint64(math.MaxUint64)
	if n+1 < len(i.r.segs) {
		stop = i.r.segs[n+1].ordinal
	}
	r := recovery{from: i.r.from, covered: i.r.covered, look: true, thorough: true, drops: i.sawDrop, buf: i.r.buf}
	again := *g
	file, err := i.s.openPatiently(segName(g.id))
	if err == nil {
		err = errors.Join(i.s.replay(&r, &again, file, stop, false), file.Close())
	}
	switch {
	case gone(err), err == nil && len(i.found.list) > before && i.vanished(&g.segment):
		i.moved = true
		i.found.list = i.found.list[:before]
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", segName(g.id), err)
	}
	for _, p := range g.ranges {
		if q := again.part(p.sid); i.s.sessions[p.sid] != nil && (q == nil || q.first != p.first || q.last != p.last) && len(i.found.list) == before {
			i.found.add(segName(g.id), again.end, "its footer and its frames differ for session %d", p.sid)
		}
	}
	return nil
}

// verifySnapshot reads a snapshot that another one stands before.
func (i *Inspection) verifySnapshot(lsn LSN) {
	s := newStore(i.s.opt, nil)
	err := s.loadSnapshot(&recovery{look: true}, lsn)
	switch {
	case gone(err):
		i.moved = true
	case err != nil:
		i.found.add(snapName(lsn), -1, "snapshot is damaged: %v", err)
	}
}
