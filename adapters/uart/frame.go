package uart

import (
	"bytes"
	"time"
)

// Frame says how the frames on a line part: by what ends them, by marks at
// both ends, by their length, or by silence. The zero Frame is a line of text
// that "\n" ends, before which a "\r" is dropped.
type Frame struct {
	Until    string        // what ends a frame; it is not part of it
	Start    string        // how each frame begins; with it End or Length
	End      string        // how it ends
	Length   int           // bytes in a frame, Start included; 0: it varies
	Gap      time.Duration // silence that ends a frame
	Max      int           // longest frame in bytes, up to 4096; 0 means 1024
	Checksum Checksum      // frames where it is wrong are counted and dropped
}

func (f *Frame) until() []byte {
	if f.Until == "" {
		return []byte("\n")
	}
	return []byte(f.Until)
}

func (f *Frame) most() int {
	if f.Max <= 0 {
		return 1024
	}
	return f.Max
}

// lines reports whether frames are parted by what ends them alone.
func (f *Frame) lines() bool { return f.Start == "" && f.Length == 0 && f.Gap == 0 }

// text is a frame without its end mark: what the checksum stands at the end of.
func (f *Frame) text(frame []byte) []byte {
	if f.lines() {
		return bytes.TrimSuffix(bytes.TrimSuffix(frame, f.until()), []byte("\r"))
	}
	return bytes.TrimSuffix(frame, []byte(f.End))
}

// content is what of a frame is matched and decoded: all of it, but for a line
// its end.
func (f *Frame) content(frame []byte) []byte {
	if f.lines() {
		return f.text(frame)
	}
	return frame
}

func (f *Frame) sound(frame []byte) bool { return f.Checksum.fits(f.text(frame)) }

// next finds the first sound frame in b, which is b[skip:skip+size]; size is 0
// if none is complete. What is before skip is in no frame. spoilt counts the
// frames that were passed over, too long or of a wrong checksum. Frames that
// silence ends are not found.
func (f *Frame) next(b []byte) (skip, size, spoilt int) {
	for {
		rest := b[skip:]
		if f.Start != "" {
			i := bytes.Index(rest, []byte(f.Start))
			if i < 0 {
				return max(skip, len(b)-len(f.Start)+1), 0, spoilt
			}
			skip += i
			rest = rest[i:]
		}
		n, wait := f.measure(rest)
		switch {
		case wait:
			return skip, 0, spoilt
		case n > 0:
			return skip, n, spoilt
		case f.lines():
			skip += bytes.Index(rest, f.until()) + len(f.until())
			spoilt++
		default:
			if f.Start != "" || spoilt == 0 {
				spoilt++ // without a mark one frame is looked for at each of its bytes
			}
			skip++
		}
	}
}

// measure gives the length of the frame with which b begins, 0 if there is no
// sound one. wait tells that more of it is needed to say.
func (f *Frame) measure(b []byte) (n int, wait bool) {
	switch {
	case f.Length > 0 && len(b) < f.Length:
		return 0, true
	case f.Length > 0:
		if f.sound(b[:f.Length]) {
			return f.Length, false
		}
		return 0, false
	case f.Start == "":
		end := bytes.Index(b, f.until())
		if end < 0 {
			return 0, true
		}
		if n = end + len(f.until()); f.sound(b[:n]) && end <= f.most() {
			return n, false
		}
		return 0, false
	}
	// The bytes of the end mark may stand inside a frame as well, where its
	// checksum tells which of them is the end.
	first := 0
	for n = len(f.Start); n <= f.most(); {
		end := bytes.Index(b[n:], []byte(f.End))
		if end < 0 {
			break
		}
		if n += end + len(f.End); n > f.most() {
			break
		}
		if f.sound(b[:n]) {
			return n, false
		}
		if first == 0 {
			first = n
		}
	}
	if len(b) > f.most() || first > 0 && bytes.Contains(b[first:], []byte(f.Start)) {
		return 0, false
	}
	return 0, true
}
