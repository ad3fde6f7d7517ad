package main

import (
	"slices"
	"time"

	"sluice/adapters"
	"sluice/adapters/formula"
	"sluice/gateway/config"
)

// object is a device as a whole: the newest readings of its points, what is
// computed of them, and the one JSON object that they make. It belongs to the
// goroutine that publishes readings.
//
// A cycle is what the device's own pace brings: it ends when each of its
// fastest points was read, or one of them a second time. So formulas see
// readings of one cycle, and are computed once for all of them.
type object struct {
	topic    string // of the JSON object; "" for none
	points   []*outlet
	formulas []*computed

	batch []*outlet // of the answer that is being taken in
	again bool      // a point that sets the pace was read twice
	due   bool      // some reading of this cycle is news
}

// computed is a point that is computed, with what it is computed of.
type computed struct {
	out     *outlet
	machine *formula.Machine
	mapping adapters.Mapping
	inputs  map[string]*outlet
}

// joinObject makes the outlets of a device, one for each of its points in order,
// into its object.
func joinObject(d *config.Device, outlets []*outlet) error {
	o := &object{points: outlets}
	if d.Publish != config.PublishPoints {
		o.topic = d.Topic
	}
	byName := map[string]*outlet{}
	for _, out := range outlets {
		byName[out.point.Name] = out
		out.object = o
	}
	for _, f := range d.Formulas {
		compiled, err := formula.Compile(f.Text, f.Points)
		if err != nil {
			return err // the configuration has compiled it before
		}
		c := &computed{out: byName[f.Name], machine: compiled.Machine(), mapping: f.Mapping, inputs: map[string]*outlet{}}
		for _, name := range compiled.Inputs() {
			c.inputs[name] = byName[name]
		}
		c.out.computed = true
		o.formulas = append(o.formulas, c)
	}
	// A line on a UART is a cycle of its own; what is read sets the pace.
	fastest := time.Duration(-1)
	for i, out := range outlets {
		if every := d.Points[i].Every; d.Modbus != nil && !out.computed && (fastest < 0 || every < fastest) {
			fastest = every
		}
	}
	for i, out := range outlets {
		out.paces = d.Modbus != nil && !out.computed && d.Points[i].Every == fastest
	}
	return nil
}

// note takes in a reading of a point; news tells whether it was worth telling.
func (o *object) note(out *outlet, r adapters.Reading, news bool) {
	o.again = o.again || out.fresh && out.paces
	out.now, out.fresh = r, true
	o.batch = append(o.batch, out)
	o.due = o.due || news
}

// complete reports whether the cycle has ended, after all readings of one answer
// were noted. Points that have no good value at present are not waited for.
func (o *object) complete() bool {
	if o.again {
		return true
	}
	return !slices.ContainsFunc(o.points, func(out *outlet) bool {
		return out.paces && !out.fresh && (out.now.Quality == adapters.Good || out.now.Time.IsZero())
	})
}

// next begins a new cycle. Where one point was read twice and another not at
// all, what was read last is of the new cycle already.
func (o *object) next() {
	for _, out := range o.points {
		out.fresh = o.again && slices.Contains(o.batch, out)
	}
	o.again, o.due = false, false
}

// reading computes the point, or gives false while an input was never read, or
// none anew. It is as good as the worst of its inputs, and as old as the newest.
func (c *computed) reading() (r adapters.Reading, ok bool) {
	r.Point = c.out.point
	fresh := false
	for _, in := range c.inputs {
		if in.now.Time.IsZero() {
			return r, false
		}
		fresh = fresh || in.fresh
		r.Quality = max(r.Quality, in.now.Quality)
		if in.now.Time.After(r.Time) {
			r.Time = in.now.Time
		}
	}
	if r.Quality == adapters.Good {
		raw := c.machine.Compute(func(name string) adapters.Value { return c.inputs[name].now.Value })
		r.Value, r.Quality = c.mapping.Apply(raw, r.Point.Names)
	}
	return r, fresh
}

// newest is the time of the newest reading.
func (o *object) newest() (t time.Time) {
	for _, out := range o.points {
		if out.now.Time.After(t) {
			t = out.now.Time
		}
	}
	return t
}

// appendObject appends the JSON of a device: its points that are good, and the
// quality of those that are not. Points that were never read are left out. The
// time comes first and the mark last, where rewriteTime looks for them.
func (o *object) appendObject(dst []byte, at time.Time, estimated bool) []byte {
	dst = append(dst, `{"time":"`...)
	dst = append(at.UTC().AppendFormat(dst, timeLayout), '"')
	bad := 0
	for _, out := range o.points {
		switch {
		case out.now.Time.IsZero():
		case out.now.Quality != adapters.Good:
			bad++
		default:
			dst = append(append(append(dst, ','), out.quotedName...), ':')
			dst = out.now.Value.AppendJSON(dst)
		}
	}
	if bad > 0 {
		dst = append(dst, `,"bad":`...)
		sep := byte('{')
		for _, out := range o.points {
			if !out.now.Time.IsZero() && out.now.Quality != adapters.Good {
				dst = append(append(append(dst, sep), out.quotedName...), `:"`...)
				dst = append(append(dst, out.now.Quality.String()...), '"')
				sep = ','
			}
		}
		dst = append(dst, '}')
	}
	if estimated {
		dst = append(dst, estimatedMark...)
	}
	return append(dst, '}')
}
