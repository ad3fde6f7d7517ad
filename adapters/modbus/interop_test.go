package modbus

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/adapters"
	"sluice/adapters/line"
)

// These tests ask a slave that shares no code with us, pymodbus, and let
// another master, mbpoll, look at what we wrote.

// python is Debian's, for which pymodbus is packaged.
const python = "/usr/bin/python3"

func peer(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; install the peers of the tests with: make peers", err)
	}
	return path
}

// spawn runs a program until the test ends.
func spawn(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("%s said: %s", name, output.String())
		}
	})
}

// ptyPair joins two ptys by socat and gives the links to them.
func ptyPair(t *testing.T) (ours, theirs string) {
	t.Helper()
	socat := peer(t, "socat")
	dir := t.TempDir()
	ours, theirs = filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	spawn(t, socat, "pty,raw,echo=0,link="+ours, "pty,raw,echo=0,link="+theirs)
	deadline := time.NewTimer(testPatience)
	defer deadline.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		if _, err := os.Stat(theirs); err == nil {
			if _, err := os.Stat(ours); err == nil {
				return ours, theirs
			}
		}
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatal("socat makes no ptys")
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// pymodbusDevice has every type in every order, twice, and what is written.
func pymodbusDevice() (DeviceConfig, map[string]string) {
	want := map[string]string{}
	d := DeviceConfig{Name: "d", Unit: 7, Every: 50 * time.Millisecond}
	values := []string{"54321", "-12345", "3123456789", "-1234567890", "21.4"}
	for i, typ := range []Type{U16, I16, U32, I32, F32} {
		for order := range Order(4) {
			for _, table := range []Table{Holding, Input} {
				name := fmt.Sprintf("%v_%v_%v", table, typ, order)
				c := on("d", name, table, uint16(10*i+2*int(order)), typ)
				c.Order = order
				d.Points = append(d.Points, c)
				want["d/"+name] = values[i]
			}
		}
	}
	wide := []string{"18446744073709551614", "-9223372036854775807", "21.4", "-21.4"}
	for i, typ := range []Type{U64, I64, F64, F16} {
		for order := range Order(4) {
			name := fmt.Sprintf("%v_%v", typ, order)
			c := on("d", name, Holding, uint16(100+16*i+4*int(order)), typ)
			c.Order = order
			d.Points = append(d.Points, c)
			want["d/"+name] = wide[i]
		}
	}
	text := on("d", "text", Input, 168, String)
	text.Length = 5
	d.Points = append(d.Points, text)
	want["d/text"] = "SN 4711"
	for i := range uint16(20) {
		for _, table := range []Table{Coil, Discrete} {
			if table == Coil && i == 4 {
				continue
			}
			name := fmt.Sprintf("%v_%d", table, i)
			d.Points = append(d.Points, on("d", name, table, i, Bool))
			want["d/"+name] = strconv.FormatBool(i%3 == 0)
		}
	}
	d.Points = append(d.Points, on("d", "missing", Holding, 300, U16))
	want["d/missing"] = "bad_register"
	float := writable(on("d", "float", Holding, 94, F32), Verify)
	float.Order = CDAB
	temp := writable(on("d", "temp", Holding, 90, I16), Verify)
	temp.Scale = 0.1
	d.Points = append(d.Points, temp, float, writable(on("d", "double", Holding, 92, U32), Verify), writable(on("d", "relay", Coil, 4, Bool), Verify))
	return d, want
}

// converse reads everything and writes something.
func converse(t *testing.T, cfg line.Config) {
	r := newRecord(t)
	d, want := pymodbusDevice()
	p, _ := start(t, cfg, r, d)
	for point, text := range want {
		r.reads(point, text)
	}
	for _, c := range []struct {
		point string
		value adapters.Value
	}{
		{"temp", adapters.Float(-21.4)}, {"double", adapters.Int(70000)}, {"float", adapters.Float(1.25)}, {"relay", adapters.Bool(true)},
	} {
		if res := write(t, p, c.point, c.value); res.Err != nil || res.Value != c.value {
			t.Errorf("%s = %v: %+v", c.point, c.value, res)
		}
		r.reads("d/"+c.point, c.value.String())
	}
}

// mbpoll reads count values with the given flags.
func mbpoll(t *testing.T, count int, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	args = append([]string{"-a", "7", "-0", "-1", "-q", "-c", strconv.Itoa(count)}, args...)
	out, err := exec.CommandContext(ctx, peer(t, "mbpoll"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("mbpoll %v: %v\n%s", args, err, out)
	}
	var values []string
	for _, match := range regexp.MustCompile(`(?m)^\[\d+\]:\s+(\S+)`).FindAllStringSubmatch(string(out), -1) {
		values = append(values, match[1])
	}
	if len(values) != count {
		t.Fatalf("mbpoll %v gave %v:\n%s", args, values, out)
	}
	return values
}

func compare(t *testing.T, what, want string, got []string) {
	t.Helper()
	if strings.Join(got, " ") != want {
		t.Errorf("mbpoll reads %s as %v, want %s", what, got, want)
	}
}

// seen lets mbpoll look at what converse has written and read.
func seen(t *testing.T, mode []string) {
	t.Helper()
	with := func(args ...string) []string { return append(args, mode...) }
	compare(t, "temp", "65322", mbpoll(t, 1, with("-t", "4", "-r", "90")...)[:1])
	compare(t, "double", "70000", mbpoll(t, 1, with("-t", "4:int", "-B", "-r", "92")...))
	compare(t, "float", "1.25", mbpoll(t, 1, with("-t", "4:float", "-r", "94")...))
	compare(t, "the coils", "1 0 0 1 1 0 1", mbpoll(t, 7, with("-t", "0", "-r", "0")...))
	compare(t, "the discrete inputs", "1 0 0 1 0 0 1", mbpoll(t, 7, with("-t", "1", "-r", "0")...))
	compare(t, "f32 ABCD", "21.4", mbpoll(t, 1, with("-t", "3:float", "-B", "-r", "40")...))
	compare(t, "f32 CDAB", "21.4", mbpoll(t, 1, with("-t", "3:float", "-r", "42")...))
}

// spent takes in what the last question brings that was asked when we stopped,
// so that mbpoll does not take it for its own answer.
func spent(t *testing.T, port string) {
	t.Helper()
	fd, err := unix.Open(port, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 300)
		if err == unix.EINTR {
			continue
		}
		if n == 0 || err != nil {
			return
		}
		if n, err := unix.Read(fd, make([]byte, 256)); n <= 0 || err != nil {
			return
		}
	}
}

func TestPymodbusRTU(t *testing.T) {
	t.Parallel()
	ours, theirs := ptyPair(t)
	spawn(t, python, slaveScript(t), "rtu", theirs)
	t.Run("talk", func(t *testing.T) {
		converse(t, line.Config{
			Name: "bus", Kind: line.RTU, Port: ours, Retries: 3, Timeout: 500 * time.Millisecond,
			Serial: line.Serial{Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 1},
		})
	})
	spent(t, ours)
	seen(t, []string{"-m", "rtu", "-b", "115200", "-P", "none", ours})
}

func TestPymodbusASCII(t *testing.T) {
	t.Parallel()
	ours, theirs := ptyPair(t)
	spawn(t, python, slaveScript(t), "ascii", theirs)
	t.Run("talk", func(t *testing.T) {
		converse(t, line.Config{
			Name: "bus", Kind: line.ASCII, Port: ours, Retries: 3, Timeout: 500 * time.Millisecond,
			Serial: line.Serial{Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 1},
		})
	})
}

// Over the network the frames of a serial line come through a converter.
func TestPymodbusSerialOverTCP(t *testing.T) {
	t.Parallel()
	for framing, kind := range map[string]line.Kind{"rtu-tcp": line.RTUTCP, "ascii-tcp": line.ASCIITCP} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			port := strconv.Itoa(freePort(t))
			spawn(t, python, slaveScript(t), framing, port)
			converse(t, line.Config{
				Name: "net", Kind: kind, Port: "127.0.0.1:" + port, Retries: 3, Timeout: time.Second,
			})
		})
	}
}

func TestPymodbusTCP(t *testing.T) {
	t.Parallel()
	port := strconv.Itoa(freePort(t))
	spawn(t, python, slaveScript(t), "tcp", port)
	t.Run("talk", func(t *testing.T) {
		converse(t, line.Config{
			Name: "net", Kind: line.TCP, Port: "127.0.0.1:" + port, Retries: 3, Timeout: time.Second,
		})
	})
	seen(t, []string{"-m", "tcp", "-p", port, "127.0.0.1"})
}

func slaveScript(t *testing.T) string {
	t.Helper()
	if err := exec.Command(python, "-c", "import pymodbus, serial").Run(); err != nil {
		t.Fatalf("%s has no pymodbus: %v; install the peers of the tests with: make peers", python, err)
	}
	return filepath.Join("testdata", "slave.py")
}
