package main

import (
	"time"

	"sluice/adapters"
	"sluice/adapters/formula"
)

// computed is a point that is computed of others of its device, its inputs. It
// belongs to the goroutine that publishes readings.
//
// It has a reading once for each complete round of its inputs, whatever else the
// device has: with inputs of different periods for each round of the fastest,
// with the newest of the slower ones. An input that is not good makes it as bad
// at once, and then again with each round of those that are; when all are good
// again, so is it as soon as they belong together. An input that is read aside,
// as after a command, makes it what it would have been in the last round with
// that value. Its time is that of the newest of its inputs.
type computed struct {
	out     *outlet
	machine *formula.Machine
	mapping adapters.Mapping
	round   round
	good    bool // all inputs were, when it was computed last
	early   bool // that was with an input that was read aside, whose turn may be yet to come
	// When the oldest and the newest of those were read that set the pace, and
	// how often they are.
	from, to time.Time
	spans    spans
}

// reading gives what the answer that was taken in makes of the point; false if
// nothing.
func (c *computed) reading() (r adapters.Reading, ok bool) {
	if !c.round.touched && !c.round.aside {
		return r, false
	}
	r.Point = c.out.point
	for i := range c.round.inputs {
		in := &c.round.inputs[i]
		if in.waiting {
			return r, false
		}
		r.Quality = max(r.Quality, in.now.Quality)
		if in.now.Time.After(r.Time) {
			r.Time = in.now.Time
		}
	}
	complete := c.round.complete()
	switch was := c.out.now; {
	case r.Quality != adapters.Good:
		if !c.good && r.Quality == was.Quality && !was.Time.IsZero() &&
			(!complete || r.Time.Sub(was.Time) <= c.round.pace()/2) {
			return r, false // it is told, in this round if that is complete
		}
		c.good = false
		return r, true
	case complete:
	case c.good && c.round.aside:
		return c.change(), true
	case c.good && !c.early || !c.round.completeAgain():
		return r, false
	}
	c.good, c.early = true, c.round.aside
	c.from, c.to = c.round.from, c.round.to
	c.spans = spans{usual: c.round.period, longest: c.round.longest()}
	c.take(&r, c.machine.Compute(func(name string) adapters.Value { return c.input(name).now.Value }))
	return r, true
}

// change gives the last round with the values that were read aside since.
func (c *computed) change() adapters.Reading {
	r := adapters.Reading{Point: c.out.point, Time: c.out.now.Time, Aside: true}
	var raw adapters.Value
	for i := range c.round.inputs {
		in := &c.round.inputs[i]
		if !in.aside {
			continue
		}
		raw = c.machine.Change(in.point.Name, in.now.Value)
		if in.now.Time.After(r.Time) {
			r.Time = in.now.Time
		}
	}
	c.take(&r, raw)
	return r
}

// told gives the point what the round says of its readings.
func (c *computed) told() { c.out.from, c.out.to, c.out.spans = c.from, c.to, c.spans }

// take makes a reading of what was computed.
func (c *computed) take(r *adapters.Reading, raw adapters.Value) {
	r.Value, r.Quality = c.mapping.Apply(raw, r.Point.Names)
}

// input is the one of that name, which there is.
func (c *computed) input(name string) *input {
	for i := range c.round.inputs {
		if in := &c.round.inputs[i]; in.point.Name == name {
			return in
		}
	}
	return nil
}
