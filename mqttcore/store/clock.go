package store

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is the time a store lives by.
type Clock interface {
	// Boot is a clock that never jumps and counts while the machine sleeps.
	Boot() time.Duration
	// Wall is the time of day, and whether it can be trusted.
	Wall() (t time.Time, synced bool)
	// BootID names this boot of the machine.
	BootID() string
}

// SystemClock is CLOCK_BOOTTIME, the wall clock with the kernel's word on
// whether it is synchronised (adjtimex(2)), and the kernel's boot id.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func (systemClock) Wall() (time.Time, bool) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	return time.Now(), err == nil && state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
}

func (systemClock) BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Store time is milliseconds that only pass while the machine is on, plus the
// gaps between boots where both ends were known from a synchronised clock. It
// never goes back, and no set of the wall clock makes a message expire.

// epoch says how store time and wall time belong together from a point on.
type epoch struct {
	start  uint64 // store time, ms
	wall   int64  // wall time of store time 0, ms since 1970
	boot   int64  // boot clock at store time 0, ms
	synced bool
	gap    bool // how long the machine was off before it is not known
	bootID string
}

const (
	maxEpochs = 64

	epochSynced = 1 << 0
	epochGap    = 1 << 1
)

// storeClock is the store's view of time. It may be read from any goroutine;
// changes need Store.mu.
type storeClock struct {
	clock  Clock
	offset int64 // store time = boot clock + offset, ms; fixed by start
	before Known // fixed by start
	list   atomic.Pointer[[]epoch]
}

// epochs are ascending, the last one is now. The list never changes.
func (c *storeClock) epochs() []epoch {
	if l := c.list.Load(); l != nil {
		return *l
	}
	return nil
}

// start begins a new epoch after recovery; last is the newest store time seen.
func (c *storeClock) start(last uint64) {
	wall, synced := c.clock.Wall()
	id := c.clock.BootID()
	boot := c.clock.Boot().Milliseconds()
	now, gap := last, false
	if all := c.epochs(); len(all) > 0 {
		e := all[len(all)-1]
		c.before = Known{Wall: c.wallAt(last), Boot: e.bootID == id && id != "" && e.synced}
		known := e.synced && synced
		if e.bootID == id && id != "" {
			now = max(last, uint64(max(0, boot-e.boot)))
		} else if since := wall.UnixMilli() - e.wall; known && since >= int64(last) {
			now = uint64(since)
		} else {
			now, gap = last+1, true // after all that was before
		}
	}
	c.offset = int64(now) - boot
	c.add(epoch{start: now, wall: wall.UnixMilli() - int64(now), boot: boot - int64(now), synced: synced, gap: gap, bootID: id})
}

func (c *storeClock) now() uint64 {
	return uint64(max(0, c.clock.Boot().Milliseconds()+c.offset))
}

// age is how long ago a store time was.
func (c *storeClock) age(at uint64) time.Duration {
	now := c.now()
	return time.Duration(now-min(now, at)) * time.Millisecond
}

// older says that a store time was longer ago than its age says.
func (c *storeClock) older(at uint64) bool {
	return slices.ContainsFunc(c.epochs(), func(e epoch) bool { return e.gap && at < e.start })
}

// add takes an epoch. One that only corrects the wall clock of the same boot
// replaces the one before, and so corrects what was stored under it.
func (c *storeClock) add(e epoch) {
	all := slices.Clone(c.epochs())
	if n := len(all); n > 0 {
		if last := &all[n-1]; last.bootID == e.bootID && last.boot == e.boot {
			last.wall, last.synced = e.wall, e.synced
			c.list.Store(&all)
			return
		}
		if n == maxEpochs {
			all = all[1:]
		}
	}
	all = append(all, e)
	c.list.Store(&all)
}

// left is what remains of an expiry of so many seconds that began at a store
// time, rounded up.
func (c *storeClock) left(from uint64, seconds uint32) uint32 {
	now := c.now()
	left := uint64(seconds) * 1000
	left -= min(left, now-min(now, from))
	return uint32((left + 999) / 1000)
}

// check says whether the wall clock has been set since the last epoch, and
// takes that in.
func (c *storeClock) check() (e epoch, changed bool) {
	wall, synced := c.clock.Wall()
	all := c.epochs()
	e = all[len(all)-1]
	base := wall.UnixMilli() - int64(c.now())
	if d := base - e.wall; synced == e.synced && d < 1000 && d > -1000 {
		return e, false
	}
	e.wall, e.synced = base, synced
	c.add(e)
	return e, true
}

// wallAt is the wall time of a store time, by what is known now.
func (c *storeClock) wallAt(ms uint64) time.Time {
	all := c.epochs()
	for i := len(all) - 1; i >= 0; i-- {
		if e := &all[i]; ms >= e.start || i == 0 {
			return time.UnixMilli(e.wall + int64(ms))
		}
	}
	return time.UnixMilli(int64(ms))
}

// Known is what a store had on record of the time when it was opened.
type Known struct {
	Wall time.Time // newest wall time, known or estimated; zero: none
	Boot bool      // Wall could be trusted before in this boot of the machine
}

// Known reports what was on record of the time when the store was opened.
func (s *Store) Known() Known { return s.clock.before }

// WallOf is the wall time of a moment in this or an earlier boot of the machine;
// false where the clock could not be trusted at any time in that boot, or the
// boot is long forgotten (there were 64 and more since).
func (s *Store) WallOf(bootID string, boot time.Duration) (time.Time, bool) {
	all := s.clock.epochs()
	for i := len(all) - 1; i >= 0 && bootID != ""; i-- {
		if e := &all[i]; e.bootID == bootID && e.synced {
			return time.UnixMilli(e.wall + boot.Milliseconds() - e.boot), true
		}
	}
	return time.Time{}, false
}

func (e *epoch) append(b []byte) []byte {
	b = appendUint(b, e.start)
	b = appendUint(b, uint64(e.wall))
	b = appendUint(b, uint64(e.boot))
	flags := byte(0)
	if e.synced {
		flags |= epochSynced
	}
	if e.gap {
		flags |= epochGap
	}
	return appendString(append(b, flags), e.bootID)
}

func (e *epoch) decode(d *decoder) {
	e.start = d.uint()
	e.wall = int64(d.uint())
	e.boot = int64(d.uint())
	flags := d.byte()
	e.synced, e.gap = flags&epochSynced != 0, flags&epochGap != 0
	e.bootID = d.string()
}
