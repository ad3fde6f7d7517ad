package modbus

import (
	"testing"

	"sluice/adapters"
	"sluice/adapters/sim"
)

// A register that was read is not taken to be missing when the device is
// silent about it for a while, but for stale.
func TestSilenceAboutAKnownRegister(t *testing.T) {
	t.Parallel()
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: []sim.SlaveConfig{{
		Unit: 1, Turnaround: ms, Points: []sim.PointConfig{{Name: "a", Table: "holding", Wave: sim.Wave{Base: 7}}, {Name: "b", Table: "input", Wave: sim.Wave{Base: 8}}},
	}}})
	r, cfg := newRecord(t), (&field{}).rtu()
	cfg.Port, cfg.Retries = f.Path("bus"), 0
	p, _ := start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, Every: 20 * ms,
		Points: []PointConfig{on("d", "a", Holding, 0, U16), on("d", "b", Input, 0, U16)}})
	r.reads("d/a", "7")
	r.reads("d/b", "8")
	if err := f.Slave("bus", 1).SetFault(sim.Fault{Kind: sim.Dead, Functions: []byte{readInput}}); err != nil {
		t.Fatal(err)
	}
	r.reads("d/b", "stale")
	was := p.Stats()[0].Timeouts
	r.until("more silence", func() bool { return p.Stats()[0].Timeouts >= was+silentLimit })
	r.never(func(reading adapters.Reading) bool { return reading.Quality == adapters.BadRegister })
	if err := f.Slave("bus", 1).SetFault(); err != nil {
		t.Fatal(err)
	}
	r.reads("d/b", "8")
}
