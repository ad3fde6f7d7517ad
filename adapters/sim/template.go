package sim

import (
	"fmt"
	"regexp"
	"regexp/syntax"
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

// compileCommand makes a pattern of a command, without its line end, in which
// each {name} is a number, and gives the names in the order of the groups.
func compileCommand(command string) (*regexp.Regexp, []string, error) {
	bare := strings.TrimRight(command, "\r\n")
	if bare == "" {
		return nil, nil, fmt.Errorf("%q is no command", command)
	}
	command = bare
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

// Template makes a talker's line from the regular expression that a master
// reads it with, for devices known only by their configuration: each named
// group becomes {name}, the rest the shortest text that fits. decimals tells
// for each group how many digits after the point it takes (0 or 1). It is an
// error if no such line fits the expression.
//
// '^T=(?P<temp>-?\d+(\.\d+)?),H=(?P<hum>\d+)' gives "T={temp},H={hum}".
func Template(expr string) (template string, decimals map[string]int, err error) {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "", nil, err
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return "", nil, err
	}
	decimals = map[string]int{}
	var b strings.Builder
	example(&b, tree.Simplify(), decimals)
	template = b.String()
	sample := fill(template, func(name string) string { return sampleNumber(decimals[name]) })
	if !re.MatchString(sample) {
		return "", nil, fmt.Errorf("no line with numbers in it was found that fits %q", expr)
	}
	return template, decimals, nil
}

func sampleNumber(decimals int) string { return "21.4"[:2+2*decimals] }

// example writes the shortest text that fits the expression.
func example(b *strings.Builder, re *syntax.Regexp, decimals map[string]int) {
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(plainest(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpCapture:
		if re.Name == "" {
			example(b, re.Sub[0], decimals)
			return
		}
		group := regexp.MustCompile(`^(?:` + re.Sub[0].String() + `)$`)
		for d := 1; d >= 0; d-- {
			if group.MatchString(sampleNumber(d)) {
				decimals[re.Name] = d
				b.WriteString("{" + re.Name + "}")
				return
			}
		}
		example(b, re.Sub[0], decimals) // not a number: one text that fits
	case syntax.OpPlus:
		example(b, re.Sub[0], decimals)
	case syntax.OpRepeat:
		for range re.Min {
			example(b, re.Sub[0], decimals)
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			example(b, sub, decimals)
		}
	case syntax.OpAlternate:
		example(b, re.Sub[0], decimals)
	}
}

// plainest picks a letter or digit from the ranges of a class where there is one.
func plainest(ranges []rune) rune {
	for _, want := range [...]rune{'0', 'a', 'A', ' '} {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= want && want <= ranges[i+1] {
				return want
			}
		}
	}
	if len(ranges) == 0 {
		return 'x'
	}
	return ranges[0]
}
