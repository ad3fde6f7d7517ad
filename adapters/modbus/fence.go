package modbus

import (
	"slices"
	"time"
)

// Modbus RTU has no transaction numbers: when a question has met silence, its
// answer may still come and pass for that to another question of the same
// unit, function and length. Flushing before a request does not help where it
// comes later than that. So the questions that a device still owes an answer
// to are remembered. While there are any, another question whose answer would
// look the same is not asked; a fence goes before it, a question whose answer
// looks unlike all of them, also if the device errs in the function or by one
// register as well. A device answers in order: once the fence has been
// answered, nothing older can come. See doubt.go for what this cannot tell.

// debtLife is how long an answer may be late.
const debtLife = 10 * time.Second

// debts are the questions without an answer.
type debts struct {
	owed []question // at most mostDebts
	at   time.Time  // of the last
	deaf []question // fences that met silence themselves, each as often; at most deafLimit*mostDebts
}

const mostDebts = 8

// deafLimit is how often in a row a fence must meet silence until it is taken
// for something that the device does not answer at all.
const deafLimit = 3

// looksLike reports whether an answer to the one can pass for the other's, or
// almost.
func (q question) looksLike(other question) bool {
	apart := q.size() - other.size()
	return q.bits() == other.bits() && max(apart, -apart) <= q.width()
}

// bits reports whether the question is for bits, not registers.
func (q question) bits() bool { return q.function == readCoils || q.function == readDiscrete }

// width is how many bytes of an answer are the least.
func (q question) width() int {
	switch {
	case q.bits():
		return 1
	case q.wide:
		return 4
	}
	return 2
}

// add notes that q was asked in vain.
func (d *debts) add(q question, now time.Time) {
	d.at = now
	if slices.Contains(d.owed, q) {
		return
	}
	if len(d.owed) == mostDebts {
		d.owed = append(d.owed[:0], d.owed[1:]...)
	}
	d.owed = append(d.owed, q)
}

// forget drops them all.
func (d *debts) forget() { d.owed = d.owed[:0] }

// answered notes that an answer to q came. If none of the questions owed looks
// like it, it was the answer to q indeed, and nothing older can follow.
func (d *debts) answered(q question) {
	if !d.any(q) {
		d.forget()
	}
}

// verdict says what a question must wait for.
type verdict uint8

const (
	free   verdict = iota // nothing
	fenced                // the answer to another one
	hushed                // time: no fence is left that the device would answer
)

// before tells what must go before q. known are questions that the device
// has answered.
func (d *debts) before(q question, known []question, now time.Time) (question, verdict) {
	if len(d.owed) > 0 && now.Sub(d.at) > debtLife {
		d.forget()
	}
	for _, owed := range d.owed {
		if owed != q && owed.looksLike(q) {
			return d.fence(q, known)
		}
	}
	return question{}, free
}

// fence finds a question which no question owed looks like: one that the
// device is known to answer, or a short part of it, then one that it refuses
// at least, which is an answer as well.
func (d *debts) fence(q question, known []question) (question, verdict) {
	fits := func(f question) bool {
		struck := 0
		for _, other := range d.deaf {
			if other == f {
				struck++
			}
		}
		return !d.any(f) && struck < deafLimit
	}
	for _, n := range []uint16{2, 4, 8, 16, 1} {
		for _, k := range known {
			if part := (question{k.function, k.address, min(n, k.count), k.wide}); fits(part) {
				return part, fenced
			}
		}
	}
	for _, k := range known {
		if fits(k) {
			return k, fenced
		}
	}
	for _, n := range []uint16{4, 8, 16, 2} {
		if guess := (question{q.function, q.address, n, q.wide}); int(q.address)+int(n) <= 1<<16 && fits(guess) {
			return guess, fenced
		}
	}
	for _, guess := range []question{{readCoils, 0, 1, q.wide}, {readHolding, 0, 1, q.wide}} {
		if fits(guess) {
			return guess, fenced
		}
	}
	return question{}, hushed
}

// unheard notes that a fence met silence.
func (d *debts) unheard(fence question) {
	if len(d.deaf) == deafLimit*mostDebts {
		d.deaf = d.deaf[:0]
	}
	d.deaf = append(d.deaf, fence)
}

// heard notes that a fence was answered, so that nothing older can come.
func (d *debts) heard(fence question) {
	d.deaf = slices.DeleteFunc(d.deaf, func(other question) bool { return other == fence })
	d.forget()
}

// any reports whether some question owed looks like q.
func (d *debts) any(q question) bool {
	return slices.ContainsFunc(d.owed, q.looksLike)
}

// other reports whether an exception on q may be meant for another question
// of the same function.
func (d *debts) other(q question) bool {
	for _, owed := range d.owed {
		if owed != q && owed.function == q.function {
			return true
		}
	}
	return false
}
