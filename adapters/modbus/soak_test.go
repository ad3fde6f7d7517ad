package modbus

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// A soak reads under mixed faults and lets the simulated field judge every
// value. MODBUS_SOAK lengthens it, as in "10m"; MODBUS_SEED draws another mix.

// soakReadings is how many readings a soak makes that is not lengthened.
const soakReadings = 100_000

func soakLength(t testing.TB) time.Duration {
	text := os.Getenv("MODBUS_SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("MODBUS_SOAK: %v; write a time such as 10m", err)
	}
	return d
}

func soakSeed(t testing.TB) uint64 {
	text := os.Getenv("MODBUS_SEED")
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("MODBUS_SEED: %v; write a whole number", err)
	}
	return n
}

// mix draws how often each fault comes, up to most, and how late answers are:
// some within the timeout, most beyond it.
func mix(chance *rand.Rand, most float64, kinds ...sim.FaultKind) []sim.Fault {
	var faults []sim.Fault
	for _, kind := range kinds {
		f := sim.Fault{Kind: kind, Probability: most * (0.2 + 0.8*chance.Float64())}
		switch kind {
		case sim.Late:
			f.Delay = time.Duration(20+chance.IntN(500)) * ms
		case sim.Split:
			f.N, f.Delay = 1+chance.IntN(40), time.Duration(1+chance.IntN(20))*ms
		case sim.Duplicate:
			f.Delay = time.Duration(1+chance.IntN(30)) * ms
		case sim.Exception:
			f.Code = []byte{5, 6, 6, 4}[chance.IntN(4)]
		}
		faults = append(faults, f)
	}
	return faults
}

// spoiling are the faults that a master can always tell.
var spoiling = []sim.FaultKind{sim.BadCRC, sim.GarbageBefore, sim.GarbageAfter, sim.Late, sim.Late, sim.Truncated,
	sim.WrongUnit, sim.WrongFunction, sim.WrongCount, sim.Echo, sim.Duplicate, sim.Split, sim.Exception}

// soakLine is one line of a soak.
type soakLine struct {
	name    string
	kind    line.Kind
	units   int
	table   Table
	blocks  []uint16 // addresses of the reads, equally long
	size    int      // of each
	retries int
	faults  func(chance *rand.Rand) []sim.Fault
}

var soakLines = []soakLine{
	{"mixed", line.RTU, 3, Holding, []uint16{0, 100}, 50, 4, func(c *rand.Rand) []sim.Fault { return mix(c, 0.04, spoiling...) }},
	{"alone", line.RTU, 1, Holding, []uint16{0, 100, 200, 300}, 50, 1, func(c *rand.Rand) []sim.Fault {
		return append(mix(c, 0.02, spoiling...), mix(c, 0.08, sim.Late, sim.Duplicate)...)
	}},
	{"impostors", line.RTU, 4, Holding, []uint16{0, 100}, 50, 4, func(c *rand.Rand) []sim.Fault {
		return mix(c, 0.08, sim.Late, sim.Late, sim.WrongUnit, sim.Duplicate, sim.WrongCount, sim.WrongFunction)
	}},
	{"small", line.RTU, 3, Holding, []uint16{0, 10, 20, 30, 40, 50}, 1, 4, func(c *rand.Rand) []sim.Fault {
		return mix(c, 0.03, spoiling...)
	}},
	{"bits", line.RTU, 2, Coil, []uint16{0, 100}, 60, 4, func(c *rand.Rand) []sim.Fault { return mix(c, 0.03, spoiling...) }},
	{"replayed", line.RTU, 2, Holding, []uint16{0, 100}, 50, 4, func(c *rand.Rand) []sim.Fault {
		return append(mix(c, 0.02, spoiling...), mix(c, 0.08, sim.Replay)...)
	}},
	{"converter", line.RTUTCP, 2, Holding, []uint16{0, 100}, 50, 1, func(c *rand.Rand) []sim.Fault { return mix(c, 0.04, spoiling...) }},
	{"network", line.TCP, 3, Holding, []uint16{0, 100}, 50, 4, func(c *rand.Rand) []sim.Fault {
		return mix(c, 0.04, sim.BadCRC, sim.Late, sim.Late, sim.WrongUnit, sim.WrongFunction, sim.WrongCount, sim.Duplicate, sim.Split, sim.Exception)
	}},
}

// soak is the field of all lines, and the Sink that judges what is published.
type soak struct {
	t     testing.TB
	field *sim.Field
	goal  int

	mu       sync.Mutex
	judges   map[*adapters.Point]judge
	good     map[string]int
	total    int
	wrong    []string
	replayed int
	enough   chan struct{}
}

// judge knows a point's truth.
type judge struct {
	line  string
	slave *sim.Slave
	base  float64
}

// Each point has values of its own, so that a foreign one shows.
const (
	soakSpan = 120 // of the values of one point
	soakStep = 250 * ms
	soakPast = 5 * time.Second // for so long an answer may have been on its way
)

// startSoak plays the field and polls it until the test ends.
func startSoak(t testing.TB, lines ...soakLine) *soak {
	s := &soak{t: t, judges: make(map[*adapters.Point]judge), good: make(map[string]int)}
	chance := rand.New(rand.NewPCG(soakSeed(t), 0))
	var configs []sim.LineConfig
	devices := make([][]DeviceConfig, len(lines))
	for i, l := range lines {
		c := sim.LineConfig{Name: l.name, Kind: string(l.kind), Baud: 921600}
		number := 0
		for unit := 1; unit <= l.units; unit++ {
			slave := sim.SlaveConfig{Unit: uint8(unit), Turnaround: ms, Jitter: ms, Faults: l.faults(chance), Seed: chance.Uint64()}
			device := DeviceConfig{Name: fmt.Sprint(l.name, unit), Unit: uint8(unit)}
			for _, begin := range l.blocks {
				for k := range uint16(l.size) {
					at := begin + k
					name, typ := fmt.Sprint("r", at), U16
					wave := sim.Wave{Shape: sim.Sine, Base: float64(soakSpan/2 + number*soakSpan), Swing: soakSpan/2 - 1, Period: 20 * time.Second, Step: soakStep}
					if l.table.bits() {
						typ, wave = Bool, sim.Wave{Base: float64(chance.IntN(2))} // half of those of another read differ
					}
					number++
					slave.Points = append(slave.Points, sim.PointConfig{Name: name, Table: l.table.String(), Address: at, Wave: wave})
					device.Points = append(device.Points, on(device.Name, name, l.table, at, typ))
				}
			}
			c.Slaves, devices[i] = append(c.Slaves, slave), append(devices[i], device)
		}
		configs = append(configs, c)
	}
	s.field = simulate(t, configs...)
	for i, l := range lines {
		for k, d := range devices[i] {
			for n, p := range d.Points {
				s.judges[p.Point] = judge{l.name, s.field.Slave(l.name, d.Unit), configs[i].Slaves[k].Points[n].Wave.Base}
			}
		}
	}
	for i, l := range lines {
		cfg := line.Config{Name: l.name, Kind: l.kind, Port: s.field.Path(l.name), Timeout: 60 * ms, Retries: l.retries,
			Serial: line.Serial{Baud: 921600, DataBits: 8, Parity: 'N', StopBits: 1}}
		start(t, cfg, s, devices[i]...)
	}
	return s
}

func (s *soak) Availability(string, bool, string) {}

func (s *soak) Put(readings []adapters.Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range readings {
		if r.Quality != adapters.Good {
			if !r.Value.IsNone() {
				s.wrong = append(s.wrong, fmt.Sprintf("%s/%s is %v and has the value %v", r.Point.Device, r.Point.Name, r.Quality, r.Value))
			}
			continue
		}
		j := s.judges[r.Point]
		s.good[j.line]++
		s.total++
		if s.total == s.goal {
			close(s.enough)
		}
		value, isNumber := r.Value.Number()
		foreign := math.Abs(value-j.base) > soakSpan/2
		if !isNumber {
			foreign = r.Value.Bool() != (j.base == 1)
			value = j.base
		}
		switch {
		case foreign && j.slave.Stats().Faults[sim.Replay] > 0:
			s.replayed++
		case foreign || !j.slave.HeldValue(r.Point.Name, value, 0, r.Time.Add(-soakPast), r.Time):
			s.wrong = append(s.wrong, fmt.Sprintf("%s/%s = %v, its values are about %v", r.Point.Device, r.Point.Name, value, j.base))
		}
	}
}

// wait waits for n good readings more.
func (s *soak) wait(n int) {
	s.t.Helper()
	enough := make(chan struct{})
	s.mu.Lock()
	s.goal, s.enough = s.total+n, enough
	s.mu.Unlock()
	select {
	case <-enough:
	case <-time.After(10 * testPatience):
		s.t.Errorf("less than %d readings in %v", n, 10*testPatience)
	}
}

// each waits until every line has given readings anew.
func (s *soak) each(lines []soakLine) {
	s.t.Helper()
	s.mu.Lock()
	before := maps.Clone(s.good)
	s.mu.Unlock()
	for _, l := range lines {
		for more := false; !more; {
			s.wait(50)
			s.mu.Lock()
			more = s.good[l.name] > before[l.name] || s.t.Failed()
			s.mu.Unlock()
		}
	}
}

// report fails the test for what was published and was not true.
func (s *soak) report() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("seed %d: %d readings %v, %d wrong, %d of an old answer that a device sent again", soakSeed(s.t), s.total, s.good, len(s.wrong), s.replayed)
	for i, text := range s.wrong {
		if i == 20 {
			break
		}
		s.t.Error(text)
	}
}

// Whatever the devices send, nothing is published that its register did not
// hold when it was asked.
func TestNeverAWrongNumber(t *testing.T) {
	t.Parallel()
	s := startSoak(t, soakLines...)
	s.wait(soakReadings)
	if d := soakLength(t); d > 0 {
		<-time.After(d)
	}
	s.report()
	for _, l := range soakLines {
		for unit := 1; unit <= l.units; unit++ {
			t.Logf("%s %d: %+v", l.name, unit, s.field.Slave(l.name, uint8(unit)).Stats())
		}
	}
}
