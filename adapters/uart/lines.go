package uart

import (
	"bytes"

	"sluice/adapters/line"
)

// assembler makes lines of chunks. It drops the first line after the port
// was opened, for its begin may be missing, and lines that are too long.
type assembler struct {
	until []byte
	max   int
	buf   []byte // the line so far, with what may be the begin of until
	drop  bool   // the present line is dropped
	long  bool   // because it is too long
	heard bool   // bytes of the present line were dropped

	partial, overlong uint64
}

func newAssembler(until string, most int) *assembler {
	if until == "" {
		until = "\n"
	}
	if most <= 0 {
		most = 1024
	}
	return &assembler{until: []byte(until), max: most}
}

// restart is called when the stream may begin anywhere.
func (a *assembler) restart() {
	a.buf, a.drop, a.long, a.heard = a.buf[:0], true, false, false
}

// inside reports whether a line has begun and not ended. Where nothing was
// heard since the port was opened, nobody was speaking.
func (a *assembler) inside() bool { return len(a.buf) > 0 || a.drop && a.heard }

// feed takes a chunk in and calls fn for each complete line, without its end
// and without a carriage return before it. fn must not keep the line.
func (a *assembler) feed(chunk []byte, fn func(text []byte)) {
	a.buf = append(a.buf, chunk...)
	a.heard = a.heard || a.drop && len(chunk) > 0
	for {
		end := bytes.Index(a.buf, a.until)
		if end < 0 {
			break
		}
		text := trim(a.buf[:end])
		switch {
		case a.long || !a.drop && len(text) > a.max:
			a.overlong++
		case a.drop:
			a.partial++
		default:
			fn(text)
		}
		a.drop, a.long, a.heard = false, false, false
		rest := copy(a.buf, a.buf[end+len(a.until):])
		a.buf = a.buf[:rest]
	}
	// Without an end in sight nothing of it is worth keeping, but what may be
	// the first bytes of the end.
	if keep := len(a.until) - 1; len(a.buf) > a.max+len(a.until) {
		n := copy(a.buf, a.buf[len(a.buf)-keep:])
		a.buf = a.buf[:n]
		a.long = a.long || !a.drop
		a.drop, a.heard = true, true
	}
}

func trim(text []byte) []byte {
	return bytes.TrimSuffix(text, []byte("\r"))
}

// confirmation is a line.Framer that waits for a line which confirms a
// command; other lines are not its business.
type confirmation struct {
	until  []byte
	match  func(text []byte) bool
	inside func() bool // whether the first line has begun before the request
}

// Scan implements line.Framer.
func (c confirmation) Scan(b []byte) (skip, total int, err error) {
	first := c.inside()
	for {
		end := bytes.Index(b[skip:], c.until)
		if end < 0 {
			return skip, len(b) - skip + 1, nil
		}
		whole := end + len(c.until)
		if !first && c.match(trim(b[skip:skip+end])) {
			return skip, whole, nil
		}
		first = false
		skip += whole
	}
}

// Fault implements line.Framer.
func (c confirmation) Fault(b []byte) error {
	const shown = 80
	text := bytes.TrimSpace(b)
	if len(text) > shown {
		text = text[len(text)-shown:]
	}
	return line.BadFrame(line.Mismatch, "no line confirms the command; the last that came is %q", text)
}
