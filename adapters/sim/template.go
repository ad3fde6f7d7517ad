package sim

import (
	"fmt"
	"regexp"
	"strings"
)

var placeholder = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// placeholders gives the names in {braces}, in order.
func placeholders(text string) []string {
	var names []string
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// fill replaces each {name} of a template by what value gives for it.
func fill(template string, value func(name string) string) string {
	return placeholder.ReplaceAllStringFunc(template, func(m string) string { return value(m[1 : len(m)-1]) })
}

// compileCommand makes a pattern of a command in which each {name} is a
// number, and gives the names in the order of the pattern's groups.
func compileCommand(command string) (*regexp.Regexp, []string, error) {
	if strings.TrimRight(command, "\r\n") == "" {
		return nil, nil, fmt.Errorf("%q is no command", command)
	}
	var b strings.Builder
	b.WriteString("^")
	last := 0
	for _, at := range placeholder.FindAllStringIndex(command, -1) {
		b.WriteString(regexp.QuoteMeta(command[last:at[0]]))
		b.WriteString(`([-+]?\d+(?:\.\d+)?)`)
		last = at[1]
	}
	b.WriteString(regexp.QuoteMeta(command[last:]))
	b.WriteString("$")
	pattern, err := regexp.Compile(b.String())
	return pattern, placeholders(command), err
}
