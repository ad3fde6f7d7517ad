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

// PointConfig is one point. With From it is read from each matching line,
// with Send it takes commands; it may have both.
type PointConfig struct {
	Point *adapters.Point
	From  string // name of a group of the device's Match
	Type  Type
	adapters.Mapping
	Send    string        // text to send; {value} stands for the commanded value
	Expect  string        // regular expression of the line that confirms the command; "": none comes. A group named value is the value read back
	Timeout time.Duration // wait for that line; 0 means the line's
}

// Accepts tells why a command with the value v can't be carried out, nil if
// it can.
func (p PointConfig) Accepts(v adapters.Value) error {
	pt := newPoint(p, nil)
	_, err := pt.request(v)
	return err
}

// DeviceConfig is one device that speaks on a UART line.
type DeviceConfig struct {
	Name   string
	Match  *regexp.Regexp // lines that don't match are counted and ignored; nil if no point has From
	Until  string         // end of a line; "" means "\n", before which a "\r" is dropped, too
	Max    int            // longest line in bytes, without its end, up to 4096; 0 means 1024
	Stale  time.Duration  // nothing good for so long: offline; 0: never
	Points []PointConfig
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
	if p.From == "" && p.Send == "" {
		bad("", "the point has neither from, to be read, nor send, to be set")
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
