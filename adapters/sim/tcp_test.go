package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func plant() LineConfig {
	return LineConfig{Name: "plant", Kind: "tcp", Slaves: []SlaveConfig{{Unit: 1, Points: []PointConfig{
		{Name: "volts", Table: "input", Address: 0, Type: "f32", Wave: Wave{Base: 230.5}},
		{Name: "swapped", Table: "input", Address: 2, Type: "i32", Order: "CDAB", Wave: Wave{Base: -123456}},
		{Name: "setpoint", Table: "holding", Address: 10, Wave: Wave{Base: 21}, Writable: true},
		{Name: "spare", Table: "holding", Address: 11, Wave: Wave{Base: 22}, Writable: true},
		{Name: "lamp", Table: "coil", Address: 3, Writable: true},
		{Name: "door", Table: "discrete", Address: 4, Wave: Wave{Base: 1}},
	}}}}
}

// tcpMaster speaks Modbus TCP as little as needed.
type tcpMaster struct {
	testing.TB
	net.Conn
}

func dial(t testing.TB, address string) tcpMaster {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return tcpMaster{t, conn}
}

func (m tcpMaster) send(transaction uint16, unit byte, pdu ...byte) {
	m.Helper()
	b := binary.BigEndian.AppendUint16(nil, transaction)
	b = append(b, 0, 0, 0, byte(len(pdu)+1), unit)
	if _, err := m.Write(append(b, pdu...)); err != nil {
		m.Fatal(err)
	}
}

func (m tcpMaster) take() (transaction uint16, unit byte, pdu []byte) {
	m.Helper()
	_ = m.SetReadDeadline(time.Now().Add(5 * time.Second))
	var h [7]byte
	if _, err := io.ReadFull(m, h[:]); err != nil {
		m.Fatal(err)
	}
	pdu = make([]byte, binary.BigEndian.Uint16(h[4:])-1)
	if _, err := io.ReadFull(m, pdu); err != nil {
		m.Fatal(err)
	}
	return binary.BigEndian.Uint16(h[:]), h[6], pdu
}

func TestTCP(t *testing.T) {
	f := play(t, plant())
	m := dial(t, f.Path("plant"))
	for i, c := range []struct {
		unit          byte
		request, want []byte
	}{
		{1, []byte{4, 0, 0, 0, 2}, []byte{4, 4, 0x43, 0x66, 0x80, 0}},
		{255, []byte{3, 0, 10, 0, 1}, []byte{3, 2, 0, 21}},
		{0, []byte{2, 0, 4, 0, 1}, []byte{2, 1, 1}},
		{7, []byte{3, 0, 10, 0, 1}, []byte{0x83, 11}},
		{1, []byte{3, 0, 99, 0, 1}, []byte{0x83, 2}},
	} {
		m.send(uint16(500+i), c.unit, c.request...)
		id, unit, pdu := m.take()
		if id != uint16(500+i) || unit != c.unit || !bytes.Equal(pdu, c.want) {
			t.Errorf("unit %d % x: answer %d %d % x, want % x", c.unit, c.request, id, unit, pdu, c.want)
		}
	}
	if s := f.Stats("plant"); s.Requests != 5 || s.Answers != 5 {
		t.Errorf("%+v", s)
	}
}

func TestTCPFaults(t *testing.T) {
	f := play(t, plant())
	m := dial(t, f.Path("plant"))
	s := f.Slave("plant", 1)
	// An answer that is late is overtaken by the next.
	if err := s.SetFault(Fault{Kind: Late, Delay: 100 * ms, Count: 1}); err != nil {
		t.Fatal(err)
	}
	m.send(1, 1, 3, 0, 10, 0, 1)
	m.send(2, 1, 3, 0, 11, 0, 1)
	first, _, a := m.take()
	second, _, b := m.take()
	if first != 2 || second != 1 || a[3] != 22 || b[3] != 21 {
		t.Errorf("answers %d % x and %d % x", first, a, second, b)
	}
	if err := s.SetFault(Fault{Kind: BadCRC, Count: 1}, Fault{Kind: Dead, Functions: []byte{6}}); err != nil {
		t.Fatal(err)
	}
	m.send(3, 1, 3, 0, 10, 0, 1)
	if id, _, _ := m.take(); id == 3 {
		t.Error("the transaction identifier is right")
	}
	m.send(4, 1, 6, 0, 10, 0, 5) // not heard
	m.send(5, 1, 3, 0, 10, 0, 1)
	if id, _, pdu := m.take(); id != 5 || pdu[3] != 21 {
		t.Errorf("answer %d % x", id, pdu)
	}
}

func TestTCPUnplugAndReplug(t *testing.T) {
	f := play(t, plant())
	m := dial(t, f.Path("plant"))
	m.send(1, 1, 3, 0, 10, 0, 1)
	m.take()
	for range 3 {
		if err := f.Unplug("plant"); err != nil {
			t.Fatal(err)
		}
		_ = m.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := m.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the master does not notice: %v", err)
		}
		if conn, err := net.DialTimeout("tcp", f.Path("plant"), 5*time.Second); err == nil {
			conn.Close()
			t.Error("an unplugged endpoint takes connections")
		}
		if err := f.Replug("plant"); err != nil {
			t.Fatal(err)
		}
		m = dial(t, f.Path("plant"))
		m.send(1, 1, 3, 0, 10, 0, 1)
		m.take()
	}
}

func TestTCPConnectionsAreBounded(t *testing.T) {
	f := play(t, plant())
	for range maxConns {
		m := dial(t, f.Path("plant"))
		m.send(1, 1, 3, 0, 10, 0, 1)
		m.take()
	}
	m := dial(t, f.Path("plant"))
	_ = m.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := m.Read(make([]byte, 1)); err == nil || f.Stats("plant").Refused != 1 {
		t.Errorf("one too many: %v, %+v", err, f.Stats("plant"))
	}
}

// mbpoll asks with a program of another house.
func mbpoll(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("mbpoll")
	if err != nil {
		t.Fatal("mbpoll is not installed: run `make peers`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("mbpoll %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestMbpollAgreesOverTCP(t *testing.T) {
	f := play(t, plant())
	host, port, _ := net.SplitHostPort(f.Path("plant"))
	at := func(args ...string) []string {
		return append([]string{"-m", "tcp", "-p", port, "-a", "1", "-0", "-1", "-o", "5", host}, args...)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{at("-t", "3:float", "-B", "-r", "0"), "230.5"},
		{at("-t", "3:int", "-r", "2"), "-123456"},
		{at("-t", "4", "-r", "10", "-c", "2"), "21"},
		{at("-t", "1", "-r", "4"), "1"},
		{at("-t", "0", "-r", "3"), "0"},
	} {
		if out := mbpoll(t, c.args...); !strings.Contains(out, "\t"+c.want) {
			t.Errorf("%v: no %s in\n%s", c.args, c.want, out)
		}
	}
	mbpoll(t, "-m", "tcp", "-p", port, "-a", "1", "-0", "-t", "4", "-r", "10", host, "33", "44")
	mbpoll(t, "-m", "tcp", "-p", port, "-a", "1", "-0", "-t", "0", "-r", "3", host, "1")
	s := f.Slave("plant", 1)
	if r, c := s.Get("holding", 10, 2), s.Get("coil", 3, 1); r[0] != 33 || r[1] != 44 || c[0] != 1 {
		t.Errorf("registers %v, coil %v", r, c)
	}
}

func TestMbpollAgreesOverRTU(t *testing.T) {
	c := plant()
	c.Kind, c.Baud, c.Parity = "rtu", 19200, 'E'
	c.Slaves[0].Turnaround, c.Slaves[0].Strict = 5*ms, true
	f := play(t, c)
	out := mbpoll(t, "-m", "rtu", "-b", "19200", "-P", "even", "-a", "1", "-0", "-1", "-o", "5", "-t", "3:float", "-B", "-r", "0", f.Path("plant"))
	if !strings.Contains(out, "\t230.5") {
		t.Errorf("no 230.5 in\n%s", out)
	}
	mbpoll(t, "-m", "rtu", "-b", "19200", "-P", "even", "-a", "1", "-0", "-t", "0", "-r", "3", f.Path("plant"), "1")
	if got := f.Slave("plant", 1).Get("coil", 3, 1); got[0] != 1 {
		t.Errorf("the coil is %v", got)
	}
	if s := f.Stats("plant"); s.Violations != 0 || s.Bad != 0 {
		t.Errorf("%+v", s)
	}
}
