package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// footprint gives memory back, once, that only the start has needed. More than
// half of what the program occupies otherwise is its own file: the kernel maps
// sixteen pages around each that runs, and most run once.
type footprint struct {
	after time.Duration // the start is over then
	log   *slog.Logger
	ready chan struct{}
}

func newFootprint(after time.Duration, log *slog.Logger) *footprint {
	return &footprint{after, log, make(chan struct{})}
}

func (f *footprint) Ready() <-chan struct{} { return f.ready }
func (f *footprint) String() string         { return "footprint" }

// Run gives the memory back and waits for ctx to end.
func (f *footprint) Run(ctx context.Context) error {
	close(f.ready)
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(f.after):
	}
	debug.FreeOSMemory()
	if err := unmapProgram(); err != nil {
		f.log.Debug("memory not given back", "error", err)
	}
	<-ctx.Done()
	return nil
}

// unmapProgram lets go of the pages of the program's file. What runs again is
// mapped again as it runs, from the page cache.
func unmapProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer maps.Close()
	for _, m := range unwritten(maps, program) {
		if _, _, code := unix.Syscall(unix.SYS_MADVISE, m.begin, m.end-m.begin, unix.MADV_DONTNEED); code != 0 {
			return fmt.Errorf("madvise: %w", code)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ begin, end uintptr }

// unwritten finds in the format of /proc/PID/smaps (proc(5)) where file is
// mapped read-only and no page differs from it: a page that was written, by
// relocation for instance, would be lost.
func unwritten(smaps io.Reader, file string) (found []mapping) {
	var m mapping
	var ours bool
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		line := lines.Text()
		fields := strings.Fields(line)
		if name, value, ok := strings.Cut(line, ":"); ok && !strings.Contains(name, " ") {
			if ours && name == "Anonymous" && strings.TrimSpace(value) == "0 kB" {
				found = append(found, m)
			}
			continue
		}
		ours = false
		if len(fields) > 5 && strings.Join(fields[5:], " ") == file && !strings.Contains(fields[1], "w") {
			n, err := fmt.Sscanf(fields[0], "%x-%x", &m.begin, &m.end)
			ours = n == 2 && err == nil
		}
	}
	return found
}
