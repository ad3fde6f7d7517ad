package mqttcore

import (
	"bufio"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write CONFORMANCE.md instead of comparing it")

const pageFile = "CONFORMANCE.md"

// standard is one of the standards that the broker is held to.
type standard struct {
	name, list string // its name, and its statements under testdata/conformance
	tests      string // how the names of its tests begin
}

var standards = []standard{
	{"MQTT 3.1.1", "mqtt3.txt", "TestMQTT3"},
	{"MQTT 5.0", "mqtt5.txt", "TestMQTT5"},
}

// clause is a line of a list of statements.
type clause struct {
	id, binds, short, why string
	tests                 []string // links to its tests
}

// chapter is a group of clauses.
type chapter struct {
	title   string
	clauses []*clause
}

// TestConformancePage: each statement that binds a server has a test, each test
// a statement, and the page says which.
func TestConformancePage(t *testing.T) {
	var page strings.Builder
	page.WriteString(pageHead)
	found := readEvidence(t)
	for _, s := range standards {
		chapters := s.read(t)
		s.enter(t, chapters, found)
		s.write(t, &page, chapters)
	}
	if *update {
		if err := os.WriteFile(pageFile, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(old) != page.String() {
		t.Errorf("%s is not what the tests say: run go test -run TestConformancePage -update", pageFile)
	}
}

// read reads the list of the statements.
func (s standard) read(t *testing.T) (chapters []*chapter) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "conformance", s.list))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if title, ok := strings.CutPrefix(line, "== "); ok {
			chapters = append(chapters, &chapter{title: title})
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		text, why, _ := strings.Cut(line, "; ")
		words := strings.Fields(text)
		if len(words) < 3 || len(chapters) == 0 || statementID.FindString(words[0]) != words[0] || seen[words[0]] {
			t.Fatalf("%s:%d: want a number not seen before, whom it binds and what it says", s.list, n)
		}
		c := &clause{id: words[0], binds: words[1], short: strings.Join(words[2:], " "), why: why}
		applies := c.binds == "server"
		if !applies && c.binds != "client" && c.binds != "absent" || !applies && why == "" {
			t.Fatalf("%s:%d: want server, or client or absent and why", s.list, n)
		}
		if applies && why != "" {
			c.short, c.why = c.short+"; "+why, ""
		}
		seen[c.id] = true
		at := chapters[len(chapters)-1]
		at.clauses = append(at.clauses, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return chapters
}

var statementID = regexp.MustCompile(`MQTT-\d+\.\d+\.\d+-\d+`)

// evidence is a statement that a test goes through.
type evidence struct {
	id, test, file string
}

// readEvidence reads the sources of the tests: what is given to judge, by which
// test, and where that stands.
func readEvidence(t *testing.T) (all []evidence) {
	t.Helper()
	files, err := filepath.Glob("conformance*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	lists := map[string]ast.Expr{} // variables
	var tests []*ast.FuncDecl
	for _, file := range files {
		tree, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && strings.HasPrefix(d.Name.Name, "Test") {
					tests = append(tests, d)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && len(v.Names) == 1 && len(v.Values) == 1 {
						lists[v.Names[0].Name] = v.Values[0]
					}
				}
			}
		}
	}
	for _, f := range tests {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if fn, ok := call.Fun.(*ast.SelectorExpr); !ok || fn.Sel.Name != "judge" {
				return true
			}
			for _, arg := range call.Args[1:] {
				if name, ok := arg.(*ast.Ident); ok {
					arg = lists[name.Name]
				}
				file := fset.Position(arg.Pos()).Filename
				for _, id := range statementIDs(arg) {
					all = append(all, evidence{id, f.Name.Name, file})
				}
			}
			return true
		})
	}
	return all
}

// statementIDs gives the first strings of a list of statements.
func statementIDs(list ast.Expr) (ids []string) {
	l, ok := list.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, e := range l.Elts {
		s, ok := e.(*ast.CompositeLit)
		if !ok || len(s.Elts) == 0 {
			continue
		}
		if id, ok := s.Elts[0].(*ast.BasicLit); ok && id.Kind == token.STRING {
			if name, err := strconv.Unquote(id.Value); err == nil {
				ids = append(ids, statementID.FindAllString(name, -1)...)
			}
		}
	}
	return ids
}

// enter enters the evidence for this standard into its chapters.
func (s standard) enter(t *testing.T, chapters []*chapter, found []evidence) {
	t.Helper()
	known := map[string]*clause{}
	for _, ch := range chapters {
		for _, c := range ch.clauses {
			known[c.id] = c
		}
	}
	for _, p := range found {
		if !strings.HasPrefix(p.test, s.tests) {
			continue
		}
		c := known[p.id]
		if c == nil {
			t.Errorf("%s: %s has no statement %s", p.file, s.name, p.id)
			continue
		}
		if link := fmt.Sprintf("[%s](%s)", p.test, p.file); !slices.Contains(c.tests, link) {
			c.tests = append(c.tests, link)
		}
	}
}

const pageHead = `# Conformance

Every numbered statement of MQTT 3.1.1 and MQTT 5.0 that binds a server, in few words of our own, and the
test that holds the broker to it; at the end of each standard, the statements that do not apply, and why.
To run one: ` + "`go test ./mqttcore -run 'TestMQTT5/MQTT-3.3.4-7$'`" + `.

This page is written by ` + "`go test ./mqttcore -run TestConformancePage -update`" + ` from the lists in
[testdata/conformance](testdata/conformance) and the names of the tests. A statement without a test, and
a page that is not up to date, fail the tests.
`

// write writes the page's part for this standard.
func (s standard) write(t *testing.T, page *strings.Builder, chapters []*chapter) {
	bound, apart := 0, 0
	for _, ch := range chapters {
		for _, c := range ch.clauses {
			switch {
			case c.binds != "server":
				apart++
			case len(c.tests) == 0:
				t.Errorf("%s: no test for %s: %s", s.name, c.id, c.short)
				fallthrough
			default:
				bound++
			}
		}
	}
	fmt.Fprintf(page, "\n## %s\n\n%d statements: %d bind the broker and are tested, %d do not apply.\n", s.name, bound+apart, bound, apart)
	for _, ch := range chapters {
		rows := slices.DeleteFunc(slices.Clone(ch.clauses), func(c *clause) bool { return c.binds != "server" })
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(page, "\n### %s\n\n| statement | in short | test |\n|---|---|---|\n", ch.title)
		for _, c := range rows {
			fmt.Fprintf(page, "| %s | %s | %s |\n", c.id, c.short, strings.Join(c.tests, ", "))
		}
	}
	fmt.Fprintf(page, "\n### Statements of %s that do not apply\n\n| statement | in short | why not |\n|---|---|---|\n", s.name)
	for _, ch := range chapters {
		for _, c := range ch.clauses {
			if c.binds == "server" {
				continue
			}
			why := c.why
			if len(c.tests) > 0 {
				why += "; tested all the same: " + strings.Join(c.tests, ", ")
			}
			fmt.Fprintf(page, "| %s | %s | %s |\n", c.id, c.short, why)
		}
	}
}
