package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Slave is one simulated Modbus device. Its methods may be called from any
// goroutine.
type Slave struct {
	unit       uint8
	turnaround time.Duration
	jitter     time.Duration
	strict     bool
	wake       func() // tells the line that something may be due now

	mu       sync.Mutex
	bank     *bank
	faults   []fault
	previous map[byte][]byte // the last answer of each function, for Replay
	chance   *rand.Rand
	babble   time.Time // when the next unasked burst is due
	stats    SlaveStats
	watch    watch
}

// SlaveStats counts what a slave did.
type SlaveStats struct {
	Requests   uint64               // heard, broadcasts included
	Answers    uint64               // given, exceptions and faulty ones included
	Exceptions uint64               // answers that were exceptions
	Faults     map[FaultKind]uint64 // times that each fault befell it
}

// fault is a Fault at work.
type fault struct {
	Fault
	used int
}

func newSlave(c *SlaveConfig, cal calendar, wake func()) *Slave {
	s := &Slave{
		unit: c.Unit, turnaround: c.Turnaround, jitter: c.Jitter, strict: c.Strict, wake: wake,
		bank:     newBank(cal, c.Points, c.Wide),
		previous: map[byte][]byte{},
		chance:   rand.New(rand.NewPCG(c.Seed, uint64(c.Unit))),
		stats:    SlaveStats{Faults: map[FaultKind]uint64{}},
	}
	s.bank.most = c.MaxRegisters
	if c.Wide {
		s.bank.most = min(cmp.Or(c.MaxRegisters, mostWide), mostWide)
	}
	for _, f := range c.Faults {
		s.faults = append(s.faults, fault{Fault: f})
	}
	return s
}

// Unit gives the slave's unit id.
func (s *Slave) Unit() uint8 { return s.unit }

// Set puts raw words (0 or 1 each for coil and discrete) at an address; they
// stay until they are written, Set or Reset. Registers that the slave did not
// have come to be, writable where Modbus can write the table.
func (s *Slave) Set(table string, address uint16, words ...uint16) error {
	t, err := parseTable(table)
	if err != nil {
		return err
	}
	if int(address)+len(words) > 65536 {
		return fmt.Errorf("%s %d leaves no room for %d words", table, address, len(words))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bank.put(time.Now(), cell{t, address}, words)
	s.watch.tell()
	return nil
}

// SetValue gives the named point an engineering value, encoded as a master
// should read it, until it is written, Set or Reset.
func (s *Slave) SetValue(point string, v float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.bank.point(point)
	if p == nil {
		return fmt.Errorf("unit %d has no point %q", s.unit, point)
	}
	p.set(time.Now(), p.encode(v))
	s.watch.tell()
	return nil
}

// Get gives n raw words as a master would read them now; nil if the slave
// does not have them all.
func (s *Slave) Get(table string, address uint16, n int) []uint16 {
	t, err := parseTable(table)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	words, _ := s.bank.read(time.Now(), cell{t, address}, n)
	return words
}

// Value gives the engineering value of the named point now; NaN if the slave
// does not have it.
func (s *Slave) Value(point string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.bank.point(point)
	if p == nil {
		return math.NaN()
	}
	return p.decode(p.words(s.bank.calendar, time.Now()))
}

// Reset forgets all that was Set and written, as a reboot does.
func (s *Slave) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bank.reset(time.Now())
	s.watch.tell()
}

// SetFault replaces the faults of the slave; without arguments it is healthy.
// Nothing changes if one of them is not valid.
func (s *Slave) SetFault(faults ...Fault) error {
	var list []fault
	for _, f := range faults {
		if err := f.validate(); err != nil {
			return err
		}
		list = append(list, fault{Fault: f})
	}
	s.mu.Lock()
	s.faults = list
	s.babble = time.Time{}
	s.mu.Unlock()
	s.wake()
	return nil
}

// Held reports whether the registers from address on held exactly these words
// at some time in [from, to]. Words that belong to different points need not
// have been there at the same instant. The last 750 changes at least of each
// point are remembered; what lies before them was not held.
func (s *Slave) Held(table string, address uint16, words []uint16, from, to time.Time) bool {
	t, err := parseTable(table)
	if err != nil || len(words) == 0 || int(address)+len(words) > 65536 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	step := s.bank.step(t)
	for i := 0; i < len(words); {
		pl, ok := s.bank.cells[cell{t, address + uint16(i/step)}]
		if !ok {
			return false
		}
		want := words[i:min(len(words), i+pl.point.typ.words()-pl.word)]
		if !pl.point.held(s.bank.calendar, from, to, func(held []uint16) bool {
			for k, w := range want {
				if held[pl.word+k] != w {
					return false
				}
			}
			return true
		}) {
			return false
		}
		i += len(want)
	}
	return true
}

// HeldValue reports whether the named point had a value within tolerance of v
// at some time in [from, to]; see Held for how far back it is known.
func (s *Slave) HeldValue(point string, v, tolerance float64, from, to time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.bank.point(point)
	return p != nil && p.held(s.bank.calendar, from, to, func(words []uint16) bool {
		return math.Abs(p.decode(words)-v) <= tolerance
	})
}

// Wait returns nil when cond holds, or the cause of ctx's end. cond is asked
// at once, and again after every request to the slave and every Set.
func (s *Slave) Wait(ctx context.Context, cond func() bool) error {
	return s.watch.wait(ctx, &s.mu, cond)
}

// Stats gives the slave's counters.
func (s *Slave) Stats() SlaveStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Faults = maps.Clone(stats.Faults)
	return stats
}
