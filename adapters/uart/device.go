package uart

import (
	"time"

	"sluice/adapters"
)

// device is one device that speaks on the line. But for what Stats reads, all
// of it belongs to the line's owner goroutine.
type device struct {
	listener *Listener
	cfg      DeviceConfig
	points   []*point
	lines    *assembler
	readings []adapters.Reading // reused

	online bool
	told   bool // whether Availability was ever called
	open   bool
	last   time.Time // of the last good line, or of the opening of the port

	stats DeviceStats // guarded by listener.mu
}

func newDevice(u *Listener, c DeviceConfig) *device {
	d := &device{
		listener: u,
		cfg:      c,
		lines:    newAssembler(c.Until, c.Max),
		stats:    DeviceStats{Name: c.Name, Reason: "nothing heard yet", Since: time.Now()},
	}
	for _, pc := range c.Points {
		d.points = append(d.points, newPoint(pc, c.Match))
	}
	d.readings = make([]adapters.Reading, 0, len(d.points))
	return d
}

// opened begins to wait for lines.
func (d *device) opened(now time.Time) {
	d.open, d.last = true, now
	d.lines.restart()
}

// hear takes in what came on the line.
func (d *device) hear(chunk []byte, at time.Time, fresh bool) {
	if fresh {
		d.lines.restart()
	}
	lines, matched := uint64(0), uint64(0)
	d.lines.feed(chunk, func(text []byte) {
		lines++
		if d.line(text, at) {
			matched++
		}
	})
	d.listener.mu.Lock()
	defer d.listener.mu.Unlock()
	s := &d.stats
	s.Lines += lines
	s.Matched += matched
	s.Unmatched += lines - matched
	s.Partial, s.Overlong = d.lines.partial, d.lines.overlong
	if matched > 0 {
		s.LastMatch = at
	}
}

// line publishes what a line says, and tells whether it says anything.
func (d *device) line(text []byte, at time.Time) bool {
	if d.cfg.Match == nil {
		return false
	}
	groups := d.cfg.Match.FindSubmatchIndex(text)
	if groups == nil {
		return false
	}
	d.readings = d.readings[:0]
	good := false
	for _, pt := range d.points {
		if pt.group < 0 || groups[2*pt.group] < 0 {
			continue // not in this line
		}
		value, quality := pt.parse(string(text[groups[2*pt.group]:groups[2*pt.group+1]]))
		good = good || quality == adapters.Good
		pt.told, pt.known = quality, true
		d.readings = append(d.readings, adapters.Reading{Point: pt.Point, Value: value, Quality: quality, Time: at})
	}
	if good || len(d.readings) == 0 {
		d.last = at
		d.goOnline()
	}
	if len(d.readings) > 0 {
		d.listener.sink.Put(d.readings)
	}
	return true
}

// confirmed publishes the value that a confirming line names, if it names one.
func (d *device) confirmed(pt *point, text []byte) adapters.Value {
	group := pt.expect.SubexpIndex("value")
	found := pt.expect.FindSubmatch(text)
	if group < 0 || found == nil {
		return adapters.Value{}
	}
	value, quality := pt.parse(string(found[group]))
	if quality == adapters.Good {
		pt.told, pt.known = adapters.Good, true
		d.listener.sink.Put([]adapters.Reading{{Point: pt.Point, Value: value, Time: time.Now()}})
	}
	return value
}

// watch tells of a device that has been silent for too long, and when to look
// again.
func (d *device) watch(now time.Time) time.Duration {
	if d.cfg.Stale <= 0 || !d.open {
		return idlest
	}
	silence := now.Sub(d.last)
	if silence < d.cfg.Stale {
		return d.cfg.Stale - silence
	}
	d.goOffline("nothing good heard for "+d.cfg.Stale.String(), adapters.Stale, now)
	return d.cfg.Stale
}

func (d *device) goOnline() {
	if d.online {
		return
	}
	d.online, d.told = true, true
	d.tell("")
	d.listener.log.Info("device is online", "device", d.cfg.Name)
}

// goOffline publishes the points with the given quality, then that the device
// is away; each of it once.
func (d *device) goOffline(reason string, quality adapters.Quality, now time.Time) {
	if quality == adapters.Offline {
		d.open = false
	}
	d.readings = d.readings[:0]
	for _, pt := range d.points {
		if pt.group < 0 && !pt.known || pt.known && pt.told == quality {
			continue // never had a value, or is told already
		}
		pt.told, pt.known = quality, true
		d.readings = append(d.readings, adapters.Reading{Point: pt.Point, Quality: quality, Time: now})
	}
	if len(d.readings) > 0 {
		d.listener.sink.Put(d.readings)
	}
	if d.told && !d.online {
		return
	}
	d.online, d.told = false, true
	d.tell(reason)
	d.listener.log.Warn("device is offline", "device", d.cfg.Name, "reason", reason)
}

func (d *device) tell(reason string) {
	d.listener.mu.Lock()
	d.stats.Online, d.stats.Reason, d.stats.Since = d.online, reason, time.Now()
	d.listener.mu.Unlock()
	d.listener.sink.Availability(d.cfg.Name, d.online, reason)
}
