package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// Write implements adapters.Writer: it clamps, encodes and writes the value
// ahead of all polls and, where the point asks for it or no answer comes, reads
// it back and compares. A device that is offline is tried, too.
func (d *device) Write(ctx context.Context, cmd adapters.Command) adapters.Result {
	begin := time.Now()
	res, err := d.command(ctx, cmd)
	now := time.Now()
	d.poller.mu.Lock()
	d.stats.Writes++
	if err != nil {
		d.stats.WriteErrors++
		err = fmt.Errorf("device %s, point %s: %w", d.cfg.Name, cmd.Point, outcome(err))
	}
	d.poller.mu.Unlock()
	res.Elapsed, res.Time, res.Err = now.Sub(begin), now, err
	return res
}

// outcome marks the errors after which a command may be tried again.
func outcome(err error) error {
	switch {
	case errors.Is(err, line.ErrStopped):
		return adapters.Mark(err, adapters.ErrStopping)
	case errors.Is(err, line.ErrTimeout), errors.Is(err, line.ErrClosed), errors.Is(err, errOwing),
		errors.Is(err, GatewayPath), errors.Is(err, GatewayTarget):
		return adapters.Mark(err, adapters.ErrOffline)
	}
	return err
}

// command carries out cmd. Of the result it sets Value and Written.
func (d *device) command(ctx context.Context, cmd adapters.Command) (res adapters.Result, err error) {
	pt := d.byName[cmd.Point]
	switch {
	case pt == nil:
		return res, errors.New("the device has no such point")
	case pt.PointConfig.Write == ReadOnly:
		return res, errors.New("the point is read only; allow writing with write = \"verify\"")
	}
	data, err := pt.encode(cmd.Value)
	if err != nil {
		return res, err
	}
	err = d.poller.line.Do(ctx, line.Command, func(ctx context.Context, c *line.Conn) error {
		d.poller.commanded = time.Now()
		res.Written, _ = pt.decode(pt.question(), data)
		res.Value, err = d.carryOut(ctx, c, pt, data)
		d.settle(ctx, err)
		return err
	})
	// What is written is not written again: only the reading back is to be made
	// up for, when it can be trusted.
	for end := time.Now().Add(longestOwing); errors.Is(err, errUnread) && errors.Is(err, errOwing) && ctx.Err() == nil && time.Now().Before(end); {
		pause(ctx, owingPause)
		err = d.poller.line.Do(ctx, line.Command, func(ctx context.Context, c *line.Conn) error {
			res.Value, err = d.confirm(ctx, c, pt, data)
			d.settle(ctx, err)
			return err
		})
	}
	return res, err
}

const (
	longestOwing = 4 * time.Second        // that a command waits to read back
	owingPause   = 100 * time.Millisecond // until it tries that again
)

// settle draws the conclusion about the device from how a command ended.
func (d *device) settle(ctx context.Context, err error) {
	var refused Exception
	switch {
	case err == nil || errors.As(err, &refused) && !refused.ofGateway():
		d.alive()
	case ctx.Err() != nil || errors.Is(err, line.ErrClosed) || errors.Is(err, errOwing):
	case refused.ofGateway() || errors.Is(err, line.ErrTimeout) || errors.As(err, new(*line.FrameError)):
		if d.state != offline && len(d.blocks) > 0 && d.again == nil {
			d.again = d.shortRead(nil) // does it live?
			d.polite = time.Now()
		}
	default:
		d.alive() // it answered; only the value is not as commanded
	}
	d.poller.rouse()
}

// carryOut writes and verifies, on the owner goroutine.
func (d *device) carryOut(ctx context.Context, c *line.Conn, pt *point, data []byte) (adapters.Value, error) {
	if !c.EchoKnown() || pt.Field.Bits > 0 {
		// The echo of an adapter looks like the answer to a write; that to a
		// read does not. And of a register not all bits may be the point's.
		held, err := d.repeat(ctx, func() ([]byte, error) { return d.readPoint(c, pt) })
		if err == nil && pt.Field.Bits > 0 {
			data, err = pt.merge(held, data)
		}
		if err != nil {
			return adapters.Value{}, fmt.Errorf("before writing: %w", err)
		}
	}
	if err := d.send(ctx, c, pt, data); err != nil {
		if ctx.Err() != nil || d.state == offline || !unanswered(err) {
			return adapters.Value{}, err
		}
		return d.ascertain(ctx, c, pt, data, err)
	}
	if pt.PointConfig.Write != Verify {
		return adapters.Value{}, nil
	}
	return d.confirm(ctx, c, pt, data)
}

// errUnread tells that a device confirmed a write, and no more.
var errUnread = errors.New("written, but not read back")

// confirm reads back what the device has confirmed.
func (d *device) confirm(ctx context.Context, c *line.Conn, pt *point, data []byte) (adapters.Value, error) {
	value, same, err := d.verify(ctx, c, pt, data)
	switch {
	case err != nil:
		return adapters.Value{}, fmt.Errorf("%w: %w", errUnread, err)
	case !same:
		return value, fmt.Errorf("%w: it holds %v", ErrNotTaken, value)
	}
	return value, nil
}

// unanswered reports whether err leaves open what became of a request.
func unanswered(err error) bool {
	var refused Exception
	if errors.As(err, &refused) {
		return refused.ofGateway()
	}
	return errors.Is(err, line.ErrTimeout) || errors.As(err, new(*line.FrameError))
}

// ascertain finds out what became of a write that was not answered, for the
// reason given. Only where the device answers nothing else either may the
// command be tried again: an error that is not told to be of a silent device is
// the end of it.
func (d *device) ascertain(ctx context.Context, c *line.Conn, pt *point, data []byte, why error) (adapters.Value, error) {
	value, same, err := d.verify(ctx, c, pt, data)
	told := why.Error()
	if errors.Is(why, line.ErrTimeout) {
		told = "no answer to the write"
	}
	switch {
	case err == nil && same:
		return value, nil
	case err == nil:
		return value, fmt.Errorf("%s; the device holds %v", told, value)
	case ctx.Err() != nil || errors.Is(err, line.ErrClosed):
		return adapters.Value{}, err
	case unanswered(err) && (pt.PointConfig.Write == Verify || d.mute(ctx, c)):
		return adapters.Value{}, why
	}
	return adapters.Value{}, fmt.Errorf("%s; what the device holds is not known: %v", told, err)
}

// mute asks for a sign of life where a point need not be readable. Where the
// device cannot be asked now it is not said to be dead.
func (d *device) mute(ctx context.Context, c *line.Conn) bool {
	if len(d.blocks) == 0 {
		return true
	}
	_, err := d.repeat(ctx, func() ([]byte, error) { return d.ask(c, d.shortRead(nil).question, d.poller.cfg.Timeout) })
	return err != nil && (unanswered(err) || errors.Is(err, line.ErrClosed) || ctx.Err() != nil)
}

// verify reads back what was written, once more a little later where it is not
// there yet.
func (d *device) verify(ctx context.Context, c *line.Conn, pt *point, data []byte) (value adapters.Value, same bool, err error) {
	value, same, err = d.readBack(ctx, c, pt, data)
	if err != nil || same {
		return value, same, err
	}
	if pause(ctx, applyPause); ctx.Err() != nil {
		return value, false, ctx.Err()
	}
	return d.readBack(ctx, c, pt, data)
}

// ErrNotTaken tells that a device confirmed a write and yet holds another
// value.
var ErrNotTaken = errors.New("the device did not take the value")

// applyPause is granted to devices that confirm before they have applied.
const applyPause = 50 * time.Millisecond

// send writes data with the function for one value, unless the point asks for
// that for many; where the device lacks it, the other is tried.
func (d *device) send(ctx context.Context, c *line.Conn, pt *point, data []byte) error {
	write := func(several bool) error {
		_, err := d.repeat(ctx, func() ([]byte, error) {
			c.Quiet(d.cfg.Delay)
			begin := time.Now()
			err := d.poller.client.write(c, d.cfg.Unit, pt.Table, pt.Address, data, several, d.poller.cfg.Timeout)
			d.asked(c, begin, err)
			return nil, err
		})
		return err
	}
	several := pt.Function.several()
	err := write(several)
	if errors.Is(err, IllegalFunction) && len(data) <= 2 {
		if other := write(!several); !errors.Is(other, IllegalFunction) {
			return other
		}
	}
	return err
}

// repeat tries again where no answer or a broken one came. All writes set
// and none toggles, so that writing twice does no harm.
func (d *device) repeat(ctx context.Context, try func() ([]byte, error)) (data []byte, err error) {
	for range d.poller.cfg.Retries + 1 {
		data, err = try()
		if err == nil || ctx.Err() != nil || errors.Is(err, line.ErrClosed) || errors.As(err, new(Exception)) {
			break
		}
	}
	return data, err
}

// readBack reads the point, publishes what it is and compares it with what
// was written.
func (d *device) readBack(ctx context.Context, c *line.Conn, pt *point, want []byte) (adapters.Value, bool, error) {
	data, err := d.repeat(ctx, func() ([]byte, error) { return d.readPoint(c, pt) })
	if err != nil {
		return adapters.Value{}, false, err
	}
	value, quality := pt.decode(pt.question(), data)
	now := time.Now()
	pt.told, pt.known = quality, true
	d.poller.sink.Put([]adapters.Reading{{Point: pt.Point, Value: value, Quality: quality, Aside: true, Time: now}})
	return value, pt.holds(data, want), nil
}

// readPoint reads the point alone. Of a device that is known to send old
// answers again one that looks like that is not believed.
func (d *device) readPoint(c *line.Conn, pt *point) ([]byte, error) {
	if d.replays == 0 {
		return d.ask(c, pt.question(), d.poller.cfg.Timeout)
	}
	return d.read(c, d.planner().block([]*point{pt}), d.poller.cfg.Timeout)
}
