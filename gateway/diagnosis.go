package main

import (
	"fmt"
	"time"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
)

// figures are what was counted on one Modbus line up to a moment.
type figures struct {
	at      time.Time
	timeout time.Duration // configured
	line    line.Stats
	devices []modbus.DeviceStats // in the order of the configuration
	foreign uint64               // frames of another master
}

// The least of what must have been counted before anything is said.
const (
	fewRequests = 5
	fewStrays   = 2
	highLoad    = 0.7 // from here on polls come late
	deadCost    = 0.005
)

// diagnose says in sentences what is wrong with a line, by what was counted
// between two moments. It knows nothing else.
func diagnose(before, now figures) []string {
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	l, was := now.line, before.line
	if l.Echoes {
		say("the adapter echoes what it sends: its echo is removed")
	}
	spoilt := l.Checksum - was.Checksum + l.Short - was.Short
	answers := l.Answers - was.Answers
	// Far more comes than was asked for.
	babble := l.Noise-was.Noise >= fewStrays ||
		answers == 0 && l.Requests-was.Requests >= 3 && l.BytesIn-was.BytesIn > 300*(l.Requests-was.Requests)
	if answers == 0 && l.Checksum-was.Checksum >= 3 && !babble {
		say("bytes come but no valid checksum: baud or parity, or A and B are swapped%s", driverSays(l.Driver, was.Driver))
	}
	switch {
	case now.foreign-before.foreign >= fewStrays:
		say("another master on this line: %d frames came that nobody here asked for", now.foreign-before.foreign)
	case babble:
		say("the line does not fall silent: a device babbles, or another master is on it")
	}
	for i, d := range now.devices {
		sayOfDevice(say, before.devices[i], d, spoilt, answers, now.timeout)
	}
	sayOfLoad(say, before, now)
	return said
}

// driverSays words what the driver of the port counted, which tells a wrong
// format from other noise.
func driverSays(d, was line.DriverStats) string {
	switch frame, parity := d.Framing-was.Framing, d.Parity-was.Parity; {
	case frame > 0 && frame >= parity:
		return fmt.Sprintf(" (the driver counted %d framing errors: the speed)", frame)
	case parity > 0:
		return fmt.Sprintf(" (the driver counted %d parity errors: the parity)", parity)
	}
	return ""
}

// sayOfDevice judges one device. spoilt and answers are those of its line.
func sayOfDevice(say func(string, ...any), was, d modbus.DeviceStats, spoilt, answers uint64, timeout time.Duration) {
	requests, mine := d.Requests-was.Requests, d.Spoilt-was.Spoilt
	good := d.Answers - was.Answers
	others := answers - min(good, answers)
	othersSpoilt := spoilt - min(mine, spoilt)
	switch {
	case d.Again-was.Again >= fewStrays:
		say("a second device answers on unit %d (%s), or it answers twice: %d answers too many", d.Unit, d.Name, d.Again-was.Again)
	case requests >= fewRequests && 2*mine >= requests && others >= fewRequests && 10*othersSpoilt <= others:
		say("a second device answers on unit %d (%s), or its cable is bad: %d of %d answers are spoilt, those of the other units are not",
			d.Unit, d.Name, mine, requests)
	}
	if n := d.Strangers - was.Strangers; n >= fewStrays {
		say("unit %d answers when unit %d (%s) is asked: %d times", d.Stranger, d.Unit, d.Name, n)
	}
	if n := d.Late - was.Late; n >= fewStrays {
		if d.Wait > timeout {
			say("timeout %s is below p99 %s of unit %d (%s): %d answers came too late", rounded(timeout), rounded(d.Wait), d.Unit, d.Name, n)
		} else {
			say("%d answers of unit %d (%s) came after the timeout of %s", n, d.Unit, d.Name, rounded(timeout))
		}
	}
}

// sayOfLoad tells who takes the time of a line where somebody takes too much.
func sayOfLoad(say func(string, ...any), before, now figures) {
	span := now.at.Sub(before.at)
	if span <= 0 {
		return
	}
	eater, most := -1, time.Duration(0)
	for i, d := range now.devices {
		busy := d.Busy - before.devices[i].Busy
		if busy > most {
			eater, most = i, busy
		}
		if cost := busy.Seconds() / span.Seconds(); d.Answers == before.devices[i].Answers && cost >= deadCost {
			say("unit %d (%s) does not answer and costs %.1f %% of the line", d.Unit, d.Name, 100*cost)
		}
	}
	if load := (now.line.Busy - before.line.Busy).Seconds() / span.Seconds(); load >= highLoad && eater >= 0 {
		say("the line is busy %.0f %% of the time, %.0f %% of it for %s", 100*min(load, 1), 100*most.Seconds()/span.Seconds()/load, now.devices[eater].Name)
	}
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
