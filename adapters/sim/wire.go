package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// fifo is the number of bytes a UART gathers before it hands them over.
const fifo = 8

// wire is the model of one serial line in time. It is driven by arrive and
// advance and knows no clock of its own, so it is exact however late it is
// called. It is not safe for concurrent use.
//
// A byte needs char to cross, in both directions. What the master writes
// starts to cross at once (or behind what it wrote before); a frame of the
// master ends when quiet has passed behind its last byte. Transmissions that
// overlap garble each other, unless the wire is duplex.
type wire struct {
	char   time.Duration // time of one character; 0: bytes cross in no time
	quiet  time.Duration // silence that ends a frame; 0: it has an end of its own
	duplex bool          // a pair for each direction, as on a UART
	echo   bool          // the master hears itself

	// whole reports whether data is a complete frame, where no silence ends
	// it: the rest of an incomplete one is then waited for.
	whole    func(data []byte) bool
	patience time.Duration
	// receive is called when a frame of the master has ended.
	receive func(at time.Time, f frame)
	// deliver hands bytes to the master. It must not keep b.
	deliver func(b []byte)

	rx      frame
	pending bool // rx has begun and not ended
	runs    []run
	air     []span // what is, was just or will be on the wire
	noise   *rand.Rand
	stats   LineStats
}

// frame is what the master sent between two silences. data is valid only
// until receive returns.
type frame struct {
	data       []byte
	from, to   time.Time // begin of the first and end of the last character
	overlapped bool      // something else was on the wire meanwhile
	hasty      bool      // it followed other traffic in less than t3.5
}

// burst is a run of bytes that follows wait after the one before it.
type burst struct {
	wait time.Duration
	data []byte
}

// run is a burst with its place in time.
type run struct {
	owner any
	from  time.Time
	data  []byte
	done  int // bytes delivered
}

type span struct {
	owner    any
	from, to time.Time
}

func newWire(c *LineConfig) wire {
	w := wire{echo: c.Echo, duplex: c.Kind == "uart", noise: rand.New(rand.NewPCG(uint64(c.Baud), 485))}
	if c.NoPacing {
		return w
	}
	w.char = c.charTime()
	if c.Kind != "uart" && c.Kind != "ascii" {
		w.quiet = c.quietTime()
	}
	return w
}

// charTime is the time of one character on the line.
func (c *LineConfig) charTime() time.Duration {
	baud, data, stop, parity := c.Baud, c.DataBits, c.StopBits, 0
	if baud == 0 {
		baud = 19200
	}
	if data == 0 {
		data = 8
	}
	if stop == 0 {
		stop = 1
	}
	if c.Parity == 'E' || c.Parity == 'O' {
		parity = 1
	}
	return time.Duration(1+data+parity+stop) * time.Second / time.Duration(baud)
}

// quietTime is t3.5: 3.5 characters, but 1.75 ms above 19200 baud (Modbus
// over serial line V1.02 §2.5.1.1).
func (c *LineConfig) quietTime() time.Duration {
	if c.Baud > 19200 {
		return 1750 * time.Microsecond
	}
	return c.charTime() * 7 / 2
}

// maxFrame bounds what is kept of a frame, and maxEcho what waits to be
// echoed: a master that floods the line is not understood anyway.
const (
	maxFrame = 4096
	maxEcho  = 64 << 10
)

// stragglers is how long an incomplete RTU frame is kept where bytes cross in
// no time, or come over a network.
const stragglers = 20 * time.Millisecond

// arrive tells that the master wrote b at now.
func (w *wire) arrive(now time.Time, b []byte) {
	w.advance(now)
	w.stats.BytesIn += uint64(len(b))
	from := now
	if w.rx.to.After(from) {
		from = w.rx.to // still crossing
	}
	if !w.pending {
		w.pending = true
		w.rx = frame{data: w.rx.data[:0], from: from, to: from}
		w.judge()
	}
	w.rx.data = append(w.rx.data, b[:min(len(b), maxFrame-len(w.rx.data))]...)
	w.rx.to = from.Add(w.char * time.Duration(len(b)))
	w.claim(w, from, w.rx.to)
	if w.echo && w.queued()+len(b) <= maxEcho {
		w.runs = append(w.runs, run{owner: w, from: from, data: slices.Clone(b)})
	}
	w.advance(now)
}

// judge looks whether the new frame of the master begins in silence.
func (w *wire) judge() {
	if w.duplex || w.char == 0 {
		return
	}
	var last time.Time
	for _, s := range w.air {
		if s.from.Before(w.rx.from) && s.to.After(last) {
			last = s.to
		}
	}
	switch {
	case last.IsZero():
	case last.After(w.rx.from):
		w.stats.Overlaps++
	case w.rx.from.Sub(last) < w.quiet:
		w.stats.Violations++
		w.rx.hasty = true
	}
}

// transmit puts bursts on the wire, the first its wait after start, and gives
// the end of the last. On a duplex wire they queue behind what is there.
func (w *wire) transmit(owner any, start time.Time, bursts []burst) time.Time {
	if w.duplex {
		for _, r := range w.runs {
			if end := r.from.Add(w.char * time.Duration(len(r.data))); end.After(start) {
				start = end
			}
		}
	}
	for _, b := range bursts {
		start = start.Add(b.wait)
		w.runs = append(w.runs, run{owner: owner, from: start, data: b.data})
		end := start.Add(w.char * time.Duration(len(b.data)))
		w.claim(owner, start, end)
		start = end
	}
	return start
}

// queued gives the number of bytes that wait to be delivered.
func (w *wire) queued() int {
	n := 0
	for _, r := range w.runs {
		n += len(r.data) - r.done
	}
	return n
}

func (w *wire) claim(owner any, from, to time.Time) {
	w.stats.Busy += to.Sub(from)
	if !w.duplex && w.char > 0 {
		w.air = append(w.air, span{owner, from, to})
	}
}

// overlaps reports whether somebody but owner is on the wire in [from, to].
func (w *wire) overlaps(owner any, from, to time.Time) bool {
	for _, s := range w.air {
		if s.owner != owner && s.from.Before(to) && from.Before(s.to) {
			return true
		}
	}
	return false
}

// next gives the time of the next event, and whether there is one.
func (w *wire) next() (time.Time, bool) {
	at, _, ok := w.upcoming()
	return at, ok
}

// upcoming gives the next event: the end of a group of run i, or the end of
// the master's frame if i < 0.
func (w *wire) upcoming() (at time.Time, i int, ok bool) {
	i = -1
	if w.pending {
		at, ok = w.rx.to.Add(w.quiet), true
		if w.quiet == 0 && !w.whole(w.rx.data) {
			at = at.Add(w.patience)
		}
	}
	for j := range w.runs {
		if t := w.groupEnd(&w.runs[j]); !ok || !t.After(at) {
			at, i, ok = t, j, true
		}
	}
	return at, i, ok
}

func (w *wire) group(r *run) int {
	n := len(r.data) - r.done
	if w.char > 0 {
		n = min(n, fifo)
	}
	return n
}

func (w *wire) groupEnd(r *run) time.Time {
	return r.from.Add(w.char * time.Duration(r.done+w.group(r)))
}

// advance plays everything that happens until now, in order.
func (w *wire) advance(now time.Time) {
	for {
		at, i, ok := w.upcoming()
		if !ok || at.After(now) {
			break
		}
		if i < 0 {
			w.pending = false
			w.rx.overlapped = w.overlaps(w, w.rx.from, w.rx.to)
			w.receive(at, w.rx)
		} else {
			w.play(i)
		}
	}
	w.forget(now)
}

// play delivers the next group of a run.
func (w *wire) play(i int) {
	r := &w.runs[i]
	n := w.group(r)
	b := r.data[r.done : r.done+n]
	from := r.from.Add(w.char * time.Duration(r.done))
	if w.overlaps(r.owner, from, w.groupEnd(r)) {
		b = slices.Clone(b)
		for k := range b {
			b[k] ^= byte(w.noise.Uint32()) | 1
		}
		w.stats.Collisions++
	}
	if r.done += n; r.done == len(r.data) {
		w.runs = slices.Delete(w.runs, i, i+1)
	}
	w.stats.BytesOut += uint64(n)
	w.deliver(b)
}

// forget drops the spans that no longer matter for anything still open.
func (w *wire) forget(now time.Time) {
	if len(w.air) == 0 {
		return
	}
	since := now
	if w.pending && w.rx.from.Before(since) {
		since = w.rx.from
	}
	for _, r := range w.runs {
		if r.from.Before(since) {
			since = r.from
		}
	}
	since = since.Add(-w.quiet)
	w.air = slices.DeleteFunc(w.air, func(s span) bool { return s.to.Before(since) })
}

// cut drops all that is on the wire.
func (w *wire) cut() {
	w.pending, w.runs, w.air = false, nil, nil
	w.rx = frame{}
}
