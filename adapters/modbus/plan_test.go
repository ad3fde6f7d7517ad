package modbus

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever the points are, the plan reads each of them whole, in exactly one
// read that is no longer than the device allows.
func TestPlanCoversEveryPointOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DeviceConfig{MaxRegisters: rapid.IntRange(2, 125).Draw(t, "max")}
		var points []*point
		for i := range rapid.IntRange(1, 60).Draw(t, "points") {
			table := Table(rapid.IntRange(0, 3).Draw(t, "table"))
			typ := Bool
			if !table.bits() {
				typ = Type(rapid.IntRange(0, 5).Draw(t, "type"))
			}
			pc := on("d", fmt.Sprint(i), table, uint16(rapid.IntRange(0, 300).Draw(t, "address")), typ)
			pc.Every = time.Duration(rapid.IntRange(0, 2).Draw(t, "every")) * time.Second
			points = append(points, newPoint(pc))
		}
		seen := make(map[*point]int)
		for _, b := range plan(c, points) {
			table := b.points[0].Table
			if int(b.count) > c.most(table) {
				t.Fatalf("a read of %d, the device gives %d", b.count, c.most(table))
			}
			for _, p := range b.points {
				seen[p]++
				begin, end := int(p.Address), int(p.Address)+p.Width()
				if p.Table != table || p.Every != b.every || b.function != table.reads() ||
					begin < int(b.address) || end > int(b.address)+int(b.count) {
					t.Fatalf("point %+v does not lie in %+v", p.PointConfig, b.question)
				}
			}
		}
		for _, p := range points {
			if seen[p] != 1 {
				t.Fatalf("point %+v is read %d times", p.PointConfig, seen[p])
			}
		}
	})
}

func TestPlanMergesNeighbours(t *testing.T) {
	c := DeviceConfig{MaxRegisters: 4}
	var points []*point
	for _, pc := range []PointConfig{
		on("d", "c", Holding, 2, F32), on("d", "a", Holding, 0, U16), on("d", "b", Holding, 1, U16),
		on("d", "d", Holding, 4, F32), on("d", "e", Holding, 9, U16), on("d", "f", Input, 1, U16),
	} {
		points = append(points, newPoint(pc))
	}
	var got []question
	for _, b := range plan(c, points) {
		got = append(got, b.question)
	}
	want := []question{{readInput, 1, 1}, {readHolding, 0, 4}, {readHolding, 4, 2}, {readHolding, 9, 1}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSplitEnds(t *testing.T) {
	points := []*point{newPoint(on("d", "a", Holding, 0, U32)), newPoint(on("d", "b", Holding, 1, U16)), newPoint(on("d", "c", Holding, 5, U16))}
	parts := newBlock(points, 0).split()
	if len(parts) != 2 || parts[0].question != (question{readHolding, 0, 2}) || parts[1].question != (question{readHolding, 1, 5}) {
		t.Fatalf("got %+v", parts)
	}
	if alone := parts[0].split(); len(alone) != 1 || alone[0] != parts[0] {
		t.Error("a read of one point was split")
	}
}

// A read that was missed is dropped, and the grid of due times kept.
func TestLateWorkIsDropped(t *testing.T) {
	start := time.Now()
	b := &block{every: time.Second}
	b.next(start)
	if got := b.due.Sub(start); got != time.Second {
		t.Fatalf("first due after %v", got)
	}
	b.next(start.Add(1200 * time.Millisecond))
	if got := b.due.Sub(start); got != 2*time.Second {
		t.Fatalf("second due after %v", got)
	}
	b.next(start.Add(7300 * time.Millisecond))
	if got := b.due.Sub(start); got != 8*time.Second {
		t.Fatalf("after a stall due after %v", got)
	}
	always := &block{}
	always.next(start)
	if !always.due.Equal(start) {
		t.Error("a read without a period is not due at once")
	}
}

// The fast one is not late because of the slow ones, and those without a
// period share what is left.
func TestEarliestDeadlineGoesFirst(t *testing.T) {
	now := time.Now()
	fast := &block{question: question{readHolding, 0, 1}, every: 200 * time.Millisecond, due: now}
	slow := &block{question: question{readHolding, 1, 1}, every: 2 * time.Second, due: now.Add(-time.Second)}
	free := &block{question: question{readHolding, 2, 1}, due: now.Add(-500 * time.Millisecond)}
	p := &Poller{devices: []*device{{blocks: []*block{slow, free}}, {blocks: []*block{fast}}}}
	var order []uint16
	for range 3 {
		_, b, at := p.pick(now)
		if b == nil || !at.Equal(now) {
			t.Fatal("nothing is due")
		}
		order = append(order, b.address)
		b.due = now.Add(time.Hour)
	}
	if fmt.Sprint(order) != "[0 2 1]" {
		t.Errorf("order %v", order)
	}
	fast.due = now.Add(30 * time.Millisecond)
	if d, _, at := p.pick(now); d != nil || !at.Equal(fast.due) {
		t.Errorf("picked %v, next at %v", d, at.Sub(now))
	}
}

// Who owes an answer gives way, but not for ever.
func TestSuspectGivesWay(t *testing.T) {
	now := time.Now()
	asked := &block{question: question{readHolding, 0, 1}}
	suspect := &device{again: asked, polite: now.Add(time.Second), blocks: []*block{asked}}
	other := &device{blocks: []*block{{question: question{readHolding, 9, 1}, due: now}}}
	p := &Poller{devices: []*device{suspect, other}}
	if d, _, _ := p.pick(now); d != other {
		t.Error("the suspect goes first")
	}
	if d, b, _ := p.pick(now.Add(2 * time.Second)); d != suspect || b != asked {
		t.Error("the suspect waits for ever")
	}
	other.blocks[0].due = now.Add(time.Hour)
	if d, _, _ := p.pick(now); d != suspect {
		t.Error("the suspect gives way to nobody")
	}
}
