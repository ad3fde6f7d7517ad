package modbus

import (
	"context"
	"errors"
	"slices"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// state is what is known of a device.
type state uint8

const (
	unknown state = iota // not asked yet
	online
	offline
)

// device is one device on the line. But for what Stats reads, all of it
// belongs to the line's owner goroutine.
type device struct {
	poller *Poller
	cfg    DeviceConfig
	points []*point
	byName map[string]*point
	blocks []*block
	cuts   map[cut]bool

	state      state
	fails      int       // requests in a row without an answer
	again      *block    // asked in vain: to be asked next
	blamed     *block    // another block found no answer before again was tried
	polite     time.Time // until then the other devices go first
	since      time.Time // it came online, and its first round began
	probe      time.Time // when an offline device is asked next
	probes     int       // since it went offline
	short      *block    // what it is asked while offline; nil: to be made
	rested     time.Time // when its delay after the last request is over
	debts      debts
	misses     misses
	recent     recent
	foreign    foreign
	previous   question // answered last
	previousAt time.Time
	sure       int           // answers that were witnessed, up to sureAfter
	tardyAt    time.Time     // it was late last
	orderly    int           // late answers that came before that of a fence, up to orderlyAfter
	mixedAt    time.Time     // it answered out of order last
	aside      time.Time     // since when it stands aside for another device; zero: it does not
	refusedAt  time.Time     // it answered with an exception last
	polled     bool          // it is being asked for a poll
	drain      bool          // let all come that it still sends before it is asked
	twiceAt    time.Time     // it gave a second answer last
	replays    int           // answers that looked as if they were old ones and were not confirmed
	turn       line.Window   // turnarounds: from the end of a request to the begin of its answer
	planned    time.Duration // the one that the plan reckons with
	measured   time.Duration // the usual one of late; 0: too few
	slowest    time.Duration // 99th percentile of them; 0: too few
	learned    time.Duration // longest wait that they suggest; 0: too few
	sinceSort  int
	overtime   overtime
	readings   []adapters.Reading // reused

	stats   DeviceStats // guarded by poller.mu
	latency line.Window // the same
	waits   line.Window // the same
}

func newDevice(p *Poller, c DeviceConfig) *device {
	d := &device{
		poller:  p,
		cfg:     c,
		points:  newPoints(c),
		byName:  make(map[string]*point),
		cuts:    make(map[cut]bool),
		planned: usualTurnaround,
		turn:    line.NewWindow(128),
		latency: line.NewWindow(128),
		waits:   line.NewWindow(128),
		stats:   DeviceStats{Name: c.Name, Unit: c.Unit, Reason: "not asked yet", Since: time.Now()},
	}
	for _, pt := range d.points {
		d.byName[pt.Point.Name] = pt
	}
	d.readings = make([]adapters.Reading, 0, len(d.points))
	return d
}

const (
	leastTimeout = 40 * time.Millisecond
	margin       = 15 * time.Millisecond // a busy machine may be late itself
	learnFrom    = 16                    // turnarounds that must be known
	fifo         = 16                    // characters that a UART may hold back before it hands them over
)

// timeout is how long to wait for an answer: what the device usually needs,
// with a wide margin, but all that is configured once it failed to.
func (d *device) timeout() time.Duration {
	full := d.poller.cfg.Timeout
	if d.fails == 0 && d.learned > 0 {
		return min(d.learned, full)
	}
	return full
}

// probeTimeout is how long to wait for a sign of life. Every eighth probe
// allows for a device that has become slower.
func (d *device) probeTimeout() time.Duration {
	if d.probes%8 == 7 {
		return d.poller.cfg.Timeout
	}
	return d.briefly()
}

// briefly is the usual wait for a sign of life. A device never seen is
// expected to be as fast as the others on the line usually are.
func (d *device) briefly() time.Duration {
	wait := d.learned
	if wait == 0 {
		var others []time.Duration
		for _, other := range d.poller.devices {
			if other.learned > 0 {
				others = append(others, other.learned)
			}
		}
		if len(others) == 0 {
			return d.poller.cfg.Timeout
		}
		slices.Sort(others)
		wait = others[len(others)/2]
	}
	return min(wait, d.poller.cfg.Timeout)
}

// asked counts a request and learns from its answer.
func (d *device) asked(c *line.Conn, begin time.Time, err error) {
	end := time.Now()
	d.rested = end.Add(d.cfg.Delay)
	answered := err == nil || errors.As(err, new(Exception))
	turnaround := time.Duration(0)
	if answered {
		turnaround = max(0, end.Sub(c.Begin())-d.onWire(d.poller.client.size))
		d.turn.Add(turnaround)
		if d.sinceSort++; d.sinceSort >= learnFrom {
			d.sinceSort = 0
			p50, p99 := d.turn.Percentiles()
			d.learned = max(leastTimeout, 2*p99+margin+fifo*d.poller.cfg.Serial.CharTime())
			d.measured, d.slowest = p50, p99
		}
	}
	d.poller.mu.Lock()
	defer d.poller.mu.Unlock()
	d.poller.hear(c.Thrown(), begin)
	d.poller.asked, d.poller.heeded = d, answered
	for frame, question := range d.poller.frames(c.Beside()) {
		if answered || frame[0] == d.cfg.Unit { // other units in its place are told by err
			d.poller.stray(frame, question, end)
		}
	}
	s := &d.stats
	s.Requests++
	s.Busy += end.Sub(begin)
	s.Timeout = d.learned
	if took := d.overtime.asked(begin, end, answered); took > 0 {
		d.tardy(took, d.poller.client.size)
	}
	if answered {
		s.Answers++
		s.LastAnswer = end
		d.latency.Add(end.Sub(begin))
		d.waits.Add(turnaround)
	}
	var (
		frame   *line.FrameError
		refused Exception
		other   stranger
	)
	switch {
	case err == nil:
	case errors.As(err, &refused):
		s.Exceptions++
		s.Codes[min(int(refused), len(s.Codes)-1)]++
	case errors.As(err, &frame):
		s.BadFrames++
		if frame.Fault == line.Checksum || frame.Fault == line.Short {
			s.Spoilt++
		}
		if errors.As(err, &other) {
			s.Strangers++
			s.Stranger = other.unit
		}
	case errors.Is(err, line.ErrTimeout):
		s.Timeouts++
	}
}

// poll reads b, which is due, and publishes what came of it.
func (d *device) poll(ctx context.Context, c *line.Conn, b *block) {
	d.polled = true
	defer func() { d.polled = false }()
	timeout := d.timeout()
	if d.state == offline {
		timeout = d.probeTimeout()
		d.probes++
	}
	read := func(b *block) ([]byte, error) {
		data, err := d.read(c, b, timeout)
		var frame *line.FrameError
		if errors.As(err, &frame) && frame.Fault != line.Mismatch && frame.Fault != line.Noise && d.state != offline {
			data, err = d.read(c, b, timeout) // broken on its way: once more, at once
		}
		return data, err
	}
	data, err := read(b)
	if err == nil {
		d.alive()
		d.publish(b, data, time.Now())
	}
	b.written = false
	var refused Exception
	var wait unsettled
	now := time.Now()
	switch {
	case err == nil:
		d.answered(b, now)
	case ctx.Err() != nil || errors.Is(err, line.ErrClosed):
		// Not the device's fault, and the line tells it itself.
	case errors.Is(err, errOwing):
		// It is due still, when the device has rested, or later.
		if errors.As(err, &wait) {
			b.due = later(b.due, wait.until)
		}
		if !b.read.IsZero() && now.Sub(b.read) > max(oldAfter, 3*b.every) {
			d.publishBad(b.points, adapters.Stale, now)
		}
	case errors.As(err, &refused):
		d.refused(b, refused, now)
	default:
		d.silent(b, err, now)
	}
	if d.unlikePlan() {
		d.replan(false)
	}
}

// next sets when b is due again. What was missed is not made up for; it tells
// how often that was.
func (b *block) next(now time.Time) (missed int) {
	if b.every <= 0 || b.due.IsZero() {
		b.due = now.Add(b.every)
		return 0
	}
	b.due = b.due.Add(b.every)
	if late := now.Sub(b.due); late >= 0 {
		missed = int(late/b.every) + 1
		b.due = b.due.Add(time.Duration(missed) * b.every)
	}
	// Right behind a late read it would tell the same of the same moment: times
	// of readings have milliseconds.
	b.due = later(b.due, now.Add(time.Millisecond))
	return missed
}

// answered notes that the device is alive and knows b.
func (d *device) answered(b *block, now time.Time) {
	d.alive()
	missed := b.next(now)
	d.seat(b, b.due)
	b.due = b.inStep(b.every, b.due, now)
	if missed > 0 {
		d.poller.mu.Lock()
		d.stats.Skipped += uint64(missed)
		d.poller.mu.Unlock()
	}
	b.silent, b.busy, b.known, b.read = 0, 0, true, now
	if b.bad {
		b.bad, b.badPause, b.points[0].missing = false, 0, false
		d.countBad()
	}
	d.tried(b, now)
}

// alive notes that the device gave some answer.
func (d *device) alive() {
	d.fails, d.again = 0, nil
	if b := d.blamed; b != nil {
		d.blamed = nil
		d.blame(b, time.Now())
	}
	if d.state == online {
		return
	}
	if d.state == offline {
		d.forgive()
	}
	d.state, d.probes, d.debts.deaf, d.since = online, 0, nil, time.Now()
	for _, b := range d.blocks {
		b.due, b.place = time.Time{}, time.Time{}
	}
	for _, p := range d.points {
		p.due = time.Time{}
	}
	d.tell(true, "")
	d.poller.log.Info("device is online", "device", d.cfg.Name, "unit", d.cfg.Unit)
}

func (d *device) tell(on bool, reason string) {
	d.poller.mu.Lock()
	d.stats.Online, d.stats.Reason, d.stats.Since = on, reason, time.Now()
	d.poller.mu.Unlock()
	d.poller.sink.Availability(d.cfg.Name, on, reason)
}

// publish hands over the readings of b from the answer to it.
func (d *device) publish(b *block, data []byte, now time.Time) {
	d.readings = d.readings[:0]
	for _, pt := range b.points {
		pt.held = true
		if !pt.wanted(b, now) {
			continue
		}
		pt.due = b.inStep(pt.Every, pt.due, now)
		value, quality := pt.decode(b.question, data)
		pt.told, pt.known = quality, true
		d.readings = append(d.readings, adapters.Reading{Point: pt.Point, Value: value, Quality: quality, Aside: b.written, Time: now})
	}
	if len(d.readings) > 0 {
		d.poller.sink.Put(d.readings)
	}
}

// wanted reports whether a reading of pt, which came with b, is due: a point
// that is read more often than it was asked for, because that is cheaper, is
// not told more often. What was not good is told at once.
func (pt *point) wanted(b *block, now time.Time) bool {
	if pt.Every <= b.every || !pt.known || pt.told != adapters.Good {
		pt.due = now.Add(pt.Every)
		return true
	}
	if now.Before(pt.due.Add(-b.every / 2)) {
		return false
	}
	pt.due = pt.due.Add(pt.Every)
	if pt.due.Before(now) {
		pt.due = now.Add(pt.Every) // what was missed is not made up for
	}
	return true
}

// publishBad tells once of each point that it has no value.
func (d *device) publishBad(points []*point, quality adapters.Quality, now time.Time) {
	d.readings = d.readings[:0]
	for _, pt := range points {
		d.readings = pt.spoil(d.readings, quality, now)
	}
	if len(d.readings) > 0 {
		d.poller.sink.Put(d.readings)
	}
}
