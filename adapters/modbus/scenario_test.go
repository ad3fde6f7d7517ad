package modbus

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// scenario is a field to be read: a paced line whose slaves insist on the
// silence between frames, and what is wanted of them.
type scenario struct {
	name        string
	serial      line.Serial
	turn        time.Duration // the mean turnaround
	jitter      time.Duration // by as much it varies, all in all
	units       int
	dead        []int // units that never answer
	faults      []sim.Fault
	points      func(device string, unit int) []PointConfig
	maxRegister int
	length      time.Duration // of the measurement
}

var (
	even19200  = line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}
	even115200 = line.Serial{Baud: 115200, DataBits: 8, Parity: 'E', StopBits: 1}
	even9600   = line.Serial{Baud: 9600, DataBits: 8, Parity: 'E', StopBits: 1}
)

// The scenarios: ten energy meters (A), many small devices on a fast line (B),
// A with two meters away (C), with faults (D), with a relay board that is
// commanded (E), and one fast point among many slow ones (F).
var scenarios = []scenario{
	{name: "A", serial: even19200, turn: 10 * ms, jitter: 4 * ms, units: 10, points: meterPoints, maxRegister: 80, length: 14 * time.Second},
	{name: "B", serial: even115200, turn: 2500 * time.Microsecond, jitter: ms, units: 32, points: moduloPoints, length: 12 * time.Second},
	{name: "C", serial: even19200, turn: 10 * ms, jitter: 4 * ms, units: 10, dead: []int{3, 7}, points: meterPoints, maxRegister: 80, length: 16 * time.Second},
	{name: "D", serial: even19200, turn: 10 * ms, jitter: 4 * ms, units: 10, points: meterPoints, maxRegister: 80, length: 30 * time.Second, faults: []sim.Fault{
		{Kind: sim.BadCRC, Probability: 0.05}, {Kind: sim.GarbageBefore, Probability: 0.05}, {Kind: sim.Late, Probability: 0.05, Delay: 320 * ms},
	}},
	{name: "E", serial: even19200, turn: 10 * ms, jitter: 4 * ms, units: 11, points: relayPoints, maxRegister: 80, length: 40 * time.Second},
	{name: "F", serial: even9600, turn: 10 * ms, jitter: 4 * ms, units: 6, points: fastAndSlowPoints, length: 24 * time.Second},
}

// meterPoints are 30 of the values of an SDM630, at its addresses.
func meterPoints(device string, _ int) (points []PointConfig) {
	addresses := []uint16{42, 46, 48, 52, 56, 60, 70, 72, 74, 78, 342, 344}
	for a := range uint16(18) {
		addresses = append(addresses, 2*a)
	}
	for _, a := range addresses {
		points = append(points, on(device, fmt.Sprint("v", a), Input, a, F32))
	}
	return points
}

func moduloPoints(device string, _ int) (points []PointConfig) {
	for a := range uint16(20) {
		points = append(points, on(device, fmt.Sprint("r", a), Holding, a, U16))
	}
	for _, a := range []uint16{0, 3, 11, 20, 33, 41, 58, 65} {
		points = append(points, on(device, fmt.Sprint("c", a), Coil, a, Bool))
	}
	return points
}

func relayPoints(device string, unit int) (points []PointConfig) {
	if unit <= 10 {
		return meterPoints(device, unit)
	}
	for a := range uint16(8) {
		points = append(points, writable(on(device, fmt.Sprint("relay", a), Coil, a, Bool), Plain))
	}
	return points
}

func fastAndSlowPoints(device string, unit int) (points []PointConfig) {
	for _, run := range []struct{ begin, values uint16 }{{0, 4}, {100, 3}, {200, 3}} {
		for i := range run.values {
			p := on(device, fmt.Sprint("v", run.begin+2*i), Holding, run.begin+2*i, F32)
			p.Every = 2 * time.Second
			points = append(points, p)
		}
	}
	if unit == 1 {
		fast := on(device, "fast", Holding, 300, F32)
		fast.Every = 200 * ms
		points = append(points, fast)
	}
	return points
}

func (s scenario) devices() (devices []DeviceConfig) {
	for unit := 1; unit <= s.units; unit++ {
		name := fmt.Sprint("m", unit)
		devices = append(devices, DeviceConfig{Name: name, Unit: uint8(unit), MaxRegisters: s.maxRegister, Points: s.points(name, unit)})
	}
	return devices
}

// living are the devices that answer.
func (s scenario) living() []DeviceConfig {
	return slices.DeleteFunc(s.devices(), func(d DeviceConfig) bool { return slices.Contains(s.dead, int(d.Unit)) })
}

func (s scenario) field() sim.LineConfig {
	field := sim.LineConfig{Name: "bus", Kind: "rtu", Baud: s.serial.Baud, Parity: s.serial.Parity}
	for _, d := range s.devices() {
		slave := sim.SlaveConfig{Unit: d.Unit, Turnaround: s.turn - s.jitter/2, Jitter: s.jitter, Strict: true, MaxRegisters: s.maxRegister, Faults: s.faults, Seed: uint64(d.Unit)}
		if slices.Contains(s.dead, int(d.Unit)) {
			slave.Faults = []sim.Fault{{Kind: sim.Dead}}
		}
		held := make(map[Table]map[uint16]bool)
		for _, p := range d.Points {
			pt := sim.PointConfig{Name: p.Point.Name, Table: p.Table.String(), Address: p.Address, Type: p.Type.String(), Writable: p.Write != ReadOnly,
				Wave: sim.Wave{Shape: sim.Const, Base: 1}}
			slave.Points = append(slave.Points, pt)
			if held[p.Table] == nil {
				held[p.Table] = make(map[uint16]bool)
			}
			for i := range uint16(p.Width()) {
				held[p.Table][p.Address+i] = true
			}
		}
		for t, at := range held { // what lies between exists, as in most devices
			for a := range uint16(400) {
				if !at[a] {
					slave.Points = append(slave.Points, sim.PointConfig{Name: fmt.Sprint(t, a), Table: t.String(), Address: a})
				}
			}
		}
		field.Slaves = append(field.Slaves, slave)
	}
	return field
}

func (s scenario) line(port string) line.Config {
	return line.Config{Name: "bus", Kind: line.RTU, Port: port, Serial: s.serial, Timeout: 300 * ms, Retries: 1, Gap: line.AutoGap}
}

// theory is the least time in which all living points can be read once: the
// bytes on the wire, the mean turnaround and the silence on both sides of it.
// It is reckoned apart from the planner.
func (s scenario) theory() (least time.Duration) {
	char := s.serial.CharTime()
	for _, d := range s.living() {
		for _, t := range []Table{Coil, Discrete, Input, Holding} {
			var at []int
			width := 1
			for _, p := range d.Points {
				if p.Table == t {
					at, width = append(at, int(p.Address)), p.Width()
				}
			}
			slices.Sort(at)
			best := make([]time.Duration, len(at)+1)
			for i := range at {
				best[i+1] = math.MaxInt64
				for from := i; from >= 0; from-- {
					n := at[i] + width - at[from]
					if n > d.most(t) {
						break
					}
					bytes := 13 + 2*n
					if t.bits() {
						bytes = 13 + (n+7)/8
					}
					best[i+1] = min(best[i+1], best[from]+time.Duration(bytes)*char+2*s.serial.T35()+s.turn)
				}
			}
			least += best[len(at)]
		}
	}
	return least
}

// fieldVariable names the scenario that a process of the test program plays
// instead of running tests: the slaves have a process of their own, so that
// their processor time is not counted as the master's.
const fieldVariable = "SLUICE_PLAY_SCENARIO"

func TestMain(m *testing.M) {
	if name := os.Getenv(fieldVariable); name != "" {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if err := scenarios[i].play(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// monotonic is a clock that both processes share.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // never fails
	return time.Duration(t.Nano())
}

// play plays the field until standard input ends, which names dead units that
// are to come back: it prints where the line is, each change of the first relay
// with its time, and what happened at last.
func (s scenario) play() error {
	f, err := sim.New([]sim.LineConfig{s.field()}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	fmt.Println(f.Path("bus"))
	if relays := f.Slave("bus", 11); relays != nil && s.name == "E" {
		go func() {
			for last := relays.Get("coil", 0, 1)[0]; ; {
				now := last
				if relays.Wait(ctx, func() bool { now = relays.Get("coil", 0, 1)[0]; return now != last }) != nil {
					return
				}
				last = now
				fmt.Println("coil", now, int64(monotonic()))
			}
		}()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		unit, err := strconv.ParseUint(in.Text(), 10, 8)
		if err != nil {
			return err
		}
		if err := f.Slave("bus", uint8(unit)).SetFault(); err != nil {
			return err
		}
	}
	stats := f.Stats("bus")
	cancel()
	fmt.Println("end", stats.Requests, stats.Violations, stats.Overlaps, stats.Collisions)
	return f.Close()
}

// played is a field in a process of its own.
type played struct {
	port   string
	coils  chan coilChange
	revive func(unit int)
	end    func() (requests, violations int)
}

type coilChange struct {
	on bool
	at time.Duration
}

// start plays the field.
func (s scenario) start(b *testing.B) *played {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fieldVariable+"="+s.name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		b.Fatal("the field does not begin")
	}
	p := &played{port: lines.Text(), coils: make(chan coilChange, 64)}
	end := make(chan [2]int, 1)
	go func() {
		defer close(p.coils)
		for lines.Scan() {
			words := strings.Fields(lines.Text())
			if words[0] == "coil" {
				at, _ := strconv.ParseInt(words[2], 10, 64) // written by play
				p.coils <- coilChange{words[1] == "1", time.Duration(at)}
				continue
			}
			requests, _ := strconv.Atoi(words[1])
			violations, _ := strconv.Atoi(words[2])
			end <- [2]int{requests, violations}
		}
	}()
	p.revive = func(unit int) {
		if _, err := fmt.Fprintln(in, unit); err != nil {
			b.Fatal(err)
		}
	}
	ended := false
	p.end = func() (int, int) {
		ended = true
		_ = in.Close()
		got := <-end
		_ = cmd.Wait()
		return got[0], got[1]
	}
	b.Cleanup(func() {
		if !ended {
			p.end()
		}
	})
	return p
}
