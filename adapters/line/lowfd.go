package line

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// The library waits with select(2), which knows no descriptor above 1023. A
// gateway with a thousand clients would lose an adapter for good once it is
// replugged. So low descriptors are set aside while they are to be had and
// let go just before a port is opened, which then takes the lowest free ones.

const (
	lowest    = 1024 // descriptors below this are low
	perPort   = 3    // the terminal and the two ends of the library's pipe
	spareKeep = 4 * perPort
)

// errHigh tells that no low descriptor was free.
var errHigh = errors.New("no file descriptor below 1024 is free for the port; lower max_connections of the broker")

// spares are the low descriptors set aside by all lines of the program.
var spares spareFiles

type spareFiles struct {
	mu   sync.Mutex
	held []int
}

// fill sets low descriptors aside.
func (s *spareFiles) fill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.held) < spareKeep {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		if fd >= lowest {
			_ = unix.Close(fd)
			return
		}
		s.held = append(s.held, fd)
	}
}

// release lets n of them go.
func (s *spareFiles) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; n > 0 && len(s.held) > 0; n-- {
		last := len(s.held) - 1
		_ = unix.Close(s.held[last])
		s.held = s.held[:last]
	}
}

// openLow opens device on low descriptors. Somebody else may snatch those
// that were let go, so a few attempts are made.
func openLow(device string, mode *serial.Mode) (serial.Port, error) {
	defer spares.fill()
	for range spareKeep / perPort {
		spares.release(perPort)
		tty, err := serial.Open(device, mode)
		if err != nil {
			return nil, err
		}
		// Only a read shows whether select can be used. The byte it may eat is
		// from before the port was ours.
		probe := &port{tty: tty}
		if _, err = probe.read(make([]byte, 1), time.Time{}); err == nil {
			return tty, nil
		}
		_ = tty.Close()
		if !errors.Is(err, errHigh) {
			return nil, fmt.Errorf("try to read: %w", err)
		}
	}
	return nil, errHigh
}
