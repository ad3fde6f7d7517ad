package line

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Conn is the open line in the hands of a job; valid only inside its fn.
type Conn struct {
	line  *Line
	ctx   context.Context // of the job
	run   context.Context // of the line
	quiet time.Duration
	begin time.Time // of the last exchange
}

// echo tells whether an adapter hears its own transmitter.
type echo uint8

const (
	echoUnknown echo = iota
	echoNone
	echoes
)

const (
	// settleLimit bounds the wait for a line to fall silent, but on a slow one
	// the longest answer may come to its end.
	settleLimit = 300 * time.Millisecond
	// wakeUp is how late the begin of an answer is noticed at most, as a rule:
	// the sleep through the rest ends by as much earlier.
	wakeUp = 300 * time.Microsecond
	// fifo is how many characters a UART may hold back before it hands them
	// over, with a margin.
	fifo = 20
	// readSlice bounds one wait, after which ctx is looked at.
	readSlice = 100 * time.Millisecond
	// mostThrown is how much of what is thrown away is kept to look at.
	mostThrown = 256
	// muteLimit is after how many unanswered requests in a row, without any
	// sign of life, a network connection is taken for half-open and renewed.
	muteLimit = 3
)

// Quiet asks for at least d of silence before the next exchange of this job.
func (c *Conn) Quiet(d time.Duration) { c.quiet = d }

// Begin is when the first byte of the last request of this job was sent.
func (c *Conn) Begin() time.Time { return c.begin }

// Thrown is what was on the line before the last exchange of this job and
// answered nothing that was still asked, its first 256 bytes; valid until the
// next exchange. A stream has none.
func (c *Conn) Thrown() []byte { return c.line.thrown }

// Beside is what came together with the last answer of this job and is no part
// of it, or in its place, the adapter's echo left out; valid until the next
// exchange. Where the kind is tcp or uart there is none.
func (c *Conn) Beside() []byte { return c.line.beside }

// Yield reports whether the job should end soon: another one waits for the
// line, the line is broken, or a context has ended.
func (c *Conn) Yield() bool {
	return c.line.broken != nil || c.ended() != nil || c.line.lanes.waits()
}

// Waits reports whether a job waits in the lane.
func (c *Conn) Waits(lane Lane) bool { return c.line.lanes.waitsIn(lane) }

// EchoKnown reports whether it is known if the adapter hears its own
// transmitter. While it is not, an answer that repeats its request proves
// nothing. A read with a valid answer makes it known.
func (c *Conn) EchoKnown() bool { return !c.line.cfg.Kind.bus() || c.line.echo != echoUnknown }

// Exchange sends req and returns the answer that expect recognises; it is
// valid until the next exchange. timeout bounds the wait for the first byte,
// counted from the end of the request on the wire; 0 means the line's own.
//
// Errors: ErrTimeout, *FrameError, ErrClosed (the wire broke; the line is
// reopened after the job), or that of a context.
func (c *Conn) Exchange(req []byte, expect Framer, timeout time.Duration) ([]byte, error) {
	l := c.line
	if timeout <= 0 {
		timeout = l.cfg.Timeout
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	begin := time.Now()
	c.begin = begin
	sent, err := c.write(req, begin, timeout)
	if err != nil {
		return nil, err
	}
	answer, err := c.await(req, expect, sent, sent.Add(timeout))
	if err != nil && (errors.Is(err, ErrClosed) || c.ended() != nil) {
		return nil, err
	}
	l.meter.exchanged(begin, time.Now(), l.silence, err)
	return answer, err
}

// Hear hands what has come in unasked on a UART to those who listen.
func (c *Conn) Hear() error {
	if err := c.line.hear(); err != nil {
		return c.lost(err)
	}
	return nil
}

// Send sends req where no answer is expected, and waits until it has left.
func (c *Conn) Send(req []byte) error {
	if err := c.settle(); err != nil {
		return err
	}
	begin := time.Now()
	sent, err := c.write(req, begin, c.line.cfg.Timeout)
	if err != nil {
		return err
	}
	c.line.waiter.sleep(sent)
	c.line.meter.sent(begin, sent)
	return nil
}

// write sends req and tells when its last byte is on the wire.
func (c *Conn) write(req []byte, begin time.Time, timeout time.Duration) (sent time.Time, err error) {
	l := c.line
	duration := time.Duration(len(req)) * l.cfg.Serial.CharTime()
	if err := l.wire.write(req, begin.Add(duration+timeout)); err != nil {
		return begin, c.lost(err)
	}
	l.meter.wrote(len(req))
	l.last = begin.Add(duration)
	return l.last, nil
}

// ended gives the error of the context that has ended, if any: ErrStopped and
// ErrClosed for that of the line.
func (c *Conn) ended() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if c.run.Err() != nil {
		return fmt.Errorf("line %s: %w: %w", c.line.cfg.Name, ErrClosed, ErrStopped)
	}
	return nil
}

// lost notes that the wire is broken.
func (c *Conn) lost(err error) error {
	c.line.broken = err
	return fmt.Errorf("line %s: %w: %w", c.line.cfg.Name, ErrClosed, err)
}

// settle waits until the line has been silent for long enough and throws
// away what came in meanwhile: it answers nothing that is still asked.
func (c *Conn) settle() error {
	l := c.line
	l.thrown, l.beside = l.thrown[:0], l.beside[:0]
	if l.cfg.Listen {
		return ErrListenOnly
	}
	if l.broken != nil {
		return c.lost(l.broken)
	}
	if err := c.ended(); err != nil {
		return err
	}
	switch l.cfg.Kind {
	case TCP:
		if err := c.renew(); err != nil {
			return err
		}
		return c.gather()
	case RTUTCP, ASCIITCP:
		if err := c.renew(); err != nil {
			return err
		}
	case UART:
		l.waiter.sleep(l.last.Add(c.quiet))
		if err := l.hear(); err != nil {
			return c.lost(err)
		}
		return nil
	}
	patience := settleLimit
	if l.cfg.Kind.Serial() {
		patience = max(patience, l.longest)
	}
	limit := time.Now().Add(patience + c.quiet)
	thrown := 0
	silence := max(l.silence, c.quiet)
	for {
		l.waiter.sleep(l.last.Add(silence))
		n, err := l.wire.take(l.buf[:])
		if err != nil {
			return c.lost(err)
		}
		if n == 0 {
			break
		}
		thrown += n
		l.thrown = append(l.thrown, l.buf[:min(n, mostThrown-len(l.thrown))]...)
		// A straggler is on its way, and comes as its UART hands it over.
		silence = max(silence, fifo*l.cfg.Serial.CharTime())
		l.last, l.mute = time.Now(), 0
		if l.last.After(limit) {
			l.meter.noisy(thrown)
			return BadFrame(Noise, "the line does not fall silent; another master on the bus, or a device that babbles")
		}
	}
	if thrown > 0 {
		l.meter.late(thrown)
	}
	return nil
}

// renew makes a new connection where the present one is dead: once, at once.
func (c *Conn) renew() error {
	l := c.line
	l.waiter.sleep(l.last.Add(c.quiet))
	err := l.wire.alive()
	if err == nil && l.mute < muteLimit {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%d requests in a row met silence or nonsense", l.mute)
	}
	l.wire.close()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(c.run, cancel)()
	w, dialErr := dial(ctx, l.cfg.Port)
	if dialErr != nil {
		l.meter.failed()
		l.wire = gone{}
		return c.lost(fmt.Errorf("%w, and a new connection can't be made: %w", err, dialErr))
	}
	l.wire = w
	l.forget()
	l.meter.opened()
	l.log.Debug("connection renewed", "reason", err)
	return nil
}

// gather takes in what a stream brought before the request. It cannot be the
// answer; but it may end in the begin of a frame, by which the others are found.
func (c *Conn) gather() error {
	l := c.line
	for {
		n, err := l.wire.take(l.buf[len(l.kept):])
		if err != nil {
			return c.lost(err)
		}
		if n == 0 {
			break
		}
		l.heard(n)
		l.kept = append(l.kept, l.buf[len(l.kept):len(l.kept)+n]...)
		if len(l.kept) > len(l.buf)/2 {
			l.meter.noisy(0)
			return c.lost(fmt.Errorf("%d bytes came that nobody asked for", len(l.kept)))
		}
	}
	return nil
}

// gone stands for a wire that is closed already.
type gone struct{ wire }

func (gone) close() {}
