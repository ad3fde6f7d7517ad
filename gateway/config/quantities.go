package config

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// units of time that a duration may have, longest first.
var timeUnits = []struct {
	name string
	long time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"ms", time.Millisecond}, {"m", time.Minute}, {"s", time.Second}}

var (
	durationForm = regexp.MustCompile(`^(?:\d+(?:\.\d+)?(?:ms|[smhd]))+$`)
	durationPart = regexp.MustCompile(`(\d+(?:\.\d+)?)(ms|[smhd])`)
	sizeForm     = regexp.MustCompile(`^(\d+) ?(B|KiB|MiB|GiB|TiB)$`)
)

// parseDuration reads durations such as 200ms, 5s, 1m, 24h, 7d and 1h30m.
func parseDuration(s string) (time.Duration, bool) {
	if !durationForm.MatchString(s) {
		return 0, false
	}
	total := 0.0
	for _, part := range durationPart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, false
		}
		for _, u := range timeUnits {
			if u.name == part[2] {
				total += n * float64(u.long)
			}
		}
	}
	if total > math.MaxInt64/2 {
		return 0, false
	}
	return time.Duration(math.Round(total)), true
}

// spell writes a duration as the file does.
func spell(d time.Duration) string {
	for _, u := range []string{"d", "h", "m", "s", "ms"} {
		for _, t := range timeUnits {
			if t.name == u && d >= t.long && d%t.long == 0 {
				return strconv.FormatInt(int64(d/t.long), 10) + u
			}
		}
	}
	if d == 0 {
		return "0s"
	}
	return d.String()
}

// duration wants a time from least to most.
func duration(least, most time.Duration) want[time.Duration] {
	expected := fmt.Sprintf(`a duration from "%s" to "%s"`, spell(least), spell(most))
	return func(b *binder, path string, v any) (time.Duration, bool) {
		s, isText := v.(string)
		if !isText {
			hint := ""
			if n, isInt := v.(int64); isInt {
				hint = fmt.Sprintf(`a duration has a unit: "%ds", "%dms"`, n, n)
			}
			b.bad(path, hint, "expected %s, not %s", expected, describe(v))
			return 0, false
		}
		d, ok := parseDuration(s)
		switch {
		case !ok:
			b.bad(path, "write a number and a unit: 200ms, 5s, 1m, 24h, 7d", "expected %s, not %s", expected, shorten(s))
		case d < least || d > most:
			b.bad(path, "", "%s is out of range: expected %s", shorten(s), expected)
		default:
			return d, true
		}
		return 0, false
	}
}

// parseSize reads sizes such as 512B, 64KiB and 1GiB.
func parseSize(s string) (int64, bool) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := 10 * slices.Index([]string{"B", "KiB", "MiB", "GiB", "TiB"}, m[2])
	if err != nil || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

// spellSize writes a size as the file does.
func spellSize(n int64) string {
	for i, u := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if shift := 40 - 10*i; n >= 1<<shift && n%(1<<shift) == 0 {
			return strconv.FormatInt(n>>shift, 10) + u
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// size wants a number of bytes from least to most, with its unit or plain.
func size[N ~int | ~int64](least, most int64) want[N] {
	expected := fmt.Sprintf(`a size from "%s" to "%s"`, spellSize(least), spellSize(most))
	return func(b *binder, path string, v any) (N, bool) {
		n, ok := v.(int64)
		if s, isText := v.(string); isText {
			if n, ok = parseSize(s); !ok {
				hint := "write a number and a unit: 64KiB, 16MiB, 1GiB"
				if fixed := nearSize(s); fixed != "" {
					hint = fmt.Sprintf("did you mean %q?", fixed)
				}
				b.bad(path, hint, "expected %s, not %s", expected, shorten(s))
				return 0, false
			}
		}
		switch {
		case !ok:
			b.bad(path, "", "expected %s, not %s", expected, describe(v))
		case n < least || n > most:
			b.bad(path, "", "%v is out of range: expected %s", v, expected)
		default:
			return N(n), true
		}
		return 0, false
	}
}

// byteRate wants so many bytes a second, from least to most.
func byteRate(least, most int64) want[int64] {
	expected := fmt.Sprintf(`a rate from "%s/s" to "%s/s"`, spellSize(least), spellSize(most))
	return func(b *binder, path string, v any) (int64, bool) {
		s, isText := v.(string)
		if !isText {
			b.bad(path, `write a size and /s: "64KiB/s"`, "expected %s in quotes, not %s", expected, describe(v))
			return 0, false
		}
		amount, perSecond := strings.CutSuffix(s, "/s")
		n, ok := parseSize(amount)
		switch {
		case !ok || !perSecond:
			hint := "write a size and /s: 64KiB/s, 1MiB/s"
			if fixed := cmp.Or(nearSize(amount), amount); ok || fixed != amount {
				hint = fmt.Sprintf("did you mean %q?", fixed+"/s")
			}
			b.bad(path, hint, "expected %s, not %s", expected, shorten(s))
		case n < least || n > most:
			b.bad(path, "", "%s is out of range: expected %s", shorten(s), expected)
		default:
			return n, true
		}
		return 0, false
	}
}

// nearSize gives the size that was probably meant by 64k, 64 KB or 64kib.
func nearSize(s string) string {
	digits := strings.TrimRight(s, " bBiIkKmMgGtT")
	unit := strings.ToUpper(strings.Trim(s[len(digits):], " bBiI"))
	fixed := digits + unit + "iB"
	if _, ok := parseSize(fixed); ok {
		return fixed
	}
	return ""
}
