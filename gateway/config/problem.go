package config

import (
	"fmt"
	"strings"
)

// Problem is one finding in a configuration file.
type Problem struct {
	File   string `json:"file"`             // as given to Load
	Line   int    `json:"line,omitempty"`   // from 1; 0 if the place is not known
	Column int    `json:"column,omitempty"` // from 1, in characters
	Key    string `json:"key,omitempty"`    // such as device[1].points.temp.scale; indices from 0
	Text   string `json:"text"`             // what is wrong and what was expected
	Hint   string `json:"hint,omitempty"`   // what to do about it
	// Snippet is the source line with carets below the place.
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
