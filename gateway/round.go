package main

import (
	"time"

	"sluice/adapters"
	"sluice/adapters/modbus"
)

// round tells when the newest readings of some points of a device are those of
// one moment, so that something may be made of all of them. It belongs to the
// goroutine that publishes readings.
//
// Of the points that live, those with the shortest period set its pace: the
// round is complete when each of them has come anew, and they are no further
// apart than half their period. Then they are nearer to each other than to the
// rounds before and after. Of the other points the newest reading counts. What
// has no good value is not waited for; a round in which a good point fails to
// come is left out.
//
// Where another master asks, the periods are learned. A point sets the pace there
// until the others have come often without it, and never twice in a row with it:
// before, it may just have been missed. A device that speaks by itself may do so
// when something changes: there a point sets the pace only while it keeps coming
// with others, or alone, and what comes besides counts at once. Where the readings
// of a round are always further apart, as on a line that is overloaded or with a
// master that spreads them evenly, they may be as far apart as that.
type round struct {
	inputs  []input
	touched bool          // an input came with the answer that is being taken in
	aside   bool          // one was read aside, or came beside those that set the pace
	from    time.Time     // the oldest reading of those that set the pace
	to      time.Time     // the newest
	period  time.Duration // of those that set the pace; 0: not known
	onBeat  bool          // those that set the pace came in one beat

	beat  int           // counts how often the most frequent ones have come
	began time.Time     // the beat
	tries int           // rounds in a row in which all had come and were too far apart
	tried time.Time     // the last
	least time.Duration // that they were apart
	wide  time.Duration // they may be so far apart; 0: half their period
}

// role is what a point is in a round: which of its inputs.
type role struct {
	round *round
	index int
}

// input is a point as one of a round.
type input struct {
	*outlet
	fresh  bool // it came since the last complete round
	aside  bool // it came with the answer that is being taken in, and not as one of the round
	beat   int  // in which it came last
	missed int  // beats without it, since it came in two that follow each other
}

const (
	// rarely is after how many beats without it a point that another master asks
	// for does not set the pace, seldom the same of a device that speaks by itself.
	rarely, seldom = 16, 2
	// untested is what stands for beats without a point of which nothing is known,
	// where another master asks.
	untested = 12
	// burst is how long what a device says at once may take.
	burst = time.Second
	// oftenApart is how many tries show that readings are always far apart.
	oftenApart = 16
	// never is the beat of what has not come.
	never = -2
)

// add makes a point an input of the round.
func (rd *round) add(out *outlet) {
	out.roles = append(out.roles, role{rd, len(rd.inputs)})
	in := input{outlet: out, beat: never}
	in.forget()
	rd.inputs = append(rd.inputs, in)
}

// forget is for what is not known of the point, or not any more.
func (in *input) forget() {
	if in.missed = untested; in.spoken {
		in.missed = seldom
	}
}

// rare reports whether the point comes too rarely to set the pace.
func (in *input) rare() bool { return in.missed >= rarely || in.spoken && in.missed >= seldom }

// beside takes note of what was not read as one of the round.
func (rd *round) beside(i int) { rd.aside, rd.inputs[i].aside = true, true }

// came takes note of a reading of an input, which the outlet has already.
func (rd *round) came(i int) {
	in := &rd.inputs[i]
	rd.touched = true
	switch in.fresh = in.now.Quality == adapters.Good; {
	case in.polled:
	case in.fresh:
		if in.spoken && in.rare() {
			rd.beside(i)
		}
		rd.count(in)
	default:
		in.forget()
	}
}

// count learns from a reading how often the point comes, beside the others.
func (rd *round) count(in *input) {
	at := in.now.Time
	if rd.began.IsZero() {
		rd.began = at
	}
	since := at.Sub(rd.began)
	if in.beat == rd.beat && since > in.longest/2 || in.spoken && since > burst {
		for i := range rd.inputs {
			if other := &rd.inputs[i]; other.beat != rd.beat && !other.waiting && other.now.Quality == adapters.Good {
				other.missed = min(other.missed+1, rarely)
			}
		}
		rd.beat++
		rd.began = at
	}
	if in.beat == rd.beat-1 {
		in.missed = 0
	}
	in.beat = rd.beat
}

// restart counts anew, as after a time without the device.
func (rd *round) restart() {
	rd.beat, rd.began = 0, time.Time{}
	for i := range rd.inputs {
		rd.inputs[i].beat = never
	}
}

// lives reports whether the point will come. A device that is polled is asked
// for each of its points, and all that comes of it is told.
func (in *input) lives() bool {
	if in.waiting {
		return in.polled
	}
	return in.now.Quality == adapters.Good
}

// fastest is the shortest period of the points that live and are polled.
func (rd *round) fastest() time.Duration {
	fastest := modbus.Once
	for i := range rd.inputs {
		if in := &rd.inputs[i]; in.polled && in.every < fastest && in.lives() {
			fastest = in.every
		}
	}
	return fastest
}

// paces reports whether the point sets the pace.
func (in *input) paces(fastest time.Duration) bool {
	if in.polled {
		return in.every == fastest && in.lives()
	}
	return !in.rare() && in.lives()
}

// period is how often the point is read, as far as that is known, else 0.
func (in *input) period() time.Duration {
	if in.polled && in.every > 0 {
		return in.every
	}
	return in.usual
}

// gathered reports whether all that set the pace have come, anew unless they
// may have been used before, and measures how far they are apart.
func (rd *round) gathered(used bool) bool {
	fastest := rd.fastest()
	rd.from, rd.to = time.Time{}, time.Time{}
	rd.period, rd.onBeat = 0, true
	known := true
	for i := range rd.inputs {
		in := &rd.inputs[i]
		if in.waiting && !in.polled && !in.spoken && rd.beat == 0 {
			return false // it may come yet
		}
		if !in.paces(fastest) {
			continue
		}
		if in.waiting || !in.fresh && !used {
			return false
		}
		if rd.from.IsZero() || in.from.Before(rd.from) {
			rd.from = in.from
		}
		if in.to.After(rd.to) {
			rd.to = in.to
		}
		rd.onBeat = rd.onBeat && in.spoken && in.beat == rd.beat
		period := in.period()
		if known = known && period > 0; rd.period == 0 || period < rd.period {
			rd.period = period
		}
	}
	if !known {
		rd.period = 0
	}
	return true
}

// pace is the shortest period of all inputs, dead or alive.
func (rd *round) pace() (period time.Duration) {
	for i := range rd.inputs {
		if p := rd.inputs[i].period(); p > 0 && (period == 0 || p < period) {
			period = p
		}
	}
	return period
}

// longest is the longest of what lies between two readings of an input.
func (rd *round) longest() (span time.Duration) {
	for i := range rd.inputs {
		span = max(span, rd.inputs[i].spans.longest)
	}
	return span
}

// close reports whether those that were gathered belong together.
func (rd *round) close() bool {
	return rd.to.Sub(rd.from) <= max(rd.period/2, rd.wide) || rd.period == 0 && rd.onBeat
}

// complete reports whether the round is, and begins the next one then. Where
// nothing lives each answer is one.
func (rd *round) complete() bool {
	if !rd.touched || !rd.gathered(false) {
		return false
	}
	if !rd.close() && !rd.widen() {
		return false
	}
	rd.next()
	return true
}

// widen takes note of a round that is too far apart, and reports whether that is
// its nature.
func (rd *round) widen() bool {
	if apart := rd.to.Sub(rd.from); rd.tries == 0 || apart < rd.least {
		rd.least = apart
	}
	if rd.period == 0 || rd.to.Sub(rd.tried) < rd.period/2 {
		return false
	}
	rd.tried = rd.to
	if rd.tries++; rd.tries < oftenApart {
		return false
	}
	rd.wide, rd.tries = rd.least+rd.least/4, 0
	return rd.close()
}

// completeAgain is complete where a reading may be used that was used before.
// After what was read aside the round is still to come.
func (rd *round) completeAgain() bool {
	if !rd.gathered(true) || !rd.close() {
		return false
	}
	if !rd.aside {
		rd.next()
	}
	return true
}

// settle ends the taking in of an answer.
func (rd *round) settle() {
	for i := range rd.inputs {
		if !rd.aside {
			break
		}
		rd.inputs[i].aside = false
	}
	rd.touched, rd.aside = false, false
}

// next begins the next round.
func (rd *round) next() {
	for i := range rd.inputs {
		rd.inputs[i].fresh = false
	}
	rd.tries = 0
	if rd.to.Sub(rd.from) <= rd.period/2 {
		rd.wide = 0
	}
}

// open reports whether some that set the pace have come since the last round
// was complete.
func (rd *round) open() bool {
	fastest := rd.fastest()
	for i := range rd.inputs {
		if in := &rd.inputs[i]; in.fresh && in.paces(fastest) {
			return true
		}
	}
	return false
}
