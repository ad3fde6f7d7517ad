package web

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxText is the longest text in one cell, in characters.
const maxText = 200

// shortened cuts a text that would break the page.
func shortened(text string) string {
	text = strings.ToValidUTF8(text, "�")
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText-1]) + "…"
	}
	return text
}

// joined puts what is there of parts beside each other.
func joined(parts ...string) string {
	var there []string
	for _, part := range parts {
		if part != "" {
			there = append(there, part)
		}
	}
	return strings.Join(there, " · ")
}

// valueText words a JSON value with its unit.
func valueText(value json.RawMessage, unit string) string {
	text := string(value)
	switch {
	case text == "" || text == "null":
		return "–"
	case text[0] == '"':
		if err := json.Unmarshal(value, &text); err != nil {
			return "–"
		}
	}
	if unit != "" {
		text += "\u00a0" + unit // no line break before the unit
	}
	return shortened(text)
}

// grouped writes 1204 as 1,204.
func grouped[N int | uint64](n N) string {
	digits := strconv.FormatUint(uint64(n), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// plural writes 1 device, 2 devices.
func plural[N int | uint64](n N, word string) string {
	if n != 1 {
		word += "s"
	}
	return grouped(n) + " " + word
}

// sized writes bytes in the largest unit that leaves a whole part.
func sized(n uint64) string {
	if n < 1024 {
		return plural(n, "byte")
	}
	size, unit := float64(n)/1024, 0
	for size >= 1024 && unit < 4 {
		size, unit = size/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", size, [...]string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit])
}

// seconds makes a duration of a figure that may be too large for one.
func seconds(s float64) time.Duration {
	const most = float64(1<<63-1) / float64(time.Second) * 0.999
	return time.Duration(max(0, min(s, most)) * float64(time.Second))
}

// brief writes a short time: 12 ms, 1.5 s.
func brief(s float64) string {
	switch ms := 1000 * s; {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(s, 'f', 1, 64) + " s"
}

// span writes a time in one or two units: 12 s, 3 min, 2 h 5 min, 4 d 1 h.
func span(d time.Duration) string {
	two := func(a int64, first string, b int64, second string) string {
		if b == 0 {
			return fmt.Sprintf("%d %s", a, first)
		}
		return fmt.Sprintf("%d %s %d %s", a, first, b, second)
	}
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 24*3600:
		return two(s/3600, "h", s/60%60, "min")
	}
	return two(s/(24*3600), "d", s/3600%24, "h")
}

// since writes how long ago t was.
func since(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if d := now.Sub(t); d >= time.Second {
		return span(d) + " ago"
	}
	return "now"
}
