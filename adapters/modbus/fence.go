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
// looks unlike all of them. A device answers in order: once the fence has been
// answered, nothing older can come.

// debtLife is how long an answer may be late.
const debtLife = 10 * time.Second

// debts are the questions without an answer.
type debts struct {
	owed []question // at most mostDebts
	at   time.Time  // of the last
}

const mostDebts = 8

// looksLike reports whether an answer to the one can pass for the other's.
func (q question) looksLike(other question) bool {
	return q.function == other.function && q.size() == other.size()
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

// fence finds a question which no question owed looks like: first one that
// the device is known to answer, or a part of it, then one that it refuses at
// least, which is an answer as well.
func (d *debts) fence(q question, known []question) (question, verdict) {
	for _, k := range known {
		if !d.any(k) {
			return k, fenced
		}
	}
	for _, k := range known {
		for ; k.count > 1; k.count-- {
			if part := (question{k.function, k.address, k.count - 1}); !d.any(part) {
				return part, fenced
			}
		}
	}
	guesses := []question{{q.function, q.address, 2}, {readCoils, 0, 1}, {readHolding, 0, 1}}
	for _, guess := range guesses {
		if guess.address < 1<<16-1 && !d.any(guess) {
			return guess, fenced
		}
	}
	return question{}, hushed
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
