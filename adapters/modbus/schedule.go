package modbus

import "time"

// The schedule of a line: of the reads that are due the most urgent class goes
// first, within it the earliest deadline, and at equal deadlines the order of
// the configuration. A class that waits for more urgent ones is owed a fifth
// of the line, so that none starves. A long read is not begun where a more
// frequent one would come late because of it.

// patience is within which time after its due time a read without a period
// should be made; among those the one that waits longest goes first.
const patience = time.Second

// horizon is how far ahead reads are looked for that a long one might delay.
const horizon = 500 * time.Millisecond

// due is a read that may be made now, or soon.
type due struct {
	d        *device
	b        *block
	release  time.Time // it may begin from then on
	deadline time.Time // it should be done by then
	polite   bool      // its device owes an answer and gives way to the others
}

// classes counts the priorities.
const classes = 3

func (b *block) class() int { return int(High - b.priority) }

// before reports whether a goes before b within a class.
func (a *due) before(b *due) bool {
	if a.polite != b.polite {
		return b.polite
	}
	return a.deadline.Before(b.deadline)
}

// pick finds the read to make now, or when to look again.
func (p *Poller) pick(now time.Time) (d *device, b *block, at time.Time) {
	p.now, p.soon = p.now[:0], p.soon[:0]
	at = now.Add(time.Hour)
	for _, candidate := range p.devices {
		polite := candidate.again != nil && now.Before(candidate.polite)
		candidate.reads(func(b *block, release, deadline time.Time) {
			r := due{candidate, b, release, deadline, polite}
			if !release.After(now) {
				p.now = append(p.now, r)
				return
			}
			if release.Before(at) {
				at = release
			}
			if b.every > 0 && release.Sub(now) < horizon {
				p.soon = append(p.soon, r)
			}
		})
	}
	var best [classes]*due
	for i := range p.now {
		r := &p.now[i]
		if wait := p.inTheWay(r, now); !wait.IsZero() {
			continue // at is not later than that release
		}
		if first := &best[r.b.class()]; *first == nil || r.before(*first) {
			*first = r
		}
	}
	chosen := p.turn(&best)
	if chosen == nil {
		return nil, nil, at
	}
	return chosen.d, chosen.b, now
}

// inTheWay tells for which read r must wait, because it would delay that by
// more than a tenth of its period; the zero time if for none. A read that is
// late itself waits for nobody.
func (p *Poller) inTheWay(r *due, now time.Time) (release time.Time) {
	if now.After(r.deadline) {
		return release
	}
	end := now.Add(r.b.cost)
	for i := range p.soon {
		s := &p.soon[i]
		slack := s.b.every / 10
		switch {
		case r.b.every > 0 && s.b.every >= r.b.every || s.b.class() > r.b.class():
		case !end.After(s.release.Add(slack)):
		case r.b.cost+s.b.cost > s.b.every+slack: // it can never be made without that
		case release.IsZero() || s.release.Before(release):
			release = s.release
		}
	}
	return release
}

// turn chooses among the first reads of the classes.
func (p *Poller) turn(best *[classes]*due) *due {
	var chosen *due
	for class, r := range best {
		p.waits[class] = r != nil
		if r == nil {
			continue
		}
		if chosen == nil || chosen.polite && !r.polite || p.owed[class] > 0 && p.owed[class] >= r.b.cost {
			chosen = r
		}
	}
	return chosen
}

// spent books the time that a read of a class took: the classes below it that
// waited meanwhile are owed a fourth of that.
func (p *Poller) spent(b *block, took time.Duration) {
	class := b.class()
	p.owed[class] = max(0, p.owed[class]-took)
	for below := class + 1; below < classes; below++ {
		if p.waits[below] {
			p.owed[below] = min(p.owed[below]+took/4, patience)
		}
	}
}

// reads names the reads that the device might make next, when each may begin
// and when it should be done.
func (d *device) reads(fn func(b *block, release, deadline time.Time)) {
	switch {
	case len(d.blocks) == 0:
	case d.state == offline:
		if d.short == nil {
			d.short = d.shortRead(nil)
		}
		release := later(d.probe, d.rested)
		fn(d.short, release, release.Add(patience))
	case d.again != nil:
		fn(d.again, d.rested, d.rested)
	default:
		for _, b := range d.blocks {
			wait := b.every
			if wait <= 0 {
				wait = patience
			}
			fn(b, later(b.due, d.rested), b.due.Add(wait))
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// shortRead makes the shortest read that shows whether the device lives: one
// point, of another read than b if there is one. It is nil if there is no
// other point than that of b.
func (d *device) shortRead(b *block) *block {
	var shortest *point
	look := func(o *block) {
		for _, p := range o.points {
			if shortest == nil || p.question().size() < shortest.question().size() {
				shortest = p
			}
		}
	}
	for _, o := range d.blocks {
		if o != b && !o.bad && o.silent == 0 {
			look(o)
		}
	}
	switch {
	case shortest != nil:
	case b == nil:
		look(d.blocks[0])
	case len(b.points) > 1:
		look(b)
	default:
		return nil
	}
	short := d.planner().block([]*point{shortest})
	short.probe = true
	return short
}
