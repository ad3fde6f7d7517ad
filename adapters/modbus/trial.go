package modbus

import (
	"slices"
	"time"

	"sluice/adapters"
)

// A device that answers a read of several points with a failure (exception 4)
// may be failing, or may only be unable to give them at once: because one of
// them fails, or since it can't read so many. So after some failures in a row
// its points are tried in ever smaller parts. Where some of these are answered,
// they stay apart, and are tried together rarely; where every point fails alone
// too, the read is put together again, and that is tried again rarely.

const (
	failureLimit = 3           // in a row, after which a read is tried in parts
	trialFirst   = time.Minute // until the next trial
	trialAgain   = time.Hour   // the most that this pause doubles to
)

// trial is what is known of points that failed together.
type trial struct {
	points []*point
	cuts   []cut // that part them
	joined bool  // they are read together, the cuts are not in use
	worked bool  // some were answered when they were apart
	pause  time.Duration
	again  time.Time // when the other way is tried
}

// trial gives that of the block's points, nil if there is none.
func (b *block) trial() *trial {
	for _, p := range b.points {
		if p.trial != nil {
			return p.trial
		}
	}
	return nil
}

// failing deals with a failure that the device told.
func (d *device) failing(b *block, now time.Time) {
	b.failures++
	t := b.trial()
	switch {
	case len(b.points) == 1:
		b.points[0].failed = true
		if t != nil && !t.joined && !t.worked && (t.hopeless() || now.After(t.again)) {
			defer d.join(t, now)
		}
	case t != nil && !t.joined:
		if !b.known || b.failures >= failureLimit && now.After(t.again) {
			d.part(b, t, now)
			return
		}
	case t != nil && t.worked:
		b.due = now
		d.separate(t, now)
		return
	case b.failures >= failureLimit && (t == nil || now.After(t.again)):
		t = t.next(b.points, now)
		d.part(b, t, now)
	}
	b.postpone(now)
	d.publishBad(b.points, adapters.Invalid, now)
}

// postpone sets when a block that failed is due again.
func (b *block) postpone(now time.Time) {
	if b.next(now); b.every == Once {
		b.due = now.Add(b.retry(badFirst))
	}
}

// next makes the trial of points after t, which may be nil.
func (t *trial) next(points []*point, now time.Time) *trial {
	fresh := &trial{points: slices.Clone(points), pause: trialFirst}
	if t != nil {
		fresh.pause = t.pause
	}
	fresh.again = now.Add(fresh.pause)
	for _, p := range points {
		p.trial, p.failed = fresh, false
	}
	return fresh
}

// hopeless reports whether every point failed alone, or is missing.
func (t *trial) hopeless() bool {
	return !slices.ContainsFunc(t.points, func(p *point) bool { return !p.failed && !p.missing })
}

// part reads b in two parts from now on.
func (d *device) part(b *block, t *trial, now time.Time) {
	parts, border := d.planner().split(b)
	for _, part := range parts {
		part.due = now
	}
	d.cuts[border] = true
	t.cuts = append(t.cuts, border)
	d.replace(b, parts)
}

// separate reads the points apart again, as it worked before.
func (d *device) separate(t *trial, now time.Time) {
	t.joined, t.again = false, now.Add(t.pause)
	for _, c := range t.cuts {
		d.cuts[c] = true
	}
	d.replan(true)
}

// join reads the points together again.
func (d *device) join(t *trial, now time.Time) {
	t.pause = min(2*t.pause, trialAgain)
	t.joined, t.again = true, now.Add(t.pause)
	for _, c := range t.cuts {
		delete(d.cuts, c)
	}
	if !t.worked {
		t.cuts = nil
	}
	d.replan(true)
}

// tried draws the conclusion about the points of b from an answer.
func (d *device) tried(b *block, now time.Time) {
	b.failures = 0
	t := b.trial()
	switch {
	case t == nil:
	case t.joined:
		t.worked, t.cuts = false, nil // nothing fails any more
	case !t.worked:
		t.worked = true
		d.poller.log.Info("the device fails where several points are read at once; they are read apart", "device", d.cfg.Name,
			"table", b.points[0].Table, "address", t.points[0].Address, "points", len(t.points))
	case now.After(t.again):
		d.join(t, now)
	}
}
