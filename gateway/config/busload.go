package config

import (
	"sluice/adapters/line"
	"sluice/adapters/modbus"
)

// highLoad is from where on late polls become usual.
const highLoad = 0.7

// Plan gives what will be asked on a Modbus line, and what it costs.
func (c *Config) Plan(l *Line) modbus.Plan {
	if l.Listen {
		return modbus.Plan{} // nothing
	}
	var devices []modbus.DeviceConfig
	for _, d := range c.DevicesOn(l.Name) {
		if d.Modbus != nil {
			devices = append(devices, *d.Modbus)
		}
	}
	return modbus.NewPlan(l.Config, devices)
}

// warnOfLoad warns of lines that are asked for more than they can carry.
func (b *binder) warnOfLoad(f *rawFile, cfg *Config) {
	for i := range cfg.Lines {
		l := &cfg.Lines[i]
		if l.Kind == line.UART || !l.Kind.Serial() {
			continue
		}
		if plan := cfg.Plan(l); plan.Load >= highLoad {
			b.warn(f.lines[i].at("name"), "lengthen \"every\" of points that change slowly, or raise the speed; sluice plan shows each read",
				"line %q would be busy %.0f %% of the time: from 70 %% on polls come late", l.Name, 100*plan.Load)
		}
	}
}
