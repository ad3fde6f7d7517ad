package modbus

import (
	"cmp"
	"slices"
	"time"

	"sluice/adapters/line"
)

// block is one planned read: a run of registers, or of bits, and the points
// that lie in it.
type block struct {
	question
	points   []*point // by address
	every    time.Duration
	priority Priority
	cost     time.Duration // of the line's time, as predicted
	due      time.Time     // its read is due from then on; the zero time is due at once
	place    time.Time     // in the first round of its device: it is due whole periods later; the zero time: not known yet
	known    bool          // the device has answered it
	read     time.Time     // when it did last
	busy     int           // times in a row that the device was too busy
	silent   int           // times it alone found no answer while the device gave others
	probe    bool          // not of the plan: it shows only whether the device lives
	failures int           // times in a row that the device told of a failure
	bad      bool          // the device says that it has no such register
	written  bool          // it is due out of turn, for some of it was

	badPause time.Duration // until it is asked again while bad
	last     []byte        // what it gave last
	twins    int           // times that it gave what another read had given, and meant it
}

// planner turns the points of one device into the reads that cost the line
// the least time.
type planner struct {
	cfg     DeviceConfig
	price   price
	gap     int           // most unwanted registers between two points of a read; line.AutoGap: what costs least
	longest time.Duration // most time of one read of several points; 0: any
	cuts    map[cut]bool
}

// cut is a border that no read of several points may cross: the device has
// refused one that did. The border is before the address.
type cut struct {
	table   Table
	address int
}

// plan gives the reads. Points of one table are merged where one read is
// cheaper than two: across registers that nobody wants, if these take less
// time than another request, and across periods, if reading the slower point
// with the faster one does. A value is never cut, no read is longer than the
// device allows, and none crosses a register that is known to be missing.
func (pl *planner) plan(points []*point) []*block {
	var blocks []*block
	for _, t := range []Table{Coil, Discrete, Input, Holding} {
		var inTable []*point
		for _, p := range points {
			if p.Table == t {
				inTable = append(inTable, p)
			}
		}
		blocks = append(blocks, pl.mergeTable(inTable)...)
	}
	slices.SortStableFunc(blocks, func(a, b *block) int {
		return cmp.Or(cmp.Compare(a.points[0].Table, b.points[0].Table), cmp.Compare(a.every, b.every), cmp.Compare(a.address, b.address))
	})
	return blocks
}

// mergeTable plans the points of one table: period by period, the fastest
// first, each beside the reads so far or together with those of the period
// before, whatever costs less.
func (pl *planner) mergeTable(points []*point) []*block {
	slices.SortStableFunc(points, func(a, b *point) int {
		return cmp.Or(cmp.Compare(pl.period(a.Every), pl.period(b.Every)), cmp.Compare(a.Every, b.Every),
			cmp.Compare(a.Address, b.Address), cmp.Compare(a.Width(), b.Width()))
	})
	var done, last []*block
	var group []*point // of last
	for len(points) > 0 {
		n := 1
		for n < len(points) && points[n].Every == points[0].Every {
			n++
		}
		class := slices.DeleteFunc(slices.Clone(points[:n]), func(p *point) bool { return pl.adopted(p, done) })
		points = points[n:]
		var alone []*point // what the reads so far do not bring anyway
		for _, p := range class {
			if pl.covering(p, last) == nil {
				alone = append(alone, p)
			}
		}
		apart := pl.merge(alone)
		together := pl.merge(slices.Concat(group, class))
		if len(group) > 0 && pl.load(together) < pl.load(last)+pl.load(apart) {
			group, last = slices.Concat(group, class), together
			continue
		}
		for _, p := range class {
			pl.adopted(p, last)
		}
		done = append(done, last...)
		group, last = alone, apart
	}
	return append(done, last...)
}

// period is how long it is between two reads of a point.
func (pl *planner) period(every time.Duration) time.Duration {
	if every <= 0 {
		return pl.price.round
	}
	return every
}

// covers reports whether the read of b brings p as well.
func (b *block) covers(p *point) bool {
	begin := int(p.Address)
	return b.points[0].Table == p.Table && begin >= int(b.address) && begin+p.Width() <= int(b.address)+int(b.count)
}

// covering finds a read that brings p anyway.
func (pl *planner) covering(p *point, blocks []*block) *block {
	if p.missing {
		return nil
	}
	for _, b := range blocks {
		if !b.points[0].missing && b.covers(p) && !pl.crosses(p.Table, int(b.address), int(b.address)+int(b.count)) {
			return b
		}
	}
	return nil
}

// adopted puts p into a read that brings it anyway, if there is one.
func (pl *planner) adopted(p *point, blocks []*block) bool {
	b := pl.covering(p, blocks)
	if b == nil {
		return false
	}
	at, _ := slices.BinarySearchFunc(b.points, p, func(a, b *point) int { return cmp.Compare(a.Address, b.Address) })
	b.points = slices.Insert(b.points, at, p)
	b.priority = max(b.priority, p.Priority)
	return true
}

// load is the share of the line that blocks take.
func (pl *planner) load(blocks []*block) (load float64) {
	for _, b := range blocks {
		load += pl.price.load(b.points[0].Table, int(b.count), b.every)
	}
	return load
}

// merge parts the points of one table, in the order of their addresses, into
// the reads with the least load: best[i] is the least for the first i points.
func (pl *planner) merge(points []*point) []*block {
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(a, b *point) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Width(), b.Width()))
	})
	type choice struct {
		load float64
		from int
	}
	best := make([]choice, len(points)+1)
	for i := range points {
		t := points[i].Table
		chosen := choice{load: -1}
		end, every := 0, points[i].Every
		for from := i; from >= 0; from-- {
			p := points[from]
			begin := int(p.Address)
			end = max(end, begin+p.Width())
			if pl.period(p.Every) < pl.period(every) {
				every = p.Every
			}
			if from < i && !pl.mayJoin(points[from:i+1], begin, end) {
				if end-begin > pl.cfg.most(t) {
					break
				}
				continue
			}
			load := best[from].load + pl.price.load(t, end-begin, every)
			if chosen.load < 0 || load < chosen.load {
				chosen = choice{load, from}
			}
		}
		best[i+1] = chosen
	}
	var blocks []*block
	for i := len(points); i > 0; i = best[i].from {
		blocks = append(blocks, pl.block(points[best[i].from:i:i]))
	}
	slices.Reverse(blocks)
	return blocks
}

// mayJoin reports whether points, which lie in [begin, end), may share a read.
func (pl *planner) mayJoin(points []*point, begin, end int) bool {
	t := points[0].Table
	switch {
	case end-begin > pl.cfg.most(t), points[0].missing:
		return false
	case pl.longest > 0 && pl.price.of(t, end-begin) > pl.longest:
		return false
	}
	if pl.crosses(t, begin, end) {
		return false
	}
	most := pl.gap
	if t.bits() {
		most *= 16
	}
	reached := begin
	for _, p := range points {
		if p.missing || pl.gap >= 0 && int(p.Address)-reached > most {
			return false
		}
		reached = max(reached, int(p.Address)+p.Width())
	}
	return true
}

// crosses reports whether a border lies within [begin, end).
func (pl *planner) crosses(t Table, begin, end int) bool {
	for c := range pl.cuts {
		if c.table == t && c.address > begin && c.address < end {
			return true
		}
	}
	return false
}

// block covers points, which are sorted by address.
func (pl *planner) block(points []*point) *block {
	first := points[0]
	b := &block{points: points, every: first.Every, priority: first.Priority}
	begin, end := int(first.Address), 0
	for _, p := range points {
		end = max(end, int(p.Address)+p.Width())
		b.priority = max(b.priority, p.Priority)
		if pl.period(p.Every) < pl.period(b.every) {
			b.every = p.Every
		}
	}
	b.question = question{first.Table.reads(), first.Address, uint16(end - begin), first.Wide}
	b.cost = pl.price.of(first.Table, end-begin)
	return b
}

// split parts a read of several points between two of them, to find out what
// the device does not know: at a gap if there is one, for the points are what
// the manual says that the device has. It gives the border too.
func (pl *planner) split(b *block) ([]*block, cut) {
	half := len(b.points) / 2
	at, gap := half, false
	reached := int(b.address)
	for i, p := range b.points {
		if int(p.Address) > reached && (!gap || distance(i, half) < distance(at, half)) {
			at, gap = i, true
		}
		reached = max(reached, int(p.Address)+p.Width())
	}
	parts := []*block{pl.block(b.points[:at:at]), pl.block(b.points[at:])}
	return parts, cut{b.points[0].Table, int(parts[1].address)}
}

func distance(a, b int) int { return max(a-b, b-a) }

// Read is one planned request.
type Read struct {
	Device   string
	Unit     uint8
	Table    Table
	Address  uint16        // as on the wire, from 0
	Count    int           // registers, or bits
	Unwanted int           // of these, those that belong to no point
	Points   []string      // what it brings, by address
	Every    time.Duration // 0: as often as the line allows
	Wire     time.Duration // how long it keeps the line, silences and turnaround included
}

// Plan is what a poller would ask on a line.
type Plan struct {
	Reads []Read // in the order of the devices
	// Load is the share of the line's time that the reads with a period take;
	// above 1 they can't all be made.
	Load float64
	// Cycle is in what time every point was read once: all reads one after
	// the other, those without a period in what the others leave free.
	Cycle time.Duration
}

// NewPlan plans the reads of all devices of a line as a poller does before it
// has measured how fast the devices are: with a turnaround of 10 ms.
func NewPlan(cfg line.Config, devices []DeviceConfig) Plan {
	var plan Plan
	free, all := time.Duration(0), time.Duration(0)
	for i, blocks := range planDevices(cfg, devices) {
		for _, b := range blocks {
			r := Read{
				Device: devices[i].Name, Unit: devices[i].Unit, Table: b.points[0].Table, Address: b.address,
				Count: int(b.count), Unwanted: b.unwanted(), Every: b.every, Wire: b.cost,
			}
			for _, p := range b.points {
				r.Points = append(r.Points, p.Point.Name)
			}
			plan.Reads = append(plan.Reads, r)
			all += b.cost
			if b.every <= 0 {
				free += b.cost
				continue
			}
			plan.Load += float64(b.cost) / float64(b.every)
		}
	}
	plan.Cycle = all
	if free > 0 {
		plan.Cycle = time.Duration(float64(free) / max(1-plan.Load, 0.01))
	}
	return plan
}

// planDevices plans each device.
func planDevices(cfg line.Config, devices []DeviceConfig) [][]*block {
	round := roundOf(cfg, devices)
	blocks := make([][]*block, len(devices))
	for i, c := range devices {
		pl := newPlanner(cfg, c)
		if round > 0 {
			pl.price.round = round
		}
		blocks[i] = pl.plan(newPoints(c))
	}
	return blocks
}

func newPlanner(cfg line.Config, c DeviceConfig) *planner {
	price := priceOf(cfg, c.Delay, usualTurnaround)
	price.wide = c.Wide
	return &planner{cfg: c, price: price, gap: cfg.Gap}
}

// roundOf is how long it takes to read all points without a period once, 0 if
// there are none.
func roundOf(cfg line.Config, devices []DeviceConfig) (round time.Duration) {
	for _, c := range devices {
		var free []*point
		for _, p := range newPoints(c) {
			if p.Every <= 0 {
				free = append(free, p)
			}
		}
		for _, b := range newPlanner(cfg, c).plan(free) {
			round += b.cost
		}
	}
	return round
}

// unwanted is how many of the block's entries belong to no point.
func (b *block) unwanted() int {
	n, reached := 0, int(b.address)
	for _, p := range b.points {
		n += max(0, int(p.Address)-reached)
		reached = max(reached, int(p.Address)+p.Width())
	}
	return n
}
