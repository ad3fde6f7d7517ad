package main

import (
	"fmt"
	"strings"
	"time"

	"sluice/adapters"
)

// vigil waits for signs of life of those who command a point. The point gets
// its safe value when none came for too long: of the commander, which is heard
// by each command, and of the upstreams that can bring commands for the point,
// which are heard for as long as they are connected. The start of the gateway
// counts as a sign. The next command ends it. A vigil belongs to the goroutine
// of commands.Run.
type vigil struct {
	value     adapters.Value
	after     time.Duration
	upstreams []func() time.Time // when each was heard last

	heard   time.Time // the last command, or the start
	safe    bool      // the point has its safe value, or is to have it
	pending bool      // it is being written
	written time.Time // when it was, last
}

// due is when the point gets its safe value if nobody is heard until then.
func (v *vigil) due() time.Time {
	last := v.heard
	for _, heard := range v.upstreams {
		if at := heard(); at.After(last) {
			last = at
		}
	}
	return last.Add(v.after)
}

// safePrefix begins the reason in the result of a safe value.
const safePrefix = "safe value: "

// why says why the safe value is written, as its result does.
func (v *vigil) why() string {
	if len(v.upstreams) == 0 {
		return fmt.Sprintf(safePrefix+"no command for %s", v.after)
	}
	return fmt.Sprintf(safePrefix+"no command for %s, and no upstream", v.after)
}

// guard gives a point a safe value. It is called after add, before Run.
func (c *commands) guard(set string, value adapters.Value, after time.Duration, upstreams []func() time.Time) {
	t := c.targets[set]
	t.vigil = &vigil{value: value, after: after, upstreams: upstreams}
	c.guarded = append(c.guarded, t)
}

// watch writes the safe values that are due and tells when to look again; zero
// if only a command can change anything.
func (c *commands) watch() (next time.Time) {
	now := time.Now()
	for _, t := range c.guarded {
		v := t.vigil
		if v.safe {
			continue
		}
		due := v.due()
		if due.After(now) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		v.safe = true
		c.changed = true
		c.secure(t, v.why())
	}
	return next
}

// restored writes the safe values of before the start once more.
func (c *commands) restored() {
	for _, t := range c.guarded {
		if t.vigil.safe {
			c.secure(t, t.vigil.why()+"; again after the start of the gateway")
		}
	}
}

// cameBack writes the safe values of devices that may have lost them while they
// were away.
func (c *commands) cameBack() {
	lost := map[*worker]time.Time{}
	for _, w := range c.workers {
		if at, is := w.cameBack(); is {
			lost[w] = at
		}
	}
	for _, t := range c.guarded {
		at, is := lost[t.worker]
		if v := t.vigil; is && v.safe && !v.pending && !v.written.After(at) {
			c.secure(t, v.why()+"; again after the return of the device")
		}
	}
}

// secure has the safe value of a point written.
func (c *commands) secure(t *target, why string) {
	c.log.Warn("safe value", "device", t.point.Device, "point", t.point.Name, "value", t.vigil.value, "reason", strings.TrimPrefix(why, safePrefix))
	t.vigil.pending = true
	c.push(&order{target: t, value: t.vigil.value, at: time.Now(), safe: why})
}

// commanded notes a sign of life of a point's commander, which ends its safe
// state.
func (c *commands) commanded(t *target, at time.Time) {
	v := t.vigil
	if v == nil {
		return
	}
	if at.After(v.heard) {
		v.heard = at
	}
	if v.safe {
		v.safe, v.pending = false, false
		c.changed = true
	}
}
