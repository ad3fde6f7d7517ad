package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
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

// unstablePort matches a serial port named by order of plugging in: the same
// adapter may have another number after the next start.
var unstablePort = regexp.MustCompile(`^/dev/tty(USB|ACM)[0-9]+$`)

// networkPort matches what is not a serial port but host:port, or an IPv4 address.
var networkPort = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]+$|^[0-9]+(\.[0-9]+){3}$`)

// overNetwork is what may be meant by a network endpoint on a serial line.
var overNetwork = map[line.Kind]string{
	line.RTU:   `did you mean kind = "tcp", or "rtu-tcp" for a converter that passes on plain bytes?`,
	line.ASCII: `did you mean kind = "tcp", or "ascii-tcp" for a converter that passes on plain bytes?`,
	line.UART:  "lines of kind uart are serial ports of this machine",
}

// checkPort checks where a line is, and completes a relative path.
func (b *binder) checkPort(l *rawLine, out *Line) {
	at := l.at("port")
	if out.Sim || l.port == "" || !b.fine(at) {
		return
	}
	if !l.kind.Serial() {
		if strings.HasPrefix(l.port, "/") || strings.Contains(l.port, "://") {
			b.bad(at, "", "expected host:port such as \"192.168.1.20:502\", not %s", shorten(l.port))
		} else if _, _, err := net.SplitHostPort(l.port); err != nil && l.kind != line.TCP {
			b.warn(at, "write host:port, with the port that the converter is set to", "%s tells no TCP port: 502 is taken, that of Modbus TCP", shorten(l.port))
		}
		return
	}
	out.Port = l.port // the line knows what else is to be in usb:…
	if !strings.HasPrefix(l.port, "usb:") {
		out.Port = b.relative(l.port)
	}
	_, err := line.Resolve(out.Port)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case strings.HasPrefix(l.port, "usb:") && !missing:
	case !strings.Contains(l.port, "/") && !strings.HasPrefix(l.port, "usb:"):
		hint := `a relative path begins with "./"`
		if strings.HasPrefix(l.port, "tty") {
			hint = "did you mean " + shorten("/dev/"+l.port) + "?"
		} else if networkPort.MatchString(l.port) {
			hint = overNetwork[l.kind]
		} else if near := nearest(l.port, []string{SimPort}); near != "" {
			hint = "did you mean " + shorten(near) + "?"
		}
		b.bad(at, hint, `expected a serial port such as "/dev/serial/by-id/…" or "usb:0403:6001:A50285BI", or "sim", not %s`, shorten(l.port))
	case unstablePort.MatchString(l.port):
		hint := "use one of the stable names that \"sluice ports\" prints"
		if stable := line.StableName(l.port); stable != "" {
			hint = "here it is also " + stable
		}
		text := "%s may be another adapter after the next start"
		if missing {
			text += ", and is not there at present"
		}
		b.warn(at, hint, text, l.port)
	case missing:
		b.warn(at, "\"sluice ports\" lists those that are", "%s is not there at present", l.port)
	}
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
