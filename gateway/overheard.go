package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sluice/adapters/uart"
)

// sayOfTraffic judges a line on which another master asks and this gateway
// listens.
func sayOfTraffic(say sayer, before, now figures) {
	l, was := now.line, before.line
	unheard := 0
	for _, d := range now.devices {
		if d.Unheard {
			unheard++
		}
	}
	switch {
	case unheard < len(now.devices) || unheard == 0:
	case l.BytesIn == was.BytesIn:
		say("nothing is heard on the line: check A and B, and whether the other master is at work")
		return
	case now.frames == before.frames:
		say("bytes come but no Modbus frame: baud or parity, or A and B are swapped%s", driverSays(l.Driver, was.Driver))
		return
	}
	for i, d := range now.devices {
		switch asked := d.Requests > before.devices[i].Requests; {
		case d.Unheard && asked:
			say("unit %d (%s) does not answer the other master", d.Unit, d.Name)
		case d.Unheard && d.Requests > 0:
			say("the other master no longer asks unit %d (%s)", d.Unit, d.Name)
		case d.Unheard:
			say("the other master does not ask unit %d (%s)", d.Unit, d.Name)
		case len(d.Unread) > 0:
			say("the other master does not read %s of unit %d (%s)", listing(d.Unread), d.Unit, d.Name)
		}
		if answers, spoilt := d.Answers-before.devices[i].Answers, d.Spoilt-before.devices[i].Spoilt; spoilt >= fewRequests && spoilt >= answers {
			say("%d answers of unit %d (%s) are spoilt: a second device on that unit, or a bad cable", spoilt, d.Unit, d.Name)
		}
	}
	for i, d := range now.devices {
		sayOfRefusals(say, before.devices[i], d)
	}
}

// mostListed is how many names a sentence has.
const mostListed = 5

// listing names things.
func listing(names []string) string {
	if more := len(names) - mostListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostListed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// sayOfTalk judges a UART line.
func sayOfTalk(say sayer, before, now figures) {
	l, was := now.line, before.line
	silent := 0
	for _, d := range now.talkers {
		if d.Silent {
			silent++
		}
	}
	if silent > 0 && silent == len(now.talkers) && l.BytesIn == was.BytesIn {
		say("nothing is heard on the line: check RX and TX, power, and the speed")
		return
	}
	since := func(count func(uart.DeviceStats) uint64) uint64 {
		return mostOf(now.talkers, count) - mostOf(before.talkers, count)
	}
	spoilt := since(func(d uart.DeviceStats) uint64 { return d.Spoilt })
	overlong := since(func(d uart.DeviceStats) uint64 { return d.Overlong })
	good := since(func(d uart.DeviceStats) uint64 { return d.Lines })
	never := mostOf(now.talkers, func(d uart.DeviceStats) uint64 { return d.Matched }) == 0
	if strays := now.strays - before.strays; strays >= fewStrays || never && strays > 0 {
		say("%d frames came that match no device; the last: %s", strays, now.stray)
	}
	if spoilt >= fewStrays {
		say("%d frames came whose checksum is wrong: the checksum of the frame, the speed or the cable", spoilt)
	}
	if overlong >= fewStrays {
		say("%d frames came that are too long: what ends a frame, its max, or the speed", overlong)
	}
	if l.BytesIn-was.BytesIn >= 32 && good+spoilt+overlong == 0 && silent == len(now.talkers) {
		say("bytes come but no frame: what begins and ends a frame, or the speed%s", driverSays(l.Driver, was.Driver))
	}
	for i, d := range now.talkers {
		if n := d.Requests - before.talkers[i].Requests; n >= 3 && d.Timeouts-before.talkers[i].Timeouts == n {
			say("%s does not answer its request", d.Name)
		}
	}
}

// mostOf is a count of the device for which it is highest: what is on the line
// is counted for each device that could have sent it.
func mostOf(talkers []uart.DeviceStats, count func(uart.DeviceStats) uint64) uint64 {
	if len(talkers) == 0 {
		return 0
	}
	return count(slices.MaxFunc(talkers, func(a, b uart.DeviceStats) int { return cmp.Compare(count(a), count(b)) }))
}
