package modbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

func write(t *testing.T, p *Poller, point string, v adapters.Value) adapters.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	return p.Device("d").Write(ctx, adapters.Command{Point: point, Value: v})
}

func writeBench(t *testing.T) (*field, *slave, *record, *Poller) {
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	for i := range uint16(10) {
		s.registers[i] = 0
		s.bits[i] = false
	}
	low, high := 0.0, 100.0
	valve := writable(on("d", "valve", Holding, 0, U16), Verify)
	valve.Point.Min, valve.Point.Max = &low, &high
	temp := writable(on("d", "temp", Holding, 1, I16), Verify)
	temp.Scale = 0.1
	flow := writable(on("d", "flow", Holding, 2, F32), Verify)
	flow.Order = CDAB
	cfg := f.rtu()
	cfg.Timeout = 500 * time.Millisecond // a busy machine is not what is tested
	p, _ := start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, Every: 10 * time.Millisecond, Points: []PointConfig{
		valve, temp, flow, writable(on("d", "heater", Coil, 0, Bool), Verify), writable(on("d", "fan", Coil, 1, Bool), Plain),
		on("d", "fixed", Holding, 4, U16),
	}})
	r.online("d")
	return f, s, r, p
}

func TestWrite(t *testing.T) {
	t.Parallel()
	f, s, r, p := writeBench(t)
	for _, test := range []struct {
		point                string
		value, written, back adapters.Value
	}{
		{"heater", adapters.Bool(true), adapters.Bool(true), adapters.Bool(true)},
		{"fan", adapters.Bool(true), adapters.Bool(true), adapters.Value{}},
		{"valve", adapters.Int(40), adapters.Int(40), adapters.Int(40)},
		{"valve", adapters.Int(400), adapters.Int(100), adapters.Int(100)}, // clamped
		{"temp", adapters.Float(-21.44), adapters.Float(-21.4), adapters.Float(-21.4)},
		{"flow", adapters.Float(21.4), adapters.Float(21.4), adapters.Float(21.4)},
	} {
		res := write(t, p, test.point, test.value)
		if res.Err != nil || res.Written != test.written || res.Value != test.back || res.Elapsed <= 0 || res.Time.IsZero() {
			t.Errorf("%s = %v: %+v", test.point, test.value, res)
		}
	}
	f.with(func() {
		if !s.bits[0] || !s.bits[1] || s.registers[0] != 100 || int16(s.registers[1]) != -214 || s.registers[2] != 0x3333 || s.registers[3] != 0x41ab {
			t.Errorf("the device holds %v %v", s.bits, s.registers)
		}
	})
	r.reads("d/valve", "100")
	r.reads("d/fan", "true")
	for point, want := range map[string]string{"fixed": "read only", "nothing": "no such point", "flow": "not a number"} {
		if res := write(t, p, point, adapters.Bool(true)); res.Err == nil || !strings.Contains(res.Err.Error(), want) {
			t.Errorf("%s: %v", point, res.Err)
		}
	}
	if p.Device("other") != nil {
		t.Error("a device that is not on the line was found")
	}
	if s := p.Stats()[0]; s.Writes != 9 || s.WriteErrors != 3 {
		t.Errorf("%d writes, %d errors", s.Writes, s.WriteErrors)
	}
}

// What a command can't be is told with what it can.
func TestWordsOfRefusals(t *testing.T) {
	t.Parallel()
	flow := writable(on("d", "flow", Holding, 2, F32), Verify)
	flow.Scale = 0.1
	level := writable(on("d", "level", Holding, 4, U16), Verify)
	level.Scale = 0.1
	for _, test := range []struct {
		p       PointConfig
		command string
		want    string
	}{
		{writable(on("d", "heater", Coil, 0, Bool), Verify), "ein", `"ein" is neither on nor off: expected on, off, true, false, 1 or 0`},
		{flow, "1e40", "value 1e+40: raw 1e+41 is too big for type f32"},
		{level, "7000", "value 7000: raw 70000 is outside 0 to 65535 of type u16"},
		{flow, "22,5", `"22,5" is not a number: write 22.5, with a decimal point`},
	} {
		if err := test.p.Accepts(test.p.Point.Parse(test.command)); err == nil || err.Error() != test.want {
			t.Errorf("%s to %s: %v, want %s", test.command, test.p.Point.Name, err, test.want)
		}
	}
}

func TestWriteThatIsNotTaken(t *testing.T) {
	t.Parallel()
	f, s, _, p := writeBench(t)
	f.with(func() { s.stuck, s.registers[0] = true, 7 })
	res := write(t, p, "valve", adapters.Int(40))
	if !errors.Is(res.Err, ErrNotTaken) || res.Value != adapters.Int(7) {
		t.Errorf("got %+v", res)
	}
}

func TestFault12WriteFallsBackToAnotherFunction(t *testing.T) {
	t.Parallel()
	f, s, _, p := writeBench(t)
	f.with(func() { s.refuse[5], s.refuse[6] = 1, 1 })
	if res := write(t, p, "heater", adapters.Bool(true)); res.Err != nil || res.Value != adapters.Bool(true) {
		t.Errorf("coil: %+v", res)
	}
	if res := write(t, p, "valve", adapters.Int(9)); res.Err != nil || res.Value != adapters.Int(9) {
		t.Errorf("register: %+v", res)
	}
	f.with(func() { s.refuse[15], s.refuse[16] = 1, 1 })
	if res := write(t, p, "valve", adapters.Int(9)); !errors.Is(res.Err, IllegalFunction) {
		t.Errorf("refused: %+v", res)
	}
}

// A write without an answer is sent again as often as configured, and no more:
// then the device is asked what it holds.
func TestWriteWithoutAnswer(t *testing.T) {
	t.Parallel()
	f, s, r, p := writeBench(t)
	sent, mute := 0, false
	spoil := func([]byte) []byte { return nil }
	f.with(func() {
		s.registers[0], s.bits[0] = 7, false
		f.mangle = func(request, answer []byte) []byte {
			if request[1] > 4 {
				sent++
				return spoil(answer)
			}
			if mute && request[1] == 1 && request[3] == 1 { // of the fan alone
				return nil
			}
			return answer
		}
	})
	for _, test := range []struct {
		name, point string
		value, back adapters.Value
		stuck, torn bool
		lacks       byte // the function
		mute        bool
		want        string // of the error
	}{
		{name: "taken", point: "valve", value: adapters.Int(9), back: adapters.Int(9)},
		{name: "taken, not to be read back", point: "fan", value: adapters.Bool(true), back: adapters.Bool(true)},
		{name: "not taken", point: "valve", value: adapters.Int(40), back: adapters.Int(9), stuck: true, want: "no answer to the write; the device holds 9"},
		{name: "torn answer", point: "heater", value: adapters.Bool(true), back: adapters.Bool(true), torn: true},
		{name: "torn answer, not taken", point: "heater", value: adapters.Bool(false), back: adapters.Bool(true), stuck: true, torn: true, want: "the device holds true"},
		{name: "cannot be read", point: "fan", value: adapters.Bool(false), lacks: 1, want: "no answer to the write; what the device holds is not known"},
		{name: "is silent when it is read", point: "fan", value: adapters.Bool(false), mute: true, want: "no answer to the write; what the device holds is not known"},
	} {
		f.with(func() {
			sent, s.stuck, mute = 0, test.stuck, test.mute
			if spoil = func([]byte) []byte { return nil }; test.torn {
				spoil = func(answer []byte) []byte { answer[len(answer)-1]++; return answer }
			}
			if clear(s.refuse); test.lacks > 0 {
				s.refuse[test.lacks] = 2
			}
		})
		res := write(t, p, test.point, test.value)
		if res.Value != test.back || (res.Err == nil) != (test.want == "") || errors.Is(res.Err, adapters.ErrOffline) ||
			res.Err != nil && !strings.Contains(res.Err.Error(), test.want) {
			t.Errorf("%s: %+v", test.name, res)
		}
		f.with(func() {
			if sent < 1 || sent > 2 {
				t.Errorf("%s: sent %d times", test.name, sent)
			}
		})
	}
	f.with(func() { s.dead, sent = true, 0 }) // now nothing is answered
	if res := write(t, p, "valve", adapters.Int(10)); !errors.Is(res.Err, adapters.ErrOffline) {
		t.Errorf("dead: %+v", res)
	}
	r.offline("d")
}

// A device that owes an answer is read back when it has rested, and not written
// to again.
func TestWriteIsReadBackLater(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[100] = 7, 8
	lost, losing, sent := make(chan struct{}, 64), false, 0
	f.mangle = func(request, answer []byte) []byte {
		switch {
		case request[1] > 4:
			sent++
		case losing && sent == 0 && request[3] == 100: // no answer to another question is of another length
			select {
			case lost <- struct{}{}:
			default:
			}
			return nil
		}
		return answer
	}
	cfg := f.rtu()
	cfg.Retries = 10
	p, _ := start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, Every: 10 * time.Millisecond, Points: []PointConfig{
		writable(on("d", "valve", Holding, 0, U16), Verify), on("d", "flow", Holding, 100, U16),
	}})
	r.reads("d/valve", "7")
	r.reads("d/flow", "8")
	f.with(func() { losing = true })
	<-lost
	if res := write(t, p, "valve", adapters.Int(9)); res.Err != nil || res.Value != adapters.Int(9) {
		t.Errorf("got %+v", res)
	}
	f.with(func() {
		if sent != 1 {
			t.Errorf("sent %d times", sent)
		}
	})
}

func TestWriteToADeadDevice(t *testing.T) {
	t.Parallel()
	f, s, r, p := writeBench(t)
	f.with(func() { s.dead = true })
	if res := write(t, p, "valve", adapters.Int(9)); !errors.Is(res.Err, line.ErrTimeout) || !errors.Is(res.Err, adapters.ErrOffline) {
		t.Errorf("got %+v", res)
	}
	r.offline("d")
	// A command is tried at once, not at the next probe, and brings it back.
	f.with(func() { s.dead = false })
	if res := write(t, p, "valve", adapters.Int(9)); res.Err != nil {
		t.Errorf("got %+v", res)
	}
	r.online("d")
	r.reads("d/valve", "9")
}

// The adapter is unplugged: the command may be tried again.
func TestWriteToALineThatIsNotThere(t *testing.T) {
	t.Parallel()
	f, _, r, p := writeBench(t)
	f.unplug()
	r.offline("d")
	if res := write(t, p, "valve", adapters.Int(9)); !errors.Is(res.Err, line.ErrClosed) || !errors.Is(res.Err, adapters.ErrOffline) {
		t.Errorf("got %+v", res)
	}
	f.plug()
	r.online("d")
}

// The line ends: a command under way, or later, is for the next start.
func TestWriteAtTheEndOfTheLine(t *testing.T) {
	t.Parallel()
	f := newField(t)
	cfg := f.rtu()
	cfg.Timeout = testPatience
	l := line.New(cfg, slog.New(slog.DiscardHandler))
	p := NewPoller(l, []DeviceConfig{{Name: "d", Unit: 1, Points: []PointConfig{writable(on("d", "valve", Holding, 0, U16), Verify)}}},
		newRecord(t), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{}, 8)
	f.with(func() {
		f.mangle = func(_, answer []byte) []byte {
			asked <- struct{}{}
			return answer
		}
	})
	ended, done := make(chan error, 1), make(chan adapters.Result, 1)
	go func() { ended <- l.Run(ctx) }()
	go func() { done <- write(t, p, "valve", adapters.Int(9)) }()
	<-asked
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for range 2 {
		if res := <-done; !errors.Is(res.Err, adapters.ErrStopping) || errors.Is(res.Err, adapters.ErrOffline) {
			t.Errorf("got %+v", res)
		}
		done <- write(t, p, "valve", adapters.Int(9))
	}
}

// With an adapter that hears itself and no device at all, a write must fail
// although its echo is a perfect answer.
func TestFault03EchoIsNoAnswerToAWrite(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.mangle = func(request, _ []byte) []byte { return bytes.Clone(request) }
	p, _ := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: time.Hour, Points: []PointConfig{
		writable(on("d", "v", Holding, 0, U16), Plain),
	}})
	if res := write(t, p, "v", adapters.Int(9)); res.Err == nil {
		t.Errorf("got %+v", res)
	}
}

func TestFault03WriteThroughAnEcho(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0] = 1
	f.mangle = func(request, answer []byte) []byte { return append(bytes.Clone(request), answer...) }
	cfg := f.rtu()
	cfg.Timeout = 300 * time.Millisecond
	p, l := start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, Every: 10 * time.Millisecond, Points: []PointConfig{
		writable(on("d", "v", Holding, 0, U16), Verify),
	}})
	r.reads("d/v", "1")
	if res := write(t, p, "v", adapters.Int(9)); res.Err != nil || res.Value != adapters.Int(9) {
		t.Errorf("got %+v", res)
	}
	if stats := l.Stats(); stats.Garbage != 0 {
		t.Errorf("%d bytes of echo were counted as garbage", stats.Garbage)
	}
	f.with(func() { s.dead = true }) // its echo is still heard
	if res := write(t, p, "v", adapters.Int(10)); res.Err == nil {
		t.Errorf("got %+v", res)
	}
}

// A stream of commands does not starve the polls, nor the polls a command.
func TestCommandsAndPollsTakeTurns(t *testing.T) {
	t.Parallel()
	_, _, r, p := writeBench(t)
	r.mu.Lock()
	before := len(r.all)
	r.mu.Unlock()
	for i := range 50 {
		if res := write(t, p, "fan", adapters.Bool(i%2 == 0)); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	r.until("polls after the commands", func() bool { return len(r.all) > before+20 })
}

// A point says which function it is written with; the other is tried where the
// device lacks it.
func TestWriteFunction(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.bits[0] = 0, false
	var asked []byte
	f.mangle = func(request, answer []byte) []byte {
		if request[1] > 4 {
			asked = append(asked, request[1])
		}
		return answer
	}
	valve, heater := writable(on("d", "valve", Holding, 0, U16), Plain), writable(on("d", "heater", Coil, 0, Bool), Plain)
	valve.Function, heater.Function = WriteRegisters, WriteCoils
	p, _ := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: 10 * time.Millisecond, Points: []PointConfig{valve, heater}})
	r.online("d")
	for _, lacks := range []bool{false, true} {
		f.with(func() {
			if asked = nil; lacks {
				s.refuse[15], s.refuse[16] = 1, 1
			}
		})
		for point, value := range map[string]adapters.Value{"valve": adapters.Int(7), "heater": adapters.Bool(true)} {
			if res := write(t, p, point, value); res.Err != nil {
				t.Errorf("%s: %v", point, res.Err)
			}
		}
		f.with(func() {
			slices.Sort(asked)
			if want := []byte{15, 16}; !lacks && !bytes.Equal(asked, want) || lacks && !bytes.Equal(asked, []byte{5, 6, 15, 16}) {
				t.Errorf("asked by functions %v", asked)
			}
			if s.registers[0] != 7 || !s.bits[0] {
				t.Errorf("the device holds %v %v", s.bits, s.registers)
			}
		})
	}
	for _, wrong := range []PointConfig{
		{Table: Coil, Function: WriteRegister}, {Table: Holding, Type: U32, Function: WriteRegister}, {Table: Holding, Function: WriteCoils}, {Table: Holding, Function: 7},
	} {
		if wrong.Function.Fits(wrong) {
			t.Errorf("function %d fits %+v", wrong.Function, wrong)
		}
	}
}

// On a saturated line a command waits for the read under way and no other, and
// its own read back comes right behind it.
func TestCommandWaitsForOneRead(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	var devices []DeviceConfig
	for unit := byte(1); unit <= 3; unit++ {
		s := f.add(unit)
		d := DeviceConfig{Name: string('c' + rune(unit)), Unit: unit}
		for at := uint16(0); at < 40; at += 20 {
			s.registers[at] = 1
			d.Points = append(d.Points, on(d.Name, fmt.Sprint(at), Holding, at, U16))
		}
		s.bits[0] = false
		d.Points = append(d.Points, writable(on(d.Name, "relay", Coil, 0, Bool), Verify))
		devices = append(devices, d)
	}
	var asked []byte // the functions since the command was given
	f.mangle = func(request, answer []byte) []byte {
		asked = append(asked, request[1])
		return answer
	}
	cfg := f.rtu()
	cfg.Timeout = 5 * time.Second // answers wait while the test looks
	p, l := start(t, cfg, r, devices...)
	for _, d := range devices {
		r.online(d.Name)
	}
	for i := range 20 {
		// A command that overtook a read lets one go before the next command.
		r.mu.Lock()
		before := len(r.all)
		r.mu.Unlock()
		r.until("two more reads", func() bool { return len(r.all) > before+4 })
		done := make(chan adapters.Result, 1)
		f.with(func() { // no request is answered: no more than one can be under way
			asked = nil
			go func() { done <- write(t, p, "relay", adapters.Bool(i%2 == 0)) }()
			late := time.After(300 * time.Millisecond) // it has begun already
			for begun := false; !begun && l.Stats().Waiting[line.Command] == 0; {
				select {
				case <-time.After(time.Millisecond):
				case <-late:
					begun = true
				}
			}
		})
		if res := <-done; res.Err != nil {
			t.Fatal(res.Err)
		}
		f.with(func() {
			if at := bytes.IndexByte(asked, 5); at < 0 || at > 1 || len(asked) < at+2 || asked[at+1] != 1 {
				t.Errorf("requests after command %d: %v", i, asked)
			}
		})
	}
}
