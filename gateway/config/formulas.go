package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"sluice/adapters/formula"
	"sluice/adapters/modbus"
)

// formulas compiles the computed points of a device and puts each behind those
// that it needs.
func (b *binder) formulas(d *rawDevice) []Formula {
	kinds := map[string]formula.Kind{}
	for i := range d.points {
		kinds[d.points[i].name] = b.kind(d, &d.points[i])
	}
	needs := map[string][]string{}
	var all []Formula
	for i := range d.points {
		p := &d.points[i]
		if !p.has("expr") {
			continue
		}
		for _, k := range sortedKeys(p.node.m) {
			if slices.Contains(pointTable.names(), k) && !slices.Contains(exprPointKeys, k) {
				b.badKey(p.at(k), "", "%q is for what a device tells: point %q is computed by \"expr\"", k, p.name)
			}
		}
		f := Formula{Point: p.point(d.name, false), Mapping: p.mapping(), Text: p.expr, Points: kinds}
		if b.fine(p.at("expr")) {
			needs[p.name] = b.compile(d, p, kinds)
		}
		all = append(all, f)
	}
	return b.inOrder(d, all, needs)
}

// kind is what a formula can take a point for.
func (b *binder) kind(d *rawDevice, p *rawPoint) formula.Kind {
	_, single := p.field()
	isBit := p.has("coil") || p.has("discrete")
	modbusPoint := isBit || p.has("input") || p.has("holding")
	switch {
	case !modbusPoint || !b.fine(p.path) || p.names != nil:
		return formula.Any
	case isBit || single || p.has("type") && p.typ == modbus.Bool:
		return formula.Bool
	case p.typ == modbus.String:
		return formula.Text
	}
	return formula.Number
}

// compile checks an expression and gives the points that it needs.
func (b *binder) compile(d *rawDevice, p *rawPoint, kinds map[string]formula.Kind) []string {
	f, err := formula.Compile(p.expr, kinds)
	if err == nil {
		return f.Inputs()
	}
	var fault *formula.Error
	if !errors.As(err, &fault) {
		b.bad(p.at("expr"), "", "expected an expression: %v", err)
		return nil
	}
	if fault.Unknown == "" {
		b.badWithin(p.at("expr"), fault.From, fault.To, "", "expected an expression: %s", fault.Text)
		return nil
	}
	if m, isTable := d.node.m["points"].(map[string]any); isTable && m[fault.Unknown] != nil {
		return nil // the point is there and wrong, which is told
	}
	var names []string
	for name := range kinds {
		if name != p.name {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	hint := "the points of the device are: " + strings.Join(names, ", ")
	if near := nearest(fault.Unknown, names); near != "" {
		hint = "did you mean " + inExpression(near) + "?"
	} else if len(names) == 0 {
		hint = "the device has no other points: add the one to compute it of"
	}
	b.badWithin(p.at("expr"), fault.From, fault.To, hint, "device %q has no point called %s, and expressions no such function", d.name, shorten(fault.Unknown))
	return nil
}

// inExpression writes the name of a point as expressions need it.
func inExpression(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return fmt.Sprintf("$env[%q]", name)
	}
	return name
}

// inOrder sorts formulas so that each comes after those that it needs, and
// reports one that needs itself.
func (b *binder) inOrder(d *rawDevice, all []Formula, needs map[string][]string) []Formula {
	var sorted []Formula
	done := map[string]bool{}
	var visit func(name string, way []string) bool
	visit = func(name string, way []string) bool {
		if at := slices.Index(way, name); at >= 0 {
			ring := append(way[at:], name)
			b.bad(child(child(d.at("points"), name), "expr"), "", "point %q would be computed from itself: %s", name, strings.Join(ring, " ← "))
			return false
		}
		i := slices.IndexFunc(all, func(f Formula) bool { return f.Name == name })
		if i < 0 || done[name] {
			return true
		}
		for _, need := range needs[name] {
			if !visit(need, append(way, name)) {
				return false
			}
		}
		done[name] = true
		sorted = append(sorted, all[i])
		return true
	}
	for _, f := range all {
		if !visit(f.Name, nil) {
			break
		}
	}
	return sorted
}
