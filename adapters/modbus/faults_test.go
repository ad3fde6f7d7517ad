package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// The ways in which devices, wires and adapters fail in the field are numbered;
// each has a test of its number, here or with the line or the UART. Those of a
// frame on a serial line read a meter with two equally long blocks; what is
// published must be what its registers hold.

// survive reads a meter that has the faults, until it has given enough good
// readings, and gives the figures. Nothing but the truth may be published.
func survive(t *testing.T, faults ...sim.Fault) (line.Stats, DeviceStats) {
	t.Helper()
	slaves, devices := meters(1, []uint16{0, 100}, 4, 0, faults...)
	devices[0].MaxRegisters = 4
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: slaves})
	sink := newTruth(devices, 80)
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Retries = f.Path("bus"), 4
	p, l := start(t, cfg, sink, devices...)
	select {
	case <-sink.enough:
	case <-time.After(testPatience):
		t.Errorf("too few good readings; %+v; %+v", l.Stats(), p.Stats())
	}
	slave := f.Slave("bus", 1)
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	for _, fault := range faults {
		if slave.Wait(ctx, func() bool { return slave.Stats().Faults[fault.Kind] > 1 }) != nil {
			t.Errorf("%s was not met", fault.Kind)
		}
	}
	sink.right(t)
	return l.Stats(), p.Stats()[0]
}

func TestFault01LateAnswer(t *testing.T) {
	t.Parallel()
	s, d := survive(t, sim.Fault{Kind: sim.Late, Probability: 0.2, Delay: 90 * ms})
	if s.Timeouts == 0 || d.Timeouts == 0 {
		t.Errorf("no answer was late: %+v", s)
	}
}

func TestFault02WrongUnitFunctionOrCount(t *testing.T) {
	t.Parallel()
	s, d := survive(t, sim.Fault{Kind: sim.WrongUnit, Probability: 0.1}, sim.Fault{Kind: sim.WrongFunction, Probability: 0.1},
		sim.Fault{Kind: sim.WrongCount, Probability: 0.1})
	if s.Mismatch == 0 || d.BadFrames == 0 {
		t.Errorf("none is counted: %+v", s)
	}
	// The answer to a write must name what was written. What is confirmed
	// otherwise is not taken for written.
	f, device, _, p := writeBench(t)
	f.with(func() {
		device.stuck = true
		f.mangle = func(_, answer []byte) []byte {
			if function := answer[1]; function == writeRegister || function == writeRegisters || function == writeCoil {
				answer[5] ^= 1
				return frame(answer[:6])
			}
			return answer
		}
	})
	for point, v := range map[string]adapters.Value{"valve": adapters.Int(40), "flow": adapters.Float(21.4), "fan": adapters.Bool(true)} {
		if res := write(t, p, point, v); res.Err == nil || !strings.Contains(res.Err.Error(), "bad answer") {
			t.Errorf("%s: another value was confirmed, and yet: %+v", point, res)
		}
	}
}

func TestFault03EchoBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	survive(t, sim.Fault{Kind: sim.Echo})
	survive(t, sim.Fault{Kind: sim.Echo, Probability: 0.3})
}

func TestFault04GarbageAroundTheAnswer(t *testing.T) {
	t.Parallel()
	s, _ := survive(t,
		sim.Fault{Kind: sim.GarbageBefore, Probability: 0.2, Bytes: []byte{0}}, sim.Fault{Kind: sim.GarbageBefore, Probability: 0.2, Bytes: []byte{0xFF, 1, 3}},
		sim.Fault{Kind: sim.GarbageAfter, Probability: 0.2, Bytes: []byte{0}}, sim.Fault{Kind: sim.GarbageAfter, Probability: 0.2, N: 20})
	if s.Garbage == 0 {
		t.Errorf("none is counted: %+v", s)
	}
}

// A break, or a character of the wrong parity, arrives as a zero.
func TestFault05CharactersBecomeZero(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[50] = 0x0102, 0x0304
	n := 0
	f.mangle = func(_, answer []byte) []byte {
		if n++; n%2 == 0 {
			answer[n/2%len(answer)] = 0 // each of them in turn
		}
		return answer
	}
	cfg := f.rtu()
	cfg.Retries = 4
	_, l := start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, MaxRegisters: 2, Points: []PointConfig{on("d", "v", Holding, 0, U16), on("d", "w", Holding, 50, U16)}})
	r.only(60, map[string]string{"d/v": "258", "d/w": "772"})
	if s := l.Stats(); s.Checksum == 0 {
		t.Errorf("none is counted: %+v", s)
	}
}

func TestFault06AnswerInPieces(t *testing.T) {
	t.Parallel()
	s, _ := survive(t, sim.Fault{Kind: sim.Split, N: 6, Delay: 10 * ms})
	if s.Answers == 0 {
		t.Errorf("no answer was put together: %+v", s)
	}
}

func TestFault07AnswerBreaksOff(t *testing.T) {
	t.Parallel()
	s, _ := survive(t, sim.Fault{Kind: sim.Truncated, Probability: 0.2}, sim.Fault{Kind: sim.Truncated, Probability: 0.1, N: 12})
	if s.Short == 0 {
		t.Errorf("none is counted: %+v", s)
	}
}

// A wrong checksum is no reason to open the port again.
func TestFault08WrongChecksum(t *testing.T) {
	t.Parallel()
	s, d := survive(t, sim.Fault{Kind: sim.BadCRC, Probability: 0.3})
	if s.Checksum == 0 || d.BadFrames == 0 || s.Opens != 1 {
		t.Errorf("figures %+v", s)
	}
}

// Acknowledged and busy are no data, and no reason to give a device up.
func TestFault10BusyDevice(t *testing.T) {
	t.Parallel()
	for _, code := range []byte{5, 6} {
		f, r := newField(t), newRecord(t)
		s := f.add(1)
		s.registers[0], s.bits[0] = 7, true
		p, _ := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: 10 * ms, Points: []PointConfig{
			on("d", "v", Holding, 0, U16), on("d", "on", Coil, 0, Bool),
		}})
		r.reads("d/v", "7")
		f.with(func() { s.refuse[3] = code })
		r.reads("d/v", "stale")
		f.with(func() { delete(s.refuse, 3); s.registers[0] = 8 })
		r.reads("d/v", "8")
		r.never(func(reading adapters.Reading) bool {
			return reading.Quality == adapters.Good && strings.HasSuffix("0123456", reading.Value.String())
		})
		if st := p.Stats()[0]; st.Exceptions < busyLimit || !st.Online {
			t.Errorf("exception %d: %+v", code, st)
		}
	}
}

// A device that has lost its values gives what it has now, and the registers
// that it lacked before are asked for again.
func TestFault14DeviceRestarts(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0] = 500
	p, _ := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: 10 * ms, Points: []PointConfig{
		on("d", "counter", Holding, 0, U16), on("d", "later", Holding, 1, U16),
	}})
	r.reads("d/counter", "500")
	r.reads("d/later", "bad_register")
	f.with(func() { s.dead = true })
	r.offline("d")
	r.reads("d/counter", "offline")
	r.mu.Lock()
	away := len(r.all)
	r.mu.Unlock()
	f.with(func() { s.dead, s.registers[0], s.registers[1] = false, 0, 9 })
	r.online("d")
	r.reads("d/counter", "0")
	r.reads("d/later", "9")
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, reading := range r.all[away:] {
		if reading.Value == adapters.Int(500) {
			t.Error("the value of before was published")
		}
	}
	if st := p.Stats()[0]; st.BadRegisters != 0 {
		t.Errorf("%+v", st)
	}
}

// The wait that was learned is given up where the device becomes slow.
func TestFault15DeviceBecomesSlow(t *testing.T) {
	t.Parallel()
	slaves, devices := meters(1, []uint16{0, 100}, 4, 0)
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: slaves})
	r := newRecord(t)
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Timeout, cfg.Retries = f.Path("bus"), 400*ms, 3
	p, _ := start(t, cfg, r, devices...)
	r.until("a timeout is learned", func() bool { return p.Stats()[0].Timeout > 0 })
	slow := f.Slave("bus", 1)
	if err := slow.SetFault(sim.Fault{Kind: sim.Late, Delay: 250 * ms}); err != nil {
		t.Fatal(err)
	}
	if err := slow.Set("holding", 0, 77); err != nil {
		t.Fatal(err)
	}
	r.reads("m1/r0", "77")
	r.until("the wait is as long as it must be", func() bool { return p.Stats()[0].Timeout > 250*ms })
	r.never(func(reading adapters.Reading) bool {
		want := 1000 + int64(devices[0].Points[0].Address)
		return reading.Point.Name == "r0" && reading.Quality == adapters.Good && reading.Value != adapters.Int(want) && reading.Value != adapters.Int(77)
	})
}

// The device is deaf for a while after each answer.
func TestFault16PauseBetweenRequests(t *testing.T) {
	t.Parallel()
	const delay = 30 * ms
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[50] = 5, 6
	var last time.Time
	missed := 0
	f.mangle = func(_, answer []byte) []byte {
		now := time.Now()
		if now.Sub(last) < delay {
			missed++
			return nil
		}
		last = now
		return answer
	}
	start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Delay: delay, MaxRegisters: 2, Points: []PointConfig{on("d", "v", Holding, 0, U16), on("d", "w", Holding, 50, U16)}})
	r.only(20, map[string]string{"d/v": "5", "d/w": "6"})
	f.with(func() {
		if missed > 0 {
			t.Errorf("%d requests came too soon", missed)
		}
	})
}

// A device that babbles spoils its own line, and only for as long as it does.
func TestFault18Babble(t *testing.T) {
	t.Parallel()
	slaves, devices := meters(1, []uint16{0, 100}, 4, 0)
	others, otherDevices := meters(1, []uint16{0}, 4, 10*ms)
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: slaves},
		sim.LineConfig{Name: "other", Kind: "rtu", Baud: 115200, Slaves: others})
	sink, other := newTruth(devices, 1<<30), newTruth(otherDevices, 1<<30)
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Retries = f.Path("bus"), 4
	_, l := start(t, cfg, sink, devices...)
	cfg.Port = f.Path("other")
	start(t, cfg, other, otherDevices...)
	sink.wait(t, 40)
	babbler := f.Slave("bus", 1)
	if err := babbler.SetFault(sim.Fault{Kind: sim.Babble, N: 200, Delay: ms}); err != nil {
		t.Fatal(err)
	}
	for l.Stats().Noise == 0 {
		other.wait(t, 20) // goes on meanwhile
	}
	if err := babbler.SetFault(); err != nil {
		t.Fatal(err)
	}
	sink.wait(t, 40)
	sink.right(t)
	other.right(t)
}

// Another master asks and is answered on the same wire.
func TestFault19AnotherMaster(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[50] = 5, 6
	n := byte(0)
	f.mangle = func(_, answer []byte) []byte {
		n++
		asked := frame([]byte{1 + n%2, 3, 0, n, 0, 1})
		answered := frame([]byte{2, 3, 2, 0, n})
		return bytes.Join([][]byte{asked, answered, answer}, nil)
	}
	start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, MaxRegisters: 2, Points: []PointConfig{on("d", "v", Holding, 0, U16), on("d", "w", Holding, 50, U16)}})
	r.only(60, map[string]string{"d/v": "5", "d/w": "6"})
}

// Two adapters that bear the same serial number are told apart by the socket
// they are in: each line finds its own devices again, whichever comes first.
func TestFault22TwoAdaptersAlike(t *testing.T) {
	t.Parallel()
	a, b, r := newField(t), newField(t), newRecord(t)
	a.add(1).registers[0] = 5
	b.add(1).registers[0] = 6
	start(t, a.rtu(), r, DeviceConfig{Name: "a", Unit: 1, Every: 5 * ms, Points: []PointConfig{on("a", "v", Holding, 0, U16)}})
	start(t, b.rtu(), r, DeviceConfig{Name: "b", Unit: 1, Every: 5 * ms, Points: []PointConfig{on("b", "v", Holding, 0, U16)}})
	r.reads("a/v", "5")
	r.reads("b/v", "6")
	a.unplug()
	b.unplug()
	r.offline("a")
	r.offline("b")
	b.plug()
	a.plug()
	r.reads("b/v", "6")
	r.reads("a/v", "5")
	r.only(1, map[string]string{"a/v": "5", "b/v": "6"})
}

// A value of two registers comes from one answer, whatever its neighbours are.
func TestFault27NoValueIsCut(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	points := []PointConfig{on("d", "before", Holding, 0, U16), on("d", "counter", Holding, 1, U32), on("d", "next", Holding, 3, U32)}
	for i := range uint16(5) {
		s.registers[i] = 0
	}
	n := uint32(0)
	f.mangle = func(_, answer []byte) []byte {
		n++ // after each request both halves of the counters change
		value := 0x0000FFFF + n%2
		s.registers[1], s.registers[2] = uint16(value>>16), uint16(value)
		s.registers[3], s.registers[4] = uint16(value>>16), uint16(value)
		return answer
	}
	start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, MaxRegisters: 2, Points: points})
	r.until("100 readings", func() bool { return len(r.all) >= 100 })
	r.never(func(reading adapters.Reading) bool {
		v, _ := reading.Value.Number()
		return reading.Quality == adapters.Good && v != 0 && v != 0xFFFF && v != 0x10000
	})
}

// What a confused gateway sends unasked, with the number that a counter would
// have come to and all else as it should be, is not taken for the answer.
func TestFault29UnaskedAnswerOfTheNextTransaction(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0] = 5
	port := f.serveTCP(func(_, answer []byte) []byte {
		unasked := bytes.Clone(answer)
		binary.BigEndian.PutUint16(unasked, binary.BigEndian.Uint16(answer)+1)
		unasked[len(unasked)-1] = 99
		return append(answer, unasked...)
	})
	cfg := f.rtu()
	cfg.Kind, cfg.Port = line.TCP, port
	_, l := start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, Points: []PointConfig{on("d", "v", Holding, 0, U16)}})
	r.only(100, map[string]string{"d/v": "5"})
	if stats := l.Stats(); stats.Opens != 1 {
		t.Errorf("it cost %d connections", stats.Opens-1)
	}
}

// A network device that serves one master, and one request at a time.
func TestFault30OneConnectionOneRequest(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 5
	f.add(2).registers[0] = 6
	f.slaves[1].bits[0] = false
	port := f.serveTCP(func(request, answer []byte) []byte {
		if size := 6 + int(binary.BigEndian.Uint16(request[4:])); len(request) != size {
			t.Errorf("%d bytes at once, one request is %d", len(request), size)
		}
		return answer
	})
	cfg := f.rtu()
	cfg.Kind, cfg.Port = line.TCP, port
	p, l := start(t, cfg, r,
		DeviceConfig{Name: "d", Unit: 1, Points: []PointConfig{on("d", "v", Holding, 0, U16), writable(on("d", "c", Coil, 0, Bool), Verify)}},
		DeviceConfig{Name: "e", Unit: 2, Points: []PointConfig{on("e", "v", Holding, 0, U16)}})
	r.reads("e/v", "6")
	for i := range 10 {
		on := adapters.Bool(i%2 == 0)
		if res := write(t, p, "c", on); res.Err != nil || res.Value != on {
			t.Errorf("%+v", res)
		}
	}
	r.only(40, map[string]string{"d/v": "5", "e/v": "6", "d/c": "true false"})
	if stats := l.Stats(); stats.Opens != 1 {
		t.Errorf("%d connections", stats.Opens)
	}
}

// All that is waited for is reckoned in time that nobody can set.
func TestFault31ClockIsSet(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0] = 5
	f.add(2).dead = true
	p, l := start(t, f.rtu(), r,
		DeviceConfig{Name: "d", Unit: 1, Every: 5 * ms, Delay: ms, Points: []PointConfig{on("d", "v", Holding, 0, U16), on("d", "w", Holding, 70, U16)}},
		DeviceConfig{Name: "e", Unit: 2, Every: 5 * ms, Points: []PointConfig{on("e", "v", Holding, 0, U16)}})
	r.reads("d/v", "5")
	r.reads("d/w", "bad_register")
	r.offline("e")
	monotonic := func(what string, at time.Time) {
		if !at.IsZero() && !strings.Contains(at.String(), " m=") {
			t.Errorf("%s %v is wall time", what, at)
		}
	}
	err := l.Do(t.Context(), line.Command, func(context.Context, *line.Conn) error {
		for _, d := range p.devices {
			for i, at := range []time.Time{d.polite, d.probe, d.rested, d.debts.at} {
				monotonic(fmt.Sprint(d.cfg.Name, " ", i), at)
			}
			for _, b := range d.blocks {
				monotonic(d.cfg.Name+" block", b.due)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.only(20, map[string]string{"d/v": "5"})
}

// A question is not answered by what was sent before it was asked.
func TestFault01AnswerBeforeTheQuestion(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[50] = 5, 6
	f.mangle = func(_, answer []byte) []byte {
		old := frame([]byte{1, 3, 2, 0, 99})
		return append(answer, old...) // after the answer, alike in all but its value
	}
	_, l := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, MaxRegisters: 2, Points: []PointConfig{on("d", "v", Holding, 0, U16), on("d", "w", Holding, 50, U16)}})
	r.only(60, map[string]string{"d/v": "5", "d/w": "6"})
	if stats := l.Stats(); stats.Garbage == 0 {
		t.Errorf("figures %+v", stats)
	}
}

// An answer that the device sends a second time is not another register's.
func TestFault01AnswerSentAgain(t *testing.T) {
	t.Parallel()
	survive(t, sim.Fault{Kind: sim.Duplicate, Probability: 0.3, Delay: 4 * ms})
	survive(t, sim.Fault{Kind: sim.Replay, Probability: 0.2})
}

// A device that answers late in another's name is not taken for that one.
func TestFault02LateInAnothersName(t *testing.T) {
	t.Parallel()
	slaves, devices := meters(3, []uint16{0, 100}, 4, 0,
		sim.Fault{Kind: sim.Late, Probability: 0.15, Delay: 80 * ms}, sim.Fault{Kind: sim.WrongUnit, Probability: 0.3})
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: slaves})
	sink := newTruth(devices, 1<<30)
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Retries = f.Path("bus"), 8
	start(t, cfg, sink, devices...)
	sink.wait(t, 100)
	sink.right(t)
}
