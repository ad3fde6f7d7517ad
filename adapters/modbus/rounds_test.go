package modbus

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/adapters"
)

// What was read late, for the device was busy, is read with the others again.
func TestReadsStayInStep(t *testing.T) {
	start, s := time.Now(), time.Second
	d := &device{since: start}
	at := func(tenths int) time.Time { return start.Add(time.Duration(tenths) * s / 10) }
	for _, c := range []struct {
		every          time.Duration
		due, now, due2 int // tenths of a second
	}{
		{5 * s, 53, 3, 50},  // the first reads come one after the other
		{5 * s, 50, 3, 50},  // in step
		{5 * s, 88, 38, 50}, // was put off
		{5 * s, 150, 103, 150},
		{5 * s, 54, 52, 54}, // its moment is over
		{0, 7, 7, 7},
		{Once, 7, 7, 7},
	} {
		b := &block{place: start}
		if got := b.inStep(c.every, at(c.due), at(c.now)); !got.Equal(at(c.due2)) {
			t.Errorf("due at %v of %v, at %v: %v", c.due, c.every, c.now, got.Sub(start))
		}
	}
	for _, c := range []struct {
		every          time.Duration
		now, wait, due int
	}{
		{5 * s, 1, 5, 6},   // soon: it is of the same round
		{5 * s, 21, 5, 50}, // nearer to the next
		{5 * s, 1, 50, 51},
		{s, 0, 5, 5},
		{s, 1, 5, 10},
		{0, 1, 5, 6},
		{Once, 1, 5, 6},
	} {
		b := &block{every: c.every}
		if d.putOff(b, time.Duration(c.wait)*s/10, at(c.now)); !b.due.Equal(at(c.due)) {
			t.Errorf("put off by %v of %v at %v: %v", c.wait, c.every, c.now, b.due.Sub(start))
		}
	}
}

// A read that follows a command is told apart from those of a round, and so is
// what another master has written.
func TestReadAside(t *testing.T) {
	t.Parallel()
	_, _, r, p := writeBench(t)
	if res := write(t, p, "valve", adapters.Int(40)); res.Err != nil {
		t.Fatal(res.Err)
	}
	told := func(aside bool) func() bool {
		return func() bool {
			return slices.ContainsFunc(r.all, func(g adapters.Reading) bool {
				return g.Point.Name == "valve" && g.Value == adapters.Int(40) && g.Aside == aside
			})
		}
	}
	r.until("a reading aside", told(true))
	r.until("a reading of a round", told(false))

	var m *monitor
	var wrote []string
	m = newMonitor(func(_ byte, q question, _ []byte, _ time.Time) { wrote = append(wrote, fmt.Sprint(q.address, m.wrote)) })
	one := frameOf(1, 6, 0, 1, 0, 9)
	m.feed(slices.Concat(one, one, readFrame(1, 3, 0, 2), answerFrame(1, 3, 0, 2)), time.Now())
	if want := []string{"1 true", "0 false"}; !slices.Equal(wrote, want) {
		t.Errorf("%q, want %q", wrote, want)
	}
}
