package adapters

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Parse reads the text of a command as one of the point's words, a switch word,
// a number, or else as text. Whether the point can be set to it is the
// adapter's to say.
func (p *Point) Parse(text string) Value {
	if p.Text {
		return String(text)
	}
	for _, word := range p.Names {
		if strings.EqualFold(word, text) {
			return String(word)
		}
	}
	switch strings.ToLower(text) {
	case "on", "true":
		return Bool(true)
	case "off", "false":
		return Bool(false)
	}
	return p.ParseNumber(text)
}

// ParseNumber is Parse for what was meant as a number, even where a word of the
// point reads like it.
func (p *Point) ParseNumber(text string) Value {
	if n := Number(text); !p.Text && !n.IsNone() {
		return n
	}
	return String(text)
}

var decimal = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// Number reads a whole number with all its digits, or one with a point; None if
// text is neither.
func Number(text string) Value {
	if !decimal.MatchString(text) { // ParseFloat takes "inf", "0x1p-2" and "1_000"
		return Value{}
	}
	digits := strings.TrimPrefix(text, "+")
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return Int(n)
	}
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
		return Uint(n)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Value{}
	}
	return Float(f)
}

// Switch gives a commanded value of a point that is on or off as a bool.
func (p *Point) Switch(v Value) (Value, error) {
	switch n, isNumber := v.Number(); {
	case v.kind == KindBool:
		return v, nil
	case isNumber && (n == 0 || n == 1):
		return Bool(n == 1), nil
	case v.kind == KindString:
		if n, known := p.number(v.text); known {
			return Bool(n != 0), nil
		}
	}
	var all []string
	for _, n := range slices.Sorted(maps.Keys(p.Names)) {
		all = append(all, strconv.Quote(p.Names[n]))
	}
	all = append(all, "on", "off", "true", "false", "1", "0")
	return Value{}, fmt.Errorf("%s is neither on nor off: expected %s", told(v), alternatives(all))
}

// number gives the raw number of a word.
func (p *Point) number(word string) (n int64, known bool) {
	for n, w := range p.Names {
		if w == word {
			return n, true
		}
	}
	return 0, false
}

// named reports whether a raw number has a word. What the inverse of a scale
// leaves behind the point does not count.
func (p *Point) named(raw Value) (n int64, is bool) {
	whole, ok := raw.whole()
	f, _ := raw.Number()
	if n = int64(whole.bits); !ok || whole.kind != KindInt || math.Abs(f-float64(n)) > 1e-6 {
		return 0, false
	}
	_, is = p.Names[n]
	return n, is
}

// NotANumber is why a command with v can't be carried out by a point of
// numbers or words.
func (p *Point) NotANumber(v Value) error {
	switch {
	case p.Names != nil && v.kind != KindNone:
		return fmt.Errorf("%s is not one of the words of the point: expected %s", told(v), p.choices())
	case v.kind == KindNone:
		return errors.New("there is no value")
	}
	if point := strings.Replace(v.text, ",", ".", 1); point != v.text {
		if _, err := strconv.ParseFloat(point, 64); err == nil {
			return fmt.Errorf("%s is not a number: write %s, with a decimal point", told(v), point)
		}
	}
	return fmt.Errorf("%s is not a number", told(v))
}

// errNoName is why a number can't be written to a point with words.
func (p *Point) errNoName(v Value) error {
	bounds := ""
	if p.Min != nil && p.Max != nil {
		bounds = fmt.Sprintf(", or a number from %v to %v", *p.Min, *p.Max)
	}
	return fmt.Errorf("%v is not in the map of the point: expected %s%s", v, p.choices(), bounds)
}

// mostWords bounds how many words a message tells.
const mostWords = 16

// choices lists the words of the point with their numbers.
func (p *Point) choices() string {
	var all []string
	for i, n := range slices.Sorted(maps.Keys(p.Names)) {
		if i == mostWords {
			all = append(all, fmt.Sprintf("and %d more", len(p.Names)-mostWords))
			return strings.Join(all, ", ")
		}
		all = append(all, fmt.Sprintf("%q (%d)", p.Names[n], n))
	}
	return alternatives(all)
}

func alternatives(all []string) string {
	if last := len(all) - 1; last > 0 {
		return strings.Join(all[:last], ", ") + " or " + all[last]
	}
	return strings.Join(all, "")
}

// told gives a commanded value for a message, text in quotes.
func told(v Value) string {
	if v.kind == KindString {
		return strconv.Quote(v.text)
	}
	return v.String()
}
