package modbus

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// rtu closes a frame with its checksum.
func rtu(frame ...byte) []byte {
	return binary.LittleEndian.AppendUint16(frame, checksum(frame))
}

// An answer to fourteen registers has 28 bytes of data, or 56 where they are
// wide, and never the other.
func TestWideRegistersFramed(t *testing.T) {
	request := rtu(1, readHolding, 0, 0x48, 0, 14)
	for _, c := range []struct {
		wide  bool
		bytes int
		found bool
	}{
		{false, 28, true}, {false, 56, false}, {false, 26, false},
		{true, 56, true}, {true, 28, false}, {true, 54, false}, {true, 60, false},
	} {
		answer := rtu(append([]byte{1, readHolding, byte(c.bytes)}, make([]byte, c.bytes)...)...)
		f := rtuFramer{request, c.wide}
		skip, total, err := f.Scan(answer)
		if found := err == nil && skip == 0 && total == len(answer); found != c.found {
			t.Errorf("wide %v, %d bytes: %d, %d, %v", c.wide, c.bytes, skip, total, err)
		}
		if err := f.Fault(answer); !c.found && (err == nil || !strings.Contains(err.Error(), "another question")) {
			t.Errorf("wide %v, %d bytes: %v", c.wide, c.bytes, err)
		}
	}
}

// A register that is wide is one register and four bytes, in the plan, in its
// price and in the answer; no answer has more than 250 bytes of data.
func TestWideRegistersPlanned(t *testing.T) {
	c := DeviceConfig{Name: "d", Unit: 1, Every: time.Second, Wide: true}
	for i := range uint16(70) {
		p := on("d", "p"+string(rune('A'+i)), Holding, i, U32)
		c.Points = append(c.Points, p)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	cfg := line.Config{Name: "bus", Kind: line.RTU, Serial: line.Serial{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}, Gap: line.AutoGap}
	plan, all := NewPlan(cfg, []DeviceConfig{c}), 0
	for _, r := range plan.Reads {
		if r.Count > 62 || r.Count != len(r.Points) {
			t.Errorf("a read of %d registers for %d points", r.Count, len(r.Points))
		}
		all += r.Count
		narrow := priceOf(cfg, 0, usualTurnaround).of(Holding, 2*r.Count)
		if r.Wire != narrow {
			t.Errorf("%d registers take %v, as many bytes %v", r.Count, r.Wire, narrow)
		}
	}
	if len(plan.Reads) != 2 || all != 70 {
		t.Errorf("%d reads of %d registers", len(plan.Reads), all)
	}
	pt := newPoints(c)[1]
	v, q := pt.decode(question{readHolding, 0, 2, true}, []byte{0, 0, 0, 1, 0x80, 0, 0, 2})
	if v != adapters.Int(0x80000002) || q != adapters.Good {
		t.Errorf("%v, %v", v, q)
	}
}

// Who listens takes wide registers only from the units that have them.
func TestWideRegistersOverheard(t *testing.T) {
	heard := map[byte]int{}
	m := newMonitor(func(unit byte, q question, data []byte, _ time.Time) { heard[unit] = len(data) })
	m.wide = map[byte]bool{2: true}
	for unit, size := range map[byte]int{1: 4, 2: 8} {
		m.feed(rtu(unit, readHolding, 0, 0, 0, 2), time.Now())
		m.feed(rtu(append([]byte{unit, readHolding, byte(size)}, make([]byte, size)...)...), time.Now())
	}
	if heard[1] != 4 || heard[2] != 8 || m.noise > 0 {
		t.Errorf("heard %v, %d bytes of noise", heard, m.noise)
	}
}

// Another master may not ask a device with wide registers for more than an
// answer has room for.
func TestWideRegistersThroughDoor(t *testing.T) {
	d := &Door{poller: &Poller{devices: []*device{{cfg: DeviceConfig{Unit: 1}}, {cfg: DeviceConfig{Unit: 2, Wide: true}}}}}
	for _, c := range []struct {
		unit, count byte
		long        bool
	}{{1, 125, false}, {2, 62, false}, {2, 63, true}, {3, 125, false}} {
		if got := d.tooLong(c.unit, []byte{readHolding, 0, 0, 0, c.count}); got != c.long {
			t.Errorf("unit %d, %d registers: %v", c.unit, c.count, got)
		}
	}
}
