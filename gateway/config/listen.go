package config

import "sluice/adapters/line"

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
// can't have.
func (b *binder) checkListened(d *rawDevice, l *rawLine) {
	for i := range d.points {
		if p := &d.points[i]; p.has("write") {
			b.badKey(p.at("write"), "", "point %q can't be written: line %q is only listened to, and nothing is ever sent on it", p.name, l.name)
		}
	}
}
