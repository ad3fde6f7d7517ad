package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/adapters/modbus"
	"sluice/adapters/sim"
	"sluice/adapters/uart"
	"sluice/gateway/config"
)

// simulatedTurnaround is what ordinary devices take to answer.
const simulatedTurnaround = 8 * time.Millisecond

// newField makes the simulated field for the lines of cfg whose port is
// "sim", and points those lines at it. It gives nil where there are none.
func newField(cfg *config.Config, log *slog.Logger) (*sim.Field, error) {
	var lines []sim.LineConfig
	for i := range cfg.Lines {
		if !cfg.Lines[i].Sim {
			continue
		}
		l, err := simulatedLine(cfg, &cfg.Lines[i])
		if err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		return nil, nil
	}
	field, err := sim.New(lines, log)
	if err != nil {
		return nil, err
	}
	for i := range cfg.Lines {
		if cfg.Lines[i].Sim {
			cfg.Lines[i].Port = field.Path(cfg.Lines[i].Name)
		}
	}
	return field, nil
}

// simulatedLine describes the devices that the configuration expects on l.
func simulatedLine(cfg *config.Config, l *config.Line) (sim.LineConfig, error) {
	out := sim.LineConfig{
		Name: l.Name, Kind: string(l.Kind),
		Baud: l.Serial.Baud, DataBits: l.Serial.DataBits, Parity: l.Serial.Parity, StopBits: l.Serial.StopBits,
	}
	for _, d := range cfg.DevicesOn(l.Name) {
		switch {
		case d.Modbus != nil:
			slave := sim.SlaveConfig{Unit: d.Modbus.Unit, Turnaround: simulatedTurnaround, Strict: true, Wide: d.Modbus.Wide}
			slave.Points = simulatedRegisters(d.Modbus.Points)
			out.Slaves = append(out.Slaves, slave)
		case d.UART != nil:
			t, err := simulatedTalker(d.UART)
			if err != nil {
				return out, fmt.Errorf("device %q: %w", d.Name, err)
			}
			out.Talkers = append(out.Talkers, t)
		}
	}
	return out, nil
}

// simulatedRegisters gives the registers that points want. Points that are bits
// of one value have it in common.
func simulatedRegisters(points []modbus.PointConfig) []sim.PointConfig {
	type place struct {
		table   modbus.Table
		address uint16
	}
	var all []sim.PointConfig
	known := map[place]int{}
	for _, p := range points {
		at := place{p.Table, p.Address}
		if i, there := known[at]; there && p.Field.Bits > 0 {
			all[i].Writable = all[i].Writable || p.Point.Writable
			continue
		}
		if p.Field.Bits > 0 {
			known[at] = len(all)
		}
		all = append(all, simulatedRegister(p))
	}
	return all
}

func simulatedRegister(p modbus.PointConfig) sim.PointConfig {
	out := sim.PointConfig{
		Name: p.Point.Name, Table: p.Table.String(), Address: p.Address,
		Type: p.Type.String(), Length: p.Length, Text: "SIM " + p.Point.Name, Order: p.Order.String(),
		Scale: p.Scale, Offset: p.Offset, Writable: p.Point.Writable,
	}
	low, high := p.Point.Min, p.Point.Max
	if p.Range != nil && low == nil && high == nil {
		low, high = &p.Range.Low, &p.Range.High
	}
	switch words := slices.Sorted(maps.Keys(p.Point.Names)); {
	case p.Field.Bits > 0: // all its bits come and go
		out.Wave, out.Scale, out.Offset = sim.Wave{Shape: sim.Ramp, Swing: 3600, Period: time.Hour}, 1, 0
	case len(words) > 0:
		first, last := float64(words[0]), float64(words[len(words)-1])
		out.Wave = sim.Wave{Shape: sim.Toggle, Base: first*out.Scale + out.Offset, Swing: (last - first) * out.Scale, Period: 20 * time.Second}
	default:
		out.Wave = sim.Guess(p.Point.Name, p.Point.Unit, low, high)
	}
	return out
}

// simulatedTalker makes a device whose lines match what the configuration
// looks for and which confirms the commands that it sends.
func simulatedTalker(d *uart.DeviceConfig) (sim.TalkerConfig, error) {
	var decimals map[string]int
	t := sim.TalkerConfig{Every: time.Second, Turnaround: simulatedTurnaround, Wrap: d.Wrap, Request: d.Request}
	if d.Request != "" {
		t.Every = 0
	}
	if binary := slices.ContainsFunc(d.Points, func(p uart.PointConfig) bool { return p.Binary != nil }); binary {
		t.Compose = d.Compose
	} else if d.Match != nil {
		text, digits, err := sim.Template(d.Match.String())
		if err != nil {
			return t, err
		}
		decimals = digits
		t.Template = text
	} else {
		t.Every = 0 // it has nothing to say of itself
	}
	for _, p := range d.Points {
		if p.From != "" {
			t.Points = append(t.Points, sim.TalkerPoint{
				Name: p.From, Wave: sim.Guess(p.Point.Name, p.Point.Unit, p.Point.Min, p.Point.Max),
				Decimals: decimals[p.From],
			})
		}
		if p.Binary != nil {
			t.Points = append(t.Points, sim.TalkerPoint{
				Name: p.Point.Name, Wave: sim.Guess(p.Point.Name, p.Point.Unit, p.Point.Min, p.Point.Max),
			})
		}
		if p.Send != "" {
			a := sim.AnswerConfig{Command: strings.ReplaceAll(p.Send, "{value}", "{"+p.Point.Name+"}")}
			if p.Expect != "" {
				text, _, err := sim.Template(p.Expect)
				if err != nil {
					return t, err
				}
				a.Reply = text
			}
			t.Answers = append(t.Answers, a)
		}
	}
	return t, nil
}
