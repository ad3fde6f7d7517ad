package line

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// laneDepth bounds the jobs that wait in one lane; a further one is refused
// with ErrFull. Each waiting job has a caller that waits for it, so that the
// bound is met only by a program that has lost control of its callers.
const laneDepth = 128

// job is one call of Do.
type job struct {
	ctx  context.Context
	fn   func(ctx context.Context, c *Conn) error
	done chan error // holds one
}

// lanes are the jobs that wait for the owner.
type lanes struct {
	mu       sync.Mutex
	waiting  [laneCount][]*job
	refuse   error         // not nil: the line is closed and takes no jobs
	passed   bool          // the last job was a command that overtook others
	helped   bool          // the last job of the others overtook a poll
	rejected uint64        // refused because the lane was full
	signal   chan struct{} // holds one: something happened
	alarm    int           // eventfd that ends a wait for bytes, -1 if none
}

func newLanes() *lanes {
	return &lanes{signal: make(chan struct{}, 1), alarm: -1}
}

// push queues j and wakes the owner.
func (q *lanes) push(lane Lane, j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse != nil {
		return q.refuse
	}
	if len(q.waiting[lane]) >= laneDepth {
		q.rejected++
		return fmt.Errorf("%w (%d)", ErrFull, laneDepth)
	}
	q.waiting[lane] = append(q.waiting[lane], j)
	q.wakeLocked()
	return nil
}

// next takes the job whose turn it is, nil if none waits.
func (q *lanes) next() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	lane := Commissioning
	if len(q.waiting[lane]) == 0 || q.helped && len(q.waiting[Poll]) > 0 {
		lane = Poll
	}
	if len(q.waiting[Command]) > 0 && (!q.passed || len(q.waiting[lane]) == 0) {
		lane = Command
	}
	if len(q.waiting[lane]) == 0 {
		return nil
	}
	j := q.waiting[lane][0]
	n := copy(q.waiting[lane], q.waiting[lane][1:])
	q.waiting[lane][n] = nil
	q.waiting[lane] = q.waiting[lane][:n]
	if q.passed = lane == Command && len(q.waiting[Commissioning])+len(q.waiting[Poll]) > 0; lane != Command {
		q.helped = lane == Commissioning && len(q.waiting[Poll]) > 0
	}
	return j
}

// waits reports whether any job waits.
func (q *lanes) waits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, jobs := range q.waiting {
		if len(jobs) > 0 {
			return true
		}
	}
	return false
}

// waitsIn reports whether a job waits in the lane.
func (q *lanes) waitsIn(lane Lane) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting[lane]) > 0
}

// withdraw takes j back; false if its turn has come already.
func (q *lanes) withdraw(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for lane := range q.waiting {
		for i, other := range q.waiting[lane] {
			if other == j {
				q.waiting[lane] = append(q.waiting[lane][:i], q.waiting[lane][i+1:]...)
				return true
			}
		}
	}
	return false
}

// shut ends all waiting jobs with err and refuses further ones.
func (q *lanes) shut(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refuse = err
	for lane := range q.waiting {
		for _, j := range q.waiting[lane] {
			j.done <- err
		}
		q.waiting[lane] = nil
	}
}

// admit takes jobs again.
func (q *lanes) admit() {
	q.mu.Lock()
	q.refuse = nil
	q.mu.Unlock()
}

func (q *lanes) lengths() (n [laneCount]int, rejected uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for lane, jobs := range q.waiting {
		n[lane] = len(jobs)
	}
	return n, q.rejected
}

// wake ends the owner's present or next wait.
func (q *lanes) wake() {
	q.mu.Lock()
	q.wakeLocked()
	q.mu.Unlock()
}

func (q *lanes) wakeLocked() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
	if q.alarm >= 0 {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(q.alarm, one[:]) // fails only if it is set to the brim already
	}
}

// arm makes the eventfd that also ends waits for bytes.
func (q *lanes) arm() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	q.mu.Lock()
	q.alarm = fd
	q.mu.Unlock()
	return nil
}

// disarm gives the eventfd back.
func (q *lanes) disarm() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.alarm >= 0 {
		_ = unix.Close(q.alarm)
		q.alarm = -1
	}
}

// calm resets the eventfd and reports whether it was set.
func (q *lanes) calm() bool {
	var count [8]byte
	n, _ := quick(unix.SYS_READ, q.alarm, count[:])
	return n == len(count)
}
