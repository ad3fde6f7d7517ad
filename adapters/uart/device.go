package uart

import (
	"context"
	"errors"
	"slices"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// device is one device that speaks on the line. But for what Stats reads, all
// of it belongs to the line's owner goroutine.
type device struct {
	listener *Listener
	cfg      DeviceConfig
	points   []*point
	frames   *assembler
	leads    bool               // of the devices for which frames part alike it is the first
	readings []adapters.Reading // reused

	online bool
	told   bool // whether Availability was ever called
	open   bool
	last   time.Time // of the last good frame, or of the opening of the port
	due    time.Time // when it is asked next; of a device with a request
	fails  int       // requests in a row without an answer

	stats DeviceStats // guarded by listener.mu
}

func newDevice(u *Listener, c DeviceConfig) *device {
	d := &device{
		listener: u,
		cfg:      c,
		frames:   &assembler{Frame: c.Frame},
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
	d.open, d.last, d.due, d.fails = true, now, now, 0
	d.frames.restart()
}

// hear takes in what came on the line.
func (d *device) hear(chunk []byte, at time.Time, fresh bool) {
	if fresh {
		d.frames.restart()
	}
	if d.cfg.Request != "" && d.listener.several {
		return // nothing shows whose late answer it is
	}
	d.frames.feed(chunk, at, func(content []byte) { d.frame(content, at) })
	d.tally()
}

// tally shows what the assembler counts.
func (d *device) tally() {
	d.listener.mu.Lock()
	defer d.listener.mu.Unlock()
	s := &d.stats
	s.Partial, s.Overlong, s.Spoilt, s.Garbage = d.frames.partial, d.frames.overlong, d.frames.spoilt, d.frames.wasted
}

// frame counts a frame and publishes what it says.
func (d *device) frame(content []byte, at time.Time) {
	groups, matched := d.meant(content)
	d.listener.mu.Lock()
	s := &d.stats
	s.Lines++
	if matched {
		s.Matched++
		s.LastMatch = at
	} else {
		s.Unmatched++
	}
	d.listener.mu.Unlock()
	switch {
	case matched:
		d.publish(content, groups, at)
	case d.leads && !d.listener.awaits(content):
		d.listener.stray(content)
	}
}

// confirms reports whether a frame is one that confirms a command.
func (d *device) confirms(content []byte) bool {
	return slices.ContainsFunc(d.points, func(pt *point) bool { return pt.expect != nil && pt.expect.Match(content) })
}

// reads reports whether anything is taken from the frames that come unasked.
func (d *device) reads() bool {
	return (d.cfg.Request == "" || !d.listener.several) &&
		(d.cfg.Match != nil || slices.ContainsFunc(d.points, func(pt *point) bool { return pt.Binary != nil }))
}

// meant reports whether a frame is one of this device, and gives the groups of
// its match.
func (d *device) meant(content []byte) (groups []int, ok bool) {
	if d.cfg.Match != nil {
		groups = d.cfg.Match.FindSubmatchIndex(content)
		return groups, groups != nil
	}
	for _, pt := range d.points {
		if pt.Binary != nil && len(content) >= pt.Binary.At+pt.Binary.Size() {
			return nil, true
		}
	}
	return nil, false
}

// publish publishes what a frame of the device says.
func (d *device) publish(content []byte, groups []int, at time.Time) {
	d.readings = d.readings[:0]
	good := false
	for _, pt := range d.points {
		value, quality, ok := pt.find(content, groups)
		if !ok {
			continue // not in this frame
		}
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
		d.listener.sink.Put([]adapters.Reading{{Point: pt.Point, Value: value, Aside: true, Time: time.Now()}})
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

// end ends a frame by silence, and tells how long to wait for that of the next.
func (d *device) end(now time.Time) time.Duration {
	left := d.frames.rest(now, func(content []byte) { d.frame(content, now) })
	d.tally()
	if left <= 0 {
		return idlest
	}
	return left
}

// longestProbe bounds how rarely a device that does not answer is asked.
const longestProbe = 5 * time.Second

// ask asks the device if that is due, and sets when it is to be asked next.
func (d *device) ask(c *line.Conn, now time.Time) error {
	if d.due.After(now) {
		return nil
	}
	cfg := d.listener.line.Config()
	r := d.reply(func(content []byte) bool { _, ok := d.meant(content); return ok })
	answer, err := c.Exchange([]byte(d.cfg.Request), r, cfg.Timeout)
	now = time.Now()
	d.listener.mu.Lock()
	d.stats.Requests++
	if err != nil {
		d.stats.Timeouts++
	}
	d.listener.mu.Unlock()
	if err != nil && d.listener.several {
		d.listener.hush = now.Add(cfg.Timeout) // it must not pass for the next one's
	}
	d.due = d.due.Add(d.cfg.Every)
	if late := now.Sub(d.due); late >= 0 { // what was missed is not made up for
		d.due = d.due.Add((late/d.cfg.Every + 1) * d.cfg.Every)
	}
	switch {
	case err == nil:
		d.fails = 0
		d.frame(d.frames.content(answer), now)
	case errors.Is(err, line.ErrClosed) || errors.Is(err, context.Canceled):
		return err
	case d.fails < cfg.Retries:
		d.fails++
		d.due = now
	default:
		d.fails++
		reason := "no answer to its request"
		var frame *line.FrameError
		if errors.As(err, &frame) {
			reason += ": " + frame.Detail
		}
		d.goOffline(reason, adapters.Offline, now)
		// A wait in vain keeps the others waiting too.
		d.due = later(d.due, now.Add(min(longestProbe, 20*cfg.Timeout)))
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// reply waits for a frame of the device.
func (d *device) reply(match func(content []byte) bool) reply {
	return reply{Frame: &d.frames.Frame, match: match, inside: d.frames.inside()}
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
	d.readings = d.readings[:0]
	for _, pt := range d.points {
		if !pt.reads() && !pt.known || pt.known && pt.told == quality {
			continue // never had a value, or is told already
		}
		pt.told, pt.known = quality, true
		d.readings = append(d.readings, adapters.Reading{Point: pt.Point, Quality: quality, Time: now})
	}
	if len(d.readings) > 0 {
		d.listener.sink.Put(d.readings)
	}
	d.listener.mu.Lock()
	d.stats.Silent = d.open
	d.listener.mu.Unlock()
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
	d.stats.Silent = d.stats.Silent && !d.online
	d.listener.mu.Unlock()
	d.listener.sink.Availability(d.cfg.Name, d.online, reason)
}
