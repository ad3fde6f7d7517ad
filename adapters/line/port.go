package line

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
	"unsafe"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// port is an open serial port. The library opens it, sets it up and closes it.
// The bytes go through a descriptor of our own on the same terminal, side, which
// does not block: the library's Write has no timeout; its Read holds a thread in
// select(2), which knows no descriptor above 1023, so that a gateway with a
// thousand clients would lose an adapter for good once it is replugged. The
// descriptor also bears a lock that root heeds too.
type port struct {
	path  string
	tty   serial.Port
	side  int
	wait  *waiter // of its line
	host  machine
	note  func(text string) // tells what the port can't do
	rs485 RS485
	char  time.Duration
}

// errGone tells that the adapter was unplugged.
var errGone = errors.New("the port has vanished")

// open opens the serial port of a line. Its name is resolved at every open,
// since an adapter that returns may be another terminal. What the port lacks
// is told to note, perhaps more than once.
func (m machine) open(cfg Config, note func(text string)) (*port, error) {
	path := cfg.Port
	device, err := m.resolve(path)
	if err != nil {
		return nil, openError(path, path, err)
	}
	side, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(path, device, err)
	}
	p := &port{path: path, side: side, host: m, note: note, rs485: cfg.RS485, char: cfg.Serial.CharTime()}
	// The lock is taken before the port is touched: opening it with other
	// settings would spoil the traffic of the one who holds it.
	if err := unix.Flock(side, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(side)
		return nil, openError(path, device, err)
	}
	if p.tty, err = serial.Open(device, mode(cfg.Serial)); err != nil {
		_ = unix.Close(side)
		return nil, openError(path, device, err)
	}
	p.hasten(device)
	switch p.rs485 {
	case RS485Kernel:
		err = p.direct()
	case RS485RTS:
		err = p.talk(false) // opening a port switches RTS on, and so the transmitter
	}
	if err != nil {
		p.close()
		return nil, openError(path, device, err)
	}
	return p, nil
}

func mode(s Serial) *serial.Mode {
	m := &serial.Mode{BaudRate: s.Baud, DataBits: s.DataBits}
	switch s.Parity {
	case 'E':
		m.Parity = serial.EvenParity
	case 'O':
		m.Parity = serial.OddParity
	}
	if s.StopBits == 2 {
		m.StopBits = serial.TwoStopBits
	}
	return m // no InitialStatusBits: a pty has no modem lines and would refuse
}

// openError says what to do about a port that can't be opened.
func openError(path, device string, err error) error {
	code := serial.PortErrorCode(-1)
	var portErr *serial.PortError
	if errors.As(err, &portErr) {
		code = portErr.Code()
	}
	switch {
	case absent(err):
		return fmt.Errorf("port %s is not there; is the adapter plugged in? (%w)", path, err)
	case errors.Is(err, fs.ErrPermission) || code == serial.PermissionDenied:
		return fmt.Errorf("port %s may not be opened; add the user to the group of the device, usually dialout (%w)", path, err)
	case errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EBUSY) || code == serial.PortBusy:
		return fmt.Errorf("port %s is in use by %s (%w)", path, holder(device), err)
	case code == serial.InvalidSerialPort:
		return fmt.Errorf("port %s is no serial port, or refuses these settings: %w", path, err)
	}
	return fmt.Errorf("open port %s: %w", path, err)
}

// absent reports whether a port can't be opened because it is not there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}

// holder names the process that has device open, as far as /proc shows it.
func holder(device string) string {
	holders := thisMachine.holders()[device]
	switch {
	case len(holders) == 0:
	case holders[0].PID == os.Getpid():
		return "another line of this program"
	default:
		return fmt.Sprintf("%s (process %d); stop it first", holders[0].Command, holders[0].PID)
	}
	return "another program that can't be seen; look with: sudo fuser -v " + device
}

func (p *port) read(buf []byte, deadline time.Time) (n int, err error) {
	waitErr := p.wait.until(deadline, func() bool {
		n, err = p.take(buf)
		return n > 0 || err != nil
	})
	if err == nil {
		err = waitErr
	}
	return n, err
}

func (p *port) take(buf []byte) (int, error) {
	switch n, code := quick(unix.SYS_READ, p.side, buf); {
	case code == unix.EAGAIN:
		return 0, nil
	case code != 0:
		return 0, fmt.Errorf("%w (%v)", errGone, code)
	case n == 0:
		return 0, errGone // hung up
	default:
		return n, nil
	}
}

// quick makes a call that does not block, of which the runtime need not know.
func quick(call uintptr, fd int, b []byte) (n int, code unix.Errno) {
	for {
		done, _, code := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if code != unix.EINTR {
			return int(done), code
		}
	}
}

// write sends, and switches the transmitter where that is up to us: the
// device answers after the last byte, and must be heard.
func (p *port) write(b []byte, deadline time.Time) error {
	if p.rs485 != RS485RTS {
		return p.send(b, deadline)
	}
	if err := p.talk(true); err != nil {
		return err
	}
	begin := time.Now()
	err := p.send(b, deadline)
	if err == nil {
		p.drain(begin.Add(time.Duration(len(b))*p.char), deadline)
	}
	return errors.Join(err, p.talk(false))
}

func (p *port) send(b []byte, deadline time.Time) error {
	for len(b) > 0 {
		n, code := quick(unix.SYS_WRITE, p.side, b)
		switch code {
		case 0:
			b = b[n:]
		case unix.EAGAIN:
			found, err := poll(p.side, unix.POLLOUT, deadline)
			if err != nil {
				return fmt.Errorf("wait to write: %w", err)
			}
			if found == 0 {
				_ = unix.IoctlSetInt(p.side, unix.TCFLSH, unix.TCOFLUSH) // what is stuck must not go out later
				return errors.New("the port takes no more bytes; is its flow control stuck?")
			}
		default:
			return fmt.Errorf("%w (%v)", errGone, code)
		}
	}
	return nil
}

func (p *port) alive() error {
	switch found, err := poll(p.side, unix.POLLIN, time.Time{}); {
	case err != nil:
		return fmt.Errorf("look at the port: %w", err)
	case found&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0:
		return errGone
	}
	return nil
}

func (p *port) close() {
	_ = p.tty.Close()
	_ = unix.Close(p.side)
}
