package line

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// fakeDriver stands for the driver of a real serial port, for a pty's knows
// nothing of direction, latency or errors on the wire.
type fakeDriver struct {
	mu     sync.Mutex
	lacks  []uint // requests that it does not know
	keeps  uint32 // bits of the RS-485 flags that it takes up
	rs485  rs485State
	serial serialState
	tally  tally
	busy   int // times that the shift register is found not empty
	rts    bool
	did    []string
}

func (d *fakeDriver) ioctl(fd int, request uint, arg unsafe.Pointer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.lacks, request) {
		return unix.ENOTTY
	}
	switch request {
	case unix.TIOCSRS485:
		d.rs485 = *(*rs485State)(arg)
		d.rs485.flags &= d.keeps
	case unix.TIOCGRS485:
		*(*rs485State)(arg) = d.rs485
	case unix.TIOCMBIS, unix.TIOCMBIC:
		if d.rts = request == unix.TIOCMBIS; *(*int32)(arg) != unix.TIOCM_RTS {
			return unix.EINVAL
		}
		d.did = append(d.did, map[bool]string{true: "on", false: "off"}[d.rts])
	case unix.TIOCSERGETLSR:
		*(*int32)(arg) = 1
		if d.busy > 0 {
			d.busy--
			*(*int32)(arg) = 0
			d.did = append(d.did, "still sending")
		}
	case unix.TIOCGSERIAL:
		*(*serialState)(arg) = d.serial
	case unix.TIOCSSERIAL:
		d.serial = *(*serialState)(arg)
	case unix.TIOCGICOUNT:
		*(*tally)(arg) = d.tally
	default:
		return ioctl(fd, request, arg)
	}
	return nil
}

func (d *fakeDriver) line(t *testing.T, cfg Config, log *slog.Logger) *Line {
	t.Helper()
	l := New(cfg, log)
	l.host = fakeMachine(t)
	l.host.ioctl = d.ioctl
	return l
}

// logged is a logger and what it has logged.
func logged() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(lockedWriter{&mu, &buf}, nil))
	return log, func() string {
		mu.Lock()
		defer mu.Unlock()
		return buf.String()
	}
}

type lockedWriter struct {
	mu  *sync.Mutex
	buf *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func TestFault24KernelSwitchesTheDirection(t *testing.T) {
	for name, c := range map[string]struct {
		driver *fakeDriver
		open   string // the state of the line
		log    string
	}{
		"taken up":      {&fakeDriver{keeps: ^uint32(0)}, "open", ""},
		"not known":     {&fakeDriver{lacks: []uint{unix.TIOCSRS485}}, "open", `\"kernel\" is not available`},
		"not taken up":  {&fakeDriver{}, "did not take up its RS-485 mode", ""},
		"half taken up": {&fakeDriver{keeps: rs485Enabled | rs485AfterSend}, "did not take up", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.answer("ping", "pong")
			cfg := rtuConfig(b.link)
			cfg.RS485 = RS485Kernel
			log, said := logged()
			l := c.driver.line(t, cfg, log)
			changes := states(l)
			run(t, l)
			if s := wait(t, changes, "opening"); !strings.Contains(s, c.open) {
				t.Fatalf("the line is %q", s)
			}
			if !strings.Contains(said(), c.log) || c.log == "" && strings.Contains(said(), "available") {
				t.Errorf("logged: %s", said())
			}
			if c.open != "open" {
				return
			}
			if got, err := exchange(t, l, "ping", until("pong"), patience); err != nil || got != "pong" {
				t.Fatalf("%q, %v", got, err)
			}
			if name == "taken up" && c.driver.rs485.flags != rs485Enabled|rs485OnSend {
				t.Errorf("flags %#x", c.driver.rs485.flags)
			}
		})
	}
}

// RTS is off while nothing is sent, and goes off after the last bit of a
// request, before its answer can come.
func TestFault25RTSSwitchesTheDirection(t *testing.T) {
	b := newBench(t)
	cfg := rtuConfig(b.link)
	cfg.RS485 = RS485RTS
	d := &fakeDriver{busy: 2}
	l := d.line(t, cfg, quiet())
	run(t, l)
	b.answer("ping", "pong")
	begin := time.Now()
	if got, err := exchange(t, l, "ping", until("pong"), patience); err != nil || got != "pong" {
		t.Fatalf("%q, %v", got, err)
	}
	if wire := 4 * cfg.Serial.CharTime(); time.Since(begin) < wire {
		t.Errorf("RTS went off before the %v that the request takes", wire)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := strings.Join(d.did, ", "); got != "off, on, still sending, still sending, off" {
		t.Errorf("the driver was told: %s", got)
	}
}

func TestPortWithoutRTS(t *testing.T) {
	b := newBench(t)
	b.answer("ping", "pong")
	cfg := rtuConfig(b.link)
	cfg.RS485 = RS485RTS
	log, said := logged()
	l := New(cfg, log) // a pty has no modem lines
	run(t, l)
	for range 2 {
		if got, err := exchange(t, l, "ping", until("pong"), patience); err != nil || got != "pong" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if n := strings.Count(said(), "the port has no RTS line"); n != 1 {
		t.Errorf("told %d times: %s", n, said())
	}
}

func TestLatencyIsLowered(t *testing.T) {
	b := newBench(t)
	d := &fakeDriver{}
	l := d.line(t, rtuConfig(""), quiet())
	l.host.usb(t, "ttyUSB0", "1-1", b.slave.Name(), USB{Vendor: "0403", Product: "6001"})
	l.cfg.Port = "usb:0403:6001"
	timer := filepath.Join(l.host.sys, "bus/usb-serial/devices/ttyUSB0/latency_timer")
	put(t, timer, "16")
	run(t, l)
	if text, err := os.ReadFile(timer); err != nil || strings.TrimSpace(string(text)) != "1" {
		t.Errorf("the timer is %q, %v", text, err)
	}
	if d.serial.flags&lowLatency == 0 {
		t.Error("the driver was not asked")
	}
}

func TestFault05DriverCounts(t *testing.T) {
	b := newBench(t)
	b.answer("ping", "pong")
	d := &fakeDriver{tally: tally{frame: 100, parity: 1<<31 - 1}} // of before
	l := d.line(t, rtuConfig(b.link), quiet())
	run(t, l)
	if _, err := exchange(t, l, "ping", until("pong"), patience); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.tally.frame, d.tally.brk, d.tally.overrun, d.tally.bufOverrun = 103, 1, 2, 3
	d.tally.parity = -1 << 31 // counters wrap
	d.mu.Unlock()
	deadline := time.Now().Add(patience)
	want := DriverStats{Known: true, Framing: 3, Parity: 1, Overruns: 5, Breaks: 1}
	for l.Stats().Driver != want {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", l.Stats().Driver)
		}
		if _, err := exchange(t, l, "ping", until("pong"), patience); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEchoAsConfigured(t *testing.T) {
	for name, c := range map[string]struct {
		echo  Echo
		reply string
		fails bool
	}{
		"stripped from the first answer on": {EchoStrip, "ping" + "ping", false},
		"nothing but the echo":              {EchoStrip, "ping", true},
		"none":                              {EchoNone, "ping", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.answer("ping", c.reply)
			cfg := rtuConfig(b.link)
			cfg.Echo, cfg.Timeout = c.echo, patience
			if c.fails {
				cfg.Timeout = 50 * time.Millisecond
			}
			l := New(cfg, quiet())
			run(t, l)
			// An answer that repeats its request, as that to a write does.
			if _, err := exchange(t, l, "ping", until("ping"), 0); (err != nil) != c.fails {
				t.Errorf("%v", err)
			}
		})
	}
}

// The speeds, the odd ones too, are those that the terminal then has; of the
// format a pty takes up no more than the stop bits.
func TestSpeedAndFormat(t *testing.T) {
	for text, want := range map[string]struct {
		stop uint32
		mode serial.Mode
	}{
		"1200 7E1":   {0, serial.Mode{BaudRate: 1200, DataBits: 7, Parity: serial.EvenParity}},
		"9600 7O1":   {0, serial.Mode{BaudRate: 9600, DataBits: 7, Parity: serial.OddParity}},
		"19200 8N2":  {unix.CSTOPB, serial.Mode{BaudRate: 19200, DataBits: 8, StopBits: serial.TwoStopBits}},
		"31250 8N1":  {0, serial.Mode{BaudRate: 31250, DataBits: 8}},
		"250000 8E1": {0, serial.Mode{BaudRate: 250000, DataBits: 8, Parity: serial.EvenParity}},
		"921600 8O1": {0, serial.Mode{BaudRate: 921600, DataBits: 8, Parity: serial.OddParity}},
	} {
		t.Run(text, func(t *testing.T) {
			b := newBench(t)
			cfg := rtuConfig(b.link)
			var err error
			if cfg.Serial, err = ParseSerial(text); err != nil {
				t.Fatal(err)
			}
			if got := *mode(cfg.Serial); got != want.mode {
				t.Errorf("asked for %+v, want %+v", got, want.mode)
			}
			p, err := thisMachine.open(cfg, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			got, err := unix.IoctlGetTermios(p.side, unix.TCGETS2)
			if err != nil {
				t.Fatal(err)
			}
			if int(got.Ospeed) != cfg.Serial.Baud || int(got.Ispeed) != cfg.Serial.Baud || got.Cflag&unix.CSTOPB != want.stop {
				t.Errorf("speed %d and %d, flags %#o", got.Ispeed, got.Ospeed, got.Cflag)
			}
		})
	}
}
