package main

import (
	"time"

	"sluice/adapters"
	"sluice/adapters/formula"
	"sluice/gateway/config"
)

// object is a device as a whole: what is computed of its points, and the one
// JSON object that they make. It belongs to the goroutine that publishes
// readings.
//
// The object is published when a round of all that is read of the device is
// complete, and when a point was read aside, as after a command: at once, or
// with the round that has begun.
type object struct {
	topic    string // of the JSON object; "" for none
	points   []*outlet
	formulas []*computed

	round round
	aside bool // a point was read aside since the object was published
	due   bool // some reading since then is news
}

// joinObject makes the outlets of a device, one for each of its points in order,
// into its object, which is nil if nothing is made of them together. polled
// tells that the gateway says when what is read.
func joinObject(d *config.Device, outlets []*outlet, polled bool) (*object, error) {
	if d.Publish == config.PublishPoints && len(d.Formulas) == 0 {
		return nil, nil
	}
	o := &object{points: outlets}
	byName := map[string]*outlet{}
	for i, out := range outlets {
		byName[out.point.Name] = out
		out.object, out.waiting, out.polled, out.spoken = o, true, polled, d.UART != nil
		if polled {
			out.every = d.Points[i].Every
		}
	}
	computes := map[*outlet]bool{}
	for _, f := range d.Formulas {
		compiled, err := formula.Compile(f.Text, f.Points)
		if err != nil {
			return nil, err // the configuration has compiled it before
		}
		c := &computed{out: byName[f.Name], machine: compiled.Machine(), mapping: f.Mapping}
		computes[c.out] = true
		for _, name := range compiled.Inputs() {
			c.round.add(byName[name])
		}
		if polled {
			c.out.every = c.round.fastest()
		}
		o.formulas = append(o.formulas, c)
	}
	if d.Publish != config.PublishPoints {
		o.topic = d.Topic
		for i, out := range outlets {
			if !computes[out] && !(d.UART != nil && onlySent(d, d.Points[i].Point)) {
				o.round.add(out)
			}
		}
	}
	return o, nil
}

// onlySent reports whether nothing is read of a point but what confirms a
// command.
func onlySent(d *config.Device, p *adapters.Point) bool {
	for _, u := range d.UART.Points {
		if u.Point == p {
			return u.From == "" && u.Binary == nil
		}
	}
	return false
}

// note takes in a reading of a point; news tells whether it was worth telling.
func (o *object) note(out *outlet, r adapters.Reading, news bool) {
	if !r.Aside {
		out.learn(r)
	}
	out.now, out.waiting = r, false
	out.from, out.to = r.Time, r.Time
	o.due = o.due || news
	o.aside = o.aside || r.Aside
	for _, p := range out.roles {
		if r.Aside {
			p.round.beside(p.index)
		} else {
			p.round.came(p.index)
		}
	}
}

// settle ends the taking in of an answer.
func (o *object) settle() {
	for _, c := range o.formulas {
		c.round.settle()
	}
	o.round.settle()
}

// online forgets that points had no reading while the device was away: each
// will have one.
func (o *object) online() {
	for _, out := range o.points {
		out.waiting = out.waiting || out.now.Quality == adapters.Offline
	}
	for _, c := range o.formulas {
		c.round.restart()
	}
	o.round.restart()
}

// ends reports whether the object is to be published, after all of an answer
// was taken in.
func (o *object) ends() bool {
	complete := o.round.complete()
	o.aside = o.aside || o.round.aside
	if o.topic == "" || !complete && (!o.aside || o.round.open()) {
		return false
	}
	due := o.due
	o.due, o.aside = false, false
	return due
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
// quality of those that are not. Points that were never read, or not since the
// device is online, are left out. The
// time comes first and the mark last, where rewriteTime looks for them.
func (o *object) appendObject(dst []byte, at time.Time, estimated bool) []byte {
	dst = append(dst, `{"time":"`...)
	dst = append(at.UTC().AppendFormat(dst, timeLayout), '"')
	bad := 0
	for _, out := range o.points {
		switch {
		case out.waiting:
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
			if !out.waiting && out.now.Quality != adapters.Good {
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
