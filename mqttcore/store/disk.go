package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FS is a folder as the store needs it. Names are relative to it, with at most
// one slash (quarantine/…). [Disk] is the real one; the seam exists so that a
// simulated one can replay every state a crash may leave. Methods may be called
// from any goroutine.
type FS interface {
	// Open opens a file to read, and to write. Where it can only be read, its
	// WriteAt and Datasync say why.
	Open(name string) (File, error)
	// Create makes a file of size bytes, all allocated, that must not exist,
	// and with it a folder in this one that it is in.
	Create(name string, size int64) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	// List names what is in a folder, "" for the top one, in no order.
	List(folder string) ([]FileInfo, error)
	// SyncDir makes creations, renames and removals durable.
	SyncDir() error
	// Lock takes the folder for this process, or fails with ErrLocked. Where
	// the folder can be read, but not written, both are given: what to close, and
	// the reason.
	Lock() (io.Closer, error)
}

// FileInfo is an entry of a folder.
type FileInfo struct {
	Name string
	Size int64
	Odd  bool // not a regular file
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Datasync makes everything written so far durable.
	Datasync() error
	// Filled is how much of the file was ever written, from its start to the
	// first hole or space that is only allocated. Where that cannot be told it
	// is all.
	Filled() int64
}

// Disk is the folder dir on the real disk. It is made, for its owner alone, when
// it does not exist.
func Disk(dir string) (FS, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store folder cannot be made: %w", err)
	}
	return disk(dir), nil
}

type disk string

func (d disk) path(name string) string { return filepath.Join(string(d), name) }

// openPlain opens what is there and nothing that it leads to, and does not wait
// for somebody at the other end of a pipe.
const openPlain = unix.O_NOFOLLOW | unix.O_NONBLOCK

func (d disk) Open(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|openPlain, 0)
	if unwritable(err) {
		r, rerr := os.OpenFile(d.path(name), os.O_RDONLY|openPlain, 0)
		if rerr != nil {
			return nil, rerr
		}
		return unwritableFile{r, err}, nil
	}
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

// unwritable says whether something may still be read.
func unwritable(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission)
}

// unwritableFile is a file that cannot be written.
type unwritableFile struct {
	*os.File
	why error
}

func (f unwritableFile) WriteAt([]byte, int64) (int, error) { return 0, f.why }
func (f unwritableFile) Datasync() error                    { return f.why }
func (f unwritableFile) Filled() int64                      { return 0 }

func (d disk) Create(name string, size int64) (File, error) {
	p := d.path(name)
	// The store's own folder is not made again: where somebody has removed it, a
	// log that goes on in a new one would hide that.
	if folder := filepath.Dir(p); folder != filepath.Clean(string(d)) {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("somebody has removed the store's folder: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if size > 0 {
		if err := allocate(f, size); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: allocating %d bytes: %w", p, size, err), f.Close(), os.Remove(p))
		}
	}
	return diskFile{f}, nil
}

// allocate takes the space now, so that a full disk is met here and not in the
// middle of a commit.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if !errors.Is(err, unix.EINTR) {
			if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
				return writeZeros(f, size)
			}
			return err
		}
	}
}

func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 64<<10)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

func (d disk) Rename(oldName, newName string) error {
	return os.Rename(d.path(oldName), d.path(newName))
}

func (d disk) Remove(name string) error { return os.Remove(d.path(name)) }

func (d disk) List(folder string) ([]FileInfo, error) {
	entries, err := os.ReadDir(d.path(folder))
	if errors.Is(err, fs.ErrNotExist) && folder != "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []FileInfo
	for _, e := range entries {
		if !e.Type().IsRegular() {
			files = append(files, FileInfo{Name: e.Name(), Odd: true})
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // went meanwhile: the folder is another process's
		}
		if err != nil {
			return nil, err
		}
		files = append(files, FileInfo{Name: e.Name(), Size: info.Size()})
	}
	return files, nil
}

func (d disk) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d disk) Lock() (io.Closer, error) {
	p := d.path("LOCK")
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE|openPlain, 0o600)
	if err != nil {
		err = fmt.Errorf("store folder cannot be used: %w", err)
	}
	readOnly := err
	if unwritable(err) {
		if f, err = os.OpenFile(p, os.O_RDONLY|openPlain, 0); errors.Is(err, fs.ErrNotExist) {
			f, err = os.Open(string(d)) // nothing to lock, the folder does as well
		}
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s; stop it, or give this one another data folder", ErrLocked, p)
		}
		return nil, fmt.Errorf("%s: flock: %w", p, err)
	}
	return lock{f}, readOnly
}

// lock is the locked file LOCK.
type lock struct{ *os.File }

// Close gives the lock back by name: closing alone would leave it to a program
// that is just being started and still shares all descriptors.
func (l lock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

type diskFile struct{ *os.File }

func (f diskFile) Datasync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (f diskFile) Filled() int64 {
	n, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// notEOF keeps the error of a short read only where the disk is at fault.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
