package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// place is an operating system thread with namespaces of its own. A program
// that is started from it lives there. When it and they have ended, the kernel
// takes its interfaces and mounts away, however the test ended.
type place struct {
	work chan func()
}

// newPlace makes a place. apart says what it has for itself: CLONE_NEWNET,
// CLONE_NEWNS.
func newPlace(t testing.TB, apart int) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces of its own need root: run this test as root")
	}
	p := &place{work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(apart)
		if err == nil && apart&unix.CLONE_NEWNS != 0 {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		made <- err
		for f := range p.work {
			f()
		}
	}()
	t.Cleanup(func() { close(p.work) })
	if err := <-made; err != nil {
		t.Fatalf("a place of its own: %v", err)
	}
	return p
}

// do runs f in the place. In a nil place it runs here.
func (p *place) do(f func() error) (err error) {
	if p == nil {
		return f()
	}
	done := make(chan struct{})
	p.work <- func() {
		defer close(done)
		err = f()
	}
	<-done
	return err
}

// command runs a program in the place to its end.
func (p *place) command(t testing.TB, program string, args ...string) {
	t.Helper()
	path, err := find(program)
	if err != nil {
		t.Fatal(err)
	}
	err = p.do(func() error {
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
