package line

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeMachine is a machine whose /sys, /dev and /proc are folders.
func fakeMachine(t *testing.T) machine {
	t.Helper()
	dir := t.TempDir()
	m := machine{filepath.Join(dir, "sys"), filepath.Join(dir, "dev"), filepath.Join(dir, "proc"), ioctl}
	for _, folder := range []string{m.sys + "/class/tty", m.dev + "/serial/by-id", m.dev + "/serial/by-path", m.proc} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func join(t *testing.T, link, target string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
}

// usb plugs an adapter into socket, as the kernel shows it: the terminal is two
// folders below the device. tty is what the terminal is in truth.
func (m machine) usb(t *testing.T, name, socket, tty string, u USB) (unplug func()) {
	t.Helper()
	device := m.sys + "/devices/usb1/" + socket
	for file, text := range map[string]string{"idVendor": u.Vendor, "idProduct": u.Product, "serial": u.Serial, "manufacturer": u.Maker, "product": u.Model} {
		if text != "" {
			put(t, device+"/"+file, text)
		}
	}
	terminal := device + "/" + socket + ":1.0/" + name
	join(t, terminal+"/driver", m.sys+"/bus/usb-serial/drivers/ftdi_sio")
	join(t, m.sys+"/class/tty/"+name+"/device", terminal)
	join(t, m.dev+"/"+name, tty)
	return func() {
		for _, gone := range []string{device, m.sys + "/class/tty/" + name, m.dev + "/" + name} {
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPorts(t *testing.T) {
	m := fakeMachine(t)
	m.usb(t, "ttyUSB0", "1-1", "/dev/null", USB{"0403", "6001", "A50285BI", "FTDI", "FT232R"})
	m.usb(t, "ttyACM0", "1-2", "/dev/null", USB{"1a86", "55d4", "", "", "USB Single Serial"})
	for _, uart := range []string{"ttyS0", "ttyS1"} {
		device := m.sys + "/devices/platform/serial8250/" + uart
		join(t, device+"/driver", m.sys+"/bus/serial-base/drivers/port")
		join(t, m.sys+"/class/tty/"+uart+"/device", device)
		put(t, m.dev+"/"+uart, "")
	}
	put(t, m.sys+"/class/tty/ttyS0/type", "4")
	put(t, m.sys+"/class/tty/ttyS1/type", "0") // nothing there
	put(t, m.sys+"/class/tty/tty1/uevent", "") // a virtual terminal
	put(t, m.sys+"/class/tty/console/active", "tty0 ttyS0")
	put(t, m.proc+"/17/comm", "minicom")
	join(t, m.proc+"/17/fd/3", m.dev+"/ttyS0")
	join(t, m.proc+"/17/fd/4", m.dev+"/ttyS0")
	join(t, m.dev+"/serial0", "ttyS0")

	got, err := m.ports(true)
	if err != nil {
		t.Fatal(err)
	}
	want := []PortInfo{
		{Path: m.dev + "/ttyACM0", Driver: "ftdi_sio", Stable: []string{"usb:1a86:55d4"}, USB: &USB{"1a86", "55d4", "", "", "USB Single Serial"}},
		{Path: m.dev + "/ttyS0", Stable: []string{m.dev + "/serial0"}, Console: true, Holders: []Holder{{17, "minicom"}}},
		{Path: m.dev + "/ttyUSB0", Driver: "ftdi_sio", Stable: []string{"usb:0403:6001:A50285BI"}, USB: &USB{"0403", "6001", "A50285BI", "FTDI", "FT232R"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The names that udev makes stand before that of the adapter itself.
func TestFault22StableNames(t *testing.T) {
	m := fakeMachine(t)
	m.usb(t, "ttyUSB0", "1-1", "/dev/null", USB{"0403", "6001", "A1", "", ""})
	if err := os.Remove(m.dev + "/ttyUSB0"); err != nil {
		t.Fatal(err)
	}
	put(t, m.dev+"/ttyUSB0", "")
	join(t, m.dev+"/serial/by-path/pci-0-usb-0:1:1.0-port0", "../../ttyUSB0")
	join(t, m.dev+"/serial/by-id/usb-FTDI_A1-if00-port0", "../../ttyUSB0")
	ports, err := m.ports(false)
	if err != nil || len(ports) != 1 {
		t.Fatal(ports, err)
	}
	want := []string{m.dev + "/serial/by-id/usb-FTDI_A1-if00-port0", m.dev + "/serial/by-path/pci-0-usb-0:1:1.0-port0", "usb:0403:6001:A1"}
	if diff := cmp.Diff(want, ports[0].Stable); diff != "" {
		t.Error(diff)
	}
}

func TestUSBNames(t *testing.T) {
	m := fakeMachine(t)
	m.usb(t, "ttyUSB0", "1-1", "/dev/null", USB{"0403", "6001", "A1", "", ""})
	m.usb(t, "ttyUSB1", "1-2", "/dev/null", USB{"0403", "6001", "a:2", "", ""})
	m.usb(t, "ttyUSB2", "1-3", "/dev/null", USB{"10c4", "ea60", "0001", "", ""})
	for name, want := range map[string]string{
		"usb:0403:6001:A1":  "ttyUSB0",
		"usb:0403:6001:a:2": "ttyUSB1", // serial numbers may hold colons
		"usb:10C4:EA60":     "ttyUSB2",
	} {
		if got, err := m.resolve(name); err != nil || got != filepath.Join(m.dev, want) {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if _, err := m.resolve("usb:0403:6001"); err == nil || !strings.Contains(err.Error(), "more than one port") || !strings.Contains(err.Error(), "usb:0403:6001:a:2") {
		t.Errorf("two adapters: %v", err)
	}
	if _, err := m.resolve("usb:0403:6001:A3"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "usb:10c4:ea60:0001") {
		t.Errorf("none: %v", err)
	}
}

// An adapter that comes back in another socket, as another terminal, is found.
func TestFault21AdapterGetsAnotherName(t *testing.T) {
	b := newBench(t)
	m := fakeMachine(t)
	id := USB{"0403", "6001", "A1", "", ""}
	unplug := m.usb(t, "ttyUSB0", "1-1", b.slave.Name(), id)
	l := New(rtuConfig("usb:0403:6001:A1"), quiet())
	l.host = m
	changes := states(l)
	run(t, l)
	if s := wait(t, changes, "opening"); s != "open" {
		t.Fatal(s)
	}
	unplug()
	b.unplug()
	wait(t, changes, "closing")
	if s := wait(t, changes, "the reason"); !strings.Contains(s, "is not there") {
		t.Fatal(s)
	}
	b.plug()
	b.answer("ping", "pong")
	m.usb(t, "ttyUSB3", "1-4", b.slave.Name(), id)
	if s := wait(t, changes, "reopening"); s != "open" {
		t.Fatal(s)
	}
	if got, err := exchange(t, l, "ping", until("pong"), patience); err != nil || got != "pong" {
		t.Fatalf("%q, %v", got, err)
	}
}
