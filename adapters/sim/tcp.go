package sim

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// endpoint is a Modbus TCP server: one device, or a gateway with several. With
// the frames of a serial line it is a converter with devices behind it.
type endpoint struct {
	name   string
	addr   string     // as bound; the same over unplug and replug
	serial busFraming // nil: Modbus TCP
	slaves []*Slave
	plug   chan struct{} // tells run that there is a listener again, or that all is over

	mu       sync.Mutex
	listener net.Listener // nil while unplugged
	conns    map[net.Conn]struct{}
	owes     map[byte]time.Time // when a device behind a converter has sent all its answers
	counts   LineStats
	closed   bool
}

const (
	// maxConns is how many masters an endpoint serves at a time.
	maxConns = 32
	// maxOwed is how many answers may wait on one connection.
	maxOwed = 1024
	// writeLimit is the longest wait for a master that does not read.
	writeLimit = 5 * time.Second
)

func newEndpoint(c *LineConfig, slaves []*Slave) (*endpoint, error) {
	e := &endpoint{name: c.Name, addr: c.Listen, slaves: slaves, plug: make(chan struct{}, 1), conns: map[net.Conn]struct{}{}, owes: map[byte]time.Time{}}
	if c.Kind != "tcp" {
		e.serial = framingOf(c.Kind)
	}
	if e.addr == "" {
		e.addr = "127.0.0.1:0"
	}
	if err := e.open(); err != nil {
		return nil, err
	}
	e.addr = e.listener.Addr().String()
	return e, nil
}

func (e *endpoint) path() string { return e.addr }

func (e *endpoint) open() error {
	l, err := net.Listen("tcp", e.addr)
	if err != nil {
		return fmt.Errorf("line %s: is %s taken by another program?: %w", e.name, e.addr, err)
	}
	e.listener = l
	return nil
}

// run accepts masters until ctx ends or the endpoint is closed.
func (e *endpoint) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var masters sync.WaitGroup
	defer masters.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		_ = e.hangUp() // so that Accept and Read return
	})
	defer stop()
	for ctx.Err() == nil {
		e.mu.Lock()
		l, closed := e.listener, e.closed
		e.mu.Unlock()
		if closed {
			return
		}
		if l == nil {
			select {
			case <-e.plug:
			case <-ctx.Done():
			}
			continue
		}
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			continue
		}
		if err != nil {
			select { // out of descriptors, most likely: that passes
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if e.admit(conn) {
			masters.Go(func() { e.serve(ctx, conn) })
		}
	}
}

func (e *endpoint) admit(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	full := len(e.conns) >= maxConns
	if full {
		e.counts.Refused++
	}
	if full || e.listener == nil {
		_ = conn.Close()
		return false
	}
	e.conns[conn] = struct{}{}
	return true
}

// owed is something to be sent at a time.
type owed struct {
	at     time.Time
	data   []byte
	answer int  // to which it belongs
	more   bool // the answer goes on: nothing else comes before that
}

// serve reads the requests of one master; a second goroutine sends the answers
// when they are due, so that a late one holds up nothing.
func (e *endpoint) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	debts := make(chan owed, 16)
	var sender sync.WaitGroup
	sender.Go(func() { e.send(ctx, conn, debts) })
	defer func() {
		cancel()
		_ = conn.Close()
		sender.Wait()
		e.mu.Lock()
		delete(e.conns, conn)
		e.mu.Unlock()
	}()
	in := bufio.NewReader(conn)
	receive := e.receive
	if e.serial != nil {
		receive = func(in *bufio.Reader) ([]byte, error) { return e.gather(conn, in) }
	}
	for answer := 0; ; {
		raw, err := receive(in)
		if err != nil {
			return
		}
		e.count(func(c *LineStats) { c.Requests++; c.BytesIn += uint64(len(raw)) })
		now := time.Now()
		for _, bursts := range e.answer(now, raw) {
			at := now
			answer++
			for i, b := range bursts {
				at = at.Add(b.wait)
				select {
				case debts <- owed{at, b.data, answer, i+1 < len(bursts)}:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// errNoModbus tells that there is no way to find the next frame.
var errNoModbus = errors.New("this is no Modbus TCP")

// receive reads one request of Modbus TCP.
func (e *endpoint) receive(in *bufio.Reader) ([]byte, error) {
	var adu [260]byte
	if _, err := io.ReadFull(in, adu[:7]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(adu[4:])) // unit and PDU
	if protocol := binary.BigEndian.Uint16(adu[2:]); protocol != 0 || n < 2 || n > 254 {
		e.count(func(c *LineStats) { c.Bad++ })
		return nil, errNoModbus
	}
	_, err := io.ReadFull(in, adu[7:6+n])
	return adu[:6+n], err
}

// gather reads one request with the framing of a serial line. What stays
// incomplete for too long, or is too long, is dropped.
func (e *endpoint) gather(conn net.Conn, in *bufio.Reader) ([]byte, error) {
	var adu []byte
	for {
		until := time.Time{}
		if len(adu) > 0 {
			until = time.Now().Add(e.serial.patience())
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return nil, err
		}
		c, err := in.ReadByte()
		late := errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !late {
			return nil, err
		}
		if late || len(adu) > maxADU {
			e.count(func(c *LineStats) { c.Bad++ })
			adu = adu[:0]
		}
		if late {
			continue
		}
		if adu = append(adu, c); e.serial.whole(adu) {
			return adu, nil
		}
	}
}

// maxADU is the longest frame of a serial line, in ASCII.
const maxADU = 513

// answer finds the slave that a request is for and gives what it sends.
func (e *endpoint) answer(now time.Time, raw []byte) [][]burst {
	if e.serial != nil {
		return e.relay(now, raw)
	}
	framing := mbap{binary.BigEndian.Uint16(raw)}
	unit, pdu := raw[6], raw[7:]
	i := slices.IndexFunc(e.slaves, func(s *Slave) bool { return s.unit == unit })
	if i < 0 && len(e.slaves) == 1 && (unit == 0 || unit == 255) {
		i = 0 // the endpoint itself
	}
	if i < 0 {
		e.count(func(c *LineStats) { c.Answers++ })
		return [][]burst{{{0, framing.frame(unit, exception(pdu[0], targetSilent))}}}
	}
	a := e.slaves[i].answer(now, unit, pdu, raw, framing)
	if len(a.own) > 0 {
		e.count(func(c *LineStats) { c.Answers++ })
	}
	return [][]burst{a.own, a.twin}
}

// relay is answer for the devices behind a converter: nobody answers for one
// that is silent.
func (e *endpoint) relay(now time.Time, raw []byte) (all [][]burst) {
	unit, pdu, ok := e.serial.open(raw)
	if !ok {
		e.count(func(c *LineStats) { c.Bad++ })
		return nil
	}
	for _, s := range e.slaves {
		if s.unit != unit && unit != 0 {
			continue
		}
		if a := s.answer(now, unit, pdu, raw, e.serial); unit != 0 && len(a.own) > 0 {
			e.count(func(c *LineStats) { c.Answers++ })
			e.queue(unit, now, a.own)
			all = append(all, a.own, a.twin)
		}
	}
	return all
}

// queue delays the answer of a device behind a converter until it has sent all
// that it owes: it does one thing after the other.
func (e *endpoint) queue(unit byte, now time.Time, answer []burst) {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := now
	if owes := e.owes[unit]; owes.After(now) {
		answer[0].wait += owes.Sub(now)
	}
	for _, b := range answer {
		end = end.Add(b.wait)
	}
	e.owes[unit] = end
}

// send sends what is owed when it is due, until ctx ends or the master goes.
func (e *endpoint) send(ctx context.Context, conn net.Conn, debts <-chan owed) {
	defer conn.Close() // ends the reader too
	timer := time.NewTimer(0)
	defer timer.Stop()
	var waiting []owed // by time
	begun := 0         // the answer that has begun and goes on
	next := func() int {
		return slices.IndexFunc(waiting, func(o owed) bool { return begun == 0 || o.answer == begun })
	}
	for {
		if i := next(); i >= 0 {
			timer.Reset(time.Until(waiting[i].at))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case d := <-debts:
			if len(waiting) == maxOwed {
				e.count(func(c *LineStats) { c.Lost += uint64(len(d.data)) })
				continue
			}
			i := len(waiting)
			for i > 0 && waiting[i-1].at.After(d.at) {
				i--
			}
			waiting = slices.Insert(waiting, i, d)
			continue
		case <-timer.C:
		}
		for i := next(); i >= 0 && !waiting[i].at.After(time.Now()); i = next() {
			data := waiting[i].data
			begun = 0
			if waiting[i].more {
				begun = waiting[i].answer
			}
			waiting = slices.Delete(waiting, i, i+1)
			_ = conn.SetWriteDeadline(time.Now().Add(writeLimit))
			n, err := conn.Write(data)
			e.count(func(c *LineStats) { c.BytesOut += uint64(n) })
			if err != nil {
				return
			}
		}
	}
}

func (e *endpoint) count(add func(*LineStats)) {
	e.mu.Lock()
	add(&e.counts)
	e.mu.Unlock()
}

func (e *endpoint) unplug() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.listener == nil {
		return fmt.Errorf("line %s is not plugged in", e.name)
	}
	e.counts.Unplugs++
	return e.hangUp()
}

// hangUp closes the listener and the connections; mu is held.
func (e *endpoint) hangUp() error {
	var err error
	if e.listener != nil {
		err = e.listener.Close()
		e.listener = nil
	}
	for conn := range e.conns {
		_ = conn.Close() // its own goroutine forgets it
	}
	return err
}

func (e *endpoint) replug() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.listener != nil {
		return fmt.Errorf("line %s is not unplugged", e.name)
	}
	if err := e.open(); err != nil {
		return err
	}
	e.tell()
	return nil
}

func (e *endpoint) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	err := e.hangUp()
	e.tell()
	return err
}

// tell wakes run; a bell already rung is enough.
func (e *endpoint) tell() {
	select {
	case e.plug <- struct{}{}:
	default:
	}
}

func (e *endpoint) stats() LineStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts
}

func (e *endpoint) release() {}
