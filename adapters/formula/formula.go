// Package formula computes the value of a point from those of other points of
// the same device.
package formula

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"sluice/adapters"
)

// Kind is what a point can be for a formula.
type Kind uint8

// The kinds.
const (
	Any    Kind = iota // known only when it is read
	Number             // a float64, whatever the device has
	Bool
	Text
)

// Formula is a compiled expression. It is never changed, so it may be used from
// any goroutine.
type Formula struct {
	program *vm.Program
	inputs  []string
}

// Machine computes one formula. It belongs to one goroutine.
type Machine struct {
	*Formula
	vm     vm.VM
	values map[string]any // of the inputs, reused
}

// Error is what is wrong with an expression.
type Error struct {
	From, To int    // the place, in characters of the expression; To excluded
	Text     string // what is wrong
	Unknown  string // the name that is no point, if that is it
}

func (e *Error) Error() string { return e.Text }

// Compile reads an expression over the named points. Its error is an *Error.
func Compile(text string, points map[string]Kind) (*Formula, error) {
	env := types.Map{}
	for name, kind := range points {
		env[name] = [...]types.Type{types.Any, types.Float64, types.Bool, types.String}[kind]
	}
	program, err := expr.Compile(text, append(functions, expr.Env(env))...)
	if err != nil {
		return nil, place(text, err)
	}
	whole := func(format string, args ...any) error {
		return &Error{To: len([]rune(text)), Text: fmt.Sprintf(format, args...)}
	}
	if t := program.Node().Type(); t != nil && !scalar(t.Kind()) {
		return nil, whole("its value is neither a number, nor a text, nor true or false")
	}
	f := &Formula{program: program}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, place(text, err)
	}
	found := &names{}
	ast.Walk(&tree.Node, found)
	for _, name := range found.all {
		if _, is := points[name]; is && !slices.Contains(f.inputs, name) {
			f.inputs = append(f.inputs, name)
		}
	}
	if zero := found.zero; zero != nil {
		at := zero.Location()
		return nil, &Error{From: at.From, To: max(at.From+1, at.To), Text: "a division by 0 never has a value"}
	}
	if found.environments > found.members {
		return nil, whole(`$env stands before the name of a point only: $env["my point"]`)
	}
	if len(f.inputs) == 0 {
		return nil, whole("it names no point of the device: its value could never change")
	}
	return f, nil
}

func scalar(k reflect.Kind) bool {
	return k >= reflect.Bool && k <= reflect.Float64 || k == reflect.String || k == reflect.Interface
}

// functions are what expressions can call beside those of the language.
var functions = []expr.Option{
	function("sqrt", math.Sqrt), function("exp", math.Exp), function("ln", math.Log), function("log10", math.Log10),
}

func function(name string, fn func(float64) float64) expr.Option {
	return expr.Function(name, func(params ...any) (any, error) {
		n, ok := number(params[0])
		if !ok {
			return nil, fmt.Errorf("%s of what is no number", name)
		}
		return fn(n), nil
	}, new(func(float64) float64))
}

// names finds the names in an expression. It is an ast.Visitor.
type names struct {
	all                   []string
	environments, members int
	zero                  ast.Node // that something is divided by
}

// Visit implements ast.Visitor.
func (n *names) Visit(node *ast.Node) {
	switch node := (*node).(type) {
	case *ast.BinaryNode:
		if (node.Operator == "/" || node.Operator == "%") && isZero(node.Right) {
			n.zero = node.Right
		}
	case *ast.IdentifierNode:
		if n.all = append(n.all, node.Value); node.Value == "$env" {
			n.environments++
		}
	case *ast.MemberNode:
		of, isName := node.Node.(*ast.IdentifierNode)
		name, constant := node.Property.(*ast.StringNode)
		if isName && of.Value == "$env" && constant {
			n.all = append(n.all, name.Value)
			n.members++
		}
	}
}

func isZero(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.IntegerNode:
		return node.Value == 0
	case *ast.FloatNode:
		return node.Value == 0
	}
	return false
}

// place turns an error of the library into ours.
func place(text string, err error) *Error {
	var fault *file.Error
	all := []rune(text)
	if !errors.As(err, &fault) {
		return &Error{To: len(all), Text: err.Error()}
	}
	e := &Error{From: min(fault.From, len(all)), Text: fault.Message}
	e.To = max(e.From, min(fault.To, len(all)))
	if name, is := strings.CutPrefix(e.Text, "unknown name "); is {
		e.Unknown = name
		e.To = max(e.To, min(e.From+len([]rune(name)), len(all)))
	}
	return e
}

// Inputs are the points that the formula needs, in the order in which it names
// them.
func (f *Formula) Inputs() []string { return f.inputs }

// Machine makes what computes the formula.
func (f *Formula) Machine() *Machine { return &Machine{Formula: f, values: map[string]any{}} }

// Compute gives the value from that of each input; None where there is none: a
// division by zero, a word where a number is needed, and the like.
func (m *Machine) Compute(input func(name string) adapters.Value) adapters.Value {
	for _, name := range m.inputs {
		m.values[name] = native(input(name))
	}
	return m.run()
}

// Change gives the value with another value of one input, and those of the
// others as they were last.
func (m *Machine) Change(name string, v adapters.Value) adapters.Value {
	m.values[name] = native(v)
	return m.run()
}

func (m *Machine) run() adapters.Value {
	result, err := m.vm.Run(m.program, m.values)
	if err != nil {
		return adapters.Value{}
	}
	switch result := result.(type) {
	case bool:
		return adapters.Bool(result)
	case string:
		return adapters.String(result)
	case int:
		return adapters.Int(int64(result))
	}
	n, ok := number(result)
	if !ok {
		return adapters.Value{}
	}
	return adapters.Float(tidy(n))
}

// native gives a value as expressions have it.
func native(v adapters.Value) any {
	switch v.Kind() {
	case adapters.KindBool:
		return v.Bool()
	case adapters.KindString:
		return v.String()
	}
	n, _ := v.Number()
	return n
}

func number(v any) (float64, bool) {
	r := reflect.ValueOf(v)
	switch {
	case r.CanFloat():
		return r.Float(), true
	case r.CanInt():
		return float64(r.Int()), true
	case r.CanUint():
		return float64(r.Uint()), true
	}
	return 0, false
}

// tidy rounds to twelve digits, which takes away what binary arithmetic leaves
// behind: 0.1 + 0.2 is 0.3.
func tidy(f float64) float64 {
	if f == math.Trunc(f) {
		return f
	}
	short, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 12, 64), 64) // what it wrote always parses
	return short
}
