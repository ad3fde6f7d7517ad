package modbus

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/adapters/line"
)

// slow is a line on which a register takes as long as 1.1 ms.
var slow = line.Config{Kind: line.RTU, Gap: line.AutoGap, Serial: line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}}

// drawPlanner draws a line, a device and its points.
func drawPlanner(t *rapid.T, most, periods int) (*planner, []*point) {
	cfg := slow
	cfg.Serial.Baud = rapid.SampledFrom([]int{2400, 19200, 115200}).Draw(t, "baud")
	cfg.Gap = rapid.SampledFrom([]int{line.AutoGap, line.AutoGap, 0, 3, 100}).Draw(t, "gap")
	turn := time.Duration(rapid.IntRange(0, 100).Draw(t, "turnaround")) * ms
	c := DeviceConfig{MaxRegisters: rapid.IntRange(4, 125).Draw(t, "max")}
	pl := &planner{cfg: c, price: priceOf(cfg, 0, turn), gap: cfg.Gap, cuts: map[cut]bool{}}
	if rapid.Bool().Draw(t, "hurried") {
		pl.longest = commandWait
	}
	var points []*point
	for i := range rapid.IntRange(1, most).Draw(t, "points") {
		table := Table(rapid.IntRange(0, 3).Draw(t, "table"))
		typ := Bool
		if !table.bits() {
			typ = rapid.SampledFrom([]Type{Bool, U16, I24, U32, F32, U48, F64, BCD16, String}).Draw(t, "type")
		}
		pc := on("d", fmt.Sprint(i), table, uint16(rapid.IntRange(0, 300).Draw(t, "address")), typ)
		if typ == String {
			pc.Length = rapid.IntRange(1, pl.cfg.MaxRegisters).Draw(t, "length")
		}
		pc.Every = time.Duration(rapid.IntRange(0, periods).Draw(t, "every")) * time.Second
		pt := newPoint(pc)
		pt.missing = rapid.IntRange(0, 9).Draw(t, "missing") == 0
		points = append(points, pt)
		if rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
			pl.cuts[cut{table, int(pc.Address)}] = true
		}
	}
	return pl, points
}

// Whatever the points are, the plan reads each of them whole, in exactly one
// read within the limits, and costs no more than reading them one by one.
// What each read brings is what a reader that asks point by point would have.
func TestPlanReadsWhatANaiveReaderReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl, points := drawPlanner(t, 60, 2)
		seed := byte(rapid.IntRange(1, 255).Draw(t, "seed"))
		seen := make(map[*point]int)
		blocks := pl.plan(slices.Clone(points))
		for _, b := range blocks {
			table := b.points[0].Table
			if int(b.count) > pl.cfg.most(table) {
				t.Fatalf("a read of %d, the device gives %d", b.count, pl.cfg.most(table))
			}
			if len(b.points) > 1 {
				pl.checkMerged(t, b)
			}
			data := memory(seed, b.question)
			for _, p := range b.points {
				seen[p]++
				if p.Table != table || b.function != table.reads() || !b.covers(p) || pl.period(p.Every) < pl.period(b.every) {
					t.Fatalf("point %+v does not lie in %+v", p.PointConfig, b.question)
				}
				got, gotQuality := p.decode(b.question, data)
				want, wantQuality := p.decode(p.question(), memory(seed, p.question()))
				if got != want || gotQuality != wantQuality {
					t.Fatalf("point %+v in %+v is %v %v, alone %v %v", p.PointConfig, b.question, got, gotQuality, want, wantQuality)
				}
			}
		}
		var naive []*block
		for _, p := range points {
			if seen[p] != 1 {
				t.Fatalf("point %+v is read %d times", p.PointConfig, seen[p])
			}
			naive = append(naive, pl.block([]*point{p}))
		}
		if got, most := pl.load(blocks), pl.load(naive); got > most*1.000001 {
			t.Fatalf("the plan takes %v of the line, point by point %v", got, most)
		}
	})
}

// checkMerged checks a read of several points against what forbids it.
func (pl *planner) checkMerged(t *rapid.T, b *block) {
	table, end := b.points[0].Table, int(b.address)+int(b.count)
	whole := slices.ContainsFunc(b.points, func(p *point) bool { return p.Width() == int(b.count) })
	if pl.longest > 0 && !whole && pl.price.of(table, int(b.count)) > pl.longest {
		t.Fatalf("a read of %v", pl.price.of(table, int(b.count)))
	}
	for c := range pl.cuts {
		if c.table == table && c.address > int(b.address) && c.address < end {
			t.Fatalf("%+v crosses the border at %d", b.question, c.address)
		}
	}
	reached := int(b.address)
	for _, p := range b.points {
		if p.missing {
			t.Fatalf("%+v holds a register that is missing", b.question)
		}
		width := pl.gap
		if table.bits() {
			width *= 16
		}
		if hole := int(p.Address) - reached; pl.gap >= 0 && hole > width {
			t.Fatalf("%+v crosses %d, allowed are %d", b.question, hole, width)
		}
		reached = max(reached, int(p.Address)+p.Width())
	}
}

// memory gives the answer to q of a device whose every byte, or bit, follows
// from its place.
func memory(seed byte, q question) []byte {
	if q.function == readCoils || q.function == readDiscrete {
		data := make([]byte, (q.count+7)/8)
		for i := range q.count {
			at := q.address + i
			data[i/8] |= (byte(at)*seed>>3 ^ byte(at>>4)) & 1 << (i % 8)
		}
		return data
	}
	var data []byte
	for i := range q.count {
		at := q.address + i
		data = append(data, byte(at)*seed&0x3f, byte(at>>3)^seed)
	}
	return data
}

// Of all ways to part the points of one table, none is cheaper.
func TestPlanIsCheapest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl, points := drawPlanner(t, 7, 0)
		for _, p := range points {
			p.Table, p.Type = points[0].Table, points[0].Type
			p.Length = points[0].Length
			if p.Table.bits() {
				p.Type, p.Length = Bool, 0
			}
		}
		got := pl.load(pl.plan(slices.Clone(points)))
		slices.SortStableFunc(points, func(a, b *point) int { return cmp.Compare(a.Address, b.Address) })
		least := math.Inf(1)
		for mask := range 1 << (len(points) - 1) {
			var blocks []*block
			from, allowed := 0, true
			for i := range points {
				if i == len(points)-1 || mask>>i&1 != 0 {
					b := pl.block(points[from : i+1])
					allowed = allowed && (i == from || pl.mayJoin(points[from:i+1], int(b.address), int(b.address)+int(b.count)))
					blocks, from = append(blocks, b), i+1
				}
			}
			if allowed {
				least = min(least, pl.load(blocks))
			}
		}
		if got > least*1.000001 {
			t.Fatalf("the plan takes %v of the line, the best %v", got, least)
		}
	})
}

// planned gives the reads of points on a line as text.
func planned(cfg line.Config, turn time.Duration, configs ...PointConfig) string {
	pl := &planner{price: priceOf(cfg, 0, turn), gap: cfg.Gap}
	var points []*point
	for _, pc := range configs {
		points = append(points, newPoint(pc))
	}
	var got []question
	for _, b := range pl.plan(points) {
		got = append(got, b.question)
	}
	return fmt.Sprint(got)
}

func TestPlanWeighsGapAgainstTurnaround(t *testing.T) {
	apart := []PointConfig{on("d", "a", Holding, 0, U16), on("d", "b", Holding, 20, U16)}
	touching := slow
	touching.Gap = 0
	for _, test := range []struct {
		cfg  line.Config
		turn time.Duration
		want string
	}{
		{slow, 5 * ms, "[{3 0 1 false} {3 20 1 false}]"},
		{slow, 30 * ms, "[{3 0 21 false}]"},
		{touching, 30 * ms, "[{3 0 1 false} {3 20 1 false}]"},
		{line.Config{Kind: line.TCP, Gap: line.AutoGap}, ms, "[{3 0 21 false}]"},
	} {
		if got := planned(test.cfg, test.turn, apart...); got != test.want {
			t.Errorf("%v, turnaround %v: got %v, want %v", test.cfg.Kind, test.turn, got, test.want)
		}
	}
}

// A point that lies in a faster read comes with it, one beside it does if that
// is cheaper, and one far away has a read of its own.
func TestPlanJoinsPeriodsWhereCheaper(t *testing.T) {
	every := func(d time.Duration, pc PointConfig) PointConfig { pc.Every = d; return pc }
	points := []PointConfig{
		every(time.Second, on("d", "a", Holding, 0, U16)), every(time.Second, on("d", "c", Holding, 2, U16)),
		every(time.Minute, on("d", "b", Holding, 1, U16)), every(time.Minute, on("d", "far", Holding, 60, U16)),
	}
	if got, want := planned(slow, 10*ms, points...), "[{3 0 3 false} {3 60 1 false}]"; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	beside := []PointConfig{every(time.Second, on("d", "a", Holding, 0, U16)), every(2*time.Second, on("d", "b", Holding, 1, U16))}
	if got, want := planned(slow, 10*ms, beside...), "[{3 0 2 false}]"; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	beside[1].Every = time.Hour
	if got, want := planned(slow, 10*ms, beside...), "[{3 0 1 false} {3 1 1 false}]"; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// 8 + 5 + 2·20 characters of 10 bits at 9600 baud are 55.2 ms, t3.5 is 3.65 ms.
func TestPrice(t *testing.T) {
	cfg := line.Config{Kind: line.RTU, Serial: line.Serial{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}}
	if got, want := priceOf(cfg, 0, 10*ms).of(Holding, 20), 68850*time.Microsecond; (got - want).Abs() > 20*time.Microsecond {
		t.Errorf("20 registers take %v, want %v", got, want)
	}
	cfg.Kind = line.ASCII // 17 + 11 + 4·20 characters, and one of silence
	if got, want := priceOf(cfg, 0, 10*ms).of(Holding, 20), 123540*time.Microsecond; (got - want).Abs() > 20*time.Microsecond {
		t.Errorf("20 registers take %v in ASCII, want %v", got, want)
	}
	cfg.Kind = line.RTU
	if got := priceOf(cfg, 50*ms, 0).of(Coil, 9) - priceOf(cfg, 0, 0).of(Coil, 9); got != 50*ms-cfg.Serial.T35() {
		t.Errorf("a delay of 50 ms costs %v more than t3.5", got)
	}
}

// The plan that is shown is reckoned as the poller reckons.
func TestNewPlan(t *testing.T) {
	d := DeviceConfig{Name: "d", Unit: 7, Every: time.Second, Points: []PointConfig{on("d", "a", Holding, 0, F32), on("d", "b", Holding, 4, U16)}}
	free := DeviceConfig{Name: "e", Unit: 8, Points: []PointConfig{on("e", "c", Coil, 3, Bool)}}
	plan := NewPlan(slow, []DeviceConfig{d, free})
	if len(plan.Reads) != 2 {
		t.Fatalf("got %+v", plan)
	}
	r, f := plan.Reads[0], plan.Reads[1]
	if r.Device != "d" || r.Unit != 7 || r.Table != Holding || r.Count != 5 || r.Unwanted != 2 || r.Every != time.Second || fmt.Sprint(r.Points) != "[a b]" {
		t.Errorf("got %+v", r)
	}
	if want := r.Wire.Seconds(); math.Abs(plan.Load-want) > 1e-9 {
		t.Errorf("load %v, want %v", plan.Load, want)
	}
	if want := f.Wire.Seconds() / (1 - plan.Load); math.Abs(plan.Cycle.Seconds()-want) > 1e-6 {
		t.Errorf("cycle %v, want %v s", plan.Cycle, want)
	}
}

// A read is parted at a gap first: what lies in it was never promised.
func TestSplit(t *testing.T) {
	pl := &planner{price: priceOf(slow, 0, 0)}
	points := []*point{
		newPoint(on("d", "a", Holding, 0, U32)), newPoint(on("d", "b", Holding, 1, U16)),
		newPoint(on("d", "c", Holding, 2, U16)), newPoint(on("d", "d", Holding, 5, U16)),
	}
	parts, border := pl.split(pl.block(points))
	if len(parts) != 2 || parts[0].question != (question{readHolding, 0, 3, false}) || parts[1].question != (question{readHolding, 5, 1, false}) || border != (cut{Holding, 5}) {
		t.Fatalf("got %+v, %+v", parts, border)
	}
	parts, border = pl.split(parts[0])
	if parts[0].question != (question{readHolding, 0, 2, false}) || border != (cut{Holding, 1}) {
		t.Fatalf("got %+v, %+v", parts, border)
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
	if missed := b.next(start.Add(7300 * time.Millisecond)); missed != 5 {
		t.Errorf("%d were missed", missed)
	}
	if got := b.due.Sub(start); got != 8*time.Second {
		t.Fatalf("after a stall due after %v", got)
	}
	if b.next(start.Add(8*time.Second + 999999*time.Microsecond)); b.due.Sub(start) != 9*time.Second+999*time.Microsecond {
		t.Errorf("right behind a late read due after %v", b.due.Sub(start))
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
	fast := &block{question: question{readHolding, 0, 1, false}, every: 200 * time.Millisecond, due: now}
	slow := &block{question: question{readHolding, 1, 1, false}, every: 2 * time.Second, due: now.Add(-time.Second)}
	free := &block{question: question{readHolding, 2, 1, false}, due: now.Add(-500 * time.Millisecond)}
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
	asked := &block{question: question{readHolding, 0, 1, false}}
	suspect := &device{again: asked, polite: now.Add(time.Second), blocks: []*block{asked}}
	other := &device{blocks: []*block{{question: question{readHolding, 9, 1, false}, due: now}}}
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

// The urgent class goes first, and the others get their fifth beside it.
func TestClassesShareTheLine(t *testing.T) {
	now := time.Now()
	high := &block{question: question{readHolding, 0, 1, false}, priority: High, cost: 10 * ms}
	low := &block{question: question{readHolding, 1, 1, false}, priority: Low, cost: 10 * ms}
	p := &Poller{devices: []*device{{blocks: []*block{low, high}}}}
	var took [2]time.Duration
	for range 100 {
		_, b, _ := p.pick(now)
		took[b.address] += b.cost
		p.spent(b, b.cost)
		now = now.Add(b.cost)
		b.due = now
	}
	if took[0] < 700*ms || took[1] < 150*ms {
		t.Errorf("the urgent one had %v, the other %v", took[0], took[1])
	}
}

// A long read is not begun just before a frequent one is due, a short one is,
// and one that is late itself goes on.
func TestLongReadLeavesRoomForAFrequentOne(t *testing.T) {
	now := time.Now()
	frequent := &block{question: question{readHolding, 0, 1, false}, every: 200 * ms, due: now.Add(30 * ms), cost: 20 * ms}
	long := &block{question: question{readHolding, 1, 90, false}, every: 2 * time.Second, due: now, cost: 100 * ms}
	short := &block{question: question{readHolding, 2, 1, false}, every: 2 * time.Second, due: now, cost: 20 * ms}
	p := &Poller{devices: []*device{{blocks: []*block{long, short, frequent}}}}
	if _, b, _ := p.pick(now); b != short {
		t.Fatalf("picked %+v", b)
	}
	short.due = now.Add(time.Hour)
	if _, b, at := p.pick(now); b != nil || !at.Equal(frequent.due) {
		t.Errorf("picked %+v, next after %v", b, at.Sub(now))
	}
	long.due = now.Add(-3 * time.Second)
	if _, b, _ := p.pick(now); b != long {
		t.Errorf("picked %+v", b)
	}
}

// However many devices are away, to look for them takes no more than a 20th of
// the line, and a few are looked for within 5 s.
func TestDeadDevicesTakeATwentiethOfTheLine(t *testing.T) {
	for _, dead := range []int{1, 2, 10, 100} {
		p := &Poller{cfg: line.Config{Timeout: 300 * ms}}
		start := time.Now()
		for range dead {
			p.devices = append(p.devices, &device{poller: p, state: offline, learned: 40 * ms, probe: start.Add(firstProbe)})
		}
		took, longest := time.Duration(0), time.Duration(0)
		now, end := start, start.Add(time.Hour)
		for now.Before(end) {
			next := slices.MinFunc(p.devices, func(a, b *device) int { return a.probe.Compare(b.probe) })
			now = later(now, next.probe)
			spent := next.probeTimeout()
			next.probes++
			took, now = took+spent, now.Add(spent)
			next.pause(now)
			longest = max(longest, next.probe.Sub(now))
		}
		if share := float64(took) / float64(now.Sub(start)); share > 0.051 {
			t.Errorf("%d dead devices take %.1f %% of the line", dead, 100*share)
		}
		if dead <= 2 && longest > 5*time.Second {
			t.Errorf("%d dead devices are looked for after %v", dead, longest)
		}
	}
}
