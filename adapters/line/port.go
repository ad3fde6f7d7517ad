package line

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// port is an open serial port. Beside the library's descriptor it holds one
// of our own on the same terminal, side, for what the library has not: a lock
// that root heeds too, a wait that can be woken, a write that does not block
// and a look at what is pending.
type port struct {
	path  string
	tty   serial.Port
	side  int
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
	if p.tty, err = openLow(device, mode(cfg.Serial)); err != nil {
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
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO):
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

// read waits for bytes until deadline. The library gives 0 and nil both for
// a timeout and for nothing else, and panics in select(2) where a descriptor
// is above 1023.
func (p *port) read(buf []byte, deadline time.Time) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			n, err = 0, fmt.Errorf("%w: %v", errHigh, r)
		}
	}()
	if err := p.tty.SetReadTimeout(max(0, time.Until(deadline))); err != nil {
		return 0, err
	}
	n, err = p.tty.Read(buf)
	if err != nil {
		return 0, fmt.Errorf("%w (%v)", errGone, err)
	}
	return n, nil
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

// send writes to the side descriptor, which does not block: the library's
// Write has no timeout, and not even Close would free it.
func (p *port) send(b []byte, deadline time.Time) error {
	for len(b) > 0 {
		n, err := unix.Write(p.side, b)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			ready, err := poll([]unix.PollFd{{Fd: int32(p.side), Events: unix.POLLOUT}}, deadline)
			if err != nil {
				return fmt.Errorf("wait to write: %w", err)
			}
			if !ready {
				_ = unix.IoctlSetInt(p.side, unix.TCFLSH, unix.TCOFLUSH) // what is stuck must not go out later
				return errors.New("the port takes no more bytes; is its flow control stuck?")
			}
		case err != nil:
			return fmt.Errorf("%w (%v)", errGone, err)
		default:
			b = b[n:]
		}
	}
	return nil
}

func (p *port) pending() (int, error) {
	n, err := unix.IoctlGetInt(p.side, unix.TIOCINQ)
	if err != nil {
		return 0, fmt.Errorf("%w (%v)", errGone, err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, p.idle(-1, 0)
}

func (p *port) idle(alarm int, d time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(p.side), Events: unix.POLLIN}, {Fd: int32(alarm), Events: unix.POLLIN}}
	if _, err := poll(fds, time.Now().Add(d)); err != nil {
		return fmt.Errorf("wait for bytes: %w", err)
	}
	if fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		return errGone
	}
	return nil
}

func (p *port) close() {
	_ = p.tty.Close()
	_ = unix.Close(p.side)
	spares.fill()
}
