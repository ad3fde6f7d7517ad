package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnwrittenMappings(t *testing.T) {
	smaps := `00400000-00c26000 r-xp 00000000 fe:00 42                     /opt/my sluice
Rss:                7384 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00c26000-01503000 r--p 00826000 fe:00 42                     /opt/my sluice
Anonymous:             4 kB
01503000-01594000 rw-p 01103000 fe:00 42                     /opt/my sluice
Anonymous:             0 kB
01594000-035db000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f00fffff000-7f0100001000 r--p 00000000 fe:00 43             /usr/lib/libc.so.6
Anonymous:             0 kB
ffff0000-ffff1000 r--p 00826000 fe:00 42                     /opt/my sluice
Anonymous:             0 kB
`
	got := unwritten(strings.NewReader(smaps), "/opt/my sluice")
	if want := []mapping{{0x400000, 0xc26000}, {0xffff0000, 0xffff1000}}; !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestUnmapProgram lets go of the pages of this very program, which runs on.
func TestUnmapProgram(t *testing.T) {
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range unwritten(maps, program) {
		if _, _, code := unix.Syscall(unix.SYS_MADVISE, m.begin, m.end-m.begin, unix.MADV_POPULATE_READ); code != 0 {
			t.Fatal(code)
		}
	}
	before := statusKiB(t, os.Getpid(), "RssFile:")
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if after := statusKiB(t, os.Getpid(), "RssFile:"); after > before/2 {
		t.Errorf("%d KiB of files are mapped, %d before", after, before)
	}
}

// statusKiB is a size in the status of a process (proc(5)).
func statusKiB(t testing.TB, pid int, key string) (size int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), key)
	if _, err := fmt.Sscan(rest, &size); err != nil {
		t.Fatal(err)
	}
	return size
}
