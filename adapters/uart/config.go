package uart

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"sluice/adapters"
)

// Type says what the text of a point is.
type Type uint8

// The types.
const (
	Auto   Type = iota // a number if it reads as one, else text
	Number             // anything else is invalid
	Bool               // on/off, true/false, 1/0
	Text
)

var typeNames = []string{"", "number", "bool", "string"}

// ParseType reads number, bool, string, or nothing for Auto.
func ParseType(s string) (Type, error) {
	i := slices.Index(typeNames, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown type %q; use number, bool or string", s)
	}
	return Type(i), nil
}

// PointConfig is one point. With From it is read from each matching frame, with
// Binary from the bytes of one, with Send it takes commands; it may be read and
// take commands.
type PointConfig struct {
	Point  *adapters.Point
	From   string // name of a group of the device's Match
	Type   Type   // with From
	Binary *Binary
	adapters.Mapping
	Send    string        // text to send; {value} stands for the commanded value
	Expect  string        // regular expression of the line that confirms the command; "": none comes. A group named value is the value read back
	Timeout time.Duration // wait for that line; 0 means the line's
}

// Accepts tells why a command with the value v can't be carried out, nil if
// it can.
func (p PointConfig) Accepts(v adapters.Value) error {
	_, err := newPoint(p, nil).format(v)
	return err
}

// Binary is the place of a number in a frame of bytes.
type Binary struct {
	At    int // from the first byte of the frame, marks included
	Type  adapters.Type
	Order adapters.Order // of the bytes; where their number is odd, ABCD or DCBA
	Field adapters.Field // bits of the number to take instead of all; one bit is a bool if Bit
	Bit   bool
}

// Size is how many bytes the number takes; a bool is one.
func (b Binary) Size() int {
	if b.Type == adapters.TypeBool {
		return 1
	}
	return b.Type.Bytes()
}

// value gives the number in a frame; ok is false where the frame ends before.
func (b Binary) value(frame []byte) (v adapters.Value, ok bool) {
	if len(frame) < b.At+b.Size() {
		return v, false
	}
	raw := make([]byte, b.Size())
	b.arrange(raw, frame[b.At:b.At+len(raw)])
	v = b.Field.Of(b.Type.Decode(raw))
	if b.Bit {
		v = adapters.Bool(v == adapters.Int(1))
	}
	return v, true
}

// arrange brings the bytes of the number from the wire to the order ABCD, or back.
func (b Binary) arrange(dst, src []byte) {
	if len(src)%2 == 0 {
		b.Order.Arrange(dst, src, b.Type)
		return
	}
	copy(dst, src)
	if b.Order == adapters.DCBA {
		slices.Reverse(dst)
	}
}

// DeviceConfig is one device that speaks on a UART line.
type DeviceConfig struct {
	Name  string
	Match *regexp.Regexp // frames that don't match are counted and ignored; nil: all do that a point with Binary is in
	Frame
	Request string        // what it is asked with; "": it speaks by itself
	Every   time.Duration // how often it is asked
	Stale   time.Duration // nothing good for so long: offline; 0: never
	Points  []PointConfig
}

// fieldError is an error of one configuration key.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.text }

// Field names the key, relative to the DeviceConfig.
func (e *fieldError) Field() string { return e.field }

// longestLine bounds Max: a confirmation must fit into what a line takes in
// while it waits for it.
const longestLine = 4096

// Validate reports everything that is wrong with c, joined; each error has a
// Field method that names its key, such as "points.temp.from".
func (c DeviceConfig) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fieldError{field, fmt.Sprintf(format, args...)})
	}
	if c.Name == "" {
		bad("name", "a device needs a name")
	}
	if c.Max < 0 || c.Max > longestLine {
		bad("max", "longest line of %d bytes is outside 1 to %d", c.Max, longestLine)
	}
	if c.Length < 0 || c.Length > longestLine || c.Length > 0 && c.Length < len(c.Start) {
		bad("length", "frames of %d bytes; use the length of the start mark to %d", c.Length, longestLine)
	}
	if c.Start != "" && (c.End == "") == (c.Length == 0) {
		bad("start", "a frame with a start mark needs an end mark or a length, one of them")
	}
	if c.Request != "" && c.Every <= 0 {
		bad("every", "period %v of the request is not above 0", c.Every)
	}
	if c.Stale < 0 {
		bad("stale", "stale %v is negative", c.Stale)
	}
	seen := make(map[string]bool)
	for i, p := range c.Points {
		if p.Point == nil || p.Point.Name == "" {
			bad("points", "point %d has no name", i+1)
			continue
		}
		field := "points." + p.Point.Name
		if seen[p.Point.Name] {
			bad(field, "the device has two points named %q", p.Point.Name)
		}
		seen[p.Point.Name] = true
		p.validate(c, func(key, format string, args ...any) { bad(field+key, format, args...) })
	}
	return errors.Join(errs...)
}

func (p PointConfig) validate(c DeviceConfig, bad func(key, format string, args ...any)) {
	if p.From == "" && p.Binary == nil && p.Send == "" {
		bad("", "the point has neither from nor at, to be read, nor send, to be set")
	}
	if b := p.Binary; b != nil {
		switch {
		case p.From != "":
			bad(".at", "the point has from already")
		case !b.Type.Known() || b.Type == adapters.TypeString || !b.Order.Known():
			bad(".type", "type %v is not one of numbers in frames", b.Type)
		case b.Type.Bytes() == 3 && (b.Order == adapters.CDAB || b.Order == adapters.BADC):
			bad(".order", "three bytes have the order ABCD or DCBA")
		case b.Field.Bits > 0 && (!b.Type.Integer() || int(b.Field.Shift+b.Field.Bits) > 8*b.Type.Bytes()):
			bad(".bits", "a value of type %v has no bits %d to %d", b.Type, b.Field.Shift, b.Field.Shift+b.Field.Bits-1)
		case b.At < 0 || b.At+b.Size() > longestLine || c.Length > 0 && b.At+b.Size() > c.Length:
			bad(".at", "a value of %d bytes at %d is not inside the frame", b.Size(), b.At)
		}
	}
	switch {
	case p.From == "":
	case c.Match == nil:
		bad(".from", "the device has no match of which %q could be a group", p.From)
	case c.Match.SubexpIndex(p.From) < 0:
		bad(".from", "match has no group named %q; write it as (?P<%s>…)", p.From, p.From)
	}
	if p.Expect != "" {
		if _, err := regexp.Compile(p.Expect); err != nil {
			bad(".expect", "expect is no regular expression: %v", err)
		}
		if p.Send == "" {
			bad(".expect", "expect without send: there is nothing to confirm")
		}
	}
	if int(p.Type) >= len(typeNames) {
		bad(".type", "unknown type %d", p.Type)
	}
	p.Mapping.Check(func(key, format string, args ...any) { bad("."+key, format, args...) })
	if p.Timeout < 0 || p.Timeout > time.Minute {
		bad(".timeout", "timeout %v is outside 0s to 1m", p.Timeout)
	}
}
