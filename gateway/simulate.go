package main

import (
	"fmt"
	"log/slog"
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
			slave := sim.SlaveConfig{Unit: d.Modbus.Unit, Turnaround: simulatedTurnaround, Strict: true}
			for _, p := range d.Modbus.Points {
				slave.Points = append(slave.Points, simulatedRegister(p))
			}
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

func simulatedRegister(p modbus.PointConfig) sim.PointConfig {
	return sim.PointConfig{
		Name: p.Point.Name, Table: p.Table.String(), Address: p.Address,
		Type: p.Type.String(), Order: p.Order.String(), Scale: p.Scale, Offset: p.Offset,
		Wave:     sim.Guess(p.Point.Name, p.Point.Unit, p.Point.Min, p.Point.Max),
		Writable: p.Point.Writable,
	}
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
