package config

import (
	"fmt"
	"maps"

	"sluice/adapters/line"
)

// buildListen settles whether a line is only listened to.
func (b *binder) buildListen(l *rawLine, out *Line) {
	at := l.at("listen")
	if !l.listen || !b.fine(at) {
		return
	}
	switch {
	case l.kind != line.RTU && l.kind != "":
		b.badKey(at, "", `"listen" is for lines of kind "rtu": %s is of kind %q`, l.title(), l.kind)
	case l.has("share"):
		b.badKey(l.at("share"), "", `"share" lets other masters ask: %s is only listened to, and nothing is ever sent on it`, l.title())
	case out.Sim:
		b.bad(l.at("port"), "", "expected a port on which another master speaks: on a simulated line there is none to listen to")
	default:
		out.Listen = true
	}
}

// checkListened reports what a device on a line that is only listened to
// can't have, and what has no effect there.
func (b *binder) checkListened(d *rawDevice, l *rawLine) {
	idle := func(n node, title string, keys ...string) {
		for _, k := range keys {
			if n.has(k) && b.fine(n.at(k)) && !d.has("use") {
				b.warn(n.at(k), "take it out", "%q has no effect on %s: line %q is only listened to, and another master says when something is read", k, title, l.name)
			}
		}
	}
	idle(d.node, d.title(), "every", "delay", "max_registers")
	for i := range d.points {
		p := &d.points[i]
		if p.has("write") {
			b.badKey(p.at("write"), "", "point %q can't be written: line %q is only listened to, and nothing is ever sent on it", p.name, l.name)
		}
		idle(p.node, fmt.Sprintf("point %q", p.name), "every", "priority")
	}
}

// listened reports whether the line of a device is only listened to.
func listened(m, device map[string]any) bool {
	for _, l := range tablesOf(m["line"]) {
		if l["name"] == device["line"] {
			return l["listen"] == true
		}
	}
	return false
}

// readOnly takes from the points of a device what its profile says of
// writing. What its own points say of it stays, and is told.
func readOnly(device, own map[string]any) {
	points, _ := device["points"].(map[string]any)
	for name, v := range points {
		theirs, isTable := v.(map[string]any)
		if !isTable {
			continue
		}
		theirs = maps.Clone(theirs)
		mine, _ := own[name].(map[string]any)
		for _, key := range []string{"write", "fc", "min", "max", "safe", "safe_after"} {
			if _, there := mine[key]; !there {
				delete(theirs, key)
			}
		}
		points[name] = theirs
	}
}
