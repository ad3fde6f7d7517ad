package sim

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

func TestFunctionsAndExceptions(t *testing.T) {
	points := append(registers(4),
		PointConfig{Name: "relay", Table: "coil", Address: 0, Writable: true},
		PointConfig{Name: "door", Table: "discrete", Address: 3, Wave: Wave{Base: 1}},
		PointConfig{Name: "volts", Table: "input", Address: 0, Type: "f32", Wave: Wave{Base: 230.5}},
		PointConfig{Name: "serial", Table: "holding", Address: 100, Wave: Wave{Base: 5}})
	u16 := binary.BigEndian.AppendUint16
	pdu := func(f byte, a, n uint16, rest ...byte) []byte { return append(u16(u16([]byte{f}, a), n), rest...) }
	b := newBank(newCalendar(begin), points, false)
	for _, c := range []struct {
		name      string
		pdu, want []byte
	}{
		{"coil", pdu(1, 0, 1), []byte{1, 1, 0}},
		{"discrete", pdu(2, 3, 1), []byte{2, 1, 1}},
		{"input f32", pdu(4, 0, 2), []byte{4, 4, 0x43, 0x66, 0x80, 0}},
		{"write coil", pdu(5, 0, 0xFF00), pdu(5, 0, 0xFF00)},
		{"coil is on", pdu(1, 0, 1), []byte{1, 1, 1}},
		{"write coils", pdu(15, 0, 1, 1, 0), pdu(15, 0, 1)},
		{"coil is off", pdu(1, 0, 1), []byte{1, 1, 0}},
		{"write registers", pdu(16, 2, 2, 4, 0, 7, 0, 8), pdu(16, 2, 2)},
		{"registers hold it", pdu(3, 1, 3), []byte{3, 6, 0x03, 0xE9, 0, 7, 0, 8}},
		{"unknown function", []byte{7}, []byte{0x87, 1}},
		{"mask write is not there", pdu(22, 0, 1, 0, 0), []byte{0x96, 1}},
		{"beyond the last register", pdu(3, 3, 2), []byte{0x83, 2}},
		{"no such input", pdu(4, 7, 1), []byte{0x84, 2}},
		{"past 65535", pdu(3, 65535, 2), []byte{0x83, 2}},
		{"none", pdu(3, 0, 0), []byte{0x83, 3}},
		{"126", pdu(3, 0, 126), []byte{0x83, 3}},
		{"2001 coils", pdu(1, 0, 2001), []byte{0x81, 3}},
		{"coil half on", pdu(5, 0, 0x00FF), []byte{0x85, 3}},
		{"write to a read-only register", pdu(6, 100, 1), []byte{0x86, 2}},
		{"write nowhere", pdu(6, 50, 1), []byte{0x86, 2}},
		{"byte count too small", pdu(16, 0, 2, 2, 0, 7, 0, 8), []byte{0x90, 3}},
		{"too few coils", pdu(15, 0, 9, 1, 0), []byte{0x8F, 3}},
		{"short", []byte{3, 0, 0}, []byte{0x83, 3}},
		{"long", pdu(3, 0, 1, 0), []byte{0x83, 3}},
		{"nothing written in part", pdu(16, 3, 2, 4, 0, 1, 0, 1), []byte{0x90, 2}},
		{"so it is as before", pdu(3, 3, 1), []byte{3, 2, 0, 8}},
	} {
		if got := b.serve(begin, c.pdu); !bytes.Equal(got, c.want) {
			t.Errorf("%s: % x gives % x, want % x", c.name, c.pdu, got, c.want)
		}
	}
}

func TestCRC(t *testing.T) {
	// Request and answer as printed in the Eastron SDM630 protocol document.
	for _, frame := range [][]byte{
		{0x01, 0x04, 0x00, 0x00, 0x00, 0x02, 0x71, 0xCB},
		{0x01, 0x04, 0x04, 0x43, 0x66, 0x33, 0x34, 0x1B, 0x38},
	} {
		n := len(frame) - 2
		if got := (rtu{}).frame(frame[0], frame[1:n]); !bytes.Equal(got, frame) || !crcRight(frame) {
			t.Errorf("% x: framed as % x", frame, got)
		}
		for bit := range len(frame) * 8 {
			frame[bit/8] ^= 1 << (bit % 8)
			if crcRight(frame) {
				t.Errorf("one flipped bit (%d) was not noticed", bit)
			}
			frame[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestMaxRegisters(t *testing.T) {
	d, _ := newDesk(t, LineConfig{Kind: "rtu", NoPacing: true, Slaves: []SlaveConfig{{Unit: 1, MaxRegisters: 4, Points: registers(8)}}})
	d.write(0, read(1, 3, 0, 5))
	d.write(0, read(1, 3, 0, 4))
	if got := d.all(); !bytes.Equal(got[:5], withCRC(1, 0x83, 3)) || len(got) != 5+13 {
		t.Errorf("got % x", got)
	}
}

// A wide slave gives four bytes for each register, and takes none.
func TestWideRegisters(t *testing.T) {
	c := SlaveConfig{Unit: 1, Wide: true, Points: []PointConfig{
		{Name: "a", Table: "holding", Address: 0x48, Type: "u32", Wave: Wave{Base: 0x80000001}},
		{Name: "b", Table: "holding", Address: 0x49, Type: "u64", Wave: Wave{Base: 3}},
		{Name: "end", Table: "holding", Address: 0xFFFF, Type: "i32", Wave: Wave{Base: -2}, Writable: true},
	}}
	var p problems
	if c.validate(&p, ""); p.err() != nil {
		t.Fatal(p.err())
	}
	s := newSlave(&c, newCalendar(time.Now()), func() {})
	for _, x := range []struct{ asked, want []byte }{
		{[]byte{3, 0, 0x48, 0, 3}, []byte{3, 12, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3}},
		{[]byte{3, 0xFF, 0xFF, 0, 1}, []byte{3, 4, 0xFF, 0xFF, 0xFF, 0xFE}},
		{[]byte{3, 0, 0x48, 0, 63}, []byte{0x83, illegalValue}},
		{[]byte{6, 0xFF, 0xFF, 0, 1}, []byte{0x86, illegalFunction}},
	} {
		if got := s.bank.serve(time.Now(), x.asked); !bytes.Equal(got, x.want) {
			t.Errorf("% x: % x, want % x", x.asked, got, x.want)
		}
	}
	if held := s.Get("holding", 0x48, 1); len(held) != 2 || held[1] != 1 || !s.Held("holding", 0x49, []uint16{0, 0, 0, 3}, time.Now(), time.Now()) {
		t.Errorf("holds %v", held)
	}
	bad := SlaveConfig{Unit: 1, Wide: true, Points: []PointConfig{{Name: "a", Table: "holding", Type: "u16"}}}
	if bad.validate(&p, ""); p.err() == nil {
		t.Error("a value of two bytes was accepted")
	}
}
