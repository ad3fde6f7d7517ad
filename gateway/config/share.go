package config

import (
	"fmt"
	"strings"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
)

// buildShare settles whether a line has a door for other masters, and where.
// taken are the doors of the lines before it.
func (b *binder) buildShare(f *rawFile, l *rawLine, out *Line, taken uses) {
	at := l.at("share")
	if l.shareWrites && l.share == "" && b.fine(at, l.at("share_writes")) {
		b.badKey(l.at("share_writes"), `add share = "127.0.0.1:1502"`, `"share_writes" lets other masters write: %s needs the key "share" for it`, l.title())
	}
	if l.share == "" || !b.fine(at) {
		return
	}
	if l.kind == line.UART {
		b.badKey(at, "", `"share" is for Modbus lines: %s is of kind "uart"`, l.title())
		return
	}
	out.Share = modbus.DoorConfig{Listen: l.share, Writes: l.shareWrites}
	if !loopback(l.share) {
		what := "can read the devices of " + l.title()
		if l.shareWrites {
			what = "can read and switch the devices of " + l.title()
		}
		b.warn(at, "Modbus knows no passwords: let a firewall choose who may", "everyone who reaches %s %s", l.share, what)
	}
	if strings.HasSuffix(l.share, ":0") {
		return
	}
	taken.claim(b, l.share, at, fmt.Sprintf("a [[line]] is shared on %s already", l.share))
	if l.share == f.web.listen && b.fine(f.web.at("listen"), at) {
		b.bad(at, "", "the web page listens on %s: expected another address", l.share)
	}
	for i, listen := range f.broker.listen {
		if hostPort(listen) == l.share && b.fine(element(f.broker.at("listen"), i), at) {
			b.bad(at, "", "the broker listens on %s: expected another address", l.share)
		}
	}
}
