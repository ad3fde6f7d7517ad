package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/adapters/modbus"
	"sluice/gateway/web"
)

// looksBack is over how many periods of health the figures of a line are
// judged: a minute.
const looksBack = 6

// watched is what health remembers of one Modbus line.
type watched struct {
	looks []figures // the oldest first, one more than looksBack at most
	said  []string  // by the last look
}

// figuresOf takes what was counted on a line so far; ok is false if it has no
// poller.
func (g *gateway) figuresOf(name string, now time.Time) (f figures, ok bool) {
	p := g.pollers[name]
	if p == nil {
		return f, false
	}
	for _, l := range g.lines {
		if s := l.Stats(); s.Name == name {
			f = figures{at: now, timeout: l.Config().Timeout, line: s, devices: p.Stats(), foreign: p.Foreign()}
			return f, true
		}
	}
	return f, false
}

// lookAtLines judges the lines, and logs what is said of them anew and what no
// longer is.
func (h *health) lookAtLines(now time.Time) {
	for i := range h.g.cfg.Lines {
		name := h.g.cfg.Lines[i].Name
		f, ok := h.g.figuresOf(name, now)
		if !ok {
			continue
		}
		h.mu.Lock()
		w := h.wires[name]
		if w == nil {
			w = &watched{}
			h.wires[name] = w
		}
		was := w.said
		w.look(f)
		said := w.said
		h.mu.Unlock()
		log := h.g.log.With("line", name)
		for _, d := range changed(said, was) {
			log.Warn("line: " + d)
		}
		for _, d := range changed(was, said) {
			log.Info("line: no longer: " + d)
		}
	}
}

// look judges a line by its figures now and those of a minute ago.
func (w *watched) look(f figures) {
	w.said = nil
	if len(w.looks) > 0 {
		w.said = diagnose(w.looks[0], f)
	}
	if w.looks = append(w.looks, f); len(w.looks) > looksBack {
		w.looks = slices.Delete(w.looks, 0, 1)
	}
}

// changed gives the sentences that the others do not say, whatever the numbers
// in them.
func changed(said, others []string) []string {
	var fresh []string
	for _, s := range said {
		if !slices.ContainsFunc(others, func(o string) bool { return plain(o) == plain(s) }) {
			fresh = append(fresh, s)
		}
	}
	return fresh
}

// figure is a number that runs, with the unit of a time; the unit of a device
// is none.
var figure = regexp.MustCompile(`unit \d+|\d[\d.]*(ms|µs|s\b)?`)

// plain is a sentence without the figures that run.
func plain(sentence string) string {
	return figure.ReplaceAllStringFunc(sentence, func(s string) string {
		if strings.HasPrefix(s, "unit ") {
			return s
		}
		return ""
	})
}

// found tells what the last look at a line has found.
func (h *health) found(name string) (said []string, devices []web.LineDevice) {
	said = []string{}
	f, ok := h.g.figuresOf(name, time.Now())
	if !ok {
		return said, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var before figures
	if w := h.wires[name]; w != nil {
		said = append(said, w.said...)
		before = w.looks[0]
	}
	for i, d := range f.devices {
		out := lineDevice(d)
		if span := f.at.Sub(before.at); before.devices != nil && span > 0 {
			out.Load = min(1, (d.Busy-before.devices[i].Busy).Seconds()/span.Seconds())
		}
		devices = append(devices, out)
	}
	return said, devices
}

func lineDevice(d modbus.DeviceStats) web.LineDevice {
	out := web.LineDevice{
		Name: d.Name, Unit: d.Unit, OK: d.Answers - d.Exceptions, Timeouts: d.Timeouts, CRC: d.Spoilt, Mismatches: d.BadFrames - d.Spoilt,
		Late: d.Late, Twice: d.Again, GarbageBytes: d.Garbage, P50Seconds: d.P50.Seconds(), P99Seconds: d.P99.Seconds(),
	}
	for code, n := range d.Codes {
		if n > 0 {
			if out.Exceptions == nil {
				out.Exceptions = map[string]uint64{}
			}
			out.Exceptions[strconv.Itoa(code)] = n
		}
	}
	return out
}
