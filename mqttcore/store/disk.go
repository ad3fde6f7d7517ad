package store

import (
	"io"
	"time"
)

// FS is a folder as the store needs it. Names are relative to it, with at most
// one slash (quarantine/…). [Disk] is the real one; the seam exists so that a
// simulated one can replay every state a crash may leave. Methods may be called
// from any goroutine.
type FS interface {
	// Open opens a file to read, and to write.
	Open(name string) (File, error)
	// Create makes a file of size bytes, all allocated, that must not exist,
	// and with it the folder it is in.
	Create(name string, size int64) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	// List names the files in a folder, "" for the top one, in no order.
	List(folder string) ([]FileInfo, error)
	// SyncDir makes creations, renames and removals durable.
	SyncDir() error
	// Lock takes the folder for this process, or fails with ErrLocked.
	Lock() (io.Closer, error)
}

// FileInfo is an entry of a folder.
type FileInfo struct {
	Name string
	Size int64
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Datasync makes everything written so far durable.
	Datasync() error
}

// Disk is the folder dir on the real disk. It is made, for its owner alone, when
// it does not exist.
func Disk(dir string) (FS, error) { panic("unwritten") }

// Clock is the time a store lives by.
type Clock interface {
	// Boot is a clock that never jumps and counts while the machine sleeps.
	Boot() time.Duration
	// Wall is the time of day, and whether it can be trusted.
	Wall() (t time.Time, synced bool)
	// BootID names this boot of the machine.
	BootID() string
}

// SystemClock is CLOCK_BOOTTIME, the wall clock with the kernel's word on
// whether it is synchronised, and the kernel's boot id.
func SystemClock() Clock { panic("unwritten") }
