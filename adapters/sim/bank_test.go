package sim

import (
	"testing"
	"time"
)

func at(d time.Duration) time.Time { return begin.Add(d) }

func TestHeldByAWave(t *testing.T) {
	w := Wave{Shape: Walk, Base: 100, Swing: 50, Period: time.Second, Seed: 4}
	b := newBank(newCalendar(begin), []PointConfig{{Name: "x", Table: "input", Type: "f32", Wave: w}}, false)
	p := b.point("x")
	words := func(d time.Duration) []uint16 { return p.words(b.calendar, at(d)) }
	equal := func(want []uint16) func([]uint16) bool {
		return func(w []uint16) bool { return w[0] == want[0] && w[1] == want[1] }
	}
	if !p.held(b.calendar, at(0), at(5*time.Second), equal(words(3*time.Second))) {
		t.Error("a value from within is not known")
	}
	if p.held(b.calendar, at(0), at(2*time.Second), equal(words(3*time.Second))) {
		t.Error("a value from later is taken for true")
	}
	if p.held(b.calendar, at(4*time.Second), at(5*time.Second), equal(words(3*time.Second))) {
		t.Error("a value from before is taken for true")
	}
	// A moment is enough, where it lies in the middle of a step too.
	if !p.held(b.calendar, at(3050*ms), at(3050*ms), equal(words(3050*ms))) {
		t.Error("the value of the very moment is not known")
	}
}

func TestHeldByChanges(t *testing.T) {
	b := newBank(newCalendar(begin), []PointConfig{{Name: "x", Table: "holding", Writable: true, Wave: Wave{Base: 5}}}, false)
	here := cell{holding, 0}
	b.put(at(10*time.Second), here, []uint16{6})
	b.put(at(20*time.Second), here, []uint16{7})
	b.reset(at(30 * time.Second))
	held := func(v uint16, from, to time.Duration) bool {
		return b.point("x").held(b.calendar, at(from), at(to), func(w []uint16) bool { return w[0] == v })
	}
	for _, c := range []struct {
		v        uint16
		from, to time.Duration
		want     bool
	}{
		{5, 0, 9 * time.Second, true},
		{6, 0, 9 * time.Second, false},
		{6, 9 * time.Second, 11 * time.Second, true},
		{5, 11 * time.Second, 29 * time.Second, false},
		{7, 12 * time.Second, 25 * time.Second, true},
		{6, 21 * time.Second, 40 * time.Second, false},
		{7, 31 * time.Second, 40 * time.Second, false},
		{5, 31 * time.Second, 40 * time.Second, true},
	} {
		if got := held(c.v, c.from, c.to); got != c.want {
			t.Errorf("held %d in %v–%v: %v", c.v, c.from, c.to, got)
		}
	}
	for i := range maxChanges {
		b.put(at(time.Minute+time.Duration(i)*time.Second), here, []uint16{uint16(1000 + i)})
	}
	if p := b.point("x"); len(p.changes) > maxChanges || !p.lost {
		t.Errorf("%d changes are kept", len(p.changes))
	}
	if held(6, 0, 15*time.Second) {
		t.Error("what was forgotten is taken for true")
	}
	if !held(1000+maxChanges-1, time.Hour, 2*time.Hour) {
		t.Error("the last value is not known")
	}
}

func TestPartOfAValueIsWritten(t *testing.T) {
	b := newBank(newCalendar(begin), []PointConfig{{Name: "x", Table: "holding", Type: "u32", Writable: true, Wave: Wave{Base: 0x00010002}}}, false)
	if !b.write(at(0), cell{holding, 1}, []uint16{9}) {
		t.Fatal("refused")
	}
	if words, _ := b.read(at(time.Second), cell{holding, 0}, 2); words[0] != 1 || words[1] != 9 {
		t.Errorf("holds %v, want 1 9", words)
	}
}

func TestBitFollowsASwing(t *testing.T) {
	b := newBank(newCalendar(begin), []PointConfig{{Name: "x", Table: "discrete", Wave: Wave{Shape: Sine, Base: 230, Swing: 3, Period: 2 * time.Second}}}, false)
	seen := map[uint16]bool{}
	for d := time.Duration(0); d < 4*time.Second; d += 100 * ms {
		words, _ := b.read(at(d), cell{discrete, 0}, 1)
		seen[words[0]] = true
	}
	if !seen[0] || !seen[1] || len(seen) != 2 {
		t.Errorf("a door behind a sine showed %v", seen)
	}
}
