package line

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Kind says what a line is made of and how it is timed.
type Kind string

// The kinds of line.
const (
	RTU      Kind = "rtu"       // Modbus RTU on a serial port: frames are parted by silence
	ASCII    Kind = "ascii"     // Modbus ASCII on a serial port: frames begin with a colon
	TCP      Kind = "tcp"       // a network endpoint that frames by itself
	RTUTCP   Kind = "rtu-tcp"   // a serial line with RTU frames behind a network converter
	ASCIITCP Kind = "ascii-tcp" // the same with ASCII frames
	UART     Kind = "uart"      // a serial port on which the device also speaks unasked
)

// Serial reports whether lines of the kind are serial ports of this machine,
// not network endpoints.
func (k Kind) Serial() bool { return k == RTU || k == ASCII || k == UART }

// bus reports whether lines of the kind are, at their end, a wire with several
// devices: bytes without transaction numbers, which may come late, garbled, or
// as an echo.
func (k Kind) bus() bool { return k != TCP && k != UART }

// Echo says whether an adapter hears its own transmitter.
type Echo uint8

// The ways to treat an echo.
const (
	EchoAuto  Echo = iota // learned from the first answers
	EchoStrip             // it does: its echo is removed
	EchoNone              // it does not
)

// known gives what is known of the echo before anything was heard.
func (e Echo) known() echo {
	return [...]echo{EchoAuto: echoUnknown, EchoStrip: echoes, EchoNone: echoNone}[e]
}

// Config describes one line.
type Config struct {
	Name string // shown in logs and errors
	Kind Kind
	// Port is the path of a serial port or usb:VID:PID:SERIAL, looked up again
	// at every open, or host:port of a network endpoint (port 502 if left out).
	Port   string
	Serial Serial // serial kinds only
	RS485  RS485  // serial kinds only
	Echo   Echo   // rtu, ascii and these over TCP only
	// Timeout is the longest wait for the first byte of an answer, counted
	// from the end of the request on the wire; 10 ms to 60 s.
	Timeout time.Duration
	// Listen keeps the line silent: nothing is ever sent. Of kind rtu only.
	Listen bool
	// Retries is how often an unanswered request is repeated before its
	// device counts as away; 0 to 10. The line itself repeats nothing.
	Retries int
	// Gap is how many registers that nobody wants a merged read may cross;
	// AutoGap leaves it to what costs least time.
	Gap int
}

// AutoGap is the Gap that costs least time.
const AutoGap = -1

// fieldError is an error of one configuration key.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.text }

// Field names the key, relative to the Config.
func (e *fieldError) Field() string { return e.field }

// Validate reports everything that is wrong with c, joined; each error has a
// Field method that names its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fieldError{field, fmt.Sprintf(format, args...)})
	}
	if c.Name == "" {
		bad("name", "a line needs a name")
	}
	switch c.Kind {
	case RTU, ASCII, UART:
		if c.Port == "" {
			bad("port", "a serial line needs the path of its port, such as /dev/serial/by-id/…")
		} else if strings.HasPrefix(c.Port, usbPrefix) {
			if _, err := parseUSB(c.Port); err != nil {
				bad("port", "%v", err)
			}
		}
		if text := c.Serial.fault(); text != "" {
			bad("serial", "%s", text)
		}
	case TCP, RTUTCP, ASCIITCP:
		if err := checkEndpoint(c.Port); err != nil {
			bad("port", "%q is no network endpoint: %v; write host:port, such as 192.168.1.20:502", c.Port, err)
		}
	default:
		bad("kind", "unknown kind %q; use rtu, ascii, tcp, rtu-tcp, ascii-tcp or uart", c.Kind)
	}
	if c.Listen && c.Kind != RTU {
		bad("listen", "only lines of kind rtu can be listened to")
	}
	if c.Timeout < 10*time.Millisecond || c.Timeout > time.Minute {
		bad("timeout", "timeout %v is outside 10ms to 1m", c.Timeout)
	}
	if c.Retries < 0 || c.Retries > 10 {
		bad("retries", "retries %d is outside 0 to 10", c.Retries)
	}
	if c.Gap < AutoGap || c.Gap > 123 {
		bad("gap", "gap %d is outside 0 to 123", c.Gap)
	}
	return errors.Join(errs...)
}

// endpoint completes host:port with Modbus's port.
func endpoint(port string) string {
	if _, _, err := net.SplitHostPort(port); err == nil {
		return port
	}
	return net.JoinHostPort(strings.Trim(port, "[]"), "502")
}

func checkEndpoint(port string) error {
	host, number, err := net.SplitHostPort(endpoint(port))
	if err != nil {
		return err
	}
	if host == "" {
		return errors.New("the host is missing")
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Trim(host, "0123456789.") == "" {
		return fmt.Errorf("%s is no IPv4 address, which has four numbers from 0 to 255", host)
	}
	if n, err := strconv.Atoi(number); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is not 1 to 65535", number)
	}
	return nil
}
