package line

import (
	"time"

	"golang.org/x/sys/unix"
)

// wire is an open port or connection. Only the owner touches it, so that
// nothing is ever read, written or closed at the same time.
type wire interface {
	// read waits until deadline for bytes; it gives 0 and nil when none came.
	read(p []byte, deadline time.Time) (int, error)
	// take reads what is there; it gives 0 and nil when nothing is.
	take(p []byte) (int, error)
	// write sends all of p or fails at the deadline.
	write(p []byte, deadline time.Time) error
	// alive tells that the adapter or the peer is gone.
	alive() error
	close()
}

// pause sleeps for d in the kernel.
func pause(d time.Duration) {
	if d <= 0 {
		return
	}
	left := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// poll waits until deadline for one of events on fd, and gives which came; none is 0.
func poll(fd int, events int16, deadline time.Time) (int16, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		left := time.Until(deadline)
		// Rounded up, for poll counts in milliseconds and must not spin.
		ms := max(0, int((left+time.Millisecond-1)/time.Millisecond))
		n, err := unix.Poll(fds, ms)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n > 0 || time.Until(deadline) <= 0:
			return fds[0].Revents, nil
		}
	}
}
