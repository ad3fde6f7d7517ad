package config

import (
	"cmp"
	"math"
	"slices"
	"time"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
)

// What the estimate of a line's load assumes of devices and machine.
const (
	usualTurnaround = 10 * time.Millisecond  // from request to answer
	hostDelay       = 300 * time.Microsecond // serial driver and scheduler
	highLoad        = 0.7                    // above it late polls become usual
)

// warnOfLoad warns of lines that are asked for more than they can carry.
func (b *binder) warnOfLoad(f *rawFile, cfg *Config) {
	for i := range cfg.Lines {
		l := &cfg.Lines[i]
		if l.Kind != line.RTU && l.Kind != line.ASCII || l.Serial.Baud == 0 {
			continue
		}
		load := 0.0
		for _, d := range cfg.DevicesOn(l.Name) {
			load += deviceLoad(l.Config, d.Modbus)
		}
		if load >= highLoad {
			b.warn(f.lines[i].at("name"), "lengthen \"every\" of points that change slowly, or raise the speed",
				"line %q would be busy %.0f %% of the time: from 70 %% on polls come late", l.Name, 100*load)
		}
	}
}

// deviceLoad estimates which share of a line's time the reads of a device
// take: the sum of wire time over period. Points as fast as the line allows
// (every = "0s") take what is left and are not counted.
func deviceLoad(l line.Config, d *modbus.DeviceConfig) float64 {
	load := 0.0
	for _, r := range reads(d) {
		load += float64(readTime(l, r, d.Delay)) / float64(r.every)
	}
	return load
}

// read is one request for neighbouring registers or bits.
type read struct {
	table     modbus.Table
	every     time.Duration
	first, to int // addresses, to excluded
}

// reads joins the points of a device that lie side by side and have the same
// period, within what one answer holds (Modbus Application Protocol V1.1b3,
// 6.1 to 6.4).
func reads(d *modbus.DeviceConfig) []read {
	var all []read
	for _, p := range d.Points {
		every := cmp.Or(p.Every, d.Every)
		if every > 0 {
			all = append(all, read{p.Table, every, int(p.Address), int(p.Address) + p.Width()})
		}
	}
	slices.SortFunc(all, func(a, b read) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.every, b.every), cmp.Compare(a.first, b.first))
	})
	var joined []read
	for _, r := range all {
		most := d.MaxRegisters
		if r.table == modbus.Coil || r.table == modbus.Discrete {
			most = 2000
		}
		if n := len(joined) - 1; n >= 0 {
			if last := &joined[n]; last.table == r.table && last.every == r.every && r.first <= last.to && max(r.to, last.to)-last.first <= most {
				last.to = max(r.to, last.to)
				continue
			}
		}
		joined = append(joined, r)
	}
	return joined
}

// readTime estimates how long a read keeps the line: the characters of request
// and answer, the device's turnaround, and the silence before the next.
func readTime(l line.Config, r read, delay time.Duration) time.Duration {
	n := r.to - r.first
	answer := 5 + 2*n
	if r.table == modbus.Coil || r.table == modbus.Discrete {
		answer = 5 + int(math.Ceil(float64(n)/8))
	}
	chars, silence := 8+answer, l.Serial.T35()
	if l.Kind == line.ASCII {
		chars, silence = 2*chars+2, l.Serial.CharTime() // 17 for the request, 7 and two for each byte for the answer
	}
	return time.Duration(chars)*l.Serial.CharTime() + usualTurnaround + max(silence, delay) + hostDelay
}
