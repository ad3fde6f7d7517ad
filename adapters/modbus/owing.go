package modbus

import (
	"bytes"
	"slices"
	"time"

	"sluice/adapters/line"
)

// An answer on a bus that others use is that to the request just before it,
// unless the unit was still busy with an older one, which its master had given
// up. Units answer in order, so an answer that fits no older request settles
// all of them. One that does fit is in doubt, for one of two reasons:
//
//   - The older request met silence: it was lost, or its answer is late. That
//     can't be told, but only the first answer after it can be that one.
//   - The answer before was in doubt: if it was late, the unit went on at once
//     with the request that it was taken for, and so each answer may be that to
//     the request before. See place.go for how this shows.
//
// The same request once more raises no doubt: its late answer is true, too.

// owing is what a unit may still answer although nobody waits for it.
type owing struct {
	unconfirmed
	stats   *TapStats
	owed    []*request // reads in order, at most mostOwed
	held    []reading  // answers that will be proven or not, at most mostHeld
	asked   *request   // answered last
	silence time.Time  // that a read met
	spoke   time.Time  // the unit's last frame
	frame   []byte     // that frame
	late    time.Time  // an answer came that had been given up
	place   place
}

func newOwing(stats *TapStats) *owing {
	o := &owing{unconfirmed: unconfirmed{usual: line.NewWindow(16)}, stats: stats}
	o.begin()
	return o
}

// reading is the answer to a read.
type reading struct {
	question
	data []byte
	at   time.Time
}

const (
	mostOwed = 32
	mostHeld = 8
	// settled is how long a unit is silent after an answer when it has no other
	// request left to answer.
	settled = 3 * time.Second
)

// certainty says whether an answer is that to its question.
type certainty uint8

const (
	certain   certainty = iota
	unproven            // to be held until it is
	uncertain           // nor will it ever be told
)

// fits reports whether frame can be the answer to r.
func (r *request) fits(frame []byte) bool {
	size, ok := check(r.pdu, frame[1:len(frame)-2], r.wide)
	return ok && size+rtuExtra == len(frame)
}

// same reports whether both ask the same.
func (r *request) same(other *request) bool { return bytes.Equal(r.pdu, other.pdu) }

// first is the oldest request owed that frame may answer, -1 if there is none.
func (o *owing) first(frame []byte) int {
	return slices.IndexFunc(o.owed, func(r *request) bool { return r.fits(frame) })
}

func (o *owing) push(r *request) {
	if len(o.owed) == mostOwed {
		o.owed = slices.Delete(o.owed, 0, 1)
	}
	o.owed = append(o.owed, r)
}

// settle drops the first n requests: the unit goes on with the others at once.
func (o *owing) settle(n int) {
	o.owed = slices.Delete(o.owed, 0, n)
	for _, r := range o.owed {
		r.next = true
	}
}

// pass drops what the unit would be at by now.
func (o *owing) pass() {
	o.owed = slices.DeleteFunc(o.owed, func(r *request) bool { return r.next })
}

// forget drops all.
func (o *owing) forget() {
	o.settle(len(o.owed))
	o.begin()
}

// begin knows nothing yet of whether answers are in their places.
func (o *owing) begin() {
	o.place.begin()
	o.drop()
}

// drop gives up what is held.
func (o *owing) drop() {
	o.stats.Doubtful += uint64(len(o.held))
	o.held = slices.Delete(o.held, 0, len(o.held))
}

// hold keeps an answer until it is proven.
func (o *owing) hold(a reading) {
	if len(o.held) == mostHeld {
		o.held = slices.Delete(o.held, 0, 1)
		o.stats.Doubtful++
	}
	a.data = bytes.Clone(a.data)
	o.held = append(o.held, a)
}

// expire drops what can't come any more. A doubt ends some time, unless the
// answers are out of their places indeed.
func (o *owing) expire(now time.Time) {
	if now.Sub(o.spoke) >= settled || now.Sub(o.silence) > debtLife && !o.place.lost() {
		o.pass()
		o.begin()
	}
	o.owed = slices.DeleteFunc(o.owed, func(r *request) bool { return !r.next && now.Sub(r.at) > debtLife })
}

// silent notes that r found no answer.
func (o *owing) silent(r *request, now time.Time) {
	o.expire(now)
	if len(o.owed) == 0 || len(o.place.known) > 0 {
		o.silence = now // where nothing is known nothing is learned, and the doubt must end
	}
	o.push(r)
	o.begin()
}

// answered takes the answer to r. It gives what was held and is proven by it.
func (o *owing) answered(r *request, frame []byte, now time.Time) (is certainty, proven []reading) {
	o.expire(now)
	took, out := now.Sub(r.at), false
	if i := o.first(frame); i >= 0 && o.owed[i].next {
		wary := !o.late.IsZero() && now.Sub(o.late) < grudge
		switch o.place.weigh(r, o.owed, frame, took, now.Sub(o.spoke), wary) {
		case inPlace:
			proven, o.held = o.held, nil
			o.pass()
			o.begin()
		case outOfPlace:
			o.drop()
			out = true
		}
	}
	i := o.first(frame)
	o.asked = r
	o.spoke, o.frame = now, append(o.frame[:0], frame...)
	if i < 0 {
		o.place.learn(r, frame, took)
		o.forget()
		return certain, proven
	}
	fresh := false // a silence is part of the doubt
	for _, other := range o.owed[i:] {
		if other.fits(frame) {
			fresh = fresh || !other.next
			if !other.same(r) {
				is = unproven
			}
		}
	}
	if is == unproven && (fresh || out) {
		is = uncertain
	}
	if fresh {
		o.begin()
	}
	o.place.glimpse(took)
	r.stood = max(o.owed[i].stood, now.Sub(o.owed[i].at))
	o.settle(i + 1)
	r.next = true // if that was an older answer, the one to r still comes
	o.push(r)
	return is, proven
}

// stray takes an answer that nobody waits for.
func (o *owing) stray(frame []byte, now time.Time) {
	again := bytes.Equal(frame, o.frame) // sent twice, perhaps: that settles nothing
	o.spoke, o.frame = now, append(o.frame[:0], frame...)
	switch i := o.first(frame); {
	case again:
	case i >= 0:
		if max(o.owed[i].stood, now.Sub(o.owed[i].at)) > o.place.longest() {
			o.late = now
		}
		o.settle(i + 1)
		o.begin()
	default:
		if o.asked != nil && len(o.owed) == 0 { // it was out of its place, perhaps
			o.asked.next = true
			o.push(o.asked)
			o.silence = now
		}
		o.begin()
	}
}
