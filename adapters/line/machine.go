package line

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// machine is where the kernel shows its serial ports, and how their drivers
// are spoken to.
type machine struct {
	sys, dev, proc string
	ioctl          func(fd int, request uint, arg unsafe.Pointer) error
}

var thisMachine = machine{sys: "/sys", dev: "/dev", proc: "/proc", ioctl: ioctl}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// PortInfo is one serial port of the machine, as far as the kernel tells
// without the port being opened.
type PortInfo struct {
	Path    string   // its name now, such as /dev/ttyUSB0
	Driver  string   // of the kernel, "" if it tells none
	Stable  []string // names that stay with the adapter or its socket, the best first
	USB     *USB     // nil: it is not on USB
	Console bool     // the kernel or a login shell speaks on it
	Holders []Holder // who has it open, as far as the caller may know
}

// USB is what a USB adapter tells of itself.
type USB struct {
	Vendor, Product string // four hexadecimal digits each
	Serial          string // "" if it has none
	Maker, Model    string // in its own words
}

// Holder is a process that has a port open.
type Holder struct {
	PID     int
	Command string
}

// Ports lists the serial ports of the machine, by path. It opens none, so that
// no device on them notices.
func Ports() ([]PortInfo, error) { return thisMachine.ports(true) }

// StableName gives a name of the port at path that stays with its adapter, ""
// if there is none on this machine now.
func StableName(path string) string {
	ports, _ := thisMachine.ports(false) // where they can't be listed there are none
	for _, p := range ports {
		if p.Path == path && len(p.Stable) > 0 {
			return p.Stable[0]
		}
	}
	return ""
}

// Resolve gives the path of the terminal that a configured port, a path or
// usb:VID:PID:SERIAL, is at present; fs.ErrNotExist where it is not there.
func Resolve(port string) (string, error) { return thisMachine.resolve(port) }

// ports lists the serial ports. Who holds them costs a look at every
// descriptor of every process.
func (m machine) ports(held bool) ([]PortInfo, error) {
	entries, err := os.ReadDir(filepath.Join(m.sys, "class/tty"))
	if err != nil {
		return nil, fmt.Errorf("list the serial ports: %w", err)
	}
	links := m.links()
	consoles := strings.Fields(m.text("class/tty/console/active"))
	holders := map[string][]Holder{}
	if held {
		holders = m.holders()
	}
	ports := []PortInfo{}
	for _, e := range entries {
		name := e.Name()
		device, err := filepath.EvalSymlinks(filepath.Join(m.sys, "class/tty", name, "device"))
		if err != nil || m.text("class/tty/"+name+"/type") == "0" {
			continue // a virtual terminal, or a place where a UART might be and is not
		}
		p := PortInfo{Path: filepath.Join(m.dev, name), Driver: driverOf(device), USB: usbOf(device)}
		if _, err := os.Lstat(p.Path); err != nil {
			continue
		}
		p.Stable = links[p.Path]
		if p.USB != nil {
			p.Stable = append(p.Stable, usbName{*p.USB}.String())
		}
		p.Console = slices.Contains(consoles, name)
		p.Holders = holders[p.Path]
		ports = append(ports, p)
	}
	return ports, nil
}

// text reads a file of the kernel, "" if it is not there.
func (m machine) text(name string) string { return fileText(filepath.Join(m.sys, name)) }

func fileText(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// driverOf names the driver of a device: its own, or that of the first device
// above which has one. The kernel's serial core puts two of its own between.
func driverOf(device string) string {
	for ; len(device) > 1; device = filepath.Dir(device) {
		target, err := os.Readlink(filepath.Join(device, "driver"))
		if err != nil {
			continue
		}
		if name := filepath.Base(target); name != "port" && name != "ctrl" {
			return name
		}
	}
	return ""
}

// usbOf finds the USB device above a terminal, nil if there is none.
func usbOf(device string) *USB {
	for ; len(device) > 1; device = filepath.Dir(device) {
		read := func(name string) string { return fileText(filepath.Join(device, name)) }
		if vendor := read("idVendor"); vendor != "" {
			return &USB{vendor, read("idProduct"), read("serial"), read("manufacturer"), read("product")}
		}
	}
	return nil
}

// links gives the symbolic links to each terminal: those that udev makes by
// the adapter, by its socket, and those of the machine's own rules.
func (m machine) links() map[string][]string {
	all := map[string][]string{}
	for _, folder := range []string{"serial/by-id", "serial/by-path", "."} {
		entries, err := os.ReadDir(filepath.Join(m.dev, folder))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.Type()&fs.ModeSymlink == 0 {
				continue
			}
			name := filepath.Join(m.dev, folder, e.Name())
			if target, err := filepath.EvalSymlinks(name); err == nil {
				all[target] = append(all[target], name)
			}
		}
	}
	return all
}

// holders gives the processes that have a terminal open, by its path.
func (m machine) holders() map[string][]Holder {
	all := map[string][]Holder{}
	links, _ := filepath.Glob(filepath.Join(m.proc, "[0-9]*/fd/*")) // fails on a bad pattern only
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(target, m.dev+"/") {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		h := Holder{pid, fileText(filepath.Join(process, "comm"))}
		if !slices.Contains(all[target], h) {
			all[target] = append(all[target], h)
		}
	}
	return all
}
