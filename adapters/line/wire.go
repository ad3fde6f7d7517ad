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
	// write sends all of p or fails at the deadline.
	write(p []byte, deadline time.Time) error
	// pending tells how many bytes wait to be read, or that the peer is gone.
	pending() (int, error)
	// idle waits for bytes, until alarm is readable or for at most d.
	idle(alarm int, d time.Duration) error
	close()
}

// pause sleeps for d, exactly: time.Sleep overshoots by up to a millisecond,
// which is half of the silence between two frames.
func pause(d time.Duration) {
	if d <= 0 {
		return
	}
	left := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// poll waits for one of fds until deadline. It gives false when none is ready.
func poll(fds []unix.PollFd, deadline time.Time) (bool, error) {
	for {
		left := time.Until(deadline)
		// Rounded up, for poll counts in milliseconds and must not spin.
		ms := max(0, int((left+time.Millisecond-1)/time.Millisecond))
		n, err := unix.Poll(fds, ms)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false, err
		case n > 0:
			return true, nil
		case time.Until(deadline) <= 0:
			return false, nil
		}
	}
}
