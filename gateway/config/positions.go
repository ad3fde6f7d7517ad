package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// span is a stretch of the source in bytes, end excluded.
type span struct{ start, end int }

// place is where a key and its value stand. The two are the same for table
// headers and for elements of an array.
type place struct {
	key, value span
	in         *positions // of a profile; nil for the configuration itself
}

// positions finds what the TOML library does not tell: the place of every key
// and value, also in the second table of an array of tables.
type positions struct {
	file   string // as told to people
	src    string
	places map[string]place // by path
	long   *span            // the first key that is longer than any that means something; nil if there is none
}

// locate indexes src, which must be the valid TOML that md came from. Should
// the keys it finds differ from those of the library, it knows no places at
// all: no place is better than a wrong one.
func locate(file, src string, md toml.MetaData) *positions {
	s := &scanner{src: src, places: map[string]place{}, arrays: map[string]int{}}
	s.file()
	if s.long != nil {
		return &positions{file: file, src: src, long: s.long}
	}
	same := slices.EqualFunc(s.keys, md.Keys(), func(a []string, b toml.Key) bool { return slices.Equal(a, b) })
	if s.failed || !same {
		return &positions{file: file, src: src}
	}
	return &positions{file: file, src: src, places: s.places}
}

// find gives the place of path, or of the nearest thing around it that stands
// in the file; exact tells which of the two it is.
func (p *positions) find(path string) (at place, exact, ok bool) {
	exact = true
	for path != "" {
		if at, ok := p.places[path]; ok {
			return at, exact, true
		}
		exact = false
		path, _ = parent(path)
	}
	return place{}, false, false
}

// lineCol turns a byte offset into a line and a column in characters, both
// from 1.
func (p *positions) lineCol(at int) (line, column int) {
	before := p.src[:min(at, len(p.src))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

// scanner walks valid TOML. It reads values only as far as it must to find
// their end, and gives up (failed) at anything it does not understand.
type scanner struct {
	src    string
	at     int
	failed bool

	table  string   // path of the table that [header] opened
	prefix []string // its key, as the library lists it
	keys   [][]string
	places map[string]place
	arrays map[string]int // number of tables in each array of tables so far
	long   *span
}

func (s *scanner) file() {
	if strings.HasPrefix(s.src, "\ufeff") {
		s.at = len("\ufeff")
	}
	for {
		s.blank()
		switch {
		case s.failed || s.at >= len(s.src):
			return
		case s.src[s.at] == '[':
			s.header()
		default:
			s.pair(s.table, s.prefix)
		}
	}
}

// header reads [a.b] or [[a.b]].
func (s *scanner) header() {
	start := s.at
	s.at++
	array := s.accept('[')
	keys, _ := s.key()
	if s.failed {
		return
	}
	s.expect(']')
	if array {
		s.expect(']')
	}
	if s.failed {
		return
	}
	at := place{key: span{start, s.at}, value: span{start, s.at}}
	path := ""
	for i, k := range keys {
		path = child(path, k)
		last := i == len(keys)-1
		if last && array {
			s.note(path, at)
			s.arrays[path]++
		}
		if n := s.arrays[path]; n > 0 {
			path = element(path, n-1)
		}
	}
	s.places[path] = at
	s.table, s.prefix = path, keys
	s.keys = append(s.keys, keys)
}

// pair reads key = value into the table at path.
func (s *scanner) pair(path string, prefix []string) {
	start := s.at
	keys, spans := s.key()
	if s.failed {
		return
	}
	full := slices.Concat(prefix, keys)
	s.keys = append(s.keys, full)
	s.space()
	s.expect('=')
	s.space()
	for i, k := range keys {
		path = child(path, k)
		if i < len(keys)-1 {
			at := span{start, spans[i].end}
			s.note(path, place{key: at, value: at})
		}
	}
	// Noted before the value is read, so that what is inside finds its parent.
	s.places[path] = place{key: span{start, spans[len(spans)-1].end}}
	value := s.value(path, full)
	s.places[path] = place{key: span{start, spans[len(spans)-1].end}, value: value}
}

// note keeps the first place of a path.
func (s *scanner) note(path string, at place) {
	if _, known := s.places[path]; !known {
		s.places[path] = at
	}
}

// maxKey is the longest key that is looked at, in bytes; each is a part of the
// paths of all that is below it.
const maxKey = 256

func longKeyProblem(p *positions) *Problem {
	line, column := p.lineCol(p.long.start)
	return &Problem{File: p.file, Line: line, Column: column, Snippet: p.snippet(*p.long),
		Text: fmt.Sprintf("%s is no key: expected one of at most %d bytes", shorten(p.src[p.long.start:p.long.end]), maxKey)}
}

// maxPath bounds how deep a file may nest before its places are given up;
// nothing that means anything here comes near it.
const maxPath = 2048

// value reads any value and gives its stretch.
func (s *scanner) value(path string, keys []string) span {
	start := s.at
	switch {
	case s.failed || start >= len(s.src) || len(path) > maxPath:
		s.failed = true
	case s.src[start] == '"' || s.src[start] == '\'':
		s.quoted(true)
	case s.src[start] == '[':
		s.at++
		for i := 0; s.more(']'); i++ {
			p := element(path, i)
			v := s.value(p, keys)
			s.places[p] = place{key: v, value: v}
		}
	case s.src[start] == '{':
		s.at++
		for s.more('}') {
			s.pair(path, keys)
		}
	default:
		n := strings.IndexAny(s.src[start:], ",]}#\r\n")
		if n < 0 {
			n = len(s.src) - start
		}
		s.at = start + len(strings.TrimRight(s.src[start:start+n], " \t"))
		s.failed = s.failed || s.at == start
	}
	return span{start, s.at}
}

// more moves to the next element of an array or an inline table and tells
// whether there is one before the end.
func (s *scanner) more(end byte) bool {
	s.blank()
	if s.accept(',') {
		s.blank()
	}
	if s.accept(end) {
		return false
	}
	if s.at >= len(s.src) {
		s.failed = true
	}
	return !s.failed
}

// key reads a dotted key and gives its parts and where they stand.
func (s *scanner) key() (keys []string, spans []span) {
	for {
		s.space()
		start := s.at
		var k string
		if s.at < len(s.src) && (s.src[s.at] == '"' || s.src[s.at] == '\'') {
			k = s.quoted(false)
		} else {
			n := strings.IndexAny(s.src[s.at:], " \t.=]\"'#\r\n,{}[")
			if n <= 0 {
				s.failed = true
				return nil, nil
			}
			k = s.src[s.at : s.at+n]
			s.at += n
		}
		if len(k) > maxKey && s.long == nil {
			s.long = &span{start, s.at}
		}
		keys = append(keys, k)
		spans = append(spans, span{start, s.at})
		s.space()
		if s.failed || !s.accept('.') {
			return keys, spans
		}
	}
}

// quoted reads one string of any of the four kinds; multi tells whether the
// two that may span lines are allowed here. The text is unescaped only as far
// as keys need it.
func (s *scanner) quoted(multi bool) string {
	quote := s.src[s.at]
	long := strings.Repeat(string(quote), 3)
	if multi && strings.HasPrefix(s.src[s.at:], long) {
		for s.at += 3; s.at < len(s.src); s.at++ {
			switch {
			case quote == '"' && s.src[s.at] == '\\':
				s.at++
			case strings.HasPrefix(s.src[s.at:], long):
				s.at += 3
				// Up to two quotes more belong to the text before the end.
				for i := 0; i < 2 && s.accept(quote); i++ {
				}
				return ""
			}
		}
		s.failed = true
		return ""
	}
	start := s.at + 1
	for s.at++; s.at < len(s.src) && s.src[s.at] != '\n'; s.at++ {
		switch {
		case quote == '"' && s.src[s.at] == '\\':
			s.at++
		case s.src[s.at] == quote:
			text := s.src[start:s.at]
			s.at++
			if quote == '"' && !multi {
				return s.unescape(text)
			}
			return text
		}
	}
	s.failed = true
	return ""
}

// unescape asks the library what a quoted key says, so that escapes have one
// meaning only.
func (s *scanner) unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var v struct{ K string }
	if _, err := toml.Decode(`K = "`+text+`"`, &v); err != nil {
		s.failed = true
	}
	return v.K
}

// space skips blanks within a line.
func (s *scanner) space() {
	for s.at < len(s.src) && (s.src[s.at] == ' ' || s.src[s.at] == '\t') {
		s.at++
	}
}

// blank skips blanks, comments and ends of lines.
func (s *scanner) blank() {
	for s.at < len(s.src) {
		switch s.src[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		case '#':
			n := strings.IndexByte(s.src[s.at:], '\n')
			if n < 0 {
				n = len(s.src) - s.at
			}
			s.at += n
		default:
			return
		}
	}
}

func (s *scanner) accept(c byte) bool {
	if s.at < len(s.src) && s.src[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) expect(c byte) {
	s.failed = s.failed || !s.accept(c)
}
