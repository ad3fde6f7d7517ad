package modbus

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/sim"
)

// What a device confirms to another master is heard, unless it may be something
// else: the same request once more, or the answer to an earlier one.
func TestMonitorHearsWrites(t *testing.T) {
	t.Parallel()
	type said struct {
		after time.Duration
		frame []byte
	}
	one, coil := frameOf(1, 6, 0, 1, 0, 9), frameOf(1, 5, 0, 7, 0xff, 0)
	many := frameOf(1, 16, 0, 1, 0, 2, 4, 0, 9, 0, 8)
	others, manyDone := frameOf(1, 16, 0, 1, 0, 2, 4, 0, 7, 0, 6), frameOf(1, 16, 0, 1, 0, 2)
	ask, answer := readFrame(1, 3, 0, 2), answerFrame(1, 3, 0, 2)
	const read = "1: 3 0+2 03 e8 03 e9"
	for _, c := range []struct {
		name   string
		frames []said
		want   []string
	}{
		{"a register", []said{{0, one}, {20 * ms, one}}, []string{"1: 3 1+1 00 09"}},
		{"in one heap", []said{{0, slices.Concat(one, one)}}, []string{"1: 3 1+1 00 09"}},
		{"a coil", []said{{0, coil}, {20 * ms, coil}}, []string{"1: 1 7+1 01"}},
		{"a coil, off", []said{{0, frameOf(1, 5, 0, 7, 0, 0)}, {20 * ms, frameOf(1, 5, 0, 7, 0, 0)}}, []string{"1: 1 7+1 00"}},
		{"registers", []said{{0, many}, {400 * ms, manyDone}}, []string{"1: 3 1+2 00 09 00 08"}},
		{"coils", []said{{0, frameOf(1, 15, 0, 3, 0, 10, 2, 0xcd, 1)}, {20 * ms, frameOf(1, 15, 0, 3, 0, 10)}}, []string{"1: 1 3+10 cd 01"}},
		{"refused", []said{{0, one}, {20 * ms, frameOf(1, 0x86, 2)}}, []string{"1: 0 0+0 "}},
		{"a mask", []said{{0, frameOf(1, 22, 0, 1, 0, 9, 0, 1)}, {20 * ms, frameOf(1, 22, 0, 1, 0, 9, 0, 1)}}, []string{"1: 0 0+0 "}},
		{"another value is confirmed", []said{{0, one}, {20 * ms, frameOf(1, 6, 0, 1, 0, 8)}}, nil},
		{"another unit confirms", []said{{0, one}, {20 * ms, frameOf(2, 6, 0, 1, 0, 9)}}, nil},
		// The request once more looks like its answer.
		{"late", []said{{0, one}, {500 * ms, one}}, []string{"1: 0 0+0 "}},
		{"late, then at once", []said{{0, one}, {500 * ms, one}, {500 * ms, one}, {20 * ms, one}}, []string{"1: 0 0+0 ", "1: 0 0+0 "}},
		{"late, then read", []said{{0, one}, {500 * ms, one}, {50 * ms, ask}, {20 * ms, answer}, {50 * ms, one}, {20 * ms, one}},
			[]string{"1: 0 0+0 ", read, "1: 3 1+1 00 09"}},
		{"silent when it was read", []said{{0, ask}, {500 * ms, one}, {20 * ms, one}}, []string{"1: 0 0+0 "}},
		{"silent long ago", []said{{0, ask}, {500 * ms, readFrame(2, 3, 0, 1)}, {debtLife + time.Second, one}, {20 * ms, one}}, []string{"1: 3 1+1 00 09"}},
		{"a slow device, known as that", []said{{0, ask}, {150 * ms, answer}, {50 * ms, one}, {160 * ms, one}}, []string{read, "1: 3 1+1 00 09"}},
		// The answer may be that to what was written before.
		{"others before", []said{{0, others}, {500 * ms, many}, {20 * ms, manyDone}}, []string{"1: 0 0+0 "}},
		{"the same before", []said{{0, many}, {500 * ms, many}, {20 * ms, manyDone}}, []string{"1: 3 1+2 00 09 00 08"}},
		{"others before, then read", []said{{0, others}, {500 * ms, ask}, {20 * ms, answer}, {50 * ms, many}, {20 * ms, manyDone}}, []string{read, "1: 3 1+2 00 09 00 08"}},
	} {
		var heard []string
		m := newMonitor(func(unit byte, q question, data []byte, _ time.Time) {
			heard = append(heard, fmt.Sprintf("%d: %d %d+%d % x", unit, q.function, q.address, q.count, data))
		})
		at := time.Now()
		for _, s := range c.frames {
			at = at.Add(s.after)
			m.feed(s.frame, at)
		}
		if !slices.Equal(heard, c.want) {
			t.Errorf("%s: heard %q, want %q", c.name, heard, c.want)
		}
	}
	// Of a unit whose registers have four bytes it is not known what was written.
	m := newMonitor(func(_ byte, _ question, data []byte, _ time.Time) {
		if data != nil {
			t.Errorf("of a wide unit: % x", data)
		}
	})
	m.wide = map[byte]bool{1: true}
	m.feed(slices.Concat(one, one, many, manyDone), time.Now())
}

// However requests and answers are lost or late: a value that is heard is what
// the device held when it said so.
func TestMonitorHearsNoWriteThatWasNotDone(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		type state struct {
			at    time.Time
			holds [4]uint16
		}
		states := []state{{}}
		good, wrong := 0, ""
		m := newMonitor(func(_ byte, q question, data []byte, at time.Time) {
			// What follows a broken frame without a pause is heard later.
			held := func(register int, value uint16) bool {
				for i, s := range slices.Backward(states) {
					if !s.at.After(at) && s.holds[register] == value {
						return true
					}
					if at.Sub(s.at) > 300*ms || i == 0 {
						break
					}
				}
				return false
			}
			for i := 0; i < len(data); i += 2 {
				good++
				if register, got := int(q.address)+i/2, binary.BigEndian.Uint16(data[i:]); !held(register, got) && wrong == "" {
					wrong = fmt.Sprintf("register %d: %d, it holds %d", register, got, states[len(states)-1].holds[register])
				}
			}
		})
		at := time.Now()
		pass := func(b []byte) {
			for len(b) > 0 {
				n := min(len(b), 1+r.IntN(2*len(b)))
				m.feed(b[:n], at)
				b = b[n:]
				at = at.Add(time.Duration(r.IntN(8)) * ms)
			}
		}
		// device carries a request out and gives its answer.
		device := func(pdu []byte) []byte {
			states = append(states, state{at, states[len(states)-1].holds})
			holds, address := &states[len(states)-1].holds, int(pdu[2])
			switch pdu[0] {
			case readHolding:
				answer := []byte{readHolding, 2 * pdu[4]}
				for _, v := range holds[address : address+int(pdu[4])] {
					answer = binary.BigEndian.AppendUint16(answer, v)
				}
				return frameOf(1, answer...)
			case writeRegister:
				holds[address] = binary.BigEndian.Uint16(pdu[3:])
				return frameOf(1, pdu...)
			}
			for i := range int(pdu[4]) {
				holds[address+i] = binary.BigEndian.Uint16(pdu[6+2*i:])
			}
			return frameOf(1, pdu[:5]...)
		}
		var value uint16
		dead := false
		for range 1500 {
			if r.IntN(100) == 0 {
				dead = !dead
			}
			address := byte(r.IntN(3))
			value++
			pdu := [][]byte{
				{readHolding, 0, address, 0, 2}, {writeRegister, 0, address, byte(value >> 8), byte(value)},
				{writeRegisters, 0, address, 0, 2, 4, byte(value >> 8), byte(value), byte(value >> 8), byte(value)},
			}[r.IntN(3)]
			for range 3 { // the master's tries
				pass(frameOf(1, pdu...))
				at = at.Add(time.Duration(5+r.IntN(30)) * ms)
				fate := r.IntN(60)
				if dead || fate == 0 {
					at = at.Add(300 * ms)
					continue
				}
				answer := device(pdu)
				if fate == 1 { // after the master has lost its patience, and before it asks again
					at = at.Add(250 * ms)
				}
				if fate == 2 {
					answer[r.IntN(len(answer))] ^= 1 << r.IntN(8)
				}
				pass(answer)
				if fate > 2 {
					break
				}
				at = at.Add(300 * ms)
			}
			at = at.Add(time.Duration(10+r.IntN(200)) * ms)
		}
		if wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
		if good < 200 {
			t.Errorf("seed %d: only %d values were heard", seed, good)
		}
	}
}

// What mbpoll writes is published when the device has confirmed it.
func TestTapHearsWrites(t *testing.T) {
	t.Parallel()
	slave := sim.SlaveConfig{Unit: 1, Turnaround: 5 * ms, Strict: true}
	device := DeviceConfig{Name: "d", Unit: 1, Stale: time.Minute}
	for i := range uint16(3) {
		register, coil := fmt.Sprint("r", i), fmt.Sprint("c", i)
		slave.Points = append(slave.Points, sim.PointConfig{Name: register, Table: "holding", Address: i, Writable: i < 2}, sim.PointConfig{Name: coil, Table: "coil", Address: i, Writable: true})
		device.Points = append(device.Points, on("d", register, Holding, i, U16), on("d", coil, Coil, i, Bool))
	}
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: []sim.SlaveConfig{slave}})
	w, r := newWiretap(t, f.Path("bus")), newRecord(t)
	_, l := listen(t, w.ours, slog.New(slog.DiscardHandler), r, device)
	<-l.Ready()
	write := func(table, address string, values ...string) error {
		args := append([]string{"-m", "rtu", "-b", "115200", "-P", "none", "-a", "1", "-0", "-1", "-q", "-t", table, "-r", address, w.master}, values...)
		return exec.Command(peer(t, "mbpoll"), args...).Run()
	}
	for _, c := range []struct {
		table, address string
		values         []string
		want           map[string]string
	}{
		{"4", "1", []string{"55"}, map[string]string{"d/r1": "55"}},
		{"4", "0", []string{"56", "57"}, map[string]string{"d/r0": "56", "d/r1": "57"}},
		{"0", "2", []string{"1"}, map[string]string{"d/c2": "true"}},
		{"0", "1", []string{"1", "0"}, map[string]string{"d/c1": "true", "d/c2": "false"}},
	} {
		if err := write(c.table, c.address, c.values...); err != nil {
			t.Fatal(err)
		}
		for point, value := range c.want {
			r.reads(point, value)
		}
	}
	// One that is refused is not.
	if err := write("4", "2", "99"); err == nil {
		t.Error("the device took what it should refuse")
	}
	if err := write("4", "0", "58"); err != nil {
		t.Fatal(err)
	}
	r.reads("d/r0", "58")
	r.never(func(reading adapters.Reading) bool { return reading.Point.Name == "r2" || reading.Point.Name == "c0" })
}
