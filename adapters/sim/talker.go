package sim

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Talker is one simulated device on a UART that speaks in lines of text. Its
// methods may be called from any goroutine.
type Talker struct {
	cfg  TalkerConfig
	wake func() // tells the line that something may be due now

	mu       sync.Mutex
	calendar calendar
	points   map[string]*spoken
	answers  []reply
	silent   bool
	due      time.Time // when the next line is to be said
	said     []byte    // raw bytes that wait to be sent
	stats    TalkerStats
	watch    watch
}

// TalkerStats counts what a talker did.
type TalkerStats struct {
	Lines    uint64 // sent unasked
	Commands uint64 // understood
	Unknown  uint64 // lines received that fit no answer
}

// spoken is a point with its form in text.
type spoken struct {
	*point
	decimals int // -1: as many as needed
}

type reply struct {
	pattern *regexp.Regexp
	names   []string
	text    string
	bare    bool // the command has no line end
}

// maxSaid bounds the bytes that wait behind Say.
const maxSaid = 64 << 10

func newTalker(c *TalkerConfig, cal calendar, wake func()) *Talker {
	t := &Talker{cfg: *c, wake: wake, calendar: cal, points: map[string]*spoken{}}
	for _, p := range c.Points {
		t.points[p.Name] = &spoken{
			point:    &point{name: p.Name, typ: valueTypes["f64"], scale: 1, wave: p.Wave},
			decimals: p.Decimals,
		}
	}
	for _, a := range c.Answers {
		pattern, names, _ := compileCommand(a.Command)
		t.answers = append(t.answers, reply{pattern, names, a.Reply, !strings.ContainsAny(a.Command, "\r\n")})
		for _, name := range names {
			if t.points[name] == nil {
				t.points[name] = &spoken{
					point:    &point{name: name, typ: valueTypes["f64"], scale: 1, settled: true},
					decimals: -1,
				}
			}
		}
	}
	return t
}

// Value gives the value of a point as text, as the talker would say it now;
// "" if there is no such point.
func (t *Talker) Value(point string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text(point, time.Now())
}

func (t *Talker) text(name string, at time.Time) string {
	p := t.points[name]
	if p == nil {
		return ""
	}
	return strconv.FormatFloat(p.decode(p.words(t.calendar, at)), 'f', p.decimals, 64)
}

// Set gives a point a value that stays until a command changes it.
func (t *Talker) Set(point string, v float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.points[point]
	if p == nil {
		return fmt.Errorf("the talker has no point %q", point)
	}
	p.set(time.Now(), p.encode(v))
	t.watch.tell()
	return nil
}

// HeldValue reports whether a point had a value within tolerance of v at some
// time in [from, to]; see Slave.Held for how far back it is known.
func (t *Talker) HeldValue(point string, v, tolerance float64, from, to time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.points[point]
	return p != nil && p.held(t.calendar, from, to, func(words []uint16) bool {
		d := p.decode(words) - v
		return -tolerance <= d && d <= tolerance
	})
}

// Say sends raw bytes as soon as the line is free, whether silent or not. It
// refuses more than 64 KiB that wait.
func (t *Talker) Say(b []byte) error {
	t.mu.Lock()
	if len(t.said)+len(b) > maxSaid {
		t.mu.Unlock()
		return fmt.Errorf("more than %d bytes wait to be said: let the line send them first", maxSaid)
	}
	t.said = append(t.said, b...)
	t.mu.Unlock()
	t.wake()
	return nil
}

// SetSilent stops and resumes both the lines and the answers.
func (t *Talker) SetSilent(silent bool) {
	t.mu.Lock()
	t.silent = silent
	t.mu.Unlock()
	t.wake()
}

// Wait returns nil when cond holds, or the cause of ctx's end. cond is asked
// at once, and again after every line received and every line said.
func (t *Talker) Wait(ctx context.Context, cond func() bool) error {
	return t.watch.wait(ctx, &t.mu, cond)
}

// Stats gives the talker's counters.
func (t *Talker) Stats() TalkerStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// firstLine is the longest that a talker lets one wait for its first line.
const firstLine = time.Second

// speak gives what is to be sent unasked at now; nil if nothing.
func (t *Talker) speak(now time.Time) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.said
	t.said = nil
	if t.cfg.Every <= 0 {
		return out
	}
	if t.due.IsZero() {
		t.due = now.Add(min(t.cfg.Every, firstLine))
	}
	if now.Before(t.due) {
		return out
	}
	at := t.due
	if t.due = t.due.Add(t.cfg.Every); t.due.Before(now) {
		t.due = now.Add(t.cfg.Every) // the machine slept: do not make up for it
		at = now
	}
	if t.silent {
		return out
	}
	t.stats.Lines++
	t.watch.tell()
	return append(out, t.sentence(at)...)
}

// sentence is what the talker says of its values.
func (t *Talker) sentence(at time.Time) []byte {
	if t.cfg.Compose != nil {
		return t.cfg.Compose(func(name string) float64 {
			p := t.points[name]
			if p == nil {
				return 0
			}
			return p.decode(p.words(t.calendar, at))
		})
	}
	return []byte(t.framed(t.cfg.Template, at))
}

// framed fills a text and makes a frame of it.
func (t *Talker) framed(text string, at time.Time) string {
	text = fill(text, func(name string) string { return t.text(name, at) })
	if t.cfg.Wrap == nil || text == "" {
		return text
	}
	return string(t.cfg.Wrap([]byte(text)))
}

// asked reports whether what was heard ends with the talker's request, and
// gives what it says to it.
func (t *Talker) asked(at time.Time, heard []byte) (out []byte, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cfg.Request == "" || !bytes.HasSuffix(heard, []byte(t.cfg.Request)) {
		return nil, false
	}
	t.stats.Commands++
	t.watch.tell()
	if t.silent {
		return nil, true
	}
	return t.sentence(at), true
}

// next gives when speak has something to say; ok is false if never.
func (t *Talker) next(now time.Time) (at time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.said) > 0 {
		return now, true
	}
	return t.due, t.cfg.Every > 0
}

// hear takes a line without its end (or, bare, bytes that may be a command
// without one) and gives the reply. taken is false if a bare command does not
// fit (yet).
func (t *Talker) hear(at time.Time, line []byte, bare bool) (out string, taken bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.answers {
		if a.bare != bare {
			continue
		}
		m := a.pattern.FindSubmatch(line)
		if m == nil {
			continue
		}
		for i, name := range a.names {
			if v, err := strconv.ParseFloat(string(m[i+1]), 64); err == nil {
				p := t.points[name]
				p.set(at, p.encode(v))
			}
		}
		t.stats.Commands++
		t.watch.tell()
		if t.silent {
			return "", true
		}
		return t.framed(a.text, at), true
	}
	if bare {
		return "", false
	}
	t.stats.Unknown++
	t.watch.tell()
	if t.silent {
		return "", false
	}
	return t.cfg.Unknown, false
}
