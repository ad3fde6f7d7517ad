package line

import (
	"bytes"
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

// await reads until expect has its answer, or the deadline for the first byte
// or for the rest has passed. Before sent the request was on the wire still.
func (c *Conn) await(req []byte, expect Framer, sent, deadline time.Time) ([]byte, error) {
	l := c.line
	char := l.cfg.Serial.CharTime()
	have := copy(l.buf[:], l.kept) // of a stream only
	early := have                  // came before the request
	l.kept = l.kept[:0]
	began, hurried := sent, false
	slept := 0 // through to that byte
	// Noise must not keep a request alive: whatever comes, this is the end.
	hard := deadline.Add(l.longest)
	for {
		rx := l.buf[:have]
		from := l.echoed(rx, req)
		skip, total, err := expect.Scan(rx[from:])
		if err != nil {
			return nil, c.garbled(rx, req, err)
		}
		skip += from
		begun := have - skip
		if begun >= total && skip < early {
			// A frame that began before the request, although it bears its marks.
			l.meter.late(skip + total)
			have = copy(l.buf[:], rx[skip+total:])
			early = max(0, early-skip-total)
			continue
		}
		if begun >= total {
			l.keepPace(began.Before(sent))
			l.learn(rx, req, skip, total)
			l.rest(rx, from, skip, total)
			return rx[skip : skip+total], nil
		}
		until := deadline
		if begun > 0 {
			missing := time.Duration(total-begun) * char
			until = time.Now().Add(missing*5/4 + l.gap)
			if e, ok := expect.(Ender); ok && e.Pause() > 0 {
				until = time.Now().Add(e.Pause())
			} else if l.cfg.Kind == TCP {
				until = deadline // a network knows no pauses
			} else if l.cfg.Kind == UART {
				until = later(deadline, until) // nor do those who write text
			} else if end := skip + total; have > 0 && missing > time.Millisecond && total-begun > 1 && end != slept {
				// Nothing is to be learned before the rest can be there. Once is
				// enough: what is late then comes at any moment.
				slept = end
				l.doze(earlier(time.Now().Add(missing-wakeUp), hard))
			}
		}
		n, err := c.read(l.buf[have:], earlier(until, hard))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			if hurried {
				l.timely = 0 // was it the answer after all?
			}
			if e, ok := expect.(Ender); ok && e.Ended(rx[from:]) {
				return rx[from:], nil
			}
			return nil, c.timedOut(rx, req, from, expect)
		}
		l.last, l.mute = time.Now(), 0
		if have == 0 {
			began = l.last
		}
		have += n
		if l.tooEarly(sent) && !bytes.HasPrefix(req, l.buf[:have]) {
			l.meter.late(have)
			hurried, have = true, 0
		}
		if have == len(l.buf) {
			return nil, c.garbled(l.buf[:], req, BadFrame(Noise, "%d bytes came and no answer among them", have))
		}
	}
}

// doze sleeps until end, whatever comes in.
func (l *Line) doze(end time.Time) {
	if p, ok := l.wire.(*port); ok {
		l.waiter.deaf(p.side, end)
	} else {
		l.waiter.sleep(end)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// read waits for bytes until the time given, heeding the contexts.
func (c *Conn) read(p []byte, until time.Time) (int, error) {
	for {
		n, err := c.line.wire.read(p, earlier(until, time.Now().Add(readSlice)))
		if err != nil {
			return 0, c.lost(err)
		}
		if n > 0 {
			c.line.heard(n)
			return n, nil
		}
		if err := c.ended(); err != nil {
			return 0, err
		}
		if !time.Now().Before(until) {
			return 0, nil
		}
	}
}

// timedOut judges what there is when nothing more comes.
func (c *Conn) timedOut(rx, req []byte, from int, expect Framer) error {
	l := c.line
	if len(rx) == 0 {
		l.mute++
		return ErrTimeout
	}
	if len(rx) == from {
		return fmt.Errorf("%w but the adapter's own echo", ErrTimeout)
	}
	err := expect.Fault(rx[from:])
	if err == nil {
		err = ErrTimeout
	}
	if skip, _, _ := expect.Scan(rx); l.cfg.Kind == TCP && skip == len(rx) {
		l.meter.wasted(len(rx)) // whole frames, but to other questions
		return err
	}
	return c.garbled(rx, req, err)
}

// garbled disposes of bytes that are no answer.
func (c *Conn) garbled(rx, req []byte, err error) error {
	l := c.line
	switch l.cfg.Kind {
	case UART:
		l.tell(rx, time.Now()) // lines spoken unasked
	case TCP:
		// Frames part by their lengths only: what is not understood, or has
		// begun and not ended, spoils all that follows. A new connection heals.
		l.mute = muteLimit
		l.meter.wasted(len(rx))
	default:
		l.beside = append(l.beside, rx[l.echoed(rx, req):]...)
		l.meter.wasted(len(rx))
	}
	return err
}

// paced is after how many answers in a row that came in their time a wire is
// taken for one on which bytes need theirs. A pty, or an adapter that is the
// device itself, has no such wire, whatever speed it is set to.
const paced = 16

// tooEarly reports whether bytes that came just now cannot be an answer, since
// the last byte of the request was not out yet.
func (l *Line) tooEarly(sent time.Time) bool {
	return l.timely >= paced && l.last.Before(sent)
}

// keepPace notes whether an answer began while its request was on the wire.
func (l *Line) keepPace(early bool) {
	switch {
	case early:
		l.timely = 0
	case l.cfg.Kind.bus() && l.cfg.Kind.Serial() && l.timely < paced:
		l.timely++
	}
}

// echoed tells how many bytes of rx are the adapter's own.
func (l *Line) echoed(rx, req []byte) int {
	if l.echo != echoes {
		return 0
	}
	n := min(len(rx), len(req))
	if !bytes.Equal(rx[:n], req[:n]) {
		l.echo = l.cfg.Echo.known()
		return 0
	}
	return n
}

// learn notes from a valid answer whether the adapter echoes.
func (l *Line) learn(rx, req []byte, skip, total int) {
	switch {
	case !l.cfg.Kind.bus() || l.echo == echoes || l.cfg.Echo != EchoAuto:
	case skip >= len(req) && bytes.HasPrefix(rx, req):
		l.echo = echoes
		l.meter.echoed()
		l.log.Info("the adapter echoes what it sends; its echo is removed")
	case !bytes.Equal(rx[skip:skip+total], req):
		l.echo = echoNone
	}
}

// rest sees to the bytes around an answer, but for an echo of from bytes.
func (l *Line) rest(rx []byte, from, skip, total int) {
	before, after := rx[from:skip], rx[skip+total:]
	switch l.cfg.Kind {
	case UART:
		at := time.Now()
		l.tell(before, at)
		l.tell(after, at)
	case TCP:
		l.kept = append(l.kept, after...)
		l.meter.wasted(len(before))
	default:
		if l.echo == echoes && from == 0 {
			before = nil // the echo by which it was learned
		}
		l.beside = append(append(l.beside, before...), after...)
		l.meter.wasted(len(l.beside))
	}
}
