package main

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"sluice/mqttcore/store"
)

const (
	// clockEvery is how often the machine is asked whether its clock was set.
	clockEvery = time.Second
	// clockStep is by how much the time of day and the monotonic clock must
	// disagree to count as a step: between two readings of both lies some time.
	clockStep = 50 * time.Millisecond
)

// clock is the time of day as payloads have it, and whether it is known: a
// machine without a battery clock starts with any time and is set later. Once
// known it stays so in this boot. It implements store.Clock and task; its
// methods may be called from any goroutine once recall was.
type clock struct {
	machine machine
	trusted bool
	log     *slog.Logger
	ready   chan struct{}

	known   atomic.Bool
	learned chan struct{} // closed when known
	// While it is not known it is not before floor, which it was at floorBoot:
	// the time of no reading lies before that of an earlier one.
	floor     time.Time
	floorBoot time.Duration
}

// machine is the clocks of a computer.
type machine interface {
	Boot() time.Duration           // CLOCK_BOOTTIME
	BootID() string                // of this boot
	Wall() time.Time               // the time of day, without a monotonic reading
	Since(time.Time) time.Duration // since a time.Now() of this process, whatever was set meanwhile
	// Set says what tells that the time of day was set, "" if nothing does.
	// Where it is sure the time can't be wrong; else only if it isn't absurd.
	Set() (by string, sure bool)
}

func newClock(m machine, trusted bool, log *slog.Logger) *clock {
	c := &clock{
		machine: m, trusted: trusted, log: log, floor: builtAt(), floorBoot: m.Boot(),
		ready: make(chan struct{}), learned: make(chan struct{}),
	}
	c.known.Store(c.judge() != "")
	return c
}

// recall takes what the log knew of the time, and makes the clock ready for use.
func (c *clock) recall(was store.Known) {
	if was.Wall.After(c.floor) {
		c.floor = was.Wall
	}
	by := c.judge()
	if was.Boot {
		by = "the log"
	}
	c.known.Store(by != "")
	if by != "" {
		c.log.Debug("the time is known", "by", by)
		close(c.learned)
		return
	}
	c.log.Warn("the clock of this machine is not set yet: readings are marked as estimated until it is", "time", c.estimate())
}

// judge says what makes the time known now, "" if nothing does.
func (c *clock) judge() string {
	if c.trusted {
		return "the configuration"
	}
	by, sure := c.machine.Set()
	if !sure && c.machine.Wall().Before(c.floor) {
		return ""
	}
	return by
}

// builtAt is when the program was made, or somewhat before: no time of day is
// earlier.
func builtAt() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
}

// String names the task.
func (c *clock) String() string { return "clock" }

// Ready is closed once the clock is looked after.
func (c *clock) Ready() <-chan struct{} { return c.ready }

// Run asks the machine until the time is known, and returns when ctx ends.
func (c *clock) Run(ctx context.Context) error {
	close(c.ready)
	if c.known.Load() {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		by := c.judge()
		if by == "" {
			continue
		}
		was := c.estimate()
		c.known.Store(true)
		c.log.Info("the time is known now: readings taken before are corrected", "by", by, "changed", c.machine.Wall().Sub(was).Round(time.Millisecond))
		close(c.learned)
		<-ctx.Done()
		return nil
	}
}

// Boot implements store.Clock.
func (c *clock) Boot() time.Duration { return c.machine.Boot() }

// BootID implements store.Clock.
func (c *clock) BootID() string { return c.machine.BootID() }

// Wall implements store.Clock.
func (c *clock) Wall() (t time.Time, known bool) {
	if c.known.Load() {
		return c.machine.Wall(), true
	}
	return c.estimate(), false
}

// now is the best time of day there is.
func (c *clock) now() time.Time {
	t, _ := c.Wall()
	return t
}

// estimate is the time of day while it is not known.
func (c *clock) estimate() time.Time {
	least := c.floor.Add(c.machine.Boot() - c.floorBoot)
	if now := c.machine.Wall(); now.After(least) {
		return now
	}
	return least
}

// at is the time of day of a time.Now() of this process, by what is known now.
func (c *clock) at(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	if right := c.now().Add(-c.machine.Since(t)); right.Sub(t.Round(0)).Abs() > clockStep {
		return right
	}
	return t
}

// taken is when, since the machine was started, a time.Now() of this process was.
func (c *clock) taken(t time.Time) time.Duration { return c.machine.Boot() - c.machine.Since(t) }
