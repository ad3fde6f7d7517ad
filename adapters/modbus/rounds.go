package modbus

import "time"

// The reads of a device that have one period make a round, so that what they
// bring is of one moment. Each has its place in the round: that in which it was
// read first. What is read late, or out of turn, comes back to its place.

// seat gives a block that has none its place in the rounds of its device, from a
// time at which it is due.
func (d *device) seat(b *block, due time.Time) {
	if !b.place.IsZero() {
		return
	}
	if b.place = d.since; b.every > 0 && b.every != Once {
		b.place = d.since.Add(due.Sub(d.since) % b.every)
	}
}

// inStep brings a due time forward to the block's place, if that is not over.
func (b *block) inStep(every time.Duration, due, now time.Time) time.Time {
	if every <= 0 || every == Once || b.place.IsZero() {
		return due
	}
	if at := due.Add(-(due.Sub(b.place) % every)); at.After(now.Add(time.Millisecond)) {
		return at
	}
	return due
}

// putOff puts a read that found no answer off for the wait, or to the next
// round, if that is nearer than the one that it has missed.
func (d *device) putOff(b *block, wait time.Duration, now time.Time) {
	d.seat(b, d.since)
	if b.due = now.Add(wait); b.every <= 0 || b.every == Once {
		return
	}
	if left := b.every - b.due.Sub(b.place)%b.every; left < b.every/2 {
		b.due = b.due.Add(left)
	}
}
