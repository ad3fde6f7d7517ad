package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// readOnly is a folder as recovery may look at it while it belongs to somebody
// else: what would change it does nothing. Reads end with ctx.
type readOnly struct {
	disk
	ctx context.Context
}

func (r readOnly) Open(name string) (File, error) {
	f, err := os.OpenFile(r.path(name), os.O_RDONLY|openPlain, 0)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{File: f, ctx: r.ctx}, nil
}

func (readOnly) Create(string, int64) (File, error) { return readOnlyFile{}, nil }
func (readOnly) Rename(string, string) error        { return nil }
func (readOnly) Remove(string) error                { return nil }
func (readOnly) SyncDir() error                     { return nil }
func (readOnly) Lock() (io.Closer, error)           { return readOnlyFile{}, nil }

// readOnlyFile is a file that is read only; with a nil File one that was never
// made.
type readOnlyFile struct {
	*os.File
	ctx context.Context
}

func (f readOnlyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (readOnlyFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (readOnlyFile) Datasync() error                        { return nil }
func (readOnlyFile) Filled() int64                          { return 0 }

func (f readOnlyFile) Close() error {
	if f.File == nil {
		return nil
	}
	return f.File.Close()
}

// locked says whether a process has the store open, without asking for the lock,
// which could keep a gateway from starting.
func (d disk) locked() bool {
	info, err := os.Stat(d.path("LOCK"))
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return false
	}
	defer f.Close()
	// 1: FLOCK  ADVISORY  WRITE 4711 08:02:1234567 0 EOF. The device is left
	// out: some file systems have another one there than in stat(2).
	inode := fmt.Sprintf(":%d", stat.Ino)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) >= 6 && w[1] == "FLOCK" && strings.HasSuffix(w[5], inode) {
			return true
		}
	}
	return false
}

// gone says whether an error only means that a file is no longer there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
