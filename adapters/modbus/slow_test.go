package modbus

import (
	"testing"

	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// slowly polls the devices at 1200 baud. Its tests are alone: they count broken
// answers, and a busy machine breaks some.
func slowly(t *testing.T, slaves []sim.SlaveConfig, sink *truth, devices []DeviceConfig) (*sim.Field, *Poller, *line.Line) {
	t.Helper()
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 1200, Slaves: slaves})
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Serial, cfg.Timeout = f.Path("bus"), line.Serial{Baud: 1200, DataBits: 8, Parity: 'N', StopBits: 1}, 300*ms
	p, l := start(t, cfg, sink, devices...)
	return f, p, l
}

// The UART holds the begin of an answer back for longer than the device takes
// to begin it. That is no silence.
func TestSlowUART(t *testing.T) {
	slaves, devices := meters(1, []uint16{0, 200}, 2, 0)
	sink := newTruth(devices, 2*learnFrom)
	f, p, l := slowly(t, slaves, sink, devices)
	sink.wait(t, 2*learnFrom+2)
	sink.wait(t, 30)
	sink.right(t)
	if s := p.Stats()[0]; s.Timeout == 0 || s.Timeouts+s.BadFrames > 0 {
		t.Errorf("figures %+v", s)
	}
	if s := f.Stats("bus"); s.Overlaps > 0 {
		t.Errorf("requests met answers: %+v, %+v", s, l.Stats())
	}
}

// A long answer that came too late lasts for half a second. It is let come to
// its end, and nobody is said to babble.
func TestSlowLateAnswer(t *testing.T) {
	slaves, devices := meters(1, []uint16{0}, 50, 0, sim.Fault{Kind: sim.Late, Delay: 300 * ms, Count: 1})
	devices[0].Delay = 150 * ms
	sink := newTruth(devices, 1)
	f, p, l := slowly(t, slaves, sink, devices)
	sink.wait(t, 50)
	sink.right(t)
	if s := l.Stats(); s.Noise > 0 || s.Timeouts != 1 {
		t.Errorf("figures %+v", s)
	}
	if s := p.Stats()[0]; s.Late != 1 || s.P99 > 0 && s.Wait > s.P99-500*ms {
		t.Errorf("figures %+v", s)
	}
	if s := f.Stats("bus"); s.Overlaps > 0 {
		t.Errorf("requests met answers: %+v", s)
	}
}

// The UART hands over the last characters of an answer only when four more have
// not come.
func TestSlowUARTHoldsTheEndBack(t *testing.T) {
	slaves, devices := meters(1, []uint16{0}, 2, 0, sim.Fault{Kind: sim.Split, N: 8, Delay: 40 * ms})
	sink := newTruth(devices, 1)
	_, p, _ := slowly(t, slaves, sink, devices)
	sink.wait(t, 10)
	sink.right(t)
	if s := p.Stats()[0]; s.BadFrames > 0 {
		t.Errorf("figures %+v", s)
	}
}
