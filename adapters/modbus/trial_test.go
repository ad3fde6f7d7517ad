package modbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// fails makes a field answer with a failure what does not please ok.
func (f *field) fails(ok func(address, count uint16) bool) {
	f.with(func() {
		f.mangle = func(request, answer []byte) []byte {
			if ok(binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])) {
				return answer
			}
			return frame([]byte{request[0], request[1] | exceptionBit, byte(DeviceFailure)})
		}
	})
}

// within runs fn on the owner goroutine of the line.
func (p *Poller) within(t *testing.T, fn func(d *device)) {
	t.Helper()
	err := p.line.Do(t.Context(), line.Commissioning, func(context.Context, *line.Conn) error {
		fn(p.devices[0])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// until waits until cond holds of the device; it is asked on the owner goroutine.
func (p *Poller) until(t *testing.T, r *record, what string, cond func(d *device) bool) {
	t.Helper()
	r.until(what, func() (holds bool) {
		r.mu.Unlock() // the owner may be about to tell
		defer r.mu.Lock()
		defer r.tell()
		p.within(t, func(d *device) { holds = cond(d) })
		return holds
	})
}

// blocks waits until the device is read in so many blocks.
func (p *Poller) blocks(t *testing.T, r *record, want int) {
	t.Helper()
	p.until(t, r, fmt.Sprint(want, " reads"), func(d *device) bool { return len(d.blocks) == want })
}

// failingField is a device of seven registers and the poller that reads it.
func failingField(t *testing.T, ok func(address, count uint16) bool) (*field, *record, *Poller) {
	f, r := newField(t), newRecord(t)
	s, c := f.add(1), DeviceConfig{Name: "d", Unit: 1, Every: 5 * ms}
	for i := range uint16(7) {
		s.registers[i] = 10 + i
		c.Points = append(c.Points, on("d", fmt.Sprint("p", i), Holding, i, U16))
	}
	f.fails(ok)
	p, _ := start(t, f.rtu(), r, c)
	return f, r, p
}

func everything(uint16, uint16) bool { return true }

// A device that fails where more than two registers are read at once is read
// in parts, and as a whole again when it can be.
func TestFailureOfReadingTogether(t *testing.T) {
	t.Parallel()
	few := func(_, count uint16) bool { return count <= 2 }
	f, r, p := failingField(t, few)
	for i := range 7 {
		r.reads(fmt.Sprint("d/p", i), fmt.Sprint(10+i))
	}
	again := func() {
		p.within(t, func(d *device) { d.points[0].trial.again = time.Time{} })
	}
	p.blocks(t, r, 4)
	for range 2 { // in vain, and no value is lost by it
		r.holds(func() bool { r.all = nil; return true })
		again()
		p.until(t, r, "another try", func(d *device) bool {
			tr := d.points[0].trial
			return !tr.again.IsZero() && !tr.joined
		})
		p.blocks(t, r, 4)
		r.never(func(reading adapters.Reading) bool { return reading.Quality != adapters.Good })
	}
	f.fails(everything)
	again()
	p.blocks(t, r, 1)
	r.holds(func() bool { r.all = nil; return true })
	r.only(30, map[string]string{"d/p0": "10", "d/p6": "16"})
}

// One register that fails spoils no other.
func TestFailureOfOneRegister(t *testing.T) {
	t.Parallel()
	_, r, _ := failingField(t, func(address, count uint16) bool { return address > 3 || address+count <= 3 })
	for i := range 7 {
		if i != 3 {
			r.reads(fmt.Sprint("d/p", i), fmt.Sprint(10+i))
		}
	}
	r.reads("d/p3", "invalid")
}

// A device that fails altogether is not read in parts for long.
func TestFailureOfTheDevice(t *testing.T) {
	t.Parallel()
	f, r, p := failingField(t, func(uint16, uint16) bool { return false })
	r.reads("d/p0", "invalid")
	p.until(t, r, "the end of a trial", func(d *device) bool {
		tr := d.points[0].trial
		return tr != nil && tr.joined && len(d.cuts) == 0
	})
	p.blocks(t, r, 1)
	f.fails(everything)
	r.reads("d/p6", "16")
	p.blocks(t, r, 1)
}
