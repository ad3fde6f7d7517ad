package main

import (
	"bytes"
	"os"
	"path/filepath"
	"time"

	"sluice/mqttcore/store"
)

// host is the machine that the program runs on. root is "/", but for tests.
type host struct {
	store.Clock
	root string
}

func thisMachine() machine { return host{store.SystemClock(), "/"} }

// Wall implements machine.
func (host) Wall() time.Time { return time.Now().Round(0) }

// Since implements machine.
func (host) Since(t time.Time) time.Duration { return time.Since(t) }

// Set implements machine. A container has the kernel, and so all signs, of its
// host; a virtual machine's clock is set by its host, which has a clock.
func (h host) Set() (by string, sure bool) {
	if _, synced := h.Clock.Wall(); synced {
		return "the kernel, which is synchronised", true
	}
	if _, err := os.Stat(h.path("run/systemd/timesync/synchronized")); err == nil {
		return "systemd-timesyncd", true
	}
	// The kernel took the time of day from this one when it started.
	rtcs, _ := filepath.Glob(h.path("sys/class/rtc/*/hctosys"))
	for _, f := range rtcs {
		if b, err := os.ReadFile(f); err == nil && string(bytes.TrimSpace(b)) == "1" {
			return "the hardware clock", false
		}
	}
	if h.virtual() {
		return "the host of this virtual machine", false
	}
	return "", false
}

// virtual says whether there is a hypervisor below the kernel.
func (h host) virtual() bool {
	for _, f := range []string{"sys/hypervisor/type", "proc/device-tree/hypervisor"} {
		if _, err := os.Stat(h.path(f)); err == nil {
			return true
		}
	}
	if b, err := os.ReadFile(h.path("proc/device-tree/compatible")); err == nil && bytes.Contains(b, []byte("linux,dummy-virt")) {
		return true // QEMU and Firecracker on ARM
	}
	b, err := os.ReadFile(h.path("proc/cpuinfo"))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if name, flags, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "flags" {
			return bytes.Contains(flags, []byte(" hypervisor")) // bit 31 of CPUID 1 ECX
		}
	}
	return false
}

func (h host) path(name string) string { return filepath.Join(h.root, name) }
