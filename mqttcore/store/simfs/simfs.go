// Package simfs is a simulated folder for the tests of the store. It remembers
// every change made to it, and can then build any state that a crash may leave
// at any point between two changes: writes that were not synced may be there,
// in part, torn inside a page, in another order, or replaced by garbage; names
// that were not synced may be old or new, each by itself. Faults can be injected
// into any call.
package simfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"sluice/mqttcore/store"
)

// Kind is what an operation does.
type Kind string

// The kinds of operation, as a fault sees them.
const (
	Create  Kind = "create"
	Open    Kind = "open"
	Rename  Kind = "rename"
	Remove  Kind = "remove"
	SyncDir Kind = "syncdir"
	Write   Kind = "write"
	Sync    Kind = "sync"
	Read    Kind = "read"
	List    Kind = "list"
	Lock    Kind = "lock"
)

// op is one change, or a mark of the test.
type op struct {
	kind   Kind
	name   string // or the old one
	to     string
	file   int
	off    int64
	data   []byte
	size   int64
	failed bool // a sync that said so
	mark   any
}

// FS is the folder. Its methods may be called from any goroutine.
type FS struct {
	mu     sync.Mutex
	ask    func(kind Kind, name string) error
	limit  int64  // bytes that all files may have, 0 = any
	base   *state // what it began with
	files  map[string]*file
	nextID int
	ops    []op
	locked bool
	fixed  error // why nothing can be changed
}

type file struct {
	id      int
	name    string // now
	content content
	odd     bool
	bad     map[int64]bool // pages that cannot be read
}

// New makes an empty folder.
func New() *FS { return fromState(newState()) }

// fromState makes the folder that a process finds.
func fromState(base *state) *FS {
	f := &FS{base: base, files: map[string]*file{}}
	names := maps.Clone(base.names)
	for _, o := range base.pending {
		o.rename(names)
	}
	for name, id := range names {
		f.files[name] = &file{id: id, name: name, content: base.files[id].crash(Kept, nil)}
	}
	for id := range base.files {
		f.nextID = max(f.nextID, id+1)
	}
	return f
}

// Mark notes an event of the test among the changes: it is known to have
// happened in all states after it.
func (f *FS) Mark(v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, op{mark: v})
}

// SetFault has fault asked before each operation; an error that it returns is
// the operation's. A Write that fails has half of its bytes written. fault is
// called with the folder locked; nil ends it.
func (f *FS) SetFault(fault func(kind Kind, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ask = fault
}

// Untouched is the error of a Write that writes nothing.
type Untouched struct{ Err error }

func (u Untouched) Error() string { return u.Err.Error() }

// Unwrap gives the error that it is beside that.
func (u Untouched) Unwrap() error { return u.Err }

// SetReadOnly makes every change fail with why; nil ends it.
func (f *FS) SetReadOnly(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fixed = why
}

// SpoilPage makes a page of a file fail to be read with EIO.
func (f *FS) SpoilPage(name string, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.files[name]; file != nil {
		if file.bad == nil {
			file.bad = map[int64]bool{}
		}
		file.bad[n] = true
	}
}

// SetCapacity bounds the bytes that all files may have together, as a disk
// does: beyond it calls fail with ENOSPC. 0 is no bound.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = bytes
}

// grow says whether there is room for so many more bytes.
func (f *FS) grow(n int64) error {
	if f.limit == 0 || n <= 0 {
		return nil
	}
	for _, file := range f.files {
		n += file.content.size
	}
	if n > f.limit {
		return syscall.ENOSPC
	}
	return nil
}

func (f *FS) fault(kind Kind, name string) error {
	if f.fixed != nil && kind != Open && kind != Read && kind != List && kind != Lock {
		return fmt.Errorf("%s %s: %w", kind, name, f.fixed)
	}
	if f.ask == nil {
		return nil
	}
	if err := f.ask(kind, name); err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return nil
}

// Open implements store.FS.
func (f *FS) Open(name string) (store.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(Open, name); err != nil {
		return nil, err
	}
	file := f.files[name]
	if file == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if file.odd {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	return &handle{f, file}, nil
}

// Create implements store.FS.
func (f *FS) Create(name string, size int64) (store.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(Create, name); err != nil {
		return nil, err
	}
	if f.files[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if err := f.grow(size); err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	file := &file{id: f.nextID, name: name}
	file.content.grow(size)
	f.nextID++
	f.files[name] = file
	f.ops = append(f.ops, op{kind: Create, name: name, file: file.id, size: size})
	return &handle{f, file}, nil
}

// Rename implements store.FS.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(Rename, from); err != nil {
		return err
	}
	if f.files[from] == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	f.files[to] = f.files[from]
	f.files[to].name = to
	delete(f.files, from)
	f.ops = append(f.ops, op{kind: Rename, name: from, to: to, file: f.files[to].id})
	return nil
}

// Remove implements store.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(Remove, name); err != nil {
		return err
	}
	file := f.files[name]
	if file == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(f.files, name)
	f.ops = append(f.ops, op{kind: Remove, name: name, file: file.id})
	return nil
}

// List implements store.FS.
func (f *FS) List(folder string) (list []store.FileInfo, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(List, folder); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		dir, base, ok := strings.Cut(name, "/")
		if !ok {
			dir, base = "", name
		}
		if dir == folder {
			list = append(list, store.FileInfo{Name: base, Size: f.files[name].content.size, Odd: f.files[name].odd})
		}
	}
	return list, nil
}

// SyncDir implements store.FS.
func (f *FS) SyncDir() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(SyncDir, ""); err != nil {
		return err
	}
	f.ops = append(f.ops, op{kind: SyncDir})
	return nil
}

// Lock implements store.FS.
func (f *FS) Lock() (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(Lock, ""); err != nil {
		return nil, err
	}
	if f.locked {
		return nil, store.ErrLocked
	}
	f.locked = true
	return unlock{f}, f.fixed
}

type unlock struct{ f *FS }

func (u unlock) Close() error {
	u.f.mu.Lock()
	defer u.f.mu.Unlock()
	u.f.locked = false
	return nil
}

// Names lists all files, with their folder.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.files))
}

// Size is the length of a file, 0 where there is none.
func (f *FS) Size(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[name] == nil {
		return 0
	}
	return int(f.files[name].content.size)
}

// SetOdd makes a name one of something else than a file: a folder, a pipe.
func (f *FS) SetOdd(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.files[name]; file != nil {
		file.odd = true
	}
}

// Change hands the content of a file to change, to damage it.
func (f *FS) Change(name string, change func(data []byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.files[name]; file != nil {
		file.content = contentOf(change(file.content.bytes()))
	}
}

// Clone copies the folder as it is, as if everything had been synced.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	base := newState()
	for name, file := range f.files {
		base.names[name] = file.id
		base.files[file.id] = &disk{durable: file.content.clone()}
	}
	return fromState(base)
}

type handle struct {
	f    *FS
	file *file
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if err := h.f.fault(Read, h.file.name); err != nil {
		return 0, err
	}
	n := h.file.content.read(p, off)
	for i := off / pageSize; len(h.file.bad) > 0 && i*pageSize < off+int64(n); i++ {
		if h.file.bad[i] {
			return int(max(i*pageSize-off, 0)), fmt.Errorf("read %s: %w", h.file.name, syscall.EIO)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	err := h.f.fault(Write, h.file.name)
	if errors.As(err, &Untouched{}) {
		p = nil
	} else if err != nil {
		p = p[:len(p)/2]
	} else if err = h.f.grow(off + int64(len(p)) - h.file.content.size); err != nil {
		p = nil
	}
	p = slices.Clone(p)
	h.file.content.put(p, off)
	h.f.ops = append(h.f.ops, op{kind: Write, file: h.file.id, off: off, data: p})
	return len(p), err
}

// Filled implements store.File. Here nothing counts as written before, so that
// what is written ahead is part of every crash.
func (h *handle) Filled() int64 { return 0 }

// Datasync implements store.File.
func (h *handle) Datasync() error {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	err := h.f.fault(Sync, h.file.name)
	h.f.ops = append(h.f.ops, op{kind: Sync, file: h.file.id, failed: err != nil})
	return err
}

func (h *handle) Close() error { return nil }
