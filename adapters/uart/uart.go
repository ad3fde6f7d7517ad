// Package uart turns what devices say on a UART, lines of text and binary
// frames, unasked or asked, into readings, and commands into text.
package uart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// Listener serves the devices of one UART line. Its methods may be called
// from any goroutine.
type Listener struct {
	line    *line.Line
	sink    adapters.Sink
	log     *slog.Logger
	devices []*device
	ready   chan struct{}
	once    sync.Once
	wake    chan struct{} // holds one: the line was opened, or a silence is to be watched
	several bool          // more than one device is asked: an answer may be another's

	// of the line's owner goroutine
	hush time.Time // until then nobody is asked: a late answer may come

	mu     sync.Mutex // guards the figures of the devices, and what follows
	strays uint64     // frames that match no device
	last   string     // the last of them, as text
}

// NewListener makes the listener of line l, which must be of kind uart; the
// devices are taken to be valid. It starts nothing; call it before l.Run.
func NewListener(l *line.Line, devices []DeviceConfig, sink adapters.Sink, log *slog.Logger) *Listener {
	u := &Listener{
		line:  l,
		sink:  sink,
		log:   log.With("line", l.Config().Name),
		ready: make(chan struct{}),
		wake:  make(chan struct{}, 1),
	}
	asked := 0
	for _, c := range devices {
		u.devices = append(u.devices, newDevice(u, c))
		if c.Request != "" {
			asked++
		}
	}
	u.several = asked > 1
	for i, d := range u.devices {
		d.leads = d.reads() && !slices.ContainsFunc(u.devices[:i], func(o *device) bool { return o.reads() && o.cfg.Frame == d.cfg.Frame })
	}
	l.OnState(u.lineChanged)
	l.Listen(func(chunk []byte, at time.Time, fresh bool) {
		for _, d := range u.devices {
			d.hear(chunk, at, fresh)
			if d.cfg.Gap > 0 {
				u.rouse() // the silence to come ends a frame
			}
		}
	})
	return u
}

// Ready is closed when Run has begun.
func (u *Listener) Ready() <-chan struct{} { return u.ready }

// String names the task.
func (u *Listener) String() string { return "listen " + u.line.Config().Name }

// Device gives the device of that name to write to, nil if it is not on this
// line.
func (u *Listener) Device(name string) adapters.Writer {
	for _, d := range u.devices {
		if d.cfg.Name == name {
			return d
		}
	}
	return nil
}

// Run asks devices and watches over silence until ctx ends. What they say is
// heard by the owner goroutine of the line.
func (u *Listener) Run(ctx context.Context) error {
	u.once.Do(func() { close(u.ready) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.wake:
		case <-timer.C:
		}
		next := idlest
		err := u.line.Do(ctx, line.Poll, func(_ context.Context, c *line.Conn) (err error) {
			next, err = u.step(c)
			return err
		})
		if err != nil && !errors.Is(err, line.ErrClosed) && ctx.Err() == nil {
			u.log.Warn("asking devices and the watch over silence are delayed", "error", err)
			next = time.Second
		}
		timer.Reset(next)
	}
}

// step asks the device that waits longest for it, looks who has fallen silent,
// and tells when to look again. One device a job, so that commands need not
// wait for more.
func (u *Listener) step(c *line.Conn) (next time.Duration, err error) {
	if err := c.Hear(); err != nil {
		return 0, err
	}
	var first *device
	for _, d := range u.devices {
		if d.cfg.Request != "" && d.open && (first == nil || d.due.Before(first.due)) {
			first = d
		}
	}
	if first != nil && !u.hush.After(time.Now()) {
		if err := first.ask(c, time.Now()); err != nil {
			return 0, err
		}
	}
	next = idlest
	now := time.Now()
	for _, d := range u.devices {
		next = min(next, d.watch(now), d.end(now))
		if d.cfg.Request != "" && d.open {
			next = min(next, later(d.due, u.hush).Sub(now))
		}
	}
	return max(0, next), nil
}

// awaits reports whether a frame is one that some device may send.
func (u *Listener) awaits(content []byte) bool {
	return slices.ContainsFunc(u.devices, func(d *device) bool {
		_, ok := d.meant(content)
		return ok || d.confirms(content)
	})
}

// stray notes a frame that matches no device.
func (u *Listener) stray(content []byte) {
	if len(bytes.TrimSpace(content)) == 0 {
		return
	}
	text := shown(content)
	u.log.Debug("a frame matches no device", "frame", text)
	u.mu.Lock()
	u.strays++
	u.last = text
	u.mu.Unlock()
}

// Strays tells how many frames came that match no device, and what the last of
// them was: text in quotes, bytes as hexadecimal digits, cut where it is long.
func (u *Listener) Strays() (frames uint64, last string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.strays, u.last
}

// mostShown is how many bytes of a frame are shown to people.
const mostShown = 80

// shown makes a frame fit for people, whatever is in it.
func shown(content []byte) string {
	cut := ""
	if len(content) > mostShown {
		content, cut = content[:mostShown], "…"
	}
	odd := 0
	for _, b := range content {
		if b < ' ' || b > '~' {
			odd++
		}
	}
	if 4*odd > len(content) {
		return fmt.Sprintf("% x%s", content, cut)
	}
	return fmt.Sprintf("%q%s", content, cut)
}

func (u *Listener) rouse() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// idlest is the pause where no device can fall silent.
const idlest = time.Hour

// lineChanged runs on the owner goroutine.
func (u *Listener) lineChanged(open bool, reason string) {
	now := time.Now()
	for _, d := range u.devices {
		if open {
			d.opened(now)
		} else {
			d.open = false
			d.goOffline("line "+u.line.Config().Name+": "+reason, adapters.Offline, now)
		}
	}
	if open {
		u.rouse()
	}
}

// Stats gives a snapshot of each device's figures, in the order of the
// configuration.
func (u *Listener) Stats() []DeviceStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	stats := make([]DeviceStats, len(u.devices))
	for i, d := range u.devices {
		stats[i] = d.stats
	}
	return stats
}

// DeviceStats is what was counted of one device. Counters never go back.
type DeviceStats struct {
	Name   string
	Online bool
	Reason string    // why it is not online
	Since  time.Time // of the last change of Online

	Lines       uint64 // complete frames, lines of text mostly
	Matched     uint64
	Unmatched   uint64
	Partial     uint64 // frames dropped because their begin was missed
	Overlong    uint64 // frames dropped because they exceeded Max
	Spoilt      uint64 // frames dropped because of their checksum
	Garbage     uint64 // bytes of dropped frames, and of what is none
	Silent      bool   // nothing good is heard of it although the line is open
	Requests    uint64
	Timeouts    uint64 // requests without an answer
	Writes      uint64
	WriteErrors uint64
	LastMatch   time.Time // zero: never
}

// Write implements adapters.Writer: it sends the point's text ahead of other
// work and waits for the line that confirms it, where one is expected. The
// Value of the result is what that line says, None if it says nothing. What was
// sent is never sent again: the device may act on it each time.
func (d *device) Write(ctx context.Context, cmd adapters.Command) adapters.Result {
	begin := time.Now()
	res, err := d.command(ctx, cmd)
	now := time.Now()
	d.listener.mu.Lock()
	d.stats.Writes++
	if err != nil {
		d.stats.WriteErrors++
		err = fmt.Errorf("device %s, point %s: %w", d.cfg.Name, cmd.Point, err)
	}
	d.listener.mu.Unlock()
	res.Elapsed, res.Time, res.Err = now.Sub(begin), now, err
	return res
}

// outcome marks the errors after which a command may be tried again.
func outcome(err error, sent bool) error {
	switch {
	case errors.Is(err, line.ErrStopped):
		return adapters.Mark(err, adapters.ErrStopping)
	case sent && (errors.Is(err, line.ErrTimeout) || errors.Is(err, line.ErrClosed)):
		return fmt.Errorf("%w: what was sent is not sent again, as the device may act on it twice", err)
	case errors.Is(err, line.ErrClosed):
		return adapters.Mark(err, adapters.ErrOffline)
	}
	return err
}

// command carries out cmd. Of the result it sets Value and Written.
func (d *device) command(ctx context.Context, cmd adapters.Command) (res adapters.Result, err error) {
	var pt *point
	for _, p := range d.points {
		if p.Point.Name == cmd.Point {
			pt = p
		}
	}
	switch {
	case pt == nil:
		return res, errors.New("the device has no such point")
	case pt.Send == "":
		return res, errors.New("the point is read only; give it a send text")
	}
	text, err := pt.format(cmd.Value)
	if err != nil {
		return res, err
	}
	request := pt.request(text)
	sent := false
	err = d.listener.line.Do(ctx, line.Command, func(_ context.Context, c *line.Conn) error {
		res.Written, _ = pt.parse(text)
		if pt.expect == nil {
			return c.Send([]byte(request))
		}
		before := c.Begin()
		answer, err := c.Exchange([]byte(request), d.reply(pt.expect.Match), pt.Timeout)
		if sent = c.Begin() != before; err != nil {
			return err
		}
		res.Value = d.confirmed(pt, d.frames.content(answer))
		return nil
	})
	if err != nil {
		err = outcome(err, sent)
	}
	return res, err
}
