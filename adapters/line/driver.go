package line

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a driver does for a port beside carrying bytes. The library knows none
// of it; it is asked for on the side descriptor. A driver that does not know a
// request answers ENOTTY: the port then works without.

// RS485 says who switches an RS-485 adapter between sending and receiving.
type RS485 uint8

// The ways to switch.
const (
	RS485Auto   RS485 = iota // the adapter itself
	RS485Kernel              // the driver, by its RTS line (TIOCSRS485)
	RS485RTS                 // this program, by the RTS line
)

// rs485State is struct serial_rs485 of linux/serial.h.
type rs485State struct {
	flags                   uint32
	delayBefore, delayAfter uint32 // ms
	_                       [5]uint32
}

const (
	rs485Enabled   = 1 << 0
	rs485OnSend    = 1 << 1 // RTS is on while sending
	rs485AfterSend = 1 << 2 // RTS is on while receiving
)

// direct has the driver switch the direction, and looks whether it will: some
// take the request and do something else.
func (p *port) direct() error {
	state := rs485State{flags: rs485Enabled | rs485OnSend}
	err := p.host.ioctl(p.side, unix.TIOCSRS485, unsafe.Pointer(&state))
	if errors.Is(err, unix.ENOTTY) {
		p.note(`rs485 = "kernel" is not available: the driver of the port has no RS-485 mode; use "auto" if the adapter switches itself, else "rts"`)
		return nil
	}
	if err != nil {
		return fmt.Errorf("the driver refuses its RS-485 mode; use rs485 = \"rts\" or \"auto\": %w", err)
	}
	got := rs485State{}
	if err := p.host.ioctl(p.side, unix.TIOCGRS485, unsafe.Pointer(&got)); err != nil {
		return fmt.Errorf("read the RS-485 mode back: %w", err)
	}
	const matter = rs485Enabled | rs485OnSend | rs485AfterSend
	if got.flags&matter != state.flags {
		return fmt.Errorf("the driver did not take up its RS-485 mode (flags %#x instead of %#x); use rs485 = \"rts\" or \"auto\"", got.flags, state.flags)
	}
	return nil
}

// talk switches the transmitter by RTS.
func (p *port) talk(on bool) error {
	request, bits := uint(unix.TIOCMBIC), int32(unix.TIOCM_RTS)
	if on {
		request = unix.TIOCMBIS
	}
	err := p.host.ioctl(p.side, request, unsafe.Pointer(&bits))
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		p.note(`rs485 = "rts" is not available: the port has no RTS line; use "auto" if the adapter switches itself`)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w (%v)", errGone, err)
	}
	return nil
}

// drain waits until what was written has left, for at most until: a
// transmitter switched off early cuts the last character.
func (p *port) drain(sent, until time.Time) {
	pause(time.Until(sent))
	for time.Now().Before(until) {
		var queued, status int32
		if err := p.host.ioctl(p.side, unix.TIOCOUTQ, unsafe.Pointer(&queued)); err != nil || queued == 0 {
			const empty = 1 // TIOCSER_TEMT: the shift register too
			if err := p.host.ioctl(p.side, unix.TIOCSERGETLSR, unsafe.Pointer(&status)); err != nil || status&empty != 0 {
				return
			}
		}
		pause(100 * time.Microsecond)
	}
}

// serialState is struct serial_struct of linux/serial.h, as far as it counts.
type serialState struct {
	_     [4]int32
	flags int32
	_     [128]byte // longer than the rest of it anywhere
}

const lowLatency = 0x2000 // ASYNC_LOW_LATENCY: hand bytes over as they come

// latencyTimer is how long an FTDI adapter may gather bytes, in ms.
const latencyTimer = 1

// hasten asks the driver to hand bytes over at once. FTDI's adapters gather
// for 16 ms otherwise, which is more than most devices take to answer.
func (p *port) hasten(device string) {
	var state serialState
	if err := p.host.ioctl(p.side, unix.TIOCGSERIAL, unsafe.Pointer(&state)); err == nil && state.flags&lowLatency == 0 {
		state.flags |= lowLatency
		_ = p.host.ioctl(p.side, unix.TIOCSSERIAL, unsafe.Pointer(&state)) // the timer shows whether it helped
	}
	timer := filepath.Join(p.host.sys, "bus/usb-serial/devices", filepath.Base(device), "latency_timer")
	text := fileText(timer)
	if text == "" || text == fmt.Sprint(latencyTimer) {
		return
	}
	err := os.WriteFile(timer, []byte(fmt.Sprint(latencyTimer)), 0)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS): // systemd may have made it so
		p.note("the adapter keeps bytes for up to " + text + " ms, and this user may not change it; let udev do it: " +
			`ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"`)
	default:
		p.note(fmt.Sprintf("the adapter keeps bytes for up to %s ms: %v", text, err))
	}
}

// tally is what a driver has counted on a port since it was loaded, struct
// serial_icounter_struct of linux/serial.h.
type tally struct {
	_                                       [4]int32 // changes of the modem lines
	_, _                                    int32    // bytes received and sent
	frame, overrun, parity, brk, bufOverrun int32
	_                                       [9]int32
}

// tally reads the driver's counters; ok is false where it has none.
func (p *port) tally() (t tally, ok bool) {
	err := p.host.ioctl(p.side, unix.TIOCGICOUNT, unsafe.Pointer(&t))
	return t, err == nil
}
