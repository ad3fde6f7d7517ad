package modbus

import (
	"fmt"
	"math"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// The simulator has an encoding of its own. Each type in each order is read as
// the simulated device means it, and a command arrives there as what was meant.
func TestTypesAgreeWithTheSimulator(t *testing.T) {
	t.Parallel()
	values := map[Type][2]float64{
		Bool: {1, 0}, U8: {200, 7}, I8: {-100, 99}, U16: {54321, 12}, I16: {-12345, 321}, U24: {16_000_000, 5},
		I24: {-8_000_000, 77}, U32: {3123456789, 6}, I32: {-1234567890, 8}, U48: {200e12, 9}, I48: {-100e12, 10},
		U64: {1 << 63, 11}, I64: {-(1 << 62), 12}, F16: {-21.40625, 0.5}, F32: {21.5, -3.25}, F64: {math.Pi, 1e100},
		BCD16: {9876, 12}, BCD32: {12345678, 99999999}, String: {0, 0},
	}
	slave := sim.SlaveConfig{Unit: 1, Strict: true}
	device := DeviceConfig{Name: "d", Unit: 1, Every: 50 * ms}
	address := uint16(0)
	for _, typ := range adapters.Types() {
		for _, order := range []Order{ABCD, CDAB, BADC, DCBA} {
			name := fmt.Sprintf("%v_%v", typ, order)
			c := writable(on("d", name, Holding, address, typ), Verify)
			p := sim.PointConfig{Name: name, Table: "holding", Address: address, Type: typ.String(), Order: order.String(),
				Writable: true, Wave: sim.Wave{Base: values[typ][0]}}
			if typ == String {
				c.Length, p.Length, p.Text = 5, 5, "SN 4711°"
			}
			c.Order = order
			device.Points, slave.Points = append(device.Points, c), append(slave.Points, p)
			address += uint16(c.Width())
		}
	}
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, NoPacing: true, Slaves: []sim.SlaveConfig{slave}})
	r := newRecord(t)
	p, _ := start(t, line.Config{Name: "bus", Kind: line.RTU, Port: f.Path("bus"), Timeout: time.Second, Retries: 2,
		Serial: line.Serial{Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 1}}, r, device)
	for i, c := range device.Points {
		name, typ := c.Point.Name, c.Type
		var read, commanded adapters.Value
		switch {
		case typ == Bool:
			read, commanded = adapters.Bool(true), adapters.Bool(false)
		case typ == String:
			read, commanded = adapters.String("SN 4711°"), adapters.String("short")
		case typ.Float():
			read, commanded = adapters.Float(values[typ][0]), adapters.Float(values[typ][1])
			if typ == F16 {
				read = adapters.Float(-21.4) // the shortest that means -21.40625
			}
		default:
			read, commanded = whole(values[typ][0]), whole(values[typ][1])
		}
		r.reads("d/"+name, read.String())
		if res := write(t, p, name, commanded); res.Err != nil || res.Value != commanded {
			t.Errorf("%s = %v: %+v", name, commanded, res)
		}
		got, want := f.Slave("bus", 1).Value(name), values[typ][1]
		if typ == String {
			words := f.Slave("bus", 1).Get("holding", c.Address, c.Length)
			swapped := c.Order == BADC || c.Order == DCBA
			got, want = float64(words[0]), map[bool]float64{false: 0x7368, true: 0x6873}[swapped]
		}
		if got != want {
			t.Errorf("point %d, %s: the device holds %v, want %v", i, name, got, want)
		}
	}
}

func whole(f float64) adapters.Value {
	if f >= 1<<63 {
		return adapters.Uint(uint64(f))
	}
	return adapters.Int(int64(f))
}

func TestAllDigits(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		wire []byte
		want string
	}{
		{U64, []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE}, "18446744073709551614"},
		{I64, []byte{0x80, 0, 0, 0, 0, 0, 0, 1}, "-9223372036854775807"},
		{U64, []byte{0, 0x20, 0, 0, 0, 0, 0, 1}, "9007199254740993"},
	} {
		pt := newPoint(on("d", "p", Holding, 0, c.typ))
		v, _ := pt.decode(pt.question(), c.wire)
		if got := string(v.AppendJSON(nil)); got != c.want {
			t.Errorf("%v %x is %s, want %s", c.typ, c.wire, got, c.want)
		}
		if back, err := pt.encode(v); err != nil || string(back) != string(c.wire) {
			t.Errorf("%s is written as %x, %v", c.want, back, err)
		}
	}
}

func TestBits(t *testing.T) {
	bit := func(shift, n uint8, as bool) PointConfig {
		c := on("d", "p", Holding, 0, U16)
		c.Field, c.Bit = adapters.Field{Shift: shift, Bits: n}, as
		return c
	}
	wide := bit(28, 4, false)
	wide.Type, wide.Order = U32, CDAB
	signed := bit(12, 4, false)
	signed.Type = I16
	for _, c := range []struct {
		cfg     PointConfig
		wire    []byte
		want    adapters.Value
		command adapters.Value
		written []byte // nil: refused
	}{
		{bit(0, 1, true), []byte{0x80, 0x01}, adapters.Bool(true), adapters.Bool(false), []byte{0x80, 0x00}},
		{bit(15, 1, true), []byte{0x7F, 0xFF}, adapters.Bool(false), adapters.Bool(true), []byte{0xFF, 0xFF}},
		{bit(4, 3, false), []byte{0xFF, 0xDF}, adapters.Int(5), adapters.Int(2), []byte{0xFF, 0xAF}},
		{bit(4, 3, false), []byte{0xFF, 0xDF}, adapters.Int(5), adapters.Int(8), nil},
		{bit(4, 3, false), []byte{0xFF, 0xDF}, adapters.Int(5), adapters.Int(-1), nil},
		{wide, []byte{0, 0, 0xA0, 0}, adapters.Int(10), adapters.Int(3), []byte{0, 0, 0x30, 0}},
		{signed, []byte{0xF0, 0}, adapters.Int(15), adapters.Int(8), []byte{0x80, 0}},
	} {
		pt := newPoint(c.cfg)
		if v, q := pt.decode(pt.question(), c.wire); v != c.want || q != adapters.Good {
			t.Errorf("%+v of %x is %v", c.cfg.Field, c.wire, v)
		}
		data, err := pt.encode(c.command)
		if err == nil {
			data, err = pt.merge(c.wire, data)
		}
		if (err != nil) != (c.written == nil) || err == nil && string(data) != string(c.written) {
			t.Errorf("%+v = %v writes %x, %v; want %x", c.cfg.Field, c.command, data, err, c.written)
		}
	}
}

// Writing one bit leaves the others as the device holds them.
func TestWriteBit(t *testing.T) {
	t.Parallel()
	f := newField(t)
	s := f.add(1)
	s.registers[0] = 0xA5A0
	c := writable(on("d", "third", Holding, 0, U16), Verify)
	c.Field, c.Bit = adapters.Field{Shift: 3, Bits: 1}, true
	r := newRecord(t)
	p, _ := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: time.Hour, Points: []PointConfig{c}})
	r.reads("d/third", "false")
	if res := write(t, p, "third", adapters.Bool(true)); res.Err != nil || res.Value != adapters.Bool(true) {
		t.Errorf("%+v", res)
	}
	f.with(func() {
		if s.registers[0] != 0xA5A8 {
			t.Errorf("the register is %#x", s.registers[0])
		}
	})
}

func TestFault26SentinelsAndRange(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		bad  []adapters.Value
		wire []byte
		want string
	}{
		{I16, []adapters.Value{adapters.Int(-32768)}, []byte{0x80, 0x00}, "invalid"},
		{I16, []adapters.Value{adapters.Int(0x8000)}, []byte{0x80, 0x00}, "invalid"},
		{U16, []adapters.Value{adapters.Int(-1)}, []byte{0xFF, 0xFF}, "invalid"},
		{U16, []adapters.Value{adapters.Int(-1)}, []byte{0x00, 0x01}, "0.1"},
		{U64, []adapters.Value{adapters.Int(-1)}, []byte{255, 255, 255, 255, 255, 255, 255, 255}, "invalid"},
		{F32, []adapters.Value{adapters.Float(9.969209968386869e36)}, []byte{0x7C, 0xF0, 0, 0}, "invalid"},
		{F32, []adapters.Value{adapters.Int(-127)}, []byte{0xC2, 0xFE, 0, 0}, "invalid"},
		{F32, nil, []byte{0x7F, 0xC0, 0, 0}, "invalid"},
		{U16, nil, []byte{0x03, 0xE8}, "100"},
		{U16, nil, []byte{0x03, 0xE9}, "out_of_range"},
		{I16, nil, []byte{0xFF, 0xFF}, "out_of_range"},
		{BCD16, nil, []byte{0xFF, 0xFF}, "invalid"},
	} {
		pc := on("d", "p", Holding, 0, c.typ)
		pc.Bad, pc.Scale, pc.Range = c.bad, 0.1, &adapters.Range{Low: 0, High: 100}
		pt := newPoint(pc)
		v, q := pt.decode(pt.question(), c.wire)
		got := q.String()
		if q == adapters.Good {
			got = v.String()
		} else if !v.IsNone() {
			t.Errorf("%v %x: %s with a value, %v", c.typ, c.wire, q, v)
		}
		if got != c.want {
			t.Errorf("%v %x, bad %v: %s, want %s", c.typ, c.wire, c.bad, got, c.want)
		}
	}
}

// A point that is read once is read again when the device comes back, and not
// before.
func TestOnce(t *testing.T) {
	t.Parallel()
	f := newField(t)
	s := f.add(1)
	s.registers[0], s.registers[50] = 4711, 1
	serial := on("d", "serial", Holding, 0, U16)
	serial.Every = Once
	r := newRecord(t)
	start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, Every: 5 * ms, Points: []PointConfig{serial, on("d", "v", Holding, 50, U16)}})
	r.reads("d/serial", "4711")
	f.with(func() { s.registers[0] = 4712 })
	r.until("some more polls", func() bool {
		n := 0
		for _, reading := range r.all {
			if reading.Point.Name == "serial" && reading.Quality == adapters.Good {
				n++
			}
		}
		if n > 1 {
			t.Fatal("read again")
		}
		return len(r.all) > 20
	})
	f.with(func() { s.dead = true })
	r.offline("d")
	f.with(func() { s.dead = false })
	r.reads("d/serial", "4712")
}
