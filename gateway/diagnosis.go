package main

import (
	"fmt"
	"time"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
)

// figures are what was counted on one line up to a moment.
type figures struct {
	at      time.Time
	timeout time.Duration // configured
	line    line.Stats
	devices []modbus.DeviceStats // in the order of the configuration
	foreign uint64               // frames of another master

	listened bool   // another master asks the devices
	frames   uint64 // that it, and who answered it, sent

	talkers []uart.DeviceStats // of a UART line, in the order of the configuration
	strays  uint64             // frames that match none of them
	stray   string             // the last of those
}

// The least of what must have been counted before anything is said.
const (
	fewRequests = 5
	fewStrays   = 2
	highLoad    = 0.7 // from here on polls come late
	deadCost    = 0.005
)

// echoSaid is a finding that is no fault.
const echoSaid = "the adapter echoes what it sends: its echo is removed"

// sayer takes a sentence.
type sayer func(format string, args ...any)

// diagnose says in sentences what is wrong with a line, by what was counted
// between two moments. It knows nothing else.
func diagnose(before, now figures) []string {
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	switch {
	case now.talkers != nil:
		sayOfTalk(say, before, now)
	case now.listened:
		sayOfTraffic(say, before, now)
	default:
		sayOfPolls(say, before, now)
	}
	return said
}

// sayOfPolls judges a line on which this gateway asks.
func sayOfPolls(say sayer, before, now figures) {
	l, was := now.line, before.line
	if l.Echoes {
		say(echoSaid)
	}
	spoilt := l.Checksum - was.Checksum + l.Short - was.Short
	answers := l.Answers - was.Answers
	// Far more comes than was asked for.
	babble := l.Noise-was.Noise >= fewStrays ||
		answers == 0 && l.Requests-was.Requests >= 3 && l.BytesIn-was.BytesIn > 300*(l.Requests-was.Requests)
	garbage := answers == 0 && l.Checksum-was.Checksum >= 3 && !babble
	if garbage {
		say("bytes come but no valid checksum: baud or parity, or A and B are swapped%s", driverSays(l.Driver, was.Driver))
	}
	switch {
	case now.foreign-before.foreign >= fewStrays:
		say("another master on this line: %d frames came that nobody here asked for", now.foreign-before.foreign)
	case babble:
		say("the line does not fall silent: a device babbles, or another master is on it")
	}
	// Where nobody answers, and it is told why, each device need not be named.
	told := answers == 0 && (garbage || babble)
	if answers == 0 && !told {
		told = sayOfSilence(say, l, was)
	}
	for i, d := range now.devices {
		sayOfDevice(say, before.devices[i], d, spoilt, answers, now.timeout)
		sayOfRefusals(say, before.devices[i], d)
	}
	sayOfLoad(say, before, now, told)
}

// sayOfSilence words that nobody answers on a line, if so many requests have
// met with nothing that it is more than bad luck.
func sayOfSilence(say sayer, l, was line.Stats) (said bool) {
	requests, comes := l.Requests-was.Requests, l.BytesIn > was.BytesIn
	if l.Kind.Serial() {
		switch {
		case requests < 3 || l.Timeouts-was.Timeouts < requests:
			return false
		case l.Answers > 0:
			say("no device answers any more: check their power, and the cable")
		default:
			say("no device answers: check A and B, power, and speed and parity")
		}
		return true
	}
	// A peer that does not understand may also close the connection each time.
	if requests < 3 && (l.Opens-was.Opens < 3 || l.BytesOut == was.BytesOut) {
		return false
	}
	hint := `if it speaks Modbus TCP, kind = "tcp" is right`
	if l.Kind == line.TCP {
		hint = `if it passes RTU frames on, kind = "rtu-tcp" is right`
	}
	switch {
	case l.Answers > 0 && comes:
		return false
	case l.Answers > 0:
		say("no device answers any more at %s: check what is behind it", l.Port)
	case comes:
		say("what %s sends is no answer of kind %q: %s", l.Port, l.Kind, hint)
	default:
		say("nobody answers at %s: check the units and what is behind it; %s", l.Port, hint)
	}
	return true
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
func sayOfDevice(say sayer, was, d modbus.DeviceStats, spoilt, answers uint64, timeout time.Duration) {
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
		switch {
		case d.Wait > timeout:
			say("timeout %s is below p99 %s of unit %d (%s): %d answers came too late", rounded(timeout), rounded(d.Wait), d.Unit, d.Name, n)
		case n > good: // how late they are is not known: they are found when the next is asked
			say("timeout %s is too short for unit %d (%s): %d answers came after it", rounded(timeout), d.Unit, d.Name, n)
		default:
			say("%d answers of unit %d (%s) came after the timeout of %s", n, d.Unit, d.Name, rounded(timeout))
		}
	}
}

// sayOfRefusals tells of a device that answers, but with exceptions.
func sayOfRefusals(say sayer, was, d modbus.DeviceStats) {
	if d.Answers == d.Exceptions {
		was = modbus.DeviceStats{} // however seldom it is asked, it has done nothing else
	}
	answers, refused := d.Answers-was.Answers, d.Exceptions-was.Exceptions
	code, most := 0, uint64(0)
	for c, n := range d.Codes {
		if n -= was.Codes[c]; n > most {
			code, most = c, n
		}
	}
	text := fmt.Sprintf("exception %d", code)
	if name := modbus.Exception(code).Name(); name != "" {
		text += " (" + name + ")"
	}
	switch {
	case refused < fewStrays:
	case refused == answers && modbus.Exception(code) >= modbus.GatewayPath:
		say("a gateway answers for unit %d (%s): %s", d.Unit, d.Name, text)
	case refused == answers && most == refused:
		say("unit %d (%s) answers every request with %s", d.Unit, d.Name, text)
	case refused == answers:
		say("unit %d (%s) answers every request with an exception, mostly with %s", d.Unit, d.Name, text)
	case modbus.Exception(code) > modbus.IllegalValue && most >= fewRequests && 4*most >= answers:
		say("unit %d (%s) answers %d of %d requests with %s", d.Unit, d.Name, most, answers, text)
	}
}

// sayOfLoad tells who takes the time of a line where somebody takes too much.
// told is whether it is known already why nobody answers.
func sayOfLoad(say sayer, before, now figures, told bool) {
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
		if cost := busy.Seconds() / span.Seconds(); !told && d.Answers == before.devices[i].Answers && cost >= deadCost {
			say("unit %d (%s) does not answer and costs %.1f %% of the line", d.Unit, d.Name, 100*cost)
		}
	}
	if load := (now.line.Busy - before.line.Busy).Seconds() / span.Seconds(); load >= highLoad && eater >= 0 {
		say("the line is busy %.0f %% of the time, %.0f %% of it for %s", 100*min(load, 1), 100*most.Seconds()/span.Seconds()/load, now.devices[eater].Name)
	}
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
