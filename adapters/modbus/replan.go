package modbus

import "time"

// planner makes what plans the device's reads as things are now.
func (d *device) planner() *planner {
	price := priceOf(d.poller.cfg, d.cfg.Delay, d.planned)
	price.wide = d.cfg.Wide
	if d.poller.round > 0 {
		price.round = d.poller.round
	}
	return &planner{cfg: d.cfg, price: price, gap: d.poller.cfg.Gap, longest: d.poller.longest(), cuts: d.cuts}
}

// worthwhile is by how much of its load a plan must be better than the one in
// use: blocks that change are read anew, and what is known of them is lost.
const worthwhile = 0.02

// unlikePlan reports whether the device's turnaround has moved so far from
// what the plan reckons with that another may be better.
func (d *device) unlikePlan() bool {
	if d.measured == 0 || d.state != online || d.again != nil || d.blamed != nil {
		return false
	}
	off := d.measured - d.planned
	return max(off, -off) > max(d.planned/4, time.Millisecond)
}

// replan plans the device's reads again; unless it must, it keeps those that
// it has where others would be hardly better.
func (d *device) replan(must bool) {
	if d.measured > 0 {
		d.planned = d.measured
	}
	pl := d.planner()
	for _, b := range d.blocks {
		b.cost = pl.price.of(b.points[0].Table, int(b.count))
	}
	blocks := pl.plan(d.points)
	if !must && pl.load(blocks) > (1-worthwhile)*pl.load(d.blocks) {
		return
	}
	old := make(map[question]*block)
	from := make(map[*point]*block)
	for _, b := range d.blocks {
		old[b.question] = b
		for _, p := range b.points {
			from[p] = b
		}
	}
	for i, b := range blocks {
		if same := old[b.question]; same != nil {
			same.points, same.every, same.priority, same.cost = b.points, b.every, b.priority, b.cost
			blocks[i] = same
			continue
		}
		for j, p := range b.points {
			if due := from[p].due; j == 0 || due.Before(b.due) {
				b.due = due
			}
		}
	}
	d.blocks = blocks
	d.poller.log.Debug("reads are planned again", "device", d.cfg.Name, "turnaround", d.planned, "reads", len(blocks))
}

// forgive forgets what the device was found to lack, for it may be another
// one, or set up by now.
func (d *device) forgive() {
	for _, p := range d.points {
		p.held, p.trial = false, nil
	}
	if len(d.cuts) == 0 {
		return
	}
	clear(d.cuts)
	for _, p := range d.points {
		p.missing = false
	}
	for _, b := range d.blocks {
		b.bad, b.badPause, b.silent = false, 0, 0
	}
	d.countBad()
	d.replan(true)
}
