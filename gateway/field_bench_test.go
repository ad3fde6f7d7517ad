package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/adapters/sim"
)

// BenchmarkFieldToBroker prints what the gateway's process costs for each
// reading, from the register to the retained message in the broker: ten energy
// meters on one line (A) and 32 small devices on a fast one (B), with and
// without an upstream that takes every reading through the durable log. The
// devices are in another process. One operation is one whole measurement.
func BenchmarkFieldToBroker(b *testing.B) {
	var meter, small []sim.PointConfig
	meterPoints, smallPoints := "", ""
	add := func(to *[]sim.PointConfig, table string, a uint16) {
		*to = append(*to, sim.PointConfig{Name: fmt.Sprint(table, a), Table: table, Address: a, Wave: sim.Guess("counter", "", nil, nil)})
	}
	for a := range uint16(80) {
		add(&meter, "input", a)
	}
	for a := uint16(342); a < 346; a++ {
		add(&meter, "input", a)
	}
	for _, a := range []int{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 42, 46, 48, 52, 56, 60, 70, 72, 74, 78, 342, 344} {
		meterPoints += fmt.Sprintf("v%d = { input = %d, type = \"u32\" }\n", a, a)
	}
	for a := range uint16(66) {
		add(&small, "coil", a)
	}
	for a := range uint16(20) {
		add(&small, "holding", a)
		smallPoints += fmt.Sprintf("r%d = { holding = %d }\n", a, a)
	}
	for _, a := range []int{0, 3, 11, 20, 33, 41, 58, 65} {
		smallPoints += fmt.Sprintf("c%d = { coil = %d }\n", a, a)
	}
	ms := time.Millisecond
	for _, relayed := range []bool{false, true} {
		name := map[bool]string{true: "relayed"}[relayed]
		b.Run("A"+name, func(b *testing.B) {
			for b.Loop() {
				fieldToBroker(b, relayed, meterPoints, 30, 19200, 10, sim.SlaveConfig{Turnaround: 8 * ms, Jitter: 4 * ms, Strict: true, Points: meter})
			}
		})
		b.Run("B"+name, func(b *testing.B) {
			for b.Loop() {
				fieldToBroker(b, relayed, smallPoints, 28, 115200, 32, sim.SlaveConfig{Turnaround: 2 * ms, Jitter: ms, Strict: true, Points: small})
			}
		})
	}
}

// fieldToBroker measures over ten cycles, after three. Each device takes two
// reads for its points.
func fieldToBroker(b *testing.B, relayed bool, points string, each, baud, units int, slave sim.SlaveConfig) {
	bus := sim.LineConfig{Name: "bus", Kind: "rtu", Baud: baud, Parity: 'E'}
	var devices strings.Builder
	for unit := 1; unit <= units; unit++ {
		slave.Unit = uint8(unit)
		bus.Slaves = append(bus.Slaves, slave)
		fmt.Fprintf(&devices, "[[device]]\nname = \"m%d\"\nline = \"bus\"\nunit = %d\nevery = \"0s\"\nmax_registers = 80\n[device.points]\n%s", unit, unit, points)
	}
	field := simulate(b, bus)
	upstream := ""
	if relayed {
		port := freePort(b)
		mosquitto(b, b.TempDir(), port)
		upstream = fmt.Sprintf("[[upstream]]\nname = \"cloud\"\nurl = \"mqtt://127.0.0.1:%d\"\nout = [\"#\"]\nqos = 1\n", port)
	}
	g := newSite(b, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "bus"
kind = "rtu"
port = %q
serial = "%d 8E1"
%s%s`, freePort(b), field.Path("bus"), baud, upstream, devices.String())).start("--quiet")
	defer g.kill()
	answers := func(least uint64) uint64 {
		last := field.Slave("bus", uint8(units))
		if err := last.Wait(b.Context(), func() bool { return last.Stats().Answers >= least }); err != nil {
			b.Fatal(err)
		}
		return field.Stats("bus").Answers
	}
	before, used := answers(6), g.cpu()
	after := answers(26)
	used = g.cpu() - used
	b.ReportMetric(float64(statusKiB(b, g.cmd.Process.Pid, "VmRSS:"))/1024, "rss-MiB")
	readings := float64(after-before) * float64(each) / 2
	b.ReportMetric(float64(used.Microseconds())/readings, "cpu-µs/reading")
	b.ReportMetric(readings, "readings")
}
