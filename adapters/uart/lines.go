package uart

import (
	"bytes"
	"time"

	"sluice/adapters/line"
)

// assembler makes frames of chunks. It drops the first frame after the port
// was opened, for its begin may be missing, and frames that are too long or of
// a wrong checksum.
type assembler struct {
	Frame
	buf   []byte    // the frame so far, with what may be the begin of its end
	last  time.Time // when the last chunk came
	drop  bool      // the present frame is dropped
	long  bool      // because it is too long
	heard bool      // bytes of the present frame were dropped

	partial, overlong, spoilt uint64
	wasted                    uint64 // bytes that belong to no sound frame
}

// restart is called when the stream may begin anywhere.
func (a *assembler) restart() {
	a.buf, a.drop, a.long, a.heard = a.buf[:0], true, false, false
}

// inside reports whether a line has begun and not ended. Where nothing was
// heard since the port was opened, nobody was speaking.
func (a *assembler) inside() bool { return a.lines() && (len(a.buf) > 0 || a.drop && a.heard) }

// framePause is the silence after which a frame of a known length is not gone
// on with: a USB adapter hands over what it has every 16 ms.
const framePause = 50 * time.Millisecond

// feed takes a chunk in and calls fn for the content of each complete frame. fn
// must not keep it.
func (a *assembler) feed(chunk []byte, at time.Time, fn func(content []byte)) {
	silence := at.Sub(a.last)
	a.last = at
	switch {
	case a.lines():
		a.line(chunk, fn)
	case a.Gap > 0:
		if silence >= a.Gap {
			a.flush(fn)
		}
		a.gather(chunk)
	default:
		if silence >= framePause && a.Start == "" {
			if len(a.buf) > 0 {
				a.partial++
			}
			a.wasted += uint64(len(a.buf))
			a.buf, a.drop = a.buf[:0], false
		}
		// A mark or a checksum shows where a frame begins; else a pause must.
		if !a.drop || a.Start != "" || a.Checksum != NoChecksum {
			a.block(chunk, fn)
		} else {
			a.wasted += uint64(len(chunk))
		}
	}
}

// block takes in a chunk of frames with marks or of one length.
func (a *assembler) block(chunk []byte, fn func(content []byte)) {
	a.buf = append(a.buf, chunk...)
	for {
		skip, size, spoilt := a.next(a.buf)
		a.spoilt += uint64(spoilt)
		a.wasted += uint64(skip)
		if size > 0 {
			fn(a.content(a.buf[skip : skip+size]))
		}
		a.buf = a.buf[:copy(a.buf, a.buf[skip+size:])]
		if size == 0 {
			return
		}
	}
}

// gather takes in a chunk of a frame that silence ends.
func (a *assembler) gather(chunk []byte) {
	a.heard = true
	if len(a.buf)+len(chunk) > a.most() {
		a.long = true
	}
	if a.long || a.drop {
		a.wasted += uint64(len(chunk))
		return
	}
	a.buf = append(a.buf, chunk...)
}

// flush ends a frame by silence.
func (a *assembler) flush(fn func(content []byte)) {
	switch {
	case !a.heard:
		return // nothing came since the last frame
	case a.drop:
		a.partial++
	case a.long:
		a.overlong++
		a.wasted += uint64(len(a.buf))
	case !a.sound(a.buf):
		a.spoilt++
		a.wasted += uint64(len(a.buf))
	default:
		fn(a.buf)
	}
	a.buf, a.drop, a.long, a.heard = a.buf[:0], false, false, false
}

// rest ends a frame if the silence that ends it has passed, and tells how much
// of that is left; 0 if there is nothing to wait for.
func (a *assembler) rest(now time.Time, fn func(content []byte)) (left time.Duration) {
	if a.Gap == 0 || !a.heard {
		return 0
	}
	if left = a.Gap - now.Sub(a.last); left <= 0 {
		a.flush(fn)
		return 0
	}
	return left
}

// line takes in a chunk of lines.
func (a *assembler) line(chunk []byte, fn func(text []byte)) {
	until, most := a.until(), a.most()
	a.buf = append(a.buf, chunk...)
	a.heard = a.heard || a.drop && len(chunk) > 0
	for {
		end := bytes.Index(a.buf, until)
		if end < 0 {
			break
		}
		text := trim(a.buf[:end])
		dropped := a.partial + a.overlong + a.spoilt
		switch {
		case a.long || !a.drop && len(text) > most:
			a.overlong++
		case a.drop:
			a.partial++
		case !a.Checksum.fits(text):
			a.spoilt++
		default:
			fn(text)
		}
		if a.partial+a.overlong+a.spoilt > dropped {
			a.wasted += uint64(end + len(until))
		}
		a.drop, a.long, a.heard = false, false, false
		rest := copy(a.buf, a.buf[end+len(until):])
		a.buf = a.buf[:rest]
	}
	// Without an end in sight nothing of it is worth keeping, but what may be
	// the first bytes of the end.
	if keep := len(until) - 1; len(a.buf) > most+len(until) {
		a.wasted += uint64(len(a.buf) - keep)
		n := copy(a.buf, a.buf[len(a.buf)-keep:])
		a.buf = a.buf[:n]
		a.long = a.long || !a.drop
		a.drop, a.heard = true, true
	}
}

func trim(text []byte) []byte {
	return bytes.TrimSuffix(text, []byte("\r"))
}

// reply is a line.Framer that waits for the frame which answers a request;
// other frames are not its business.
type reply struct {
	*Frame
	match  func(content []byte) bool
	inside bool // whether the first line has begun before the request
}

// Scan implements line.Framer.
func (r reply) Scan(b []byte) (skip, total int, err error) {
	if r.Gap > 0 {
		return 0, len(b) + 1, nil // silence ends it
	}
	first := r.inside
	for {
		at, size, _ := r.next(b[skip:])
		skip += at
		if size == 0 {
			return skip, len(b) - skip + 1, nil
		}
		if !first && r.match(r.content(b[skip:skip+size])) {
			return skip, size, nil
		}
		first = false
		skip += size
	}
}

// Pause implements line.Ender.
func (r reply) Pause() time.Duration { return r.Gap }

// Ended implements line.Ender.
func (r reply) Ended(b []byte) bool { return r.Gap > 0 && r.sound(b) && r.match(b) }

// Fault implements line.Framer.
func (r reply) Fault(b []byte) error {
	const shown = 80
	text := bytes.TrimSpace(b)
	if len(text) > shown {
		text = text[len(text)-shown:]
	}
	return line.BadFrame(line.Mismatch, "no frame answers the request; the last that came is %q", text)
}
