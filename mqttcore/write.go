package mqttcore

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"sluice/mqttcore/packet"
)

// Writing. Whoever has bytes for a connection appends them to its outbound
// buffer and later calls flush. On a plain socket flush makes one
// non-blocking write; when the kernel does not take all, a goroutine waits
// for it and ends when all is written. With TLS or WebSocket the writer has
// them turn the bytes into those for the socket first (see carrier). On what is
// no socket there is only that goroutine.

const (
	chunkSize   = 16 << 10 // first capacity of an outbound buffer
	chunkKeep   = 256 << 10
	writeStep   = 64 << 10 // largest single write that waits: progress is seen in such steps
	flushRounds = 8        // writes that a flusher makes for others before it hands over
	flushFrom   = 64 << 10 // bytes from which on a batch is not awaited
)

// chunk is a piece of outbound bytes; pooled, so that idle connections hold
// none.
type chunk struct{ b []byte }

var chunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, 0, chunkSize)} }}

func putChunk(k *chunk) {
	if cap(k.b) <= chunkKeep {
		k.b = k.b[:0]
		chunks.Put(k)
	}
}

// outbound is what waits to be written to one connection.
type outbound struct {
	mu      sync.Mutex
	pending *chunk        // nobody writes it yet; nil: empty
	taken   int           // bytes that the present writer holds
	writing bool          // someone writes; who appends leaves flushing to him
	err     error         // set once: no more bytes are taken
	greeted bool          // CONNACK said yes
	parting bool          // what waits ends with DISCONNECT
	dirty   bool          // someone has promised to flush
	held    int           // bytes asked from Broker.memory, beyond freeBytes
	hungry  bool          // service wants to be called when all is written
	space   chan struct{} // made by a reader that waits; room for one: look again

	publishes, dropped uint64 // for ClientStats
}

// size gives the bytes that wait. The caller holds mu.
func (o *outbound) size() int {
	if o.pending == nil {
		return o.taken
	}
	return o.taken + len(o.pending.b)
}

// buffer gives the buffer to append to. The caller holds mu.
func (o *outbound) buffer() *chunk {
	if o.pending == nil {
		o.pending = chunks.Get().(*chunk)
	}
	return o.pending
}

// append adds bytes that must not be dropped: answers, and messages within
// the client's window.
func (c *conn) append(p []byte) {
	o := &c.out
	o.mu.Lock()
	if o.err == nil {
		k := o.buffer()
		k.b = append(k.b, p...)
		c.account()
	}
	o.mu.Unlock()
}

// offer adds a QoS 0 message, or drops it when too much waits already. first
// says that the caller must see to a flush, full that it should now.
func (c *conn) offer(p []byte) (taken, first, full bool) {
	o := &c.out
	o.mu.Lock()
	size := o.size() + len(p)
	if o.err == nil && size <= c.b.cfg.MaxQueuedBytes && c.room(size) {
		k := o.buffer()
		k.b = append(k.b, p...)
		taken, first, full = true, !o.dirty, !o.writing && size >= flushFrom
		o.dirty = true
		o.publishes++
	} else {
		o.dropped++
	}
	o.mu.Unlock()
	return taken, first, full
}

// mark says that there is something to flush. first says that the caller must
// see to it, full that it should now.
func (c *conn) mark() (first, full bool) {
	o := &c.out
	o.mu.Lock()
	first, full = !o.dirty, !o.writing && o.size() >= flushFrom
	o.dirty = true
	o.mu.Unlock()
	return first, full
}

// post adds a PUBLISH that must not be dropped.
func post[T ~string | ~[]byte](c *conn, topic T, payload []byte, out *packet.Outgoing) {
	o := &c.out
	o.mu.Lock()
	if o.err == nil {
		k := o.buffer()
		if c.short != nil {
			k.b = appendShort(k.b, c, topic, payload, out)
		} else {
			k.b = packet.AppendPublish(k.b, c.version, topic, payload, out)
		}
		o.publishes++
		c.account()
	}
	o.mu.Unlock()
}

// congested says that a writer waits for the client and half of what may
// wait does. It asks for a call of service when all is written.
func (c *conn) congested() bool {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || !c.over(c.b.cfg.MaxQueuedBytes/2) {
		return false
	}
	o.hungry = true
	return true
}

// over says that limit bytes wait, or more than is free to each client while
// all together have reached their bound. The caller holds mu.
func (c *conn) over(limit int) bool {
	size := c.out.size()
	return size >= limit || size > freeBytes && c.b.memory.spent()
}

// behind says that a writer waits for the client and that limit bytes do.
func (c *conn) behind(limit int) bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.err == nil && c.out.writing && c.over(limit)
}

// waitSpace holds the reading of a client that does not read what it asked
// for, while limit bytes wait for it. It ends with the connection at the latest, and that within
// Config.WriteTimeout.
func (c *conn) waitSpace(limit int) {
	o := &c.out
	for {
		o.mu.Lock()
		if o.err != nil || !o.writing || !c.over(limit) {
			o.mu.Unlock()
			return
		}
		if o.space == nil {
			o.space = make(chan struct{}, 1)
		}
		o.mu.Unlock()
		select {
		case <-o.space:
		case <-c.dead:
		}
		c.heard = time.Now() // the silence was ours
	}
}

// poke lets a reader in waitSpace look again. The caller holds mu.
func (o *outbound) poke() {
	if o.space == nil {
		return
	}
	select {
	case o.space <- struct{}{}:
	default:
	}
}

// flush sees to it that what was appended gets written.
func (c *conn) flush() {
	o := &c.out
	o.mu.Lock()
	o.dirty = false
	if o.writing || o.err != nil && !o.parting || !c.unwritten() {
		o.mu.Unlock()
		return
	}
	o.writing = true
	if c.raw == nil {
		c.drainLater(nil, 0)
		o.mu.Unlock()
		return
	}
	for round := 0; ; round++ {
		k := c.takeLocked()
		o.mu.Unlock()
		k, n, err := c.writeNow(k)
		o.mu.Lock()
		if err != nil {
			c.failLocked(err)
			c.writtenLocked()
			break
		}
		c.b.count.bytesSent.add(uint64(n))
		c.seen.sent.Add(uint64(n))
		if n < len(k.b) || (round >= flushRounds && c.unwritten()) {
			c.drainLater(k, n)
			break
		}
		putChunk(k)
		o.taken = 0
		if !c.unwritten() {
			c.writtenLocked()
			break
		}
	}
	o.mu.Unlock()
}

// unwritten says that bytes wait which no writer has. The caller holds mu.
func (c *conn) unwritten() bool {
	return c.out.pending != nil || c.carrier != nil && c.carrier.waiting() > 0
}

// takeLocked gives the writer what waits; nil: only what the carrier has.
func (c *conn) takeLocked() *chunk {
	o := &c.out
	k := o.pending
	o.pending, o.taken = nil, 0
	if k != nil {
		o.taken = len(k.b)
	}
	return k
}

// writeNow makes one write that does not wait. It gives the bytes for the
// socket and how many of them were taken.
func (c *conn) writeNow(k *chunk) (sealed *chunk, n int, err error) {
	if c.carrier != nil {
		if k, err = c.carrier.seal(k); err != nil {
			return k, 0, err
		}
	}
	n, err = c.tryWrite(k.b)
	return k, n, err
}

// drainLater starts the goroutine that waits for the client. The caller holds
// mu and is the writer.
func (c *conn) drainLater(k *chunk, off int) {
	c.b.tasks.Go(func() { c.drain(k, off) })
}

// drain writes k from off on, if it is not nil, and then all that is appended
// meanwhile.
func (c *conn) drain(k *chunk, off int) {
	o := &c.out
	for {
		if k != nil {
			if err := c.writeAll(k.b[off:]); err != nil {
				c.failWriter(err)
				return
			}
			putChunk(k)
		}
		o.mu.Lock()
		o.taken = 0
		if !c.unwritten() {
			_ = c.sock.SetWriteDeadline(time.Time{})
			c.writtenLocked()
			o.mu.Unlock()
			return
		}
		k, off = c.takeLocked(), 0
		o.poke()
		o.mu.Unlock()
		if c.carrier == nil {
			continue
		}
		var err error
		if k, err = c.carrier.seal(k); err != nil {
			c.failWriter(err)
			return
		}
	}
}

// failWriter gives the connection up for what its writer met.
func (c *conn) failWriter(err error) {
	c.out.mu.Lock()
	c.failLocked(err)
	c.writtenLocked()
	c.out.mu.Unlock()
}

// writeAll writes p, waiting for the client, which must take some bytes within
// each Config.WriteTimeout.
func (c *conn) writeAll(p []byte) error {
	for len(p) > 0 {
		_ = c.sock.SetWriteDeadline(time.Now().Add(c.b.cfg.WriteTimeout))
		n, err := c.sock.Write(p[:min(len(p), writeStep)])
		p = p[n:]
		c.b.count.bytesSent.add(uint64(n))
		c.seen.sent.Add(uint64(n))
		if err == nil || n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.b.count.writeTimeouts.add(1)
			err = fmt.Errorf("the client took no bytes for %v", c.b.cfg.WriteTimeout)
		}
		return err
	}
	return nil
}

// waitWritten gives the last bytes a moment to leave.
func (c *conn) waitWritten() {
	late := time.NewTimer(lingerTime)
	defer late.Stop()
	o := &c.out
	for {
		o.mu.Lock()
		if !o.writing {
			o.mu.Unlock()
			return
		}
		if o.space == nil {
			o.space = make(chan struct{}, 1)
		}
		o.mu.Unlock()
		select {
		case <-o.space:
		case <-late.C:
			return
		}
	}
}

// writtenLocked ends a writer's turn: nothing waits any more.
func (c *conn) writtenLocked() {
	o := &c.out
	o.writing, o.taken = false, 0
	c.repay()
	o.poke()
	if o.hungry {
		o.hungry = false
		c.b.jobs.push(c)
	}
}

// failLocked gives the connection up; its reader learns it from the socket.
func (c *conn) failLocked(err error) {
	c.giveUpLocked(err)
	c.out.pending = nil
	if !c.out.writing {
		c.repay()
	}
	_ = c.sock.Close()
}

// giveUpLocked takes no more bytes for the connection; those that wait are
// still written.
func (c *conn) giveUpLocked(err error) {
	o := &c.out
	if o.err == nil {
		o.err = err
		close(c.dead)
	}
}

// shut closes the connection at once.
func (c *conn) shut(err error) {
	c.out.mu.Lock()
	c.failLocked(err)
	c.out.mu.Unlock()
}

// tryWrite makes one write that does not wait and tells what was taken.
func (c *conn) tryWrite(p []byte) (int, error) {
	c.wbuf = p
	err := c.raw.Write(c.writeOnce)
	c.wbuf = nil
	if err == nil {
		err = c.werr
	}
	return c.wn, err
}

// rawWrite is called with the descriptor, by one goroutine at a time: the
// writer.
func (c *conn) rawWrite(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), c.wbuf)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.wn, c.werr = 0, nil
		case err != nil:
			c.wn, c.werr = 0, os.NewSyscallError("write", err)
		default:
			c.wn, c.werr = n, nil
		}
		return true
	}
}
