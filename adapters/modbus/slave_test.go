package modbus

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"sluice/adapters"
	"sluice/adapters/line"
)

// patience bounds every wait of a test for something that must happen.
const testPatience = 20 * time.Second

// field is a serial line with slaves on it: the master end of a pty, whose
// slave end is reached through a link, as a real adapter is.
type field struct {
	t      testing.TB
	master *os.File
	hold   *os.File // or the master would read EIO between two opens
	link   string

	mu     sync.Mutex
	slaves map[byte]*slave
	// mangle, if set, says what is sent for an answer; it sees each request.
	mangle func(request, answer []byte) []byte
	asked  map[byte]int // requests by unit
}

// slave is one device: registers and bits by address; others do not exist.
type slave struct {
	registers map[uint16]uint16 // holding and input alike
	bits      map[uint16]bool   // coils and discrete inputs alike
	refuse    map[byte]byte     // function → exception
	dead      bool
	stuck     bool // confirms writes and keeps its values
}

func newField(t testing.TB) *field {
	t.Helper()
	f := &field{t: t, link: filepath.Join(t.TempDir(), "bus"), slaves: make(map[byte]*slave), asked: make(map[byte]int)}
	f.plug()
	t.Cleanup(f.unplug)
	return f
}

func (f *field) plug() {
	f.t.Helper()
	master, hold, err := pty.Open()
	if err != nil {
		f.t.Fatal(err)
	}
	f.master, f.hold = endable(f.t, master), hold
	if err := os.Symlink(hold.Name(), f.link); err != nil {
		f.t.Fatal(err)
	}
	go f.serve(f.master)
}

func (f *field) unplug() {
	_ = os.Remove(f.link)
	_ = f.hold.Close()
	_ = f.master.Close()
}

// endable makes a pty's master one whose Close ends a Read that waits.
func endable(t testing.TB, master *os.File) *os.File {
	t.Helper()
	// Not inherited: a program started meanwhile would keep the pty alive.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = master.Close()
	return os.NewFile(uintptr(fd), "pty")
}

func (f *field) add(unit byte) *slave {
	s := &slave{registers: make(map[uint16]uint16), bits: make(map[uint16]bool), refuse: make(map[byte]byte)}
	f.slaves[unit] = s
	return s
}

// with runs fn while no request is served.
func (f *field) with(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

func (f *field) serve(master *os.File) {
	var got []byte
	buf := make([]byte, 512)
	for {
		n, err := master.Read(buf)
		if err != nil {
			return
		}
		got = append(got, buf[:n]...)
		for {
			size := requestSize(got)
			if size == 0 || len(got) < size {
				break
			}
			request := got[:size]
			got = got[size:]
			if reply := f.answer(request); len(reply) > 0 {
				if _, err := master.Write(reply); err != nil {
					return
				}
			}
		}
	}
}

func requestSize(b []byte) int {
	if len(b) < 8 {
		return 0
	}
	if b[1] == 15 || b[1] == 16 {
		return 9 + int(b[6])
	}
	return 8
}

func (f *field) answer(request []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[request[0]]++
	var answer []byte
	if s := f.slaves[request[0]]; s != nil && !s.dead {
		answer = frame(append([]byte{request[0]}, s.answer(request[1:len(request)-2])...))
	}
	if f.mangle != nil {
		answer = f.mangle(request, answer)
	}
	return answer
}

// frame appends the CRC, computed bit by bit, unlike the code under test.
func frame(b []byte) []byte {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low != 0 {
				crc ^= 0xA001
			}
		}
	}
	return append(b[:len(b):len(b)], byte(crc), byte(crc>>8))
}

// answer gives the answer to a protocol data unit.
func (s *slave) answer(pdu []byte) []byte {
	function := pdu[0]
	if code, ok := s.refuse[function]; ok {
		return []byte{function | 0x80, code}
	}
	address, count := binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
	if s.stuck && function > 4 {
		return pdu[:5]
	}
	switch function {
	case 1, 2:
		data := make([]byte, (count+7)/8)
		for i := range count {
			on, ok := s.bits[address+i]
			if !ok {
				return []byte{function | 0x80, 2}
			}
			if on {
				data[i/8] |= 1 << (i % 8)
			}
		}
		return append([]byte{function, byte(len(data))}, data...)
	case 3, 4:
		data := []byte{function, byte(2 * count)}
		for i := range count {
			word, ok := s.registers[address+i]
			if !ok {
				return []byte{function | 0x80, 2}
			}
			data = binary.BigEndian.AppendUint16(data, word)
		}
		return data
	case 5:
		s.bits[address] = count == 0xFF00
	case 6:
		s.registers[address] = count
	case 15:
		for i := range count {
			s.bits[address+i] = pdu[6+i/8]>>(i%8)&1 != 0
		}
	case 16:
		for i := range count {
			s.registers[address+i] = binary.BigEndian.Uint16(pdu[6+2*i:])
		}
	}
	return pdu[:5]
}

// serveTCP answers Modbus TCP with the slaves of f; reply says what is sent
// for a request and its answer, nil for just the answer.
func (f *field) serveTCP(reply func(request, answer []byte) []byte) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.t.Cleanup(func() { _ = conn.Close() })
			go f.serveConn(conn, reply)
		}
	}()
	return listener.Addr().String()
}

func (f *field) serveConn(conn net.Conn, reply func(request, answer []byte) []byte) {
	buf := make([]byte, 512)
	for {
		n, err := conn.Read(buf) // one request at a time: they come whole over loopback
		if err != nil {
			return
		}
		request := buf[:n]
		f.mu.Lock()
		var answer []byte
		if s := f.slaves[request[6]]; s != nil && !s.dead {
			pdu := s.answer(request[7:])
			answer = append(answer, request[:4]...)
			answer = binary.BigEndian.AppendUint16(answer, uint16(len(pdu)+1))
			answer = append(append(answer, request[6]), pdu...)
		}
		if reply != nil {
			answer = reply(request, answer)
		}
		f.mu.Unlock()
		if len(answer) == 0 {
			continue
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// start runs a poller and its line until the test ends.
func start(t testing.TB, cfg line.Config, sink adapters.Sink, devices ...DeviceConfig) (*Poller, *line.Line) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	l := line.New(cfg, log)
	p := NewPoller(l, devices, sink, log)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	group.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); group.Wait() })
	return p, l
}

// rtu gives the configuration of the line; from then on the field is changed
// in with only.
func (f *field) rtu() line.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	return line.Config{
		Name: "bus", Kind: line.RTU, Port: f.link, Retries: 1, Timeout: 60 * time.Millisecond,
		Serial: line.Serial{Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 1},
	}
}

// on makes a point of a device.
func on(device, name string, table Table, address uint16, typ Type) PointConfig {
	return PointConfig{Point: &adapters.Point{Device: device, Name: name}, Table: table, Address: address, Type: typ, Mapping: adapters.Mapping{Decimals: -1}}
}

func writable(c PointConfig, mode WriteMode) PointConfig {
	c.Write, c.Point.Writable = mode, true
	return c
}
