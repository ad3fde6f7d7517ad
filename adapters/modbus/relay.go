package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"sluice/adapters/line"
)

// foreign is what is known of a device from the requests of other masters.
type foreign struct {
	answered bool      // it has, once
	silent   int       // requests in a row that met silence
	at       time.Time // the last of these
}

// deadPause is for how long no other master's request is put again to a device
// that the poller knows to be away.
const deadPause = time.Second

// relay puts the request of another master, to which there is no objection, to the
// device and gives the answer. It takes the same care as our own questions:
// neither gets the answer to the other. It runs on the owner goroutine.
func (d *device) relay(c *line.Conn, request []byte) ([]byte, error) {
	f := &d.foreign
	if d.state == offline && f.silent > 0 && time.Since(f.at) < deadPause {
		return nil, line.ErrTimeout
	}
	answer, err := d.relayOnce(c, request, d.relayTimeout())
	switch {
	case err == nil || errors.As(err, new(Exception)):
		f.answered, f.silent = true, 0
	case errors.Is(err, line.ErrTimeout):
		f.silent++
		f.at = time.Now()
	}
	return answer, err
}

// relayTimeout is how long to wait for an answer for another master: all that
// is configured, but where silence is to be expected only for as long as
// probes do, which is what the line has for the dead.
func (d *device) relayTimeout() time.Duration {
	f := &d.foreign
	dead := d.state == offline || f.silent >= silentLimit || f.silent > 0 && !f.answered
	if !dead || f.silent%8 == 7 {
		return d.poller.cfg.Timeout
	}
	return d.briefly()
}

func (d *device) relayOnce(c *line.Conn, request []byte, timeout time.Duration) ([]byte, error) {
	switch function := request[0]; function {
	case readCoils, readDiscrete, readHolding, readInput, readWrite:
		d.poller.client.foreign = request
		q := question{function, binary.BigEndian.Uint16(request[1:]), binary.BigEndian.Uint16(request[3:]), d.cfg.Wide}
		data, err := d.ask(c, q, timeout)
		if err != nil {
			return nil, err
		}
		return append([]byte{function, byte(len(data))}, data...), nil
	}
	if !c.EchoKnown() {
		// The echo of an adapter looks like the answer to a write; that to a
		// read does not, even if it is an exception.
		q := question{readHolding, 0, 1, d.cfg.Wide}
		if len(d.blocks) > 0 {
			q = d.shortRead(nil).question
		}
		if _, err := d.ask(c, q, timeout); err != nil && !errors.As(err, new(Exception)) {
			return nil, fmt.Errorf("before writing: %w", err)
		}
	}
	c.Quiet(d.cfg.Delay)
	begin := time.Now()
	answer, err := d.poller.client.pass(c, d.cfg.Unit, request, timeout)
	d.asked(c, begin, err)
	return answer, err
}

// relayed draws the conclusions about the device from a request of another
// master: what it wrote is read anew at once, whatever became of it.
func (d *device) relayed(ctx context.Context, request []byte, err error) {
	if s, writes := written(request); writes {
		for _, b := range d.blocks {
			if !s.touches(b) {
				continue
			}
			if b.due.After(time.Now()) {
				b.due, b.written = time.Time{}, true
			}
			for _, pt := range b.points {
				pt.due = time.Time{}
			}
		}
		d.poller.rouse()
	}
	d.settle(ctx, err)
}
