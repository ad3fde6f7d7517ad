package config

import (
	"fmt"
	"strings"
)

// maxDepth bounds how deep arrays and inline tables may nest and how many
// parts a key may have. The configuration needs four; the TOML library takes
// memory by the square of it, so a file of some kilobytes could take it all.
const maxDepth = 32

// tooDeep finds the place where src nests deeper than maxDepth, or gives -1.
// It judges nothing else: what is no TOML is the parser's to say.
func tooDeep(src string) int {
	depth, parts := 0, 0
	for i := 0; i < len(src); i++ {
		switch src[i] {
		case '#':
			i += lineLength(src[i:]) - 1
		case '"', '\'':
			i += stringLength(src[i:]) - 1
		case '[', '{':
			depth, parts = depth+1, 0
		case ']', '}':
			depth, parts = max(0, depth-1), 0
		case '.':
			parts++
		case '\n', '=', ',':
			parts = 0
		}
		if depth > maxDepth || parts > maxDepth {
			return i
		}
	}
	return -1
}

// depthProblem says that src nests too deep at a place.
func depthProblem(name, src string, at int) *Problem {
	p := &Problem{File: name, Text: fmt.Sprintf("nests deeper than %d levels", maxDepth)}
	p.Line, p.Column = (&positions{src: src}).lineCol(at)
	return p
}

// lineLength counts the bytes before the end of the line.
func lineLength(s string) int {
	if end := strings.IndexByte(s, '\n'); end >= 0 {
		return end
	}
	return len(s)
}

// stringLength counts the bytes of the string that s begins with, one of the
// four kinds, its quotes included. A string without an end goes to the end of
// its line, or of the file if it may have many.
func stringLength(s string) int {
	quote := s[:1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s, long) {
		for i := 3; i < len(s); i++ {
			switch {
			case s[i] == '\\' && quote == `"`:
				i++
			case strings.HasPrefix(s[i:], long):
				return i + 3
			}
		}
		return len(s)
	}
	for i := 1; i < len(s) && s[i] != '\n'; i++ {
		switch {
		case s[i] == '\\' && quote == `"`:
			i++
		case s[i] == quote[0]:
			return i + 1
		}
	}
	return max(1, lineLength(s))
}
