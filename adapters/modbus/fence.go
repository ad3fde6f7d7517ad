package modbus

import "time"

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
	for _, owed := range d.owed {
		if owed == q {
			return
		}
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
	for _, owed := range d.owed {
		if owed.looksLike(q) {
			return
		}
	}
	d.forget()
}

// fence gives the question to ask before q, and whether one is needed.
func (d *debts) fence(q question, now time.Time) (fence question, needed bool) {
	if len(d.owed) > 0 && now.Sub(d.at) > debtLife {
		d.forget()
	}
	for _, owed := range d.owed {
		if owed != q && owed.looksLike(q) {
			return d.unlike(owed), true
		}
	}
	return question{}, false
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

// unlike makes a short question of q's registers which no question owed looks
// like; the device is known to have these.
func (d *debts) unlike(q question) question {
	step := uint16(1)
	if q.function == readCoils || q.function == readDiscrete {
		step = 8
	}
	fence := q
	for fence.count = step; ; fence.count += step {
		taken := false
		for _, owed := range d.owed {
			taken = taken || owed.looksLike(fence)
		}
		if !taken {
			break // after mostDebts steps at most
		}
	}
	if last := 1<<16 - int(fence.count); int(fence.address) > last {
		fence.address = uint16(last)
	}
	return fence
}
