package config

import (
	"regexp"
	"strings"
	"time"

	"sluice/adapters/line"
	"sluice/adapters/uart"
)

// rawFrame is the frame of a [[line]]: how what devices on a UART say parts.
type rawFrame struct {
	node
	until, start, end string
	length, max       int
	gap               time.Duration
	checksum          uart.Checksum
}

func newFrame(n node) rawFrame { return rawFrame{node: n, until: "\n", max: 256} }

var frameTable = table[rawFrame]{
	key("until", octets(`the characters that end a line, such as "\n"`), func(f *rawFrame) *string { return &f.until }),
	key("start", octets(`how a frame begins, such as "$" or [0x42, 0x4D]`), func(f *rawFrame) *string { return &f.start }),
	key("end", octets(`how a frame ends, such as ">" or [0x03]`), func(f *rawFrame) *string { return &f.end }),
	key("length", integer[int](1, 4096), func(f *rawFrame) *int { return &f.length }),
	key("gap", duration(time.Millisecond, 10*second), func(f *rawFrame) *time.Duration { return &f.gap }),
	key("max", integer[int](1, 4096), func(f *rawFrame) *int { return &f.max }),
	key("checksum", choice(uart.Checksums(), checksums()...), func(f *rawFrame) *uart.Checksum { return &f.checksum }),
}

func checksums() (all []uart.Checksum) {
	for _, name := range uart.Checksums() {
		c, _ := uart.ParseChecksum(name) // it is one of them
		all = append(all, c)
	}
	return all
}

// octets wants text, or bytes as numbers: those from 128 on can't be written in
// a text, which is UTF-8.
func octets(expected string) want[string] {
	return func(b *binder, path string, v any) (string, bool) {
		numbers, isArray := v.([]any)
		if !isArray {
			return sent(expected)(b, path, v)
		}
		if len(numbers) == 0 {
			b.bad(path, "", "expected %s, not an empty array", expected)
			return "", false
		}
		all := make([]byte, 0, len(numbers))
		for i, number := range numbers {
			n, whole := number.(int64)
			if !whole || n < 0 || n > 255 {
				b.bad(element(path, i), "", "expected a byte, a number from 0 to 255 such as 0x42, not %s", describe(number))
				return "", false
			}
			all = append(all, byte(n))
		}
		return string(all), true
	}
}

// sent wants text that goes over a wire. It warns of backslashes that were
// probably meant for control characters.
func sent(expected string) want[string] {
	return func(b *binder, path string, v any) (string, bool) {
		s, ok := text(expected)(b, path, v)
		if escape := escapes.FindString(s); escape != "" {
			hint := "a doubled backslash stands for one"
			if at, exact, there := b.places.find(path); there && exact && strings.HasPrefix(b.places.src[at.value.start:], "'") {
				hint = "single quotes keep backslashes"
			}
			if !strings.ContainsAny(s, "\"\n") {
				hint += `: write "` + s + `"`
			}
			b.warn(path, hint, "%s is taken as it stands: a backslash and %q", escape, escape[1:])
		}
		return s, ok
	}
}

// escapes matches what stands for a character in double quotes.
var escapes = regexp.MustCompile(`\\(?:[rnt]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})`)

// framing turns the frame of a line into that of its devices. What is wrong with
// it is told once, for the line.
func (l *rawLine) framing() uart.Frame {
	f := l.frame
	out := uart.Frame{Start: f.start, End: f.end, Length: f.length, Gap: f.gap, Max: max(f.max, f.length), Checksum: f.checksum}
	if f.start == "" && f.length == 0 && f.gap == 0 {
		out.Until = f.until
	}
	return out
}

// checkFrame checks that the frame of a line says in one way how frames part.
func (b *binder) checkFrame(l *rawLine) {
	if !l.has("frame") {
		return
	}
	if l.kind != line.UART {
		b.badKey(l.at("frame"), "", `"frame" is for lines of kind "uart": %s frames by itself`, l.title())
		return
	}
	f := &l.frame
	ways := []string{"until", "start", "length", "gap"}
	first := ""
	for _, k := range ways {
		switch {
		case !f.has(k):
		case first == "":
			first = k
		case first == "start" && k == "length": // a mark, then so many bytes
		default:
			b.badKey(f.at(k), "choose one of until, start with end, start with length, length, gap",
				"%q is another way to part frames than %q", k, first)
			return
		}
	}
	switch {
	case f.has("end") && !f.has("start"):
		b.badKey(f.at("end"), `lines that only have an end want "until"`, `"end" needs "start", the mark with which a frame begins`)
	case f.has("end") && f.has("length"):
		b.badKey(f.at("end"), "", `a frame of one length needs no "end"`)
	case f.has("start") && !f.has("end") && !f.has("length"):
		b.badKey(f.at("start"), "", `"start" needs "end", the mark with which a frame ends, or "length"`)
	case f.has("start") && f.has("length") && b.fine(f.path) && f.length <= len(f.start):
		b.bad(f.at("length"), "count the bytes of the start mark too", "expected a length above the %d bytes of \"start\"", len(f.start))
	case f.has("max") && f.has("length"):
		b.badKey(f.at("max"), "", `"max" bounds frames whose length varies: these have a "length"`)
	}
}
