package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// model is what lies behind a serial line: a bus or a chatter.
type model interface {
	arrive(now time.Time, b []byte) // the master wrote b
	advance(now time.Time)          // play all that is due
	next() (at time.Time, ok bool)  // when something is due again
	cut()                           // drop all that is on the wire
	counters() LineStats
}

// ends are the two ends of an open pty. The descriptors are kept apart from
// the files because File.Fd makes a descriptor block.
type ends struct {
	pty, tty     *os.File // tty is our own hold: without it the pty hangs up between two masters
	ptyFd, ttyFd int
}

// serial plays a model on a pty. One goroutine sleeps in ppoll(2) until the
// master writes or the model's next event is due: exact to the kernel's timer
// slack (50 µs) and idle where nothing happens.
type serial struct {
	name string
	link string

	bell bell

	mu      sync.Mutex
	model   model
	ends    *ends // nil while unplugged
	lost    uint64
	unplugs uint64
	closed  bool
}

func newSerial(c *LineConfig, link string) (*serial, error) {
	s := &serial{name: c.Name, link: link}
	var err error
	if s.bell.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("line %s: eventfd: %w", c.Name, err)
	}
	if err := s.open(); err != nil {
		s.bell.close()
		return nil, err
	}
	return s, nil
}

func (s *serial) path() string { return s.link }

// open makes a pty and leads the link to it.
func (s *serial) open() (err error) {
	master, tty, err := pty.Open()
	if err != nil {
		return fmt.Errorf("line %s: no pty, is /dev/pts mounted and below its limit (sysctl kernel.pty.max)?: %w", s.name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, master.Close(), tty.Close())
		}
	}()
	e := ends{pty: master, tty: tty, ptyFd: int(master.Fd()), ttyFd: int(tty.Fd())}
	if err := makeRaw(e.ttyFd); err != nil {
		return fmt.Errorf("line %s: raw mode of %s: %w", s.name, tty.Name(), err)
	}
	if err := unix.SetNonblock(e.ptyFd, true); err != nil {
		return fmt.Errorf("line %s: %w", s.name, err)
	}
	if err := relink(tty.Name(), s.link); err != nil {
		return fmt.Errorf("line %s: %w", s.name, err)
	}
	s.ends = &e
	return nil
}

// relink makes link lead to target, in one step if it exists. It replaces
// nothing but a link.
func relink(target, link string) error {
	if info, err := os.Lstat(link); err == nil && info.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%s is in the way of a link: remove it or choose another folder", link)
	}
	next := filepath.Join(filepath.Dir(link), "."+filepath.Base(link)+".new")
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, link)
}

// makeRaw is cfmakeraw(3): bytes pass as they are, also for those who open
// the pty without setting a mode of their own.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// run plays the model until ctx ends or the line is closed.
func (s *serial) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.bell.ring)
	defer stop()
	buf := make([]byte, 4096)
	readable := true
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(s.bell.fd), Events: unix.POLLIN}}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return
		}
		now := time.Now()
		if s.ends != nil {
			fds = append(fds, unix.PollFd{Fd: int32(s.ends.ptyFd), Events: unix.POLLIN})
			if readable {
				if n, err := unix.Read(s.ends.ptyFd, buf); err == nil && n > 0 {
					s.model.arrive(now, buf[:n])
				}
			}
		}
		s.model.advance(now)
		next, due := s.model.next()
		s.mu.Unlock()

		var timeout *unix.Timespec
		if due {
			t := unix.NsecToTimespec(int64(max(0, time.Until(next))))
			timeout = &t
		}
		n, err := unix.Ppoll(fds, timeout, nil)
		readable = err == nil && n > 0 && len(fds) > 1 && fds[1].Revents != 0
		if err == nil && n > 0 && fds[0].Revents != 0 {
			s.bell.answer()
		}
	}
}

// full is the number of bytes waiting in the pty at which nobody seems to
// fetch them any more (the kernel keeps 4095).
const full = 3072

// deliver hands bytes to the master; it is called by the model, under mu.
func (s *serial) deliver(b []byte) {
	if s.ends == nil {
		return
	}
	if waiting, err := unix.IoctlGetInt(s.ends.ttyFd, unix.TIOCINQ); err == nil && waiting >= full {
		// A line that nobody listens to keeps nothing: whoever opens it
		// hears what is said now.
		_ = unix.IoctlSetInt(s.ends.ttyFd, unix.TCFLSH, unix.TCIFLUSH)
		s.lost += uint64(waiting)
	}
	n, err := unix.Write(s.ends.ptyFd, b)
	if err != nil {
		n = 0
	}
	s.lost += uint64(len(b) - n)
}

func (s *serial) unplug() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ends == nil {
		return fmt.Errorf("line %s is not plugged in", s.name)
	}
	s.unplugs++
	return s.hangUp()
}

// hangUp removes the link and closes the pty; mu is held.
func (s *serial) hangUp() error {
	s.model.cut()
	err := os.Remove(s.link)
	if errors.Is(err, os.ErrNotExist) {
		err = nil // its folder was cleaned up before us
	}
	err = errors.Join(err, s.ends.pty.Close(), s.ends.tty.Close())
	s.ends = nil
	s.bell.ring() // ppoll must not look at the old descriptor any longer
	return err
}

func (s *serial) replug() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ends != nil {
		return fmt.Errorf("line %s is not unplugged", s.name)
	}
	s.bell.ring()
	return s.open()
}

func (s *serial) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.bell.ring()
	if s.ends == nil {
		return nil
	}
	return s.hangUp()
}

func (s *serial) stats() LineStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.model.counters()
	stats.Lost += s.lost
	stats.Unplugs = s.unplugs
	return stats
}

// release gives back what run needed to the end.
func (s *serial) release() { s.bell.close() }

// bell wakes the goroutine that sleeps in ppoll.
type bell struct {
	mu sync.Mutex
	fd int // an eventfd; -1 when closed
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_, _ = unix.Write(b.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full means rung already
	}
}

func (b *bell) answer() {
	var count [8]byte
	_, _ = unix.Read(b.fd, count[:])
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}
