package modbus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// Tap listens to the traffic of another master on a line and takes the points
// of devices from its reads, as if they had been polled, and from its writes
// that devices confirm. It never sends.
// Its methods may be called from any goroutine.
type Tap struct {
	line    *line.Line
	sink    adapters.Sink
	log     *slog.Logger
	devices []*tapped
	ready   chan struct{}
	once    sync.Once
	wake    chan struct{} // holds one: the line was opened

	mu      sync.Mutex // guards the rest, which the owner goroutine writes
	monitor *monitor
}

// tapped is one device that is listened to. But for what Stats reads, all of
// it belongs to the line's owner goroutine.
type tapped struct {
	tap      *Tap
	cfg      DeviceConfig
	points   []*tappedPoint
	open     bool // the line is
	online   bool
	told     bool               // whether it is online
	last     time.Time          // it was heard last, or the line was opened
	since    time.Time          // it is online
	readings []adapters.Reading // reused

	stats DeviceStats // guarded by tap.mu
}

// tappedPoint is a point and when it came last.
type tappedPoint struct {
	*point
	seen   time.Time
	asked  time.Time // it was answered, though perhaps not to be used
	missed bool      // it was told that it does not come
}

// NewTap makes the tap of line l, which must be one that is only listened to;
// the devices are taken to be valid. It starts nothing; call it before l.Run.
func NewTap(l *line.Line, devices []DeviceConfig, sink adapters.Sink, log *slog.Logger) *Tap {
	t := &Tap{
		line:  l,
		sink:  sink,
		log:   log.With("line", l.Config().Name),
		ready: make(chan struct{}),
		wake:  make(chan struct{}, 1),
	}
	t.monitor = newMonitor(t.heard)
	t.monitor.wide, t.monitor.char = make(map[byte]bool), l.Config().Serial.CharTime()
	for _, c := range devices {
		t.monitor.wide[c.Unit] = c.Wide
		d := &tapped{tap: t, cfg: c, stats: DeviceStats{Name: c.Name, Unit: c.Unit, Reason: "not heard yet", Since: time.Now()}}
		for _, pt := range newPoints(c) {
			d.points = append(d.points, &tappedPoint{point: pt})
		}
		t.devices = append(t.devices, d)
	}
	l.OnState(t.lineChanged)
	l.Listen(func(chunk []byte, at time.Time, fresh bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if fresh {
			t.monitor.forget()
		}
		t.monitor.feed(chunk, at)
	})
	return t
}

// Ready is closed when Run has begun.
func (t *Tap) Ready() <-chan struct{} { return t.ready }

// String names the task.
func (t *Tap) String() string { return "listen " + t.line.Config().Name }

// Run watches over silence until ctx ends. The traffic itself is heard by the
// owner goroutine of the line.
func (t *Tap) Run(ctx context.Context) error {
	t.once.Do(func() { close(t.ready) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-timer.C:
		}
		next := time.Hour
		err := t.line.Do(ctx, line.Poll, func(context.Context, *line.Conn) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			now := time.Now()
			for _, d := range t.devices {
				next = min(next, d.watch(now))
			}
			return nil
		})
		if err != nil && !errors.Is(err, line.ErrClosed) && ctx.Err() == nil {
			t.log.Warn("the watch over silence is delayed", "error", err)
			next = time.Second
		}
		timer.Reset(next)
	}
}

// lineChanged runs on the owner goroutine.
func (t *Tap) lineChanged(open bool, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, d := range t.devices {
		d.stats.Unheard = false
		if d.open = open; open {
			d.last = now
		} else {
			d.goOffline("line "+t.line.Config().Name+": "+reason, now)
		}
	}
	if open {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// heard takes an answer of a unit; see monitor.
func (t *Tap) heard(unit byte, q question, data []byte, at time.Time) {
	for _, d := range t.devices {
		if d.cfg.Unit == unit {
			d.heard(q, data, at, t.monitor.wrote)
		}
	}
}

func (d *tapped) heard(q question, data []byte, at time.Time, wrote bool) {
	d.last = later(d.last, at) // what had to be proven is older
	d.stats.LastAnswer, d.stats.Unheard = d.last, false
	d.goOnline(at)
	d.readings = d.readings[:0]
	for _, pt := range d.points {
		begin := int(pt.Address) - int(q.address)
		if pt.Table.reads() != q.function || begin < 0 || begin+pt.Width() > int(q.count) {
			continue
		}
		pt.asked = later(pt.asked, at)
		if data == nil || at.Before(pt.seen) {
			continue
		}
		value, quality := pt.decode(q, data)
		pt.seen, pt.told, pt.known, pt.missed = at, quality, true, false
		d.readings = append(d.readings, adapters.Reading{Point: pt.Point, Value: value, Quality: quality, Aside: wrote, Time: at})
	}
	if len(d.readings) > 0 {
		d.tap.sink.Put(d.readings)
	}
}

// watch tells of a device that has been silent for too long, and of points
// that have not come, and when to look again.
func (d *tapped) watch(now time.Time) time.Duration {
	if !d.open {
		return time.Hour // the line tells when it is open
	}
	if silence := now.Sub(d.last); silence >= d.cfg.Stale {
		d.stats.Unheard = true
		d.goOffline("not heard for "+d.cfg.Stale.String(), now)
		return d.cfg.Stale
	}
	next := d.cfg.Stale - now.Sub(d.last)
	if !d.online {
		return next
	}
	var old []*tappedPoint
	for _, pt := range d.points {
		silence := now.Sub(later(pt.seen, d.since))
		if silence < d.cfg.Stale {
			next = min(next, d.cfg.Stale-silence)
			continue
		}
		old = append(old, pt)
		if !pt.missed {
			pt.missed = true
			why := "the other master does not read this point"
			if now.Sub(pt.asked) < d.cfg.Stale {
				why = "no answer for this point can be used: it was refused, or may be late and another's"
			}
			d.tap.log.Warn(why, "device", d.cfg.Name, "unit", d.cfg.Unit,
				"point", pt.Point.Name, "table", pt.Table, "address", pt.Address, "waited", d.cfg.Stale)
		}
	}
	d.publishBad(old, adapters.Stale, now)
	return next
}

func (d *tapped) goOnline(at time.Time) {
	if d.online {
		return
	}
	d.online, d.since = true, at
	d.tell(true, "")
	d.tap.log.Info("device is online", "device", d.cfg.Name, "unit", d.cfg.Unit)
}

func (d *tapped) goOffline(reason string, now time.Time) {
	d.publishBad(d.points, adapters.Offline, now)
	if d.told && !d.online {
		return
	}
	d.online = false
	d.tell(false, reason)
	d.tap.log.Warn("device is offline", "device", d.cfg.Name, "unit", d.cfg.Unit, "reason", reason)
}

func (d *tapped) tell(on bool, reason string) {
	d.told = true
	d.stats.Online, d.stats.Reason, d.stats.Since = on, reason, time.Now()
	d.tap.sink.Availability(d.cfg.Name, on, reason)
}

// publishBad tells once of each point that it has no value.
func (d *tapped) publishBad(points []*tappedPoint, quality adapters.Quality, now time.Time) {
	d.readings = d.readings[:0]
	for _, pt := range points {
		d.readings = pt.spoil(d.readings, quality, now)
	}
	if len(d.readings) > 0 {
		d.tap.sink.Put(d.readings)
	}
}

// Stats gives a snapshot of each device's figures, in the order of the
// configuration: Requests, Timeouts and the rest are those of the other master.
func (t *Tap) Stats() []DeviceStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	stats := make([]DeviceStats, len(t.devices))
	for i, d := range t.devices {
		stats[i] = d.stats
		if heard := t.monitor.counts[d.cfg.Unit]; heard != nil {
			heard.into(&stats[i])
		}
		for _, pt := range d.points {
			if pt.missed && pt.asked.IsZero() {
				stats[i].Unread = append(stats[i].Unread, pt.Point.Name)
			}
		}
	}
	return stats
}

// Overheard gives the figures of all units together, those that are not
// configured included, and how many bytes belonged to no frame.
func (t *Tap) Overheard() (all DeviceStats, noise uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, heard := range t.monitor.counts {
		heard.into(&all)
	}
	return all, t.monitor.noise
}

// into adds s to figures.
func (s *TapStats) into(figures *DeviceStats) {
	figures.Requests += s.Requests
	figures.Answers += s.Answers
	figures.Timeouts += s.Unanswered
	figures.BadFrames += s.Spoilt + s.Doubtful
	figures.Spoilt += s.Spoilt
	figures.Exceptions += s.Exceptions
	for code, n := range s.Codes {
		figures.Codes[code] += n
	}
}
