package modbus

import (
	"errors"
	"fmt"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

const (
	busyPause   = 500 * time.Millisecond // after "busy"; the device is not asked that again sooner
	busyLimit   = 3                      // times in a row after which the old value is called stale
	badFirst    = 4 * time.Second        // until a register is tried again that the device did not know
	badAgain    = time.Minute            // the most that this pause doubles to
	oldAfter    = 5 * time.Second        // without an answer that can be trusted, and after three periods, what was read is old
	silentLimit = 3                      // rounds of silence after which a block is taken apart
	longestHush = 30 * time.Second       // longest pause of a block that finds no answer
)

// refused deals with an exception.
func (d *device) refused(b *block, code Exception, now time.Time) {
	if code.ofGateway() {
		d.silent(b, code, now)
		return
	}
	d.alive()
	if b.probe {
		return // it lives, that is all that was asked
	}
	switch code {
	case IllegalFunction, IllegalAddress, IllegalValue:
		d.unknown(b, code, now)
	case Acknowledge, Busy:
		d.putOff(b, min(busyPause<<min(b.busy, 10), b.retry(busyPause)), now)
		if b.busy++; b.busy >= busyLimit {
			d.publishBad(b.points, adapters.Stale, now)
		}
	case DeviceFailure:
		d.failing(b, now)
	default:
		b.postpone(now)
		d.publishBad(b.points, adapters.Invalid, now)
	}
}

// retry is the pause before b, which failed, is asked again, at least the given
// one. What is read once is not put off to the next time of never.
func (b *block) retry(least time.Duration) time.Duration {
	if b.every == Once {
		return least
	}
	return max(least, b.every)
}

// unknown deals with a block of which the device lacks some register: it is
// halved until the register is found, over as many polls.
func (d *device) unknown(b *block, why error, now time.Time) {
	if len(b.points) > 1 {
		parts, border := d.planner().split(b)
		d.cuts[border] = true
		d.replace(b, parts)
		return
	}
	// A device that just boots knows little of itself: ask soon, then seldom.
	b.badPause = min(max(badFirst, 2*b.badPause), badAgain)
	b.due = now.Add(b.retry(b.badPause))
	d.seat(b, d.since)
	if !b.bad {
		b.bad, b.points[0].missing = true, true
		end := int(b.address) + int(b.count)
		d.cuts[cut{b.points[0].Table, int(b.address)}] = true
		d.cuts[cut{b.points[0].Table, end}] = true
		text := "register is missing in the device"
		if errors.Is(why, line.ErrTimeout) {
			text = "register is missing, or the device keeps silent about it"
		}
		d.poller.log.Warn(text, "device", d.cfg.Name, "point", b.points[0].Point.Name,
			"table", b.points[0].Table, "address", b.address, "reason", why)
		d.countBad()
	}
	d.publishBad(b.points, adapters.BadRegister, now)
}

func (d *device) replace(b *block, parts []*block) {
	for i, other := range d.blocks {
		if other == b {
			d.blocks = append(d.blocks[:i:i], append(parts, d.blocks[i+1:]...)...)
			return
		}
	}
}

func (d *device) countBad() {
	n := 0
	for _, b := range d.blocks {
		if b.bad {
			n += len(b.points)
		}
	}
	d.poller.mu.Lock()
	d.stats.BadRegisters = n
	d.poller.mu.Unlock()
}

// silent deals with a question that met silence, or nothing usable.
func (d *device) silent(b *block, why error, now time.Time) {
	d.fails++
	retries := d.poller.cfg.Retries
	switch {
	case d.state == offline:
		d.pause(now)
	case d.fails <= retries:
		// The same question again, after the others had their turn: a late
		// answer then meets the question it answers.
		d.again, d.polite = b, now.Add(d.poller.cfg.Timeout)
	case d.blamed == nil && !b.probe && d.shortRead(b) != nil:
		// Some devices keep silent about registers they lack.
		d.blamed, d.again, d.polite = b, d.shortRead(b), now
	default:
		d.goOffline(fmt.Sprintf("unit %d: %v", d.cfg.Unit, why), now)
	}
}

// blame puts off a block about which a living device keeps silent, and takes
// it apart when that goes on. Silence does not mean that a register is missing
// which was there before.
func (d *device) blame(b *block, now time.Time) {
	if b.silent++; b.silent > 1 { // once may be chance: it stays due
		d.putOff(b, min(b.retry(500*time.Millisecond<<min(b.silent-2, 6)), longestHush), now)
	}
	if b.silent >= silentLimit && (len(b.points) > 1 || !b.points[0].held) {
		d.unknown(b, line.ErrTimeout, now)
		return
	}
	d.publishBad(b.points, adapters.Stale, now)
}

// goOffline tells that the device is away, each of its points once.
func (d *device) goOffline(reason string, now time.Time) {
	if d.state == offline {
		return
	}
	d.state, d.again, d.blamed, d.probes, d.short = offline, nil, nil, 0, nil
	d.pause(now)
	d.publishBad(d.points, adapters.Offline, now)
	d.tell(false, reason)
	d.poller.log.Warn("device is offline", "device", d.cfg.Name, "unit", d.cfg.Unit, "reason", reason)
}

const (
	firstProbe  = 500 * time.Millisecond
	steadyProbe = 4500 * time.Millisecond // a device that returns is noticed within 5 s
	probeShare  = 20                      // all dead devices together take a 20th of the time of the line
)

// pause sets when an offline device is asked next.
func (d *device) pause(now time.Time) {
	dead := 0
	for _, other := range d.poller.devices {
		if other.state == offline {
			dead++
		}
	}
	backoff := min(firstProbe<<min(d.probes, 10), steadyProbe)
	// What a probe takes on the average: of each eight one waits in full.
	probe := (7*d.briefly() + d.poller.cfg.Timeout) / 8
	fair := time.Duration(dead*probeShare) * probe
	d.probe = now.Add(max(backoff, fair))
}
