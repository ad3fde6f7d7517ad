package modbus

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// faulty is a line with another master and its units, in a time of its own,
// and the monitor that hears it. The upper byte of a register's value is its
// address, the lower one counts how often it was read.
type faulty struct {
	name      string
	units     int
	addresses []uint16 // asked in turn of each unit
	counts    []uint16 // of registers, in turn
	pause     time.Duration
	quick     time.Duration // turnarounds are from here
	slow      time.Duration // to here
	timeout   time.Duration
	retries   int // of the master, after a silence

	unheard float64 // share of requests that their units don't hear
	lost    float64 // share of answers that nobody hears
	late    float64 // share of answers that take 200 to 600 ms
	twice   float64 // share of answers that come twice
	deaf    bool    // a unit that owes an answer hears nothing; else it notes one request

	chance  *rand.Rand
	monitor *monitor
	now     time.Time
	reads   map[uint16]uint16
	due     []reply // in order of time

	answers int // that passed for those to the request before them
	sure    int // of them those that are not the first after a silence to another request
	taken   int
	wrong   string
}

// reply is an answer on its way.
type reply struct {
	at    time.Time
	unit  byte
	frame []byte
}

func (f *faulty) happens(share float64) bool { return f.chance.Float64() < share }

// until lets pass what comes up to t, and gives when r found an answer.
func (f *faulty) until(t time.Time, r *request) (at time.Time, found bool) {
	for len(f.due) > 0 && !f.due[0].at.After(t) {
		next := f.due[0]
		f.due = f.due[1:]
		if f.happens(f.lost) {
			continue
		}
		f.monitor.feed(next.frame, next.at)
		if f.happens(f.twice) {
			f.monitor.feed(next.frame, next.at.Add(ms))
		}
		if r != nil && next.unit == r.unit && r.fits(next.frame) {
			return next.at, true
		}
	}
	return t, false
}

// answer is what a unit does with a request that comes now.
func (f *faulty) answer(unit byte, address, count uint16) {
	free, owed := f.now, 0
	for _, other := range f.due {
		if other.unit == unit {
			free, owed = later(free, other.at), owed+1
		}
	}
	if owed > 1 || owed > 0 && f.deaf {
		return
	}
	pdu := []byte{readHolding, byte(2 * count)}
	for i := range count {
		f.reads[address+i]++
		pdu = binary.BigEndian.AppendUint16(pdu, (address+i)<<8|f.reads[address+i]&0xff)
	}
	took := f.quick + time.Duration(f.chance.Int64N(int64(f.slow-f.quick)))
	if f.happens(f.late) {
		took = 200*ms + time.Duration(f.chance.Int64N(int64(400*ms)))
	}
	f.due = append(f.due, reply{free.Add(took), unit, frameOf(unit, pdu...)})
	slices.SortStableFunc(f.due, func(a, b reply) int { return a.at.Compare(b.at) })
}

// heard judges what the monitor takes for the answer to q.
func (f *faulty) heard(unit byte, q question, data []byte, _ time.Time) {
	if data == nil {
		return
	}
	f.taken++
	for i := range q.count {
		value := binary.BigEndian.Uint16(data[2*i:])
		if value>>8 != q.address+i && f.wrong == "" {
			f.wrong = fmt.Sprintf("unit %d, register %d: %#04x", unit, q.address+i, value)
		}
	}
}

// run asks so many times; the faults begin when the line has been heard a while.
func (f faulty) run(questions int, seed uint64) *faulty {
	f.chance, f.now, f.reads = rand.New(rand.NewPCG(seed, 2)), time.Now(), map[uint16]uint16{}
	f.monitor = newMonitor(f.heard)
	faults := f
	f.unheard, f.lost, f.late, f.twice = 0, 0, 0, 0
	silent := map[byte]uint16{} // what a unit was asked last, if in vain
	for i := range questions {
		if i == 100*f.units {
			f.unheard, f.lost, f.late, f.twice = faults.unheard, faults.lost, faults.late, faults.twice
		}
		unit, turn := byte(1+i%f.units), i/f.units
		address, count := f.addresses[turn%len(f.addresses)], f.counts[turn%len(f.counts)]
		ask := readFrame(unit, readHolding, address, count)
		for range 1 + f.retries {
			end := f.now.Add(f.pause + ms)
			f.until(end, nil)
			f.now = end
			f.monitor.feed(ask, f.now)
			if !f.happens(f.unheard) {
				f.answer(unit, address, count)
			}
			other, doubtful := silent[unit]
			at, found := f.until(f.now.Add(f.timeout), &request{unit: unit, pdu: ask[1:6]})
			if f.now = at; !found {
				silent[unit] = address
				continue
			}
			delete(silent, unit)
			if f.answers++; !doubtful || other == address {
				f.sure++
			}
			break
		}
	}
	f.monitor.forget()
	return &f
}

// others are lines as other masters poll them.
var others = []faulty{
	{name: "two alike", units: 1, addresses: []uint16{0, 16}, counts: []uint16{1}, pause: 20 * ms, quick: 3 * ms, slow: 6 * ms, timeout: 350 * ms},
	{name: "at once", units: 1, addresses: []uint16{0, 16}, counts: []uint16{1}, pause: 2 * ms, quick: 3 * ms, slow: 4 * ms, timeout: 350 * ms},
	{name: "three units", units: 3, addresses: []uint16{0, 16, 32}, counts: []uint16{2}, pause: 5 * ms, quick: 8 * ms, slow: 30 * ms, timeout: 300 * ms},
	{name: "blocks", units: 1, addresses: []uint16{0, 16, 32, 48}, counts: []uint16{10, 10, 4, 10}, pause: 50 * ms, quick: 10 * ms, slow: 40 * ms, timeout: time.Second},
}

// each runs all lines, with and without retries, at several rates of faults.
// Tests that use it are not parallel: they would take the processor from those
// that need it in time.
func each(t *testing.T, faults func(f *faulty, rate float64), judge func(name string, f *faulty)) {
	t.Helper()
	for _, f := range others {
		for _, f.retries = range []int{0, 1} {
			for _, rate := range []float64{0.01, 0.05, 0.1, 0.2} {
				faults(&f, rate)
				for seed := range uint64(2) {
					f := f.run(1000, seed)
					name := fmt.Sprintf("%s, %d retries, %.0f %%, seed %d", f.name, f.retries, 100*rate, seed)
					if f.wrong != "" {
						t.Errorf("%s: %s", name, f.wrong)
					}
					var heard TapStats
					for _, s := range f.monitor.counts {
						heard.Answers += s.Answers
						heard.Doubtful += s.Doubtful
					}
					if uint64(f.taken)+heard.Doubtful != heard.Answers {
						t.Errorf("%s: of %d answers %d were taken and %d in doubt", name, heard.Answers, f.taken, heard.Doubtful)
					}
					judge(name, f)
				}
			}
		}
	}
}

// A lost request or answer costs no more than the answer after it, and of the
// others few.
func TestMonitorTakesWhatIsSure(t *testing.T) {
	for _, lost := range []bool{false, true} {
		each(t, func(f *faulty, rate float64) {
			f.unheard, f.lost = rate, 0
			if lost {
				f.unheard, f.lost = 0, rate
			}
		}, func(name string, f *faulty) {
			if f.taken < f.sure*8/10 {
				t.Errorf("%s: %d of %d sure answers were taken", name, f.taken, f.sure)
			}
		})
	}
}

// No answer to another request is taken, however late the answers are and
// whether their unit hears while it owes one.
func TestMonitorTellsLateAnswers(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		each(t, func(f *faulty, rate float64) { f.late, f.deaf = rate, deaf }, func(name string, f *faulty) {
			// Where the master asks at once and the unit takes note, each answer
			// may come after the next request for good.
			if f.name != "at once" && f.taken < f.sure*8/10 {
				t.Errorf("%s: %d of %d sure answers were taken", name, f.taken, f.sure)
			}
		})
	}
}

// The same with requests and answers lost, and answers that come twice.
func TestMonitorTellsMixedFaults(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		each(t, func(f *faulty, rate float64) {
			f.late, f.unheard, f.lost, f.twice, f.deaf = rate/3, rate/4, rate/4, rate/4, deaf
		}, func(string, *faulty) {})
	}
}
