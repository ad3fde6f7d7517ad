package modbus

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
)

func TestPollRTU(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(3)
	s.registers[0], s.registers[1], s.registers[2] = 214, 0x41ab, 0x3333
	s.registers[10], s.registers[11] = 0x7fc0, 0
	s.bits[5] = true
	p, l := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 3, Every: 10 * time.Millisecond, Points: []PointConfig{
		on("d", "temp", Input, 0, U16), on("d", "flow", Input, 1, F32), on("d", "nan", Holding, 10, F32),
		on("d", "door", Discrete, 5, Bool),
	}})
	r.online("d")
	r.reads("d/temp", "214")
	r.reads("d/flow", "21.4")
	r.reads("d/nan", "invalid")
	r.reads("d/door", "true")
	f.with(func() { s.registers[0], s.bits[5] = 215, false })
	r.reads("d/temp", "215")
	r.reads("d/door", "false")
	stats := p.Stats()[0]
	if !stats.Online || stats.Answers < 5 || stats.BadFrames != 0 || stats.P50 <= 0 || stats.LastAnswer.IsZero() {
		t.Errorf("figures %+v", stats)
	}
	if got := l.Stats(); got.Checksum+got.Short+got.Mismatch+got.Noise != 0 {
		t.Errorf("line figures %+v", got)
	}
}

// A device away costs the others next to nothing, is told offline once with
// all its points, and is noticed when it returns.
func TestDeadDevice(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s1, s2 := f.add(1), f.add(2)
	s1.registers[0], s2.registers[0], s2.registers[50] = 1, 2, 3
	cfg := f.rtu()
	cfg.Timeout = 30 * time.Millisecond
	start(t, cfg, r,
		DeviceConfig{Name: "a", Unit: 1, Points: []PointConfig{on("a", "v", Holding, 0, U16)}},
		DeviceConfig{Name: "b", Unit: 2, Points: []PointConfig{on("b", "v", Holding, 0, U16), on("b", "w", Holding, 50, U16)}})
	r.reads("a/v", "1")
	r.reads("b/w", "3")
	f.with(func() { s2.dead = true })
	r.offline("b")
	r.reads("b/v", "offline")
	r.reads("b/w", "offline")
	var dead, alive int
	f.with(func() { dead, alive = f.asked[2], f.asked[1] })
	// While the dead device is probed twice, the other is asked a lot.
	r.until("two probes", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.asked[2] >= dead+2 })
	f.with(func() {
		if n := f.asked[1] - alive; n < 50 {
			t.Errorf("the living device was asked %d times only", n)
		}
		s2.dead, s2.registers[0] = false, 7
	})
	r.online("b")
	r.reads("b/v", "7")
	r.mu.Lock()
	defer r.mu.Unlock()
	told := 0
	for _, reading := range r.all {
		if reading.Quality == adapters.Offline && reading.Point.Device == "b" {
			told++
		}
	}
	// A busy machine may have lost it more than once.
	if want := 2 * r.downs["b"]; told != want {
		t.Errorf("%d offline readings, want %d, one for each of two points", told, want)
	}
}

func TestFault20UnplugAndReplug(t *testing.T) {
	t.Parallel()
	f, other, r := newField(t), newField(t), newRecord(t)
	f.add(1).registers[0] = 1
	other.add(1).registers[0] = 2
	start(t, f.rtu(), r, DeviceConfig{Name: "a", Unit: 1, Every: 5 * time.Millisecond, Points: []PointConfig{on("a", "v", Holding, 0, U16)}})
	cfg := other.rtu()
	cfg.Timeout = time.Second
	_, l2 := start(t, cfg, r, DeviceConfig{Name: "b", Unit: 1, Every: 5 * time.Millisecond, Points: []PointConfig{on("b", "v", Holding, 0, U16)}})
	r.online("a")
	r.online("b")
	f.unplug()
	r.offline("a")
	r.reads("a/v", "offline")
	r.mu.Lock()
	if reason := r.on["a"]; !strings.Contains(reason, "line bus: ") {
		t.Errorf("reason %q does not name the line", reason)
	}
	r.mu.Unlock()
	f.plug()
	r.online("a")
	r.reads("a/v", "1")
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, reading := range r.all {
		if reading.Point.Device == "b" && reading.Quality != adapters.Good {
			t.Errorf("the other line was disturbed: %+v", reading)
		}
	}
	if s := l2.Stats(); s.Opens != 1 {
		t.Errorf("the other line was disturbed: %+v", s)
	}
}

// One missing register costs its own point, not the block it lies in.
func TestFault09MissingRegister(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	var points []PointConfig
	for i := range uint16(16) {
		s.registers[i] = 100 + i
		points = append(points, on("d", string(rune('a'+i)), Holding, i, U16))
	}
	delete(s.registers, 5)
	p, _ := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: 5 * time.Millisecond, Points: points})
	r.reads("d/f", "bad_register")
	for _, pc := range points {
		if pc.Address != 5 {
			r.reads("d/"+pc.Point.Name, adapters.Int(int64(100+pc.Address)).String())
		}
	}
	if stats := p.Stats()[0]; stats.BadRegisters != 1 || !stats.Online {
		t.Errorf("figures %+v", stats)
	}
}

// Some devices keep silent about a register they lack.
func TestFault13SilentRegister(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[40], s.registers[41] = 1, 2, 3
	f.mangle = func(request, answer []byte) []byte {
		address, count := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
		if address <= 41 && address+count > 41 {
			return nil
		}
		return answer
	}
	start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: 5 * time.Millisecond, Points: []PointConfig{
		on("d", "a", Holding, 0, U16), on("d", "b", Holding, 40, U16), on("d", "c", Holding, 41, U16),
	}})
	r.reads("d/a", "1")
	r.reads("d/b", "stale")
	r.reads("d/b", "2") // taken apart
	r.reads("d/c", "bad_register")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on["d"] != "online" {
		t.Errorf("the device is %s", r.on["d"])
	}
}

func TestOtherExceptions(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.bits[0] = 1, true
	s.refuse[3], s.refuse[2] = 4, 6
	start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: 5 * time.Millisecond, Points: []PointConfig{
		on("d", "failed", Holding, 0, U16), on("d", "busy", Discrete, 0, Bool), on("d", "good", Input, 0, U16),
	}})
	r.reads("d/good", "1")
	r.reads("d/failed", "invalid")
	r.reads("d/busy", "stale")
	f.with(func() { clear(s.refuse) })
	r.reads("d/failed", "1")
	r.reads("d/busy", "true")
}

// mangled answers are refused or repaired; a wrong number is never published.
func TestMangledAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		mangle func(request, answer []byte) []byte // every third answer
	}{
		{"checksum", func(_, a []byte) []byte { a[4] ^= 0x40; return a }},
		{"short", func(_, a []byte) []byte { return a[:len(a)-3] }},
		{"leading zero", func(_, a []byte) []byte { return append([]byte{0}, a...) }},
		{"leading garbage", func(_, a []byte) []byte { return append([]byte{1, 3, 4, 0xff, 1, 3, 0x83}, a...) }},
		{"trailing garbage", func(_, a []byte) []byte { return append(a, 0xff, 0, 1, 3, 2) }},
		{"echo", func(q, a []byte) []byte { return append(bytes.Clone(q), a...) }},
		{"only the echo", func(q, _ []byte) []byte { return q }},
		{"wrong unit", func(_, a []byte) []byte { a[0] = 9; return frame(a[:len(a)-2]) }},
		{"wrong function", func(_, a []byte) []byte { a[1] = 4; return frame(a[:len(a)-2]) }},
		{"fewer registers", func(_, a []byte) []byte { a[2] = 2; return frame(a[:5]) }},
		{"more registers", func(_, a []byte) []byte { a[2] = 6; return frame(append(a[:7], 0, 0)) }},
		{"foreign exception", func(_, a []byte) []byte { return frame([]byte{a[0], 0x84, 2}) }},
		{"nothing", func(_, _ []byte) []byte { return nil }},
		{"another unit's answer before", func(_, a []byte) []byte {
			return append(frame([]byte{9, 3, 4, 1, 1, 1, 1}), a...)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, r := newField(t), newRecord(t)
			s := f.add(1)
			s.registers[0], s.registers[1], s.registers[20], s.registers[21] = 11, 12, 21, 22
			n := 0
			f.mangle = func(request, answer []byte) []byte {
				if n++; n%3 == 2 && len(answer) == 9 {
					return test.mangle(request, answer)
				}
				return answer
			}
			start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: time.Millisecond, Points: []PointConfig{
				on("d", "a", Holding, 0, U16), on("d", "b", Holding, 1, U16),
				on("d", "x", Holding, 20, U16), on("d", "y", Holding, 21, U16),
			}})
			want := map[string]string{"a": "11", "b": "12", "x": "21", "y": "22"}
			r.until("30 good readings", func() bool {
				good := 0
				for _, reading := range r.all {
					if reading.Quality != adapters.Good {
						continue // a busy machine may lose more answers than the test
					}
					good++
					if reading.Value.String() != want[reading.Point.Name] {
						t.Fatalf("published %s = %v", reading.Point.Name, reading.Value)
					}
				}
				return good >= 30
			})
		})
	}
}

// Now and then the device falls one answer behind for three requests: each
// brings out the answer to the one before. Equal in unit, function and length,
// only the order gives it away.
func TestFault01LateAnswerIsNeverTakenForAnotherRegister(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	for i := range uint16(10) {
		s.registers[100*i] = 1000 + i
	}
	var points []PointConfig
	for i := range uint16(10) {
		points = append(points, on("d", string(rune('a'+i)), Holding, 100*i, U16))
	}
	var held []byte
	n := 0
	f.mangle = func(_, answer []byte) []byte {
		if n++; n%11 < 8 {
			held = nil // lost
			return answer
		}
		out := held
		held = bytes.Clone(answer)
		return out
	}
	cfg := f.rtu()
	cfg.Timeout, cfg.Retries = 20*time.Millisecond, 5
	start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, Points: points})
	r.until("150 good readings", func() bool {
		good := 0
		for _, reading := range r.all {
			if reading.Quality == adapters.Good {
				good++
				if want := 1000 + int64(reading.Point.Name[0]-'a'); reading.Value != adapters.Int(want) {
					t.Fatalf("published %s = %v, it is %d", reading.Point.Name, reading.Value, want)
				}
			}
		}
		return good >= 150
	})
}

func TestFault29LateTransaction(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[50] = 5, 6
	var held []byte
	n := 0
	port := f.serveTCP(func(_, answer []byte) []byte {
		switch n++; {
		case n%5 == 3:
			held = bytes.Clone(answer) // late: it comes with the next answer
			return nil
		case len(held) > 0:
			answer = append(held, answer...)
			held = nil
		}
		return answer
	})
	cfg := f.rtu()
	cfg.Kind, cfg.Port = "tcp", port
	_, l := start(t, cfg, r,
		DeviceConfig{Name: "d", Unit: 1, Points: []PointConfig{on("d", "v", Holding, 0, U16), on("d", "w", Holding, 50, U16)}})
	want := map[string]string{"v": "5", "w": "6"}
	r.until("100 good readings", func() bool {
		good := 0
		for _, reading := range r.all {
			if reading.Quality != adapters.Good {
				continue // a busy machine may lose more answers than the test
			}
			good++
			if reading.Value.String() != want[reading.Point.Name] {
				t.Fatalf("published %s = %v", reading.Point.Name, reading.Value)
			}
		}
		return good >= 100
	})
	if stats := l.Stats(); stats.Opens != 1 {
		t.Errorf("late answers cost %d connections", stats.Opens-1)
	}
}

// A gateway that can't reach a device says so; the connection is kept.
func TestFault11DeviceBehindAGateway(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 5
	port := f.serveTCP(func(request, answer []byte) []byte {
		if request[6] != 2 {
			return answer
		}
		return append(append(bytes.Clone(request[:4]), 0, 3, 2), request[7]|0x80, 11)
	})
	cfg := f.rtu()
	cfg.Kind, cfg.Port = "tcp", port
	_, l := start(t, cfg, r,
		DeviceConfig{Name: "a", Unit: 1, Points: []PointConfig{on("a", "v", Holding, 0, U16)}},
		DeviceConfig{Name: "b", Unit: 2, Points: []PointConfig{on("b", "v", Holding, 0, U16)}})
	r.offline("b")
	r.reads("b/v", "offline")
	r.reads("a/v", "5")
	if stats := l.Stats(); stats.Opens != 1 {
		t.Errorf("the connection was made %d times", stats.Opens)
	}
}

func TestLineThatIsNotThere(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 5
	f.unplug()
	p, _ := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Points: []PointConfig{writable(on("d", "v", Holding, 0, U16), Verify)}})
	r.offline("d")
	r.reads("d/v", "offline")
	if res := p.Device("d").Write(t.Context(), adapters.Command{Point: "v", Value: adapters.Int(1)}); res.Err == nil || !strings.Contains(res.Err.Error(), "plugged in") {
		t.Errorf("writing gave %v", res.Err)
	}
	f.plug()
	r.reads("d/v", "5")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	twice := on("d", "twice", Holding, 0, U16)
	coil := on("d", "coil", Coil, 0, U16)
	end := on("d", "end", Holding, 65535, U32)
	input := writable(on("d", "input", Input, 0, U16), Plain)
	scaled := on("d", "scaled", Coil, 0, Bool)
	scaled.Scale = 2
	nan := on("d", "nan", Holding, 0, U16)
	nan.Offset, nan.Decimals = math.NaN(), 99
	err := DeviceConfig{Unit: 250, Every: -1, Delay: -1, MaxRegisters: 126, Points: []PointConfig{
		twice, twice, coil, end, input, scaled, nan, {},
	}}.Validate()
	var got []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		got = append(got, e.(interface{ Field() string }).Field())
	}
	want := "name unit every delay max_registers points.twice points.coil.type points.end.holding points.input.write points.scaled.scale points.nan.offset points.nan.decimals points"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %v\nwant %v", strings.Join(got, " "), want)
	}
	for _, table := range []Table{Coil, Discrete, Input, Holding} {
		if back, err := ParseTable(table.String()); err != nil || back != table {
			t.Errorf("%v does not parse back", table)
		}
	}
}
