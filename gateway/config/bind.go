package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// table is what may stand in one TOML table that is bound to a T.
type table[T any] []field[T]

// field is one key of a table. The order of the fields is the order in which
// they are told to people.
type field[T any] struct {
	name     string
	required bool
	bind     func(b *binder, path string, v any, dst *T)
}

// want checks one value of the file and turns it into a V. It reports what is
// wrong with it itself; ok is false if it did.
type want[V any] func(b *binder, path string, v any) (value V, ok bool)

// key makes a field: its name, what its value must be, and where it goes.
func key[T, V any](name string, w want[V], at func(*T) *V) field[T] {
	return field[T]{name: name, bind: func(b *binder, path string, v any, dst *T) {
		if value, ok := w(b, path, v); ok {
			*at(dst) = value
		}
	}}
}

// must makes the field one that may not be left out.
func must[T any](f field[T]) field[T] {
	f.required = true
	return f
}

func (t table[T]) names() []string {
	names := make([]string, len(t))
	for i, f := range t {
		names[i] = f.name
	}
	return names
}

// section is a table of the file as people know it, and its keys; it is what
// hints are made of.
type section struct {
	title string // such as [[device]]
	keys  []string
}

// node is one table of the file, so that later checks can ask what stood there.
type node struct {
	path string
	m    map[string]any
}

// has reports whether the key stands in the file.
func (n node) has(key string) bool {
	_, there := n.m[key]
	return there
}

// at gives the path of a key of the table.
func (n node) at(key string) string { return child(n.path, key) }

// example shows how a key of the table is written that not everybody knows.
func (n node) example(key string) string {
	switch {
	case key != "points":
		return ""
	case n.has("match") || n.has("request"):
		return `such as points.temp = { from = "temp", unit = "°C" }, where match has a group called temp`
	}
	return `such as points.temp = { input = 1, type = "i16", scale = 0.1, unit = "°C" }`
}

// binder collects what is wrong while a file is turned into typed values.
type binder struct {
	file     string
	places   *positions
	sections []section
	problems Problems
	warnings Problems
	// faulty holds the paths that have a problem in them already: one mistake
	// is told once.
	faulty map[string]bool
	// library has the profiles that devices use.
	library *library
}

// bad reports that the value at path is not what was expected.
func (b *binder) bad(path, hint, format string, args ...any) {
	b.blame(path)
	b.problems = append(b.problems, b.problem(path, atValue, hint, fmt.Sprintf(format, args...)))
}

// badKey is bad for the key itself.
func (b *binder) badKey(path, hint, format string, args ...any) {
	b.blame(path)
	b.problems = append(b.problems, b.problem(path, atKey, hint, fmt.Sprintf(format, args...)))
}

// secret is bad for a value that must not be shown.
func (b *binder) secret(path, hint, format string, args ...any) {
	b.blame(path)
	b.problems = append(b.problems, b.problem(path, unseen, hint, fmt.Sprintf(format, args...)))
}

// warn reports something that may be meant, but is unlikely to be.
func (b *binder) warn(path, hint, format string, args ...any) {
	b.warnings = append(b.warnings, b.problem(path, atValue, hint, fmt.Sprintf(format, args...)))
}

// blame notes that something at path is wrong, and so with all it is part of.
func (b *binder) blame(path string) {
	for more := true; more; path, more = parent(path) {
		b.faulty[path] = true
	}
}

// fine reports whether none of the paths, nor anything inside them, has a
// problem.
func (b *binder) fine(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return b.faulty[p] })
}

// bindTable binds the table at path field by field and reports keys it does
// not know and keys it misses.
func bindTable[T any](b *binder, t table[T], title string, n node, dst *T) {
	for _, name := range sortedKeys(n.m) {
		if !slices.Contains(t.names(), name) {
			b.unknown(n, title, name, t.names())
		}
	}
	for _, f := range t {
		v, there := n.m[f.name]
		switch {
		case there:
			f.bind(b, n.at(f.name), v, dst)
		case f.required:
			b.missing(n, title, f.name)
		}
	}
}

// missing reports a key that the table must have.
func (b *binder) missing(n node, title, name string) {
	if b.faulty[n.at(name)] {
		return
	}
	b.bad(n.at(name), n.example(name), "%s needs the key %q", title, name)
}

// unknown reports a key that has no place where it stands.
func (b *binder) unknown(n node, title, name string, known []string) {
	path := n.at(name)
	if n.path == "" && !isValue(n.m[name]) {
		hint := "the tables are: " + strings.Join(known, ", ")
		if near := nearest(name, known); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		b.badKey(path, hint, "unknown table %q", name)
		return
	}
	switch near, written := nearest(name, known), otherwise(name, n.m[name], known); {
	case written != "":
		b.badKey(path, written, "unknown key %q in %s", name, title)
	case near != "":
		b.badKey(path, fmt.Sprintf("did you mean %q?", near), "unknown key %q in %s", name, title)
		if !n.has(near) {
			b.blame(n.at(near)) // it is not missing
		}
	case len(b.owners(name, title)) > 0:
		hint := fmt.Sprintf("%q belongs to %s; here it is inside %s%s",
			name, strings.Join(b.owners(name, title), " or "), title, b.inLine(n.path))
		b.badKey(path, hint, "unknown key %q in %s", name, title)
	default:
		b.badKey(path, "known here: "+strings.Join(known, ", "), "unknown key %q in %s", name, title)
	}
}

// owners gives the titles of the other tables that know a key.
func (b *binder) owners(name, except string) []string {
	var titles []string
	for _, s := range b.sections {
		if !strings.HasPrefix(except, s.title) && slices.Contains(s.keys, name) {
			titles = append(titles, s.title)
		}
	}
	return titles
}

// mismatch reports a value of the wrong type.
func (b *binder) mismatch(path string, v any, expected string) {
	hint := ""
	if s, isText := v.(string); isText && (strings.Contains(expected, "number") || strings.Contains(expected, "true")) && plainValue(s) {
		hint = "write it without the quotes"
	}
	if n, isNumber := v.(int64); isNumber && strings.HasSuffix(expected, "in quotes") {
		hint = fmt.Sprintf(`write "%d"`, n)
	}
	b.bad(path, hint, "expected %s, not %s", expected, describe(v))
}

// isValue reports whether v is neither a table nor an array of tables.
func isValue(v any) bool {
	switch v.(type) {
	case map[string]any, []map[string]any:
		return false
	}
	return true
}

// plainValue reports whether a text would be a value of its own without quotes.
func plainValue(s string) bool {
	return s == "true" || s == "false" || s != "" && strings.Trim(s, "0123456789.+-") == ""
}

// describe names a value of the file.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "the text " + shorten(v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprint(v)
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	case []any:
		return "an array"
	}
	return "a value of another kind"
}

// shorten quotes a text from the file for a message.
func shorten(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// sub wants a table of its own, which begins as start makes it.
func sub[T any](t table[T], title string, start func(node) T) want[T] {
	return func(b *binder, path string, v any) (T, bool) {
		title := title
		m, isTable := v.(map[string]any)
		if !isTable {
			var none T
			if _, many := v.([]map[string]any); many {
				b.bad(path, "write "+title+" once, with single brackets", "expected one table %s, not an array of tables", title)
			} else {
				b.mismatch(path, v, "a table, "+title)
			}
			return none, false
		}
		n := node{path, m}
		if name, named := m["name"].(string); named {
			title += " " + shorten(name)
		}
		dst := start(n)
		bindTable(b, t, title, n, &dst)
		return dst, true
	}
}

// tables wants an array of tables.
func tables[T any](t table[T], title string, start func(node) T) want[[]T] {
	one := sub(t, title, start)
	return func(b *binder, path string, v any) ([]T, bool) {
		var elements []any
		switch v := v.(type) {
		case []map[string]any:
			for _, m := range v {
				elements = append(elements, m)
			}
		case []any: // an array of inline tables
			elements = v
		case map[string]any:
			b.bad(path, "write "+title+" with double brackets", "expected an array of tables %s, not a table", title)
			return nil, false
		default:
			b.mismatch(path, v, "an array of tables "+title)
			return nil, false
		}
		var all []T
		for i, e := range elements {
			if dst, ok := one(b, element(path, i), e); ok {
				all = append(all, dst)
			}
		}
		return all, true
	}
}

// list wants an array of values of one kind.
func list[V any](w want[V], expected string) want[[]V] {
	return func(b *binder, path string, v any) ([]V, bool) {
		elements, isArray := v.([]any)
		if !isArray {
			b.bad(path, "write it in brackets, even if it is one", "expected %s, not %s", expected, describe(v))
			return nil, false
		}
		all, good := make([]V, 0, len(elements)), true
		for i, e := range elements {
			one, ok := w(b, element(path, i), e)
			all, good = append(all, one), good && ok
		}
		return all, good
	}
}

// optional wants a V where nil means that the key is not there.
func optional[V any](w want[V]) want[*V] {
	return func(b *binder, path string, v any) (*V, bool) {
		value, ok := w(b, path, v)
		return &value, ok
	}
}
