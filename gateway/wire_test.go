package main

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The two ends of a wire.
const (
	nearEnd = "10.73.0.1"
	farEnd  = "10.73.0.2"
)

// wire is a line of IP packets between two places that does what lines do. The
// kernel's own netem is not in every kernel; TUN devices are.
type wire struct {
	near, far *place
	ends      [2]*os.File

	mu    sync.Mutex
	is    weather
	lot   *rand.Rand
	calls map[uint16]bool // ports of the near end that asked for a connection
}

// weather is the state of a wire.
type weather struct {
	delay  time.Duration // each way
	loss   float64       // of packets, 0 to 1
	silent bool          // everything disappears
	reset  bool          // every TCP packet is answered by a reset, and becomes one
}

// packetRoom is how many packets may be on the wire in one direction.
const packetRoom = 4096

func newWire(t testing.TB) *wire {
	t.Helper()
	w := &wire{near: newPlace(t, unix.CLONE_NEWNET), far: newPlace(t, unix.CLONE_NEWNET), lot: rand.New(rand.NewPCG(15, 16)), calls: map[uint16]bool{}}
	w.ends[0] = w.near.tun(t, nearEnd)
	w.ends[1] = w.far.tun(t, farEnd)
	var all sync.WaitGroup
	for i := range w.ends {
		all.Go(func() { w.carry(w.ends[i], w.ends[1-i]) })
	}
	t.Cleanup(func() {
		for _, f := range w.ends {
			f.Close()
		}
		all.Wait()
	})
	return w
}

// tun makes the end of a wire with its address.
func (p *place) tun(t testing.TB, addr string) (f *os.File) {
	t.Helper()
	err := p.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("wire")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), "tun")
		return nil
	})
	if err != nil {
		t.Fatalf("TUN device: %v", err)
	}
	p.command(t, "ip", "link", "set", "lo", "up")
	p.command(t, "ip", "address", "add", addr+"/30", "dev", "wire")
	p.command(t, "ip", "link", "set", "wire", "up")
	return f
}

// set changes the weather.
func (w *wire) set(is weather) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.is = is
}

// asked counts the connections that the near end has asked for since the last
// time.
func (w *wire) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.calls)
	clear(w.calls)
	return n
}

// carry moves packets one way until the end is closed.
func (w *wire) carry(from, to *os.File) {
	type parcel struct {
		packet []byte
		due    time.Time
	}
	line := make(chan parcel, packetRoom)
	var out sync.WaitGroup
	out.Go(func() {
		wait := time.NewTimer(0)
		defer wait.Stop()
		for p := range line {
			if d := time.Until(p.due); d > 0 {
				wait.Reset(d)
				<-wait.C
			}
			to.Write(p.packet) // an interface that is going down takes none
		}
	})
	defer out.Wait()
	defer close(line)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		packet := append([]byte(nil), buf[:n]...)
		back, is, lost := w.judge(packet)
		if back != nil {
			from.Write(back)
		}
		if lost {
			continue
		}
		select {
		case line <- parcel{packet, time.Now().Add(is.delay)}:
		default: // as in any router
		}
	}
}

// judge decides what becomes of a packet, and what goes back to its sender.
func (w *wire) judge(packet []byte) (back []byte, is weather, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, isTCP := tcpOf(packet)
	if isTCP && s.flags()&(tcpSyn|tcpAck) == tcpSyn {
		w.calls[s.port()] = true
	}
	if w.is.reset && isTCP && s.flags()&tcpRst == 0 {
		back = s.refusal()
		s.becomeReset()
	}
	return back, w.is, w.is.silent || w.lot.Float64() < w.is.loss
}

// segment is an IPv4 packet with a TCP segment in it.
type segment struct {
	packet []byte
	tcp    []byte
}

const (
	tcpSyn = 0x02
	tcpRst = 0x04
	tcpAck = 0x10
)

func tcpOf(packet []byte) (segment, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != unix.IPPROTO_TCP {
		return segment{}, false
	}
	head := int(packet[0]&15) * 4
	if len(packet) < head+20 {
		return segment{}, false
	}
	return segment{packet, packet[head:]}, true
}

func (s segment) flags() byte  { return s.tcp[13] }
func (s segment) port() uint16 { return binary.BigEndian.Uint16(s.tcp) }

// refusal makes the reset that goes back to the sender of s (RFC 9293, 3.10.7).
func (s segment) refusal() []byte {
	b := append([]byte(nil), s.packet[:20]...)
	b = append(b, s.tcp[:20]...)
	b[0] = 4<<4 | 5
	copy(b[12:16], s.packet[16:20])
	copy(b[16:20], s.packet[12:16])
	r := segment{b, b[20:]}
	copy(r.tcp[0:2], s.tcp[2:4])
	copy(r.tcp[2:4], s.tcp[0:2])
	copy(r.tcp[4:8], s.tcp[8:12])
	length := uint32(len(s.tcp) - int(s.tcp[12]>>4)*4)
	if s.flags()&tcpSyn != 0 {
		length++
	}
	binary.BigEndian.PutUint32(r.tcp[8:], binary.BigEndian.Uint32(s.tcp[4:])+length)
	r.seal()
	return b
}

// becomeReset makes s a reset for its receiver.
func (s segment) becomeReset() {
	clear(s.tcp[20:])
	s.seal()
}

// seal makes a bare header with RST of what s is.
func (s segment) seal() {
	s.tcp[12], s.tcp[13] = 5<<4, tcpRst|tcpAck
	clear(s.tcp[14:20])
	clear(s.packet[10:12])
	binary.BigEndian.PutUint16(s.packet[2:], uint16(len(s.packet)))
	binary.BigEndian.PutUint16(s.packet[10:], checksum(0, s.packet[:len(s.packet)-len(s.tcp)]))
	binary.BigEndian.PutUint16(s.tcp[16:], checksum(uint32(unix.IPPROTO_TCP+len(s.tcp))+sum(s.packet[12:20]), s.tcp))
}

// checksum is that of RFC 1071.
func checksum(start uint32, b []byte) uint16 {
	n := start + sum(b)
	for n>>16 != 0 {
		n = n&0xffff + n>>16
	}
	return ^uint16(n)
}

func sum(b []byte) (n uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		n += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		n += uint32(b[len(b)-1]) << 8
	}
	return n
}
