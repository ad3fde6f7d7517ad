package main

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/gateway/web"
)

// looksBack is over how many periods of health the figures of a line are
// judged: a minute.
const looksBack = 6

// watched is what health remembers of one line.
type watched struct {
	looks []figures // the oldest first, one more than looksBack at most
	said  []string  // by the last look
}

// figuresOf takes what was counted on a line so far; ok is false if nobody
// speaks or listens on it.
func (g *gateway) figuresOf(name string, now time.Time) (f figures, ok bool) {
	i := slices.IndexFunc(g.lines, func(l *line.Line) bool { return l.Config().Name == name })
	if i < 0 {
		return f, false
	}
	f = figures{at: now, timeout: g.lines[i].Config().Timeout, line: g.lines[i].Stats()}
	if p := g.pollers[name]; p != nil {
		f.devices, f.foreign = p.Stats(), p.Foreign()
		return f, true
	}
	if t := g.taps[name]; t != nil {
		all, _ := t.Overheard()
		f.listened, f.devices, f.frames = true, t.Stats(), all.Requests+all.Answers
		return f, true
	}
	if u := g.listeners[name]; u != nil {
		f.talkers = u.Stats()
		f.strays, f.stray = u.Strays()
		return f, true
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
			level := slog.LevelWarn
			if d == echoSaid {
				level = slog.LevelInfo
			}
			log.Log(context.Background(), level, "line: "+d)
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

// figure is a number that runs, with the unit of a time, or what a device has
// sent; the unit of a device is none.
var figure = regexp.MustCompile(`unit \d+|the last: .*|\d[\d.]*(ms|µs|s\b)?`)

// plain is a sentence without what runs in it.
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
	for _, d := range f.talkers {
		devices = append(devices, web.LineDevice{
			Name: d.Name, OK: d.Matched, Timeouts: d.Timeouts, CRC: d.Spoilt, GarbageBytes: d.Garbage, Unmatched: d.Unmatched, Overlong: d.Overlong,
		})
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
