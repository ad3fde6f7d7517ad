package modbus

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// frameOf completes a unit and a protocol data unit with their checksum.
func frameOf(unit byte, pdu ...byte) []byte {
	frame := append([]byte{unit}, pdu...)
	return binary.LittleEndian.AppendUint16(frame, checksum(frame))
}

func readFrame(unit, function byte, address, count uint16) []byte {
	return frameOf(unit, function, byte(address>>8), byte(address), byte(count>>8), byte(count))
}

// answerFrame answers with registers that hold unit·1000 + address.
func answerFrame(unit, function byte, address, count uint16) []byte {
	pdu := []byte{function, byte(2 * count)}
	for r := range count {
		pdu = binary.BigEndian.AppendUint16(pdu, uint16(unit)*1000+address+r)
	}
	return frameOf(unit, pdu...)
}

// overheard feeds frames, 100 ms apart, and gives what was heard.
func overheard(frames ...[]byte) (heard []string, m *monitor) {
	m = newMonitor(func(unit byte, q question, data []byte, _ time.Time) {
		heard = append(heard, fmt.Sprintf("%d: %d %d+%d % x", unit, q.function, q.address, q.count, data))
	})
	at := time.Now()
	for _, f := range frames {
		m.feed(f, at)
		at = at.Add(100 * ms)
	}
	return heard, m
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	ask, answer := readFrame(1, 3, 0, 2), answerFrame(1, 3, 0, 2)
	const good = "1: 3 0+2 03 e8 03 e9"
	spoilt := slices.Clone(answer)
	spoilt[4] ^= 1
	other, otherAnswer := readFrame(1, 3, 100, 2), answerFrame(1, 3, 100, 2)
	unlike, unlikeAnswer := readFrame(1, 3, 50, 9), answerFrame(1, 3, 50, 9)
	const unlikeGood = "1: 3 50+9 04 1a 04 1b 04 1c 04 1d 04 1e 04 1f 04 20 04 21 04 22"
	for _, c := range []struct {
		name   string
		frames [][]byte
		want   []string
	}{
		{"a read", [][]byte{ask, answer}, []string{good}},
		{"in one heap", [][]byte{slices.Concat(ask, answer, ask, answer)}, []string{good, good}},
		{"begun in the middle", [][]byte{answer[4:], ask, answer}, []string{good}},
		{"an answer to nothing", [][]byte{answer, ask, answer}, []string{good}},
		{"an answer of another unit", [][]byte{ask, answerFrame(2, 3, 0, 2)}, nil},
		{"an answer of another length", [][]byte{ask, answerFrame(1, 3, 0, 3)}, nil},
		{"a wrong checksum, then again", [][]byte{ask, spoilt, ask, answer}, []string{good}},
		{"broken off, then again", [][]byte{ask, answer[:6], ask, answer}, []string{good}},
		{"no answer, then again", [][]byte{ask, ask, answer}, []string{good}},
		{"an exception", [][]byte{ask, frameOf(1, 0x83, 2), ask, answer}, []string{"1: 3 0+2 ", good}},
		{"a zero before the answer", [][]byte{ask, append([]byte{0}, answer...)}, []string{good}},
		{"what looks like a long write before the answer", [][]byte{ask, append([]byte{1, 16}, answer...), ask}, []string{good}},
		{"noise where a request may have been", [][]byte{ask, {9, 9, 9, 9, 9, 9, 9, 9}, answer, ask, answer}, []string{good}},
		// The device may owe an answer that looks the same.
		{"late", [][]byte{ask, other, answer, otherAnswer}, []string{"1: 3 100+2 "}},
		{"late until another draws a line", [][]byte{ask, other, answer, unlike, unlikeAnswer, other, otherAnswer},
			[]string{"1: 3 100+2 ", unlikeGood, "1: 3 100+2 04 4c 04 4d"}},
		{"late, and the other question begins like its answer, spoilt", [][]byte{readFrame(1, 3, 0, 1), readFrame(1, 3, 0x200, 1), answerFrame(1, 3, 0, 1)},
			[]string{"1: 3 512+1 "}},
		{"late, between questions", [][]byte{ask, readFrame(2, 3, 0, 2), answer, other, otherAnswer}, []string{"1: 3 100+2 04 4c 04 4d"}},
		{"an answer too many", [][]byte{ask, answer, otherAnswer, other, otherAnswer}, []string{good, "1: 3 100+2 "}},
		{"a spoilt answer can't be late", [][]byte{ask, spoilt, other, otherAnswer}, []string{"1: 3 100+2 04 4c 04 4d"}},
		{"a write", [][]byte{frameOf(1, 6, 0, 1, 0, 9), frameOf(1, 6, 0, 1, 0, 9)}, []string{"1: 0 0+0 "}},
		{"many written", [][]byte{frameOf(1, 16, 0, 1, 0, 1, 2, 0, 9), frameOf(1, 16, 0, 1, 0, 1), ask, answer}, []string{"1: 3 1+1 00 09", good}},
		{"read and write", [][]byte{frameOf(1, 23, 0, 0, 0, 2, 0, 9, 0, 1, 2, 0, 5), answerFrame(1, 23, 0, 2)}, []string{"1: 3 9+1 00 05", good}},
		{"an unknown function", [][]byte{frameOf(1, 65, 1, 2, 3), frameOf(1, 65, 4), ask, answer}, []string{good}},
		{"diagnostics", [][]byte{frameOf(1, 8, 0, 0, 1, 2), frameOf(1, 8, 0, 0, 1, 2), frameOf(1, 17), frameOf(1, 17, 2, 1, 0xff), ask, answer}, []string{good}},
		{"to all", [][]byte{frameOf(0, 6, 0, 1, 0, 9), ask, answer}, []string{good}},
	} {
		if got, _ := overheard(c.frames...); !slices.Equal(got, c.want) {
			t.Errorf("%s: heard %q, want %q", c.name, got, c.want)
		}
		// Byte by byte no more than a frame may be kept.
		m := newMonitor(func(byte, question, []byte, time.Time) {})
		at := time.Now()
		for _, f := range c.frames {
			for i := range f {
				m.feed(f[i:i+1], at)
				at = at.Add(ms)
			}
			at = at.Add(100 * ms)
		}
		if len(m.buf) > 256 {
			t.Errorf("%s: %d bytes are kept", c.name, len(m.buf))
		}
	}
}

// Whatever happens on the bus, and in whatever heaps the bytes come, a value
// that is heard is that of the register which it is told for.
func TestMonitorHearsNoWrongValue(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		good, wrong := 0, ""
		m := newMonitor(func(unit byte, q question, data []byte, _ time.Time) {
			for i := 0; i < len(data); i += 2 {
				if got, want := binary.BigEndian.Uint16(data[i:]), uint16(unit)*1000+q.address+uint16(i/2); got != want && wrong == "" {
					wrong = fmt.Sprintf("unit %d, register %d: %d", unit, int(q.address)+i/2, got)
				}
			}
			if data != nil {
				good++
			}
		})
		at := time.Now()
		pass := func(b []byte) {
			for len(b) > 0 {
				n := 1 + r.IntN(len(b))
				m.feed(b[:n], at)
				b = b[n:]
				at = at.Add(time.Duration(r.IntN(20)) * ms)
			}
		}
		var late []byte
		var lateSince time.Time
		for range 1500 {
			if late != nil && at.Sub(lateSince) > settled-time.Second {
				pass(late) // it does not wait for the next question
				late = nil
			}
			unit, address := byte(1+r.IntN(3)), uint16(r.IntN(3))*100
			count := uint16(10 + r.IntN(10)/9*5) // mostly 10
			pass(readFrame(unit, 3, address, count))
			at = at.Add(time.Duration(r.IntN(60)) * ms)
			if late != nil && late[0] == unit { // a device answers in order
				pass(late)
				late = nil
			}
			answer := answerFrame(unit, 3, address, count)
			switch r.IntN(120) {
			case 0: // none
			case 1: // late
				late, lateSince = answer, at
				at = at.Add(200 * ms)
			case 2: // spoilt
				answer[r.IntN(len(answer))] ^= 1 << r.IntN(8)
				pass(answer)
			case 3: // broken off
				pass(answer[:r.IntN(len(answer))])
				at = at.Add(200 * ms)
			case 4: // behind noise
				noise := make([]byte, 1+r.IntN(12))
				for i := range noise {
					noise[i] = byte(r.Uint32())
				}
				pass(append(noise, answer...))
			default:
				pass(answer)
			}
			at = at.Add(time.Duration(r.IntN(200)) * ms)
		}
		if wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
		if good < 150 {
			t.Errorf("seed %d: only %d of 1500 answers were of use", seed, good)
		}
	}
}
