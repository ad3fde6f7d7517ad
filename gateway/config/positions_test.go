package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// places lists what the index knows of a valid file, as path: key → value.
func places(t *testing.T, src string) map[string]string {
	t.Helper()
	var m map[string]any
	md, err := toml.Decode(src, &m)
	if err != nil {
		t.Fatalf("the file of the test is wrong: %v", err)
	}
	p := locate("test.toml", src, md)
	if p.places == nil {
		t.Fatalf("no places were found: the scanner and the library differ on\n%s", src)
	}
	out := map[string]string{}
	for path, at := range p.places {
		out[path] = src[at.key.start:at.key.end] + " → " + src[at.value.start:at.value.end]
	}
	return out
}

func TestPlaces(t *testing.T) {
	tests := []struct {
		name, src string
		want      map[string]string
	}{
		{"plain", "a = 1 # b = 2\n  b=\t'x = 3'  ", map[string]string{"a": "a → 1", "b": "b → 'x = 3'"}},
		{"no end of line", `a = "x"`, map[string]string{"a": `a → "x"`}},
		{"mark and windows", "\ufeffa = 1\r\nb = true\r\n[c]\r\nd = 2", map[string]string{
			"a": "a → 1", "b": "b → true", "c": "[c] → [c]", "c.d": "d → 2"}},
		{"dotted", "a . b.\"c d\" = 1\na.e = 2", map[string]string{
			"a": "a → a", "a.b": "a . b → a . b", `a.b."c d"`: "a . b.\"c d\" → 1", "a.e": "a.e → 2"}},
		{"quoted", `"a\u0062" = 1` + "\n'c.d' = 2\n\"\" = 3\n[\"x]y\"]\nz = 4", map[string]string{
			"ab": `"a\u0062" → 1`, `"c.d"`: "'c.d' → 2", `""`: `"" → 3`, `"x]y"`: `["x]y"] → ["x]y"]`, `"x]y".z`: "z → 4"}},
		{"strings", strings.Join([]string{`a = "q\"[x]"`, `b = 'q\'`, `c = """`, `[x]`, `\""" y = 1`, `""""`, `d = '''`, `[[x]]`, `'y'''''`, `e = ""`, `f = ''`}, "\n"),
			map[string]string{
				"a": `a → "q\"[x]"`, "b": `b → 'q\'`, "c": "c → \"\"\"\n[x]\n\\\"\"\" y = 1\n\"\"\"\"",
				"d": "d → '''\n[[x]]\n'y'''''", "e": `e → ""`, "f": "f → ''"}},
		{"arrays", "a = [ 1, # ]\n  [2, 'x'],\n]\nb = []", map[string]string{
			"a": "a → [ 1, # ]\n  [2, 'x'],\n]", "a[0]": "1 → 1", "a[1]": "[2, 'x'] → [2, 'x']",
			"a[1][0]": "2 → 2", "a[1][1]": "'x' → 'x'", "b": "b → []"}},
		{"inline", "a = { b = 1, c.d = {e = '}'}, f = [{g = 2}, {}] }", map[string]string{
			"a": "a → { b = 1, c.d = {e = '}'}, f = [{g = 2}, {}] }", "a.b": "b → 1", "a.c": "c → c", "a.c.d": "c.d → {e = '}'}",
			"a.c.d.e": "e → '}'", "a.f": "f → [{g = 2}, {}]", "a.f[0]": "{g = 2} → {g = 2}", "a.f[0].g": "g → 2", "a.f[1]": "{} → {}"}},
		{"arrays of tables", "[[d]]\nx = 1\n[d.p]\ny = 2\n[[d]] # second\n[d.p]\ny = 3\n[[d.q]]\n[[d.q]]\nz = 4\n[d.q.r]\nv = 5", map[string]string{
			"d": "[[d]] → [[d]]", "d[0]": "[[d]] → [[d]]", "d[0].x": "x → 1", "d[0].p": "[d.p] → [d.p]", "d[0].p.y": "y → 2",
			"d[1]": "[[d]] → [[d]]", "d[1].p": "[d.p] → [d.p]", "d[1].p.y": "y → 3",
			"d[1].q": "[[d.q]] → [[d.q]]", "d[1].q[0]": "[[d.q]] → [[d.q]]", "d[1].q[1]": "[[d.q]] → [[d.q]]",
			"d[1].q[1].z": "z → 4", "d[1].q[1].r": "[d.q.r] → [d.q.r]", "d[1].q[1].r.v": "v → 5"}},
		{"dates and numbers", "a = 1979-05-27 07:32:00 # then\nb = [1_000, 0x1F, -inf, 07:32:00]", map[string]string{
			"a": "a → 1979-05-27 07:32:00", "b": "b → [1_000, 0x1F, -inf, 07:32:00]",
			"b[0]": "1_000 → 1_000", "b[1]": "0x1F → 0x1F", "b[2]": "-inf → -inf", "b[3]": "07:32:00 → 07:32:00"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := places(t, tt.src)
			for path, want := range tt.want {
				if got[path] != want {
					t.Errorf("%s is at %q, want %q", path, got[path], want)
				}
				delete(got, path)
			}
			for path, at := range got {
				t.Errorf("unexpected %s at %q", path, at)
			}
		})
	}
}

// TestPlacesGivenUp checks that a doubtful index knows nothing, and that
// problems then name the key.
func TestPlacesGivenUp(t *testing.T) {
	b, md := newBinder(t, "[gateway]\nid = 3\n")
	b.places = locate("test.toml", "[gateway]\nid = 3\nmore = 1\n", md)
	b.bad("gateway.id", "", "expected something else")
	if got, want := b.problems.Error(), "x.toml: gateway.id: expected something else"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParent(t *testing.T) {
	tests := []struct{ path, want string }{
		{"a", ""}, {"a.b", "a"}, {"a[3]", "a"}, {"a[3].b", "a[3]"}, {`a."b.c[0]"`, "a"}, {`a."b\"c.d".e`, `a."b\"c.d"`}, {`"a.b"`, ""},
	}
	for _, tt := range tests {
		if got, ok := parent(tt.path); got != tt.want || !ok {
			t.Errorf("parent(%s) = %q, %v, want %q", tt.path, got, ok, tt.want)
		}
	}
	if _, ok := parent(""); ok {
		t.Error("the file has a parent")
	}
}

func TestLineCol(t *testing.T) {
	p := &positions{src: "ab\r\nä=1\n\n"}
	for at, want := range map[int][2]int{0: {1, 1}, 2: {1, 3}, 4: {2, 1}, 6: {2, 2}, 9: {3, 1}, 10: {4, 1}, 99: {4, 1}} {
		if line, col := p.lineCol(at); line != want[0] || col != want[1] {
			t.Errorf("byte %d is at %d:%d, want %d:%d", at, line, col, want[0], want[1])
		}
	}
}

// FuzzParse feeds anything to Parse. Whatever it says must stand in the file,
// and every valid file must have places.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.toml", "../../config.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no files at %s: %v", pattern, err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			text, _, _ := strings.Cut(string(src), goldenMark)
			f.Add(text)
		}
	}
	f.Add("a=[[{b=[1,{c=2}]}]]\n[\"\\u00e9\".'x'.y]\nz=\"\"\"\"\"a\"\"\"\"\"")
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 1<<16 {
			return
		}
		var m map[string]any
		if md, err := toml.Decode(src, &m); err == nil && utf8.ValidString(src) {
			checkIndex(t, src, m, locate("test.toml", src, md))
		}
		cfg, err := Parse("fuzz.toml", []byte(src))
		if (cfg == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", cfg, err)
		}
		problems, _ := err.(Problems)
		if cfg != nil {
			problems = cfg.Warnings
		}
		lines := strings.Split(src, "\n")
		for _, p := range problems {
			if p.File != "fuzz.toml" {
				continue // a profile that is used
			}
			if p.Line < 0 || p.Line > len(lines) {
				t.Errorf("line %d of %d: %v", p.Line, len(lines), p)
			} else if p.Line > 0 && (p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1) {
				t.Errorf("column %d of line %q: %v", p.Column, lines[p.Line-1], p)
			}
		}
	})
}

// checkIndex compares the index with the decoded file: every table, array and
// value must have a place, and its place must hold its key.
func checkIndex(t *testing.T, src string, m map[string]any, p *positions) {
	if p.places == nil {
		if len(src) < maxPath/4 && !strings.ContainsRune(src, 0) {
			t.Errorf("no places for valid TOML:\n%q", src)
		}
		return
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if at, ok := p.places[path]; path != "" && (!ok || at.value.end > len(src) || at.value.start > at.value.end) {
			if _, isTable := v.(map[string]any); !isTable { // [a.b] makes an a that stands nowhere
				t.Errorf("%s has no good place: %v", path, at)
			}
		}
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				walk(child(path, k), v[k])
			}
		case []map[string]any:
			for i := range v {
				walk(element(path, i), v[i])
			}
		case []any:
			for i := range v {
				walk(element(path, i), v[i])
			}
		case int64:
			at := p.places[path].value
			var alone struct{ V any }
			if _, err := toml.Decode("V = "+src[at.start:at.end], &alone); err != nil || fmt.Sprint(alone.V) != fmt.Sprint(v) {
				t.Errorf("%s is %d, but at its place stands %q", path, v, src[at.start:at.end])
			}
		}
	}
	walk("", m)
}

func TestNearest(t *testing.T) {
	known := []string{"every", "order", "unit", "retries", "scale"}
	for word, want := range map[string]string{
		"evry": "every", "Every": "every", "ordre": "order", "untis": "", "retry": "", "retires": "retries", "scalee": "scale",
		"slave_id": "unit", "interval": "every", "x": "", "": "", "unit": "unit", "colour": "", "uint": "unit",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"ab", "ba", 1}, {"abcd", "acbd", 1}, {"kitten", "sitting", 3}, {"ä", "a", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance from %q to %q is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	if !slices.Contains(known, nearest("oder", known)) {
		t.Error("oder is near to nothing")
	}
}

// newBinder makes a binder for a valid file.
func newBinder(t *testing.T, src string) (*binder, toml.MetaData) {
	t.Helper()
	var m map[string]any
	md, err := toml.Decode(src, &m)
	if err != nil {
		t.Fatal(err)
	}
	return &binder{file: "x.toml", places: locate("x.toml", src, md), faulty: map[string]bool{}}, md
}
