package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/modbus"
)

// The kinds of value that keys want. Each says in its message what it wants.

// text wants any text that is not empty.
func text(expected string) want[string] {
	return func(b *binder, path string, v any) (string, bool) {
		s, isText := v.(string)
		switch {
		case !isText:
			b.mismatch(path, v, expected+" in quotes")
		case s == "":
			b.bad(path, "", "expected %s, not an empty text", expected)
		default:
			return s, true
		}
		return "", false
	}
}

// checked wants a text that check, which says what is wrong with it, accepts.
func checked(expected string, check func(string) error) want[string] {
	return func(b *binder, path string, v any) (string, bool) {
		s, isText := v.(string)
		if !isText {
			b.mismatch(path, v, expected+" in quotes")
			return "", false
		}
		if err := check(s); err != nil {
			b.bad(path, "", "expected %s: %v", expected, err)
			return "", false
		}
		return s, true
	}
}

// name wants a word that can be part of a topic and of DEVICE/POINT.
func name(of string) want[string] {
	return checked("a name for "+of, checkName)
}

// checkName accepts what can be one level of a topic and a word on a command line.
func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("it is empty")
	case len(s) > 64:
		return fmt.Errorf("%s is longer than 64 bytes", shorten(s))
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%q begins or ends with a blank", s)
	case strings.HasPrefix(s, "$"):
		return fmt.Errorf("%q begins with $, which is kept for the broker", s)
	case strings.ContainsAny(s, "/+#"):
		return fmt.Errorf("%q has one of / + # in it, which mean something in topics", s)
	}
	return checkVisible(s)
}

// checkVisible refuses what makes a text look like another, or terminals and
// programs do something: control characters, marks of direction, characters
// without width, and what Unicode keeps from being a character.
func checkVisible(s string) error {
	for _, r := range s {
		switch {
		case unicode.IsControl(r) || r == utf8.RuneError:
			return fmt.Errorf("%q has a control character in it", s)
		case unicode.In(r, unicode.Noncharacter_Code_Point):
			return fmt.Errorf("%+q has %U in it, which is no character", s, r)
		case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && r != zeroWidthJoiner && r != zeroWidthNonJoiner:
			return fmt.Errorf("%+q has %U in it, which cannot be seen", s, r)
		}
	}
	return nil
}

// Some scripts spell words with these.
const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)

// oneOf wants one of a few words.
func oneOf[W ~string](words ...W) want[W] {
	plain := make([]string, len(words))
	for i, w := range words {
		plain[i] = string(w)
	}
	return choice(plain, words...)
}

// choice wants one of a few words and gives what that word stands for.
func choice[V any](words []string, meanings ...V) want[V] {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	expected := strings.Join(quoted, ", ")
	if cut := strings.LastIndex(expected, ", "); cut >= 0 {
		expected = expected[:cut] + " or " + expected[cut+2:]
	}
	return func(b *binder, path string, v any) (none V, ok bool) {
		s, isText := v.(string)
		if i := slices.Index(words, s); isText && i >= 0 {
			return meanings[i], true
		}
		hint := ""
		if near := nearest(s, words); isText && near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		if n, isNumber := v.(int64); isNumber && slices.Contains(words, strconv.FormatInt(n, 10)) {
			hint = fmt.Sprintf("write it in quotes: %q", strconv.FormatInt(n, 10))
		}
		b.bad(path, hint, "expected %s, not %s", expected, describe(v))
		return none, false
	}
}

// boolean wants true or false.
func boolean(b *binder, path string, v any) (bool, bool) {
	is, ok := v.(bool)
	if !ok {
		b.mismatch(path, v, "true or false")
	}
	return is, ok
}

// integer wants a whole number from least to most.
func integer[N ~int | ~uint8 | ~uint16](least, most int64) want[N] {
	expected := fmt.Sprintf("a whole number from %d to %d", least, most)
	if least == most {
		expected = fmt.Sprintf("the number %d", least)
	}
	return func(b *binder, path string, v any) (N, bool) {
		n, whole := v.(int64)
		switch {
		case !whole:
			b.mismatch(path, v, expected)
		case n < least || n > most:
			b.bad(path, "", "%d is out of range: expected %s", n, expected)
		default:
			return N(n), true
		}
		return 0, false
	}
}

// gap wants a number of registers, or "auto" for what costs least time.
func gap(b *binder, path string, v any) (int, bool) {
	if v == "auto" {
		return line.AutoGap, true
	}
	n, whole := v.(int64)
	if !whole || n < 0 || n > 123 {
		hint := ""
		if s, isText := v.(string); isText && nearest(s, []string{"auto"}) != "" {
			hint = `did you mean "auto"?`
		}
		b.bad(path, hint, `expected "auto" or a number of registers from 0 to 123, not %s`, describe(v))
		return 0, false
	}
	return int(n), true
}

// unitID wants the number of a device on its line; which lines take the ids
// outside 1 to 247 is checked later.
func unitID(b *binder, path string, v any) (int, bool) {
	n, whole := v.(int64)
	switch {
	case !whole:
		b.mismatch(path, v, "a unit id, which is a number from 1 to 247")
	case n < 0 || n > 255:
		b.bad(path, "", "%d is out of range: expected a unit id from 1 to 247", n)
	default:
		return int(n), true
	}
	return 0, false
}

// number wants any finite number.
func number(b *binder, path string, v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		if !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n, true
		}
	}
	b.mismatch(path, v, "a number")
	return 0, false
}

// value wants what a point can be set to.
func value(b *binder, path string, v any) (adapters.Value, bool) {
	switch v := v.(type) {
	case bool:
		return adapters.Bool(v), true
	case int64:
		return adapters.Int(v), true
	case string:
		return adapters.String(v), true
	case float64:
		if n := adapters.Float(v); !n.IsNone() {
			return n, true
		}
	}
	b.mismatch(path, v, "a value such as false, 21.5 or a name in quotes")
	return adapters.Value{}, false
}

// writeMode wants "verify" or "plain".
func writeMode(b *binder, path string, v any) (modbus.WriteMode, bool) {
	if is, isBool := v.(bool); isBool {
		hint := `write "verify" to read back what was written, "plain" for a device that cannot be read`
		if !is {
			hint = `leave "write" out: the point is then read only`
		}
		b.bad(path, hint, `expected "verify" or "plain", not %v`, is)
		return 0, false
	}
	return choice([]string{"verify", "plain"}, modbus.Verify, modbus.Plain)(b, path, v)
}

// writeFunction wants the number of a Modbus function that writes.
func writeFunction(b *binder, path string, v any) (modbus.WriteFunction, bool) {
	switch v {
	case int64(5), int64(6), int64(15), int64(16):
		return modbus.WriteFunction(v.(int64)), true
	}
	b.bad(path, "", "expected 5 or 15 for a coil, 6 or 16 for holding registers, not %s", describe(v))
	return 0, false
}

// registerBytes wants how many bytes a device answers for each register.
func registerBytes(b *binder, path string, v any) (int, bool) {
	switch v {
	case int64(2), int64(4):
		return int(v.(int64)), true
	}
	b.bad(path, "", "expected 2 or 4 bytes for each register, not %s", describe(v))
	return 0, false
}

// notZero wants any finite number but 0.
func notZero(b *binder, path string, v any) (float64, bool) {
	n, ok := number(b, path, v)
	if ok && n == 0 {
		b.bad(path, "", "expected a number other than 0: it would make every value the same")
		return 0, false
	}
	return n, ok
}

// pattern wants a regular expression.
func pattern(b *binder, path string, v any) (*regexp.Regexp, bool) {
	s, isText := v.(string)
	if !isText || s == "" {
		b.mismatch(path, v, "a regular expression in quotes")
		return nil, false
	}
	re, err := regexp.Compile(s)
	if err != nil {
		hint := ""
		if strings.Contains(s, "(?=") || strings.Contains(s, "(?!") || strings.Contains(s, "(?<!") {
			hint = "the syntax is RE2, which looks neither ahead nor behind"
		}
		b.bad(path, hint, "expected a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil, false
	}
	return re, true
}
