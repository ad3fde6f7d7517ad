package line

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// usbName names a port by its USB adapter, "usb:VID:PID:SERIAL", wherever it
// is plugged in. Without a serial it is the only adapter of its make.
type usbName struct{ USB }

const usbPrefix = "usb:"

var usbPattern = regexp.MustCompile(`^usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(.+))?$`)

func parseUSB(s string) (usbName, error) {
	m := usbPattern.FindStringSubmatch(s)
	if m == nil {
		return usbName{}, fmt.Errorf("%q names no USB adapter; write usb:VID:PID:SERIAL as \"sluice ports\" does, such as usb:0403:6001:A50285BI", s)
	}
	return usbName{USB{Vendor: strings.ToLower(m[1]), Product: strings.ToLower(m[2]), Serial: m[3]}}, nil
}

// String gives the name that parseUSB reads.
func (u usbName) String() string {
	name := usbPrefix + u.Vendor + ":" + u.Product
	if u.Serial != "" {
		name += ":" + u.Serial
	}
	return name
}

// fits reports whether the adapter bears the name.
func (u usbName) fits(adapter *USB) bool {
	return adapter != nil && strings.EqualFold(adapter.Vendor, u.Vendor) && strings.EqualFold(adapter.Product, u.Product) &&
		(u.Serial == "" || adapter.Serial == u.Serial)
}

// resolve gives the terminal that a configured port is now.
func (m machine) resolve(port string) (string, error) {
	if !strings.HasPrefix(port, usbPrefix) {
		return filepath.EvalSymlinks(port)
	}
	name, err := parseUSB(port)
	if err != nil {
		return "", err
	}
	ports, err := m.ports(false)
	if err != nil {
		return "", err
	}
	var fitting, others []string
	path := ""
	for _, p := range ports {
		switch {
		case name.fits(p.USB):
			path = p.Path
			fitting = append(fitting, p.Path+" ("+usbName{*p.USB}.String()+")")
		case p.USB != nil:
			others = append(others, usbName{*p.USB}.String())
		}
	}
	switch {
	case len(fitting) == 1:
		return path, nil
	case len(fitting) > 1:
		return "", fmt.Errorf("%s fits more than one port: %s; add the serial number, or use a name below /dev/serial/by-path", port, strings.Join(fitting, ", "))
	case len(others) > 0:
		return "", fmt.Errorf("%w: the USB adapters here are %s", fs.ErrNotExist, strings.Join(others, ", "))
	}
	return "", fmt.Errorf("%w: no USB adapter is here", fs.ErrNotExist)
}
