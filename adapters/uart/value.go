package uart

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice/adapters"
)

// point is a PointConfig made ready to read and write.
type point struct {
	PointConfig
	group  int // of the device's match; -1: not read from one
	expect *regexp.Regexp
	told   adapters.Quality // what was published last
	known  bool             // anything was published
}

func newPoint(c PointConfig, match *regexp.Regexp) *point {
	p := &point{PointConfig: c, group: -1}
	if c.From != "" && match != nil {
		p.group = match.SubexpIndex(c.From)
	}
	if c.Expect != "" {
		p.expect, _ = regexp.Compile(c.Expect) // checked by Validate
	}
	if b := c.Binary; b != nil {
		p.Bad = nil
		for _, v := range c.Bad {
			p.Bad = append(p.Bad, b.Type.Sentinel(v, b.Field))
		}
	}
	return p
}

// reads reports whether the point has a value of its own in frames.
func (p *point) reads() bool { return p.group >= 0 || p.Binary != nil }

// find gives what is published for the point's place in a frame; groups are
// those of the match. ok is false where the frame has no such place.
func (p *point) find(frame []byte, groups []int) (value adapters.Value, quality adapters.Quality, ok bool) {
	if p.Binary != nil {
		raw, ok := p.Binary.value(frame)
		if !ok {
			return raw, adapters.Invalid, false
		}
		value, quality = p.Apply(raw, p.Point.Names)
		return value, quality, true
	}
	if p.group < 0 || groups[2*p.group] < 0 {
		return value, adapters.Invalid, false
	}
	value, quality = p.parse(string(frame[groups[2*p.group]:groups[2*p.group+1]]))
	return value, quality, true
}

// parse gives what is published for text, invalid if it is not of the point's
// type.
func (p *point) parse(text string) (adapters.Value, adapters.Quality) {
	return p.Apply(p.raw(strings.TrimSpace(text)), p.Point.Names)
}

// raw gives the value that text stands for, None if it is not of the point's
// type.
func (p *point) raw(text string) adapters.Value {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return adapters.Value{} // bytes that the line garbled
	}
	switch p.Type {
	case Text:
		return adapters.String(text)
	case Bool:
		on, ok := parseBool(text)
		if !ok {
			return adapters.Value{}
		}
		return adapters.Bool(on)
	}
	value := adapters.Number(text)
	if value.IsNone() && p.Type == Auto && text != "" && !numeric(text) {
		return adapters.String(text)
	}
	return value
}

// numeric tells a number that is none, like NaN, Inf or 1e999, from text: a
// point must not change from numbers to text by it.
func numeric(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}

func parseBool(text string) (on, ok bool) {
	switch strings.ToLower(text) {
	case "1", "on", "true", "yes":
		return true, true
	case "0", "off", "false", "no":
		return false, true
	}
	return false, false
}

// request gives what to send for a value that was formatted.
func (p *point) request(text string) string { return strings.ReplaceAll(p.Send, "{value}", text) }

// words gives text as it is sent. It must not be more than the value: no end of
// the command, and nothing that a device may heed besides.
func (p *point) words(text string) (string, error) {
	_, end, _ := strings.Cut(p.Send, "{value}")
	switch {
	case !utf8.ValidString(text):
		return "", fmt.Errorf("value %q is not text in UTF-8", text)
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }):
		return "", fmt.Errorf("value %q would break the line: expected text without control characters", text)
	case end != "" && strings.Contains(text, end):
		return "", fmt.Errorf("value %q would break the line: expected text without %q, which ends the command", text, end)
	}
	return text, nil
}

// format writes v as the device wants it: a number clamped to the point's Min
// and Max, scale and offset undone; a bool as 1 or 0.
func (p *point) format(v adapters.Value) (string, error) {
	numbers := p.Point.Names != nil || p.Type == Number || p.Point.Min != nil || p.Point.Max != nil
	switch v.Kind() {
	case adapters.KindNone:
		return "", errors.New("there is no value")
	case adapters.KindBool:
		bit := int64(0)
		if v.Bool() {
			bit = 1
		}
		if _, named := p.Point.Names[bit]; !named && p.Point.Names != nil {
			return "", p.Point.NotANumber(v)
		}
		return strconv.FormatInt(bit, 10), nil
	case adapters.KindString:
		switch {
		case p.Type == Bool:
			on, err := p.Point.Switch(v)
			if err != nil {
				return "", err
			}
			return p.format(on)
		case !numbers:
			return p.words(v.String())
		}
	}
	raw, err := p.Invert(v, p.Point)
	if err != nil {
		return "", err
	}
	if raw.Kind() != adapters.KindFloat {
		return raw.String(), nil // with all its digits
	}
	n, _ := raw.Number()
	switch {
	case p.Decimals >= 0:
		n = adapters.Round(n, p.Decimals)
	case raw != v:
		n = adapters.Round(n, 9) // what the division leaves behind
	}
	return strconv.FormatFloat(n, 'f', -1, 64), nil
}
