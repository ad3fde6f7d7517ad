package mqttcore

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/mqttcore/packet"
)

// conn is one client's network connection. Its goroutine reads; see write.go
// for who writes.
type conn struct {
	b       *Broker
	nc      net.Conn        // carries MQTT
	sock    net.Conn        // carries nc: the same, or there is a carrier between them
	carrier *carrier        // nil: no TLS and no WebSocket
	raw     syscall.RawConn // of sock; nil: not a socket, writes may wait
	at      *listener       // nil: came through none
	gone    chan struct{}   // closed when the session was given back
	dead    chan struct{}   // closed when out.err was set

	// Fixed by CONNECT.
	version   packet.Version
	sess      *session
	client    string
	proof     proof
	access    *access     // what it was judged by
	maxPacket int         // largest packet the client takes, in bytes
	window    int         // most QoS 1 and 2 messages in flight towards it
	short     *shortNames // nil: it takes no topic aliases
	keepAlive time.Duration
	since     time.Time

	// Of the reading goroutine.
	in         readBuffer
	readOnce   func(fd uintptr) bool
	rn         int
	rerr       error
	came       time.Time         // when the last bytes came
	heard      time.Time         // when the last packet came, or much of one
	fresh      int               // bytes since
	aliases    map[uint16][]byte // topic aliases of the client
	aliasBytes int               // of them, asked from Broker.memory
	will       *will             // published when the connection ends without DISCONNECT
	expiry     uint32            // session expiry interval, seconds
	saved      struct {          // what the store knows of it
		expiry uint32
		will   bool
	}
	granted struct{ clientID, keepAlive bool } // chosen by us, to be told
	up      bool                               // CONNACK said yes
	acked   bool                               // the window may have opened

	// Of the writer.
	out       outbound
	writeOnce func(fd uintptr) bool
	wbuf      []byte
	wn        int
	werr      error

	acks ackQueue
	seen struct{ bytes, publishes, sent atomic.Uint64 } // sent: bytes

	// Of the work queue, guarded by its lock.
	queued   bool
	nextWork *conn
}

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{b: b, nc: nc, sock: nc, gone: make(chan struct{}), dead: make(chan struct{}), maxPacket: packet.MaxRemaining + 5}
	c.in.memory = &b.memory
	switch nc := nc.(type) {
	case *net.TCPConn:
		c.raw, _ = nc.SyscallConn()
	case *net.UnixConn:
		c.raw, _ = nc.SyscallConn()
	}
	if c.raw != nil {
		c.readOnce, c.writeOnce = c.rawRead, c.rawWrite
	}
	return c
}

// errNormal ends a connection whose client said goodbye.
var errNormal = errors.New("client disconnected")

// goodbye is an end that the client is told about, where it has the words
// for it (MQTT 5.0, 3.14).
type goodbye struct {
	reason packet.Reason
	text   string
}

func (e *goodbye) Error() string { return e.text + " (" + e.reason.String() + ")" }

// fault says that the client did what it must not.
func (e *goodbye) fault() bool {
	switch e.reason {
	case packet.ProtocolError, packet.ReceiveMaximumExceeded, packet.TopicAliasInvalid, packet.PacketTooLarge:
		return true
	}
	return false
}

// errNoMemory ends a connection in the midst of a packet that there is no room
// for: of what all clients may have waiting (Config.MaxQueuedTotal) nothing is
// left.
var errNoMemory = bye(packet.QuotaExceeded, "no memory for the rest of a large packet")

func bye(reason packet.Reason, text string) error { return &goodbye{reason, text} }

// serve lives as long as the connection.
func (c *conn) serve() {
	err := c.converse()
	c.part(err)
	c.b.detach(c)
	close(c.gone)
	c.waitWritten()
	c.farewell(err)
	c.linger(err)
	_ = c.sock.Close()
	c.abandon()
}

// converse reads and handles packets until the connection ends, and says why
// it did.
func (c *conn) converse() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = c.fault(r)
		}
	}()
	if err := c.handshake(); err != nil {
		return err
	}
	for {
		if err := c.fill(); err != nil {
			return err
		}
		if err := c.batch(); err != nil {
			return err
		}
	}
}

// batch handles all packets that were read before anything of it is flushed.
func (c *conn) batch() error {
	r := c.b.takeRouter()
	defer c.b.giveRouter(r)
	err := c.packets(r)
	c.seen.publishes.Add(r.tally.published)
	if r.tally.packets > 0 {
		c.heard, c.fresh = c.came, 0
	}
	r.flush()
	if c.acked {
		c.acked = false
		c.sess.pump(c)
	}
	c.releaseAcks()
	c.flush()
	if err != nil {
		return err
	}
	c.waitSpace(c.b.cfg.MaxQueuedBytes)
	return c.waitAcks()
}

// fault turns a panic into the end of this connection only.
func (c *conn) fault(r any) error {
	c.b.count.panics.add(1)
	c.b.log.Error("connection ended by a fault of the program", "client", c.client, "fault", r, "stack", string(debug.Stack()))
	return bye(packet.UnspecifiedError, fmt.Sprint("fault: ", r))
}

// survive is fault for the goroutines that work for the connection.
func (c *conn) survive() {
	if r := recover(); r != nil {
		c.shut(c.fault(r))
	}
}

// part says goodbye to the client, counts and logs why.
func (c *conn) part(err error) {
	c.out.mu.Lock()
	if c.out.err != nil && !errors.Is(err, errNormal) {
		err = c.out.err // why it was given up says more than what the reader met
	}
	c.out.mu.Unlock()
	var fault *packet.Error
	var said *goodbye
	reason := packet.Success
	switch {
	case errors.As(err, &fault):
		reason = fault.Reason
		c.b.count.protocolErrors.add(1)
	case errors.As(err, &said):
		reason = said.reason
		if said.fault() {
			c.b.count.protocolErrors.add(1)
		}
	case errors.Is(err, os.ErrDeadlineExceeded) && c.up:
		reason = packet.KeepAliveTimeout
		c.b.count.keepAliveTimeouts.add(1)
		err = fmt.Errorf("nothing heard for 1.5 × %v", c.keepAlive)
	}
	if !c.up {
		c.b.log.Debug("client refused", "remote", remote(c.nc), "err", err)
		return
	}
	if reason != packet.Success {
		c.lastWords(reason, err)
	}
	c.b.log.Debug("client gone", "client", c.client, "err", err)
}

// linger lets the last bytes reach a client that is still sending: closing
// with unread input would reset the connection and destroy them.
func (c *conn) linger(err error) {
	half, ok := c.sock.(interface{ CloseWrite() error })
	if !ok || errors.Is(err, errNormal) || errors.Is(err, io.EOF) || half.CloseWrite() != nil {
		return
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.sock, lingerBytes)
}

const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 1 << 20
)

// evict ends the connection from another goroutine. Its reader closes it.
func (c *conn) evict(reason packet.Reason, text string) {
	c.lastWords(reason, bye(reason, text))
	c.out.mu.Lock()
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	c.out.mu.Unlock()
}

func remote(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil {
		return a.String()
	}
	return "unknown"
}

// readBuffer holds what was read and is not handled. Its bytes come from a
// pool and go back when nothing is left.
type readBuffer struct {
	k    *readChunk
	off  int // first byte not handled
	end  int // after the last byte read
	want int // size of the packet that begins at off, 0: not known
	held int // bytes asked from memory

	memory *budget
	frugal bool // it is held while the connection is idle
}

type readChunk struct{ b []byte }

const (
	readSize   = 32 << 10
	frugalSize = 4 << 10 // to begin with, where it is held
)

var (
	readChunks   = sync.Pool{New: func() any { return &readChunk{b: make([]byte, readSize)} }}
	frugalChunks = sync.Pool{New: func() any { return &readChunk{b: make([]byte, frugalSize)} }}
)

func (in *readBuffer) bytes() []byte {
	if in.k == nil {
		return nil
	}
	return in.k.b[in.off:in.end]
}

// take marks the next n bytes as handled.
func (in *readBuffer) take(n int) {
	in.off += n
	in.want = 0
	if in.off == in.end {
		in.off, in.end = 0, 0
	}
}

// room gives the space to read into. It grows only as bytes really come, so
// that claiming a large packet costs the claimer more than us. nil: there is
// no memory for it.
func (in *readBuffer) room() []byte {
	switch {
	case in.k != nil:
	case in.frugal:
		in.k = frugalChunks.Get().(*readChunk)
	default:
		in.k = readChunks.Get().(*readChunk)
	}
	if in.off > 0 {
		copy(in.k.b, in.k.b[in.off:in.end])
		in.off, in.end = 0, in.end-in.off
	}
	if in.end == len(in.k.b) {
		size := max(2*len(in.k.b), readSize)
		if in.want > len(in.k.b) {
			size = min(size, in.want)
		}
		if !in.memory.take(size) {
			return nil
		}
		in.memory.give(in.held)
		in.held = size
		b := make([]byte, size)
		copy(b, in.k.b)
		in.k.b = b
	}
	return in.k.b[in.end:]
}

// release gives the bytes back if none are waiting.
func (in *readBuffer) release() {
	if in.k == nil || in.off < in.end { // a packet is half here
		return
	}
	switch len(in.k.b) {
	case readSize:
		readChunks.Put(in.k)
	case frugalSize:
		frugalChunks.Put(in.k)
	}
	in.memory.give(in.held)
	*in = readBuffer{memory: in.memory, frugal: in.frugal}
}

// fill waits for bytes. It honours the keep alive: no deadline is set per
// read, it is moved on when it strikes too early.
func (c *conn) fill() error {
	for {
		n, err := c.read()
		if n > 0 {
			c.in.end += n
			c.came = time.Now()
			if c.fresh += n; c.fresh >= stallBytes || c.in.want == 0 {
				c.heard, c.fresh = c.came, 0
			}
			c.b.count.bytesReceived.add(uint64(n))
			c.seen.bytes.Add(uint64(n))
			return nil
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		if !c.up || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		due, fault := c.overdue(time.Now())
		if fault != nil {
			return fault
		}
		if err := c.readUntil(due); err != nil {
			return err
		}
	}
}

// Whoever has begun a packet must go on with it: stallBytes more of it, or its
// end, in each stallTime. Else a few bytes now and then would hold memory for
// ever. It is looked at every stallTime.
const (
	stallTime  = time.Minute
	stallBytes = 1 << 10
)

// overdue judges a silence and tells when to judge it again. A keep alive is
// kept by whole packets, or good progress of a large one (MQTT-3.1.2-22).
func (c *conn) overdue(now time.Time) (again time.Time, fault error) {
	silent := now.Sub(c.heard)
	wait := stallTime
	if c.in.off < c.in.end {
		if silent >= stallTime {
			c.b.count.stalled.add(1)
			return again, bye(packet.ImplementationSpecificError, "a packet was begun and not gone on with")
		}
		wait -= silent
	}
	if c.keepAlive > 0 {
		left := c.keepAlive*3/2 - silent
		if left <= 0 {
			return again, os.ErrDeadlineExceeded
		}
		wait = min(wait, left)
	}
	return now.Add(wait), nil
}

// readUntil sets the read deadline, unless the connection is given up: then a
// deadline in the past is what ends the reading.
func (c *conn) readUntil(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.err != nil {
		return c.out.err
	}
	return c.nc.SetReadDeadline(t)
}

// read reads once. On a plain socket it holds no buffer while it waits.
func (c *conn) read() (int, error) {
	if c.raw == nil || c.carrier != nil {
		c.in.release()
		buf := c.in.room()
		if buf == nil {
			return 0, errNoMemory
		}
		return c.nc.Read(buf)
	}
	if err := c.raw.Read(c.readOnce); err != nil {
		return 0, err
	}
	return c.rn, c.rerr
}

// rawRead is called with the descriptor; false waits until it is readable.
func (c *conn) rawRead(fd uintptr) bool {
	for {
		buf := c.in.room()
		if buf == nil {
			c.rn, c.rerr = 0, errNoMemory
			return true
		}
		n, err := syscall.Read(int(fd), buf)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.in.release()
			return false
		case err != nil:
			c.rn, c.rerr = 0, os.NewSyscallError("read", err)
		case n == 0:
			c.rn, c.rerr = 0, io.EOF
		default:
			c.rn, c.rerr = n, nil
		}
		return true
	}
}
