package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a broker under test: a child of this program with a folder of
// its own.
type process struct {
	peer  string
	addr  string // where it serves MQTT
	dir   string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   bytes.Buffer // what it said; read after it has ended
	ended chan struct{}
}

// startLimit bounds the time until a broker accepts clients.
const startLimit = 20 * time.Second

// start runs a broker in a new folder below root and waits until it accepts
// clients.
func start(ctx context.Context, p peer, root string) (*process, error) {
	dir, err := os.MkdirTemp(root, p.name+"-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	cmd, err := p.command(dir, addr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", p.name, err), os.RemoveAll(dir))
	}
	b := &process{peer: p.name, addr: addr, dir: dir, cmd: cmd, ended: make(chan struct{})}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &b.out, &b.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if b.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: starting it: %w", p.name, err), os.RemoveAll(dir))
	}
	go func() {
		_ = cmd.Wait() // it is killed in the end; how it ended is in out
		close(b.ended)
	}()
	if err := b.await(ctx); err != nil {
		b.stop()
		return nil, fmt.Errorf("%s: %w; it said:\n%s", p.name, err, b.out.Bytes())
	}
	return b, nil
}

// await tries until a client is accepted.
func (b *process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := dial(b.addr, "await", true)
		if err == nil {
			return c.Close()
		}
		select {
		case <-b.ended:
			return errors.New("it ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("no client accepted within %v: %w", startLimit, err)
		case <-tick.C:
		}
	}
}

// stop kills the broker and removes its folder: only what it does while
// running is measured.
func (b *process) stop() {
	_ = b.stdin.Close()
	_ = b.cmd.Process.Kill()
	<-b.ended
	_ = os.RemoveAll(b.dir)
}

// cpu is the processor time of all threads of the process, ended ones too, to
// the nanosecond: the clock that clock_getcpuclockid(3) gives for a process.
func (b *process) cpu() time.Duration { return clock(int32(^b.cmd.Process.Pid<<3 | 2)) }

// ownCPU is the processor time of this program.
func ownCPU() time.Duration { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0 // the process has ended; the case reports that
	}
	return time.Duration(t.Nano())
}

// rss is the resident memory in bytes, now and at its peak.
func (b *process) rss() (now, peak int64) {
	status, _ := os.ReadFile(b.proc("status"))
	return field(status, "VmRSS:") * 1024, field(status, "VmHWM:") * 1024
}

// written is how many bytes the process has caused to be written to the disk.
func (b *process) written() int64 {
	text, _ := os.ReadFile(b.proc("io"))
	return field(text, "write_bytes:")
}

func (b *process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(b.cmd.Process.Pid), name)
}

// stored is the size of the files in its folder, in bytes on the disk.
func (b *process) stored() int64 {
	var sum int64
	_ = filepath.WalkDir(b.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go while it runs
		}
		if info, err := d.Info(); err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += s.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// field gives the first number after a word.
func field(text []byte, word string) int64 {
	_, rest, _ := bytes.Cut(text, []byte(word))
	words := bytes.Fields(rest)
	if len(words) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(words[0]), 10, 64)
	return n
}

// freeAddr is an address of this machine that nobody serves at the moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
