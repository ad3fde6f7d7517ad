package config

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"sluice/adapters/line"
)

// buildLines turns the lines of a file into the owners' configurations.
func (b *binder) buildLines(f *rawFile, cfg *Config) {
	names, ports, doors := uses{}, uses{}, uses{}
	for i := range f.lines {
		l := &f.lines[i]
		names.claim(b, l.name, l.at("name"), fmt.Sprintf("there is a line %q already", l.name))
		out := Line{
			Config: line.Config{
				Name: l.name, Kind: l.kind, Port: l.port, RS485: l.rs485, Echo: l.echo,
				Timeout: l.timeout, Retries: l.retries, Gap: l.gap,
			},
			Sim: l.port == SimPort,
		}
		if l.kind != "" {
			b.checkSerial(l, &out)
			b.checkPort(l, &out)
			b.checkWire(l)
		}
		if !out.Sim {
			ports.claim(b, out.Port, l.at("port"), "there is a [[line]] on this port already")
		}
		if l.kind != "" {
			b.checkFrame(l)
		}
		if l.has("gap") && l.kind == line.UART {
			b.badKey(l.at("gap"), "", `"gap" is for registers: %s has none`, l.title())
		}
		b.buildListen(l, &out)
		b.buildShare(f, l, &out, doors)
		cfg.Lines = append(cfg.Lines, out)
	}
}

func (l *rawLine) title() string {
	if l.name == "" {
		return "[[line]]"
	}
	return "line " + shorten(l.name)
}

// usualSerial is the speed and format of lines that do not tell theirs: for
// Modbus the default of its specification (Modbus over Serial Line V1.02,
// 2.5.1 and 2.5.2).
var usualSerial = map[line.Kind]string{line.RTU: "19200 8E1", line.ASCII: "19200 7E1", line.UART: "115200 8N1"}

// checkSerial reads the speed and format of a serial line.
func (b *binder) checkSerial(l *rawLine, out *Line) {
	switch {
	case !l.kind.Serial():
		if l.has("serial") {
			b.badKey(l.at("serial"), "", `"serial" is for lines of kind "rtu", "ascii" and "uart": %s is a network endpoint`, l.title())
		}
		return
	case !b.fine(l.at("serial")):
		return
	}
	s, err := line.ParseSerial(cmp.Or(l.serial, usualSerial[l.kind]))
	if err != nil {
		b.bad(l.at("serial"), "", "%v", err)
		return
	}
	if l.kind == line.RTU && s.DataBits != 8 {
		b.bad(l.at("serial"), "", "expected 8 data bits, which Modbus RTU needs, not %d", s.DataBits)
	}
	if l.kind == line.ASCII && s.DataBits < 7 {
		b.bad(l.at("serial"), "", "expected 7 or 8 data bits, which Modbus ASCII needs, not %d", s.DataBits)
	}
	out.Serial = s
}

// unstablePort matches a serial port named by order of plugging in: the same
// adapter may have another number after the next start.
var unstablePort = regexp.MustCompile(`^/dev/tty(USB|ACM)[0-9]+$`)

// checkPort checks where a line is, and completes a relative path.
func (b *binder) checkPort(l *rawLine, out *Line) {
	at := l.at("port")
	if out.Sim || l.port == "" || !b.fine(at) {
		return
	}
	if !l.kind.Serial() {
		if strings.HasPrefix(l.port, "/") || strings.Contains(l.port, "://") {
			b.bad(at, "", "expected host:port such as \"192.168.1.20:502\", not %s", shorten(l.port))
		}
		return
	}
	switch {
	case strings.HasPrefix(l.port, "usb:"):
		return // the line knows what else is to be in it
	case !strings.Contains(l.port, "/"):
		hint := `a relative path begins with "./"`
		if strings.HasPrefix(l.port, "tty") {
			hint = "did you mean " + shorten("/dev/"+l.port) + "?"
		} else if near := nearest(l.port, []string{SimPort}); near != "" {
			hint = "did you mean " + shorten(near) + "?"
		}
		b.bad(at, hint, `expected a serial port such as "/dev/serial/by-id/…" or "usb:0403:6001:A50285BI", or "sim", not %s`, shorten(l.port))
	case unstablePort.MatchString(l.port):
		hint := "use one of the stable names that \"sluice ports\" prints"
		if stable := line.StableName(l.port); stable != "" {
			hint = "here it is also " + stable
		}
		b.warn(at, hint, "%s may be another adapter after the next start", l.port)
	}
	out.Port = b.relative(l.port)
}

// checkWire checks the keys that some kinds of wire have.
func (b *binder) checkWire(l *rawLine) {
	if l.has("rs485") && !l.kind.Serial() {
		b.badKey(l.at("rs485"), "", `"rs485" is for serial ports of this machine: %s is a network endpoint`, l.title())
	}
	if l.has("echo") && (l.kind == line.TCP || l.kind == line.UART) {
		b.badKey(l.at("echo"), "", `"echo" is for Modbus on a bus: lines of kind %q have none to remove`, l.kind)
	}
}
