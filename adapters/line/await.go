package line

import (
	"bytes"
	"fmt"
	"time"
)

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
