package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one finding in a configuration file.
type Problem struct {
	File   string `json:"file"`             // as given to Load
	Line   int    `json:"line,omitempty"`   // from 1; 0 if the place is not known
	Column int    `json:"column,omitempty"` // from 1, in characters
	Key    string `json:"key,omitempty"`    // such as device[1].points.temp.scale; indices from 0
	Text   string `json:"text"`             // what is wrong and what was expected
	Hint   string `json:"hint,omitempty"`   // what to do about it
	// Snippet is the source line with carets below the place. It is left out
	// where the line holds a secret.
	Snippet string `json:"snippet,omitempty"`
}

// Error gives file:line:column, the text, the source line and the hint.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	} else if p.Key != "" {
		fmt.Fprintf(&b, ": %s", p.Key)
	}
	fmt.Fprintf(&b, ": %s", p.Text)
	if p.Snippet != "" {
		b.WriteString("\n" + p.Snippet)
	}
	if p.Hint != "" {
		b.WriteString("\n  hint: " + p.Hint)
	}
	return b.String()
}

// Problems is all that was found in a file, sorted by place. As an error it
// holds at least one.
type Problems []*Problem

// Error gives all problems, one below the other.
func (ps Problems) Error() string {
	all := make([]string, len(ps))
	for i, p := range ps {
		all[i] = p.Error()
	}
	return strings.Join(all, "\n")
}

// Unwrap gives the single problems to errors.As.
func (ps Problems) Unwrap() []error {
	all := make([]error, len(ps))
	for i, p := range ps {
		all[i] = p
	}
	return all
}

// sort puts what is in the file first before what is in others.
func (ps Problems) sort(first string) {
	rank := func(p *Problem) int {
		if p.File == first {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(ps, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// mark says what of a place a problem points at.
type mark int

const (
	atValue mark = iota
	atKey
	unseen // the value, without showing it
)

// problem makes a finding at path. A path that is not in the file is shown at
// the table that it would be in.
func (b *binder) problem(path string, m mark, hint, text string) *Problem {
	p := &Problem{File: b.file, Key: path, Text: text, Hint: hint}
	at, exact, ok := b.places.find(path)
	if !ok {
		return p
	}
	places := cmp.Or(at.in, b.places)
	p.File = places.file
	where := at.value
	if m == atKey || !exact {
		where = at.key
	}
	p.Line, p.Column = places.lineCol(where.start)
	if m != unseen {
		p.Snippet = places.snippet(where)
	}
	return p
}

// badWithin is bad for a part of the text at path, from and to being characters
// of it. Of a text that is written with escapes, or over several lines, it shows
// all.
func (b *binder) badWithin(path string, from, to int, hint, format string, args ...any) {
	b.bad(path, hint, format, args...)
	p := b.problems[len(b.problems)-1]
	at, exact, ok := b.places.find(path)
	if !ok || !exact {
		return
	}
	raw := b.places.src[at.value.start:at.value.end]
	if len(raw) < 2 || strings.HasPrefix(raw, `"""`) || strings.HasPrefix(raw, "'''") || raw[0] == '"' && strings.Contains(raw, `\`) {
		return
	}
	text := []rune(raw[1 : len(raw)-1])
	start := at.value.start + 1 + len(string(text[:min(from, len(text))]))
	end := at.value.start + 1 + len(string(text[:min(to, len(text))]))
	p.Line, p.Column = b.places.lineCol(start)
	p.Snippet = b.places.snippet(span{start, end})
}

// widest is the longest stretch of a source line that is shown.
const widest = 120

// snippet gives the source line of a place with its number and carets below.
// Of a place that goes on over several lines it shows the first.
func (p *positions) snippet(at span) string {
	start := strings.LastIndexByte(p.src[:at.start], '\n') + 1
	end := len(p.src)
	if n := strings.IndexByte(p.src[at.start:], '\n'); n >= 0 {
		end = at.start + n
	}
	line := strings.TrimRight(p.src[start:end], "\r \t")
	before := visible(p.src[start:at.start])
	marked := visible(p.src[at.start:max(at.start, min(at.end, start+len(line)))])
	line = visible(line)
	if cut := utf8.RuneCountInString(before) - widest/2; utf8.RuneCountInString(line) > widest && cut > 0 {
		before, line = "…"+string([]rune(before)[cut:]), "…"+string([]rune(line)[cut:])
	}
	if runes := []rune(line); len(runes) > widest {
		line = string(runes[:widest]) + "…"
	}
	indent := utf8.RuneCountInString(before)
	carets := max(1, min(utf8.RuneCountInString(marked), widest-indent))
	number, _ := p.lineCol(at.start)
	gutter := fmt.Sprintf("%5d | ", number)
	return gutter + line + "\n" + strings.Repeat(" ", len(gutter)-2) + "| " + strings.Repeat(" ", indent) + strings.Repeat("^", carets)
}

// visible makes each character of a source line take one column, so that
// carets stand where they should and a terminal obeys nothing in a file.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s)
}
