package line

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// waiter waits for the bytes of a line, for its bell and for the clock, while
// parked in the runtime's poller. A thread that waits in the kernel instead
// keeps the runtime's watchdog awake, which costs more than the poll that it
// waits for; and time.Sleep overshoots by up to a millisecond, half of the
// silence between two frames. It belongs to the owner goroutine.
type waiter struct {
	// An epoll of our own, in that of the runtime: there a terminal would wake
	// us for each byte while we sleep through an answer, and for its output.
	epoll int
	file  *os.File // owns epoll
	raw   syscall.RawConn
	timer int // a timerfd
}

func newWaiter() (*waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	if err := unix.SetNonblock(epoll, true); err != nil { // else the runtime does not poll it
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	w := &waiter{epoll: epoll, file: os.NewFile(uintptr(epoll), "epoll"), timer: -1}
	if w.raw, err = w.file.SyscallConn(); err == nil {
		w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	}
	if err == nil {
		err = w.watch(w.timer)
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return w, nil
}

// watch makes waits end when fd is readable. To close fd is enough to end it.
func (w *waiter) watch(fd int) error {
	return w.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN)
}

func (w *waiter) control(op, fd int, events uint32) error {
	if err := unix.EpollCtl(w.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch a descriptor: %w", err)
	}
	return nil
}

// until waits until done, which is asked at once and whenever something
// watched is readable, or until about a millisecond after end.
func (w *waiter) until(end time.Time, done func() bool) error {
	if !time.Now().Before(end) {
		done()
		return nil
	}
	return w.wait(end, done)
}

// wait waits until done, or until end unless that is zero.
func (w *waiter) wait(end time.Time, done func() bool) error {
	if err := w.file.SetReadDeadline(end); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	// done is asked after the runtime has forgotten what was readable before.
	if err := w.raw.Read(func(uintptr) bool { return done() }); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait: %w", err)
	}
	return nil
}

// sleep waits until end, exactly.
func (w *waiter) sleep(end time.Time) {
	left := time.Until(end)
	if left <= 0 {
		return
	}
	set := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	armed := false
	err := w.wait(time.Time{}, func() bool {
		if !armed {
			armed = true
			return unix.TimerfdSettime(w.timer, 0, &set, nil) != nil
		}
		return time.Until(end) <= 0
	})
	if err != nil || time.Until(end) > 0 {
		pause(time.Until(end)) // there is no such timer
	}
}

// deaf sleeps until end, and is not woken by what comes in on fd.
func (w *waiter) deaf(fd int, end time.Time) {
	if w.control(unix.EPOLL_CTL_MOD, fd, 0) == nil {
		defer func() { _ = w.control(unix.EPOLL_CTL_MOD, fd, unix.EPOLLIN) }()
	}
	w.sleep(end)
}

func (w *waiter) close() {
	_ = w.file.Close()
	if w.timer >= 0 {
		_ = unix.Close(w.timer)
	}
}
