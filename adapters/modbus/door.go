package modbus

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"sluice/adapters/line"
)

// DoorConfig describes the door of a line for other masters.
type DoorConfig struct {
	Listen string // host:port; "" for no door, port 0 for any free one
	Writes bool   // other masters may write as well
}

// Door lets other masters use the line of a Poller over Modbus TCP: what they
// ask goes to the devices under the unit ids of the line, takes turns with the
// polls, and is answered with what the device answers. Its methods may be
// called from any goroutine.
type Door struct {
	cfg    DoorConfig
	poller *Poller
	log    *slog.Logger
	ready  chan struct{}
	seats  chan struct{} // taken by the requests that wait or are under way
	turn   chan struct{} // held by the one that is in the line's lane
	rested time.Time     // when the polls have had as long as the last one; belongs to who holds turn

	// guests are the units that the poller does not know. They belong to the
	// line's owner goroutine.
	guests map[byte]*device

	mu      sync.Mutex
	stats   DoorStats
	clients map[net.Conn]*visit
	crowd   crowd
}

// DoorStats is what a door has counted. Counters never go back.
type DoorStats struct {
	Address string // where it listens, "" while it does not
	Clients int    // connected now

	Connects   uint64 // clients let in
	TurnedAway uint64 // clients that came when there were too many
	PushedOut  uint64 // clients that had to make room for these
	Garbled    uint64 // clients parted from because what they sent is no Modbus TCP
	Requests   uint64
	Answers    uint64 // of the devices, exceptions included
	Refused    uint64 // writes that are not allowed, and requests that make no sense
	Busy       uint64 // refused because too many waited already (exception 6)
	NoPath     uint64 // met a line that is not open (exception 10)
	Silent     uint64 // met a device that gave no usable answer (exception 11)
}

// The bounds of a door.
const (
	doorClients  = 16               // see visit.go for who gives its place to one more
	doorSeats    = 8                // a request more waits for seven others at most
	doorPatience = 5 * time.Second  // after that nobody waits for the answer any more
	doorRest     = 5 * time.Second  // for a request that has begun, and for taking an answer
	doorIdle     = 10 * time.Minute // after which a silent client gives its place to another
)

// NewDoor makes the door of p's line; it starts nothing. Call it before the
// line runs.
func NewDoor(p *Poller, cfg DoorConfig) *Door {
	d := &Door{
		cfg:     cfg,
		poller:  p,
		log:     p.log,
		ready:   make(chan struct{}),
		seats:   make(chan struct{}, doorSeats),
		turn:    make(chan struct{}, 1),
		guests:  make(map[byte]*device),
		clients: make(map[net.Conn]*visit),
	}
	return d
}

// Ready is closed when the door is open.
func (d *Door) Ready() <-chan struct{} { return d.ready }

// String names the task.
func (d *Door) String() string { return "share " + d.poller.cfg.Name }

// Stats gives a snapshot of the figures.
func (d *Door) Stats() DoorStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Clients = len(d.clients)
	return s
}

func (d *Door) count(counter *uint64) {
	d.mu.Lock()
	*counter++
	d.mu.Unlock()
}

// Run lets masters in until ctx ends. It can be called once, and fails at
// once where the address can't be had.
func (d *Door) Run(ctx context.Context) error {
	door, err := net.Listen("tcp", d.cfg.Listen)
	if err != nil {
		return fmt.Errorf("%w; give another address as share, or end who has it", err)
	}
	d.mu.Lock()
	d.stats.Address = door.Addr().String()
	d.mu.Unlock()
	d.log.Info("line is shared with other masters", "address", door.Addr(), "writes", d.cfg.Writes)
	close(d.ready)
	defer context.AfterFunc(ctx, func() { _ = door.Close() })()
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := door.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case err != nil:
			d.log.Warn("another master was not let in", "error", err)
			pause(ctx, time.Second) // no descriptors left, most likely
		case !d.enter(conn):
			_ = conn.Close()
		default:
			serving.Go(func() {
				defer d.leave(conn)
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				d.serve(ctx, conn)
			})
		}
	}
}

// serve answers one client, one request after the other: what it sends in
// advance waits in its connection.
func (d *Door) serve(ctx context.Context, conn net.Conn) {
	in := bufio.NewReaderSize(conn, tcpHeader+mostPDU)
	var frame [tcpHeader + mostPDU]byte
	for {
		request, err := d.receive(conn, in, frame[:])
		if err != nil {
			return
		}
		d.asked(conn)
		answer := d.answer(ctx, request[6], request[tcpHeader:])
		reply := append(frame[:0:0], request[:tcpHeader]...)
		binary.BigEndian.PutUint16(reply[4:], uint16(1+len(answer)))
		if err := conn.SetWriteDeadline(time.Now().Add(doorRest)); err != nil {
			return
		}
		if _, err := conn.Write(append(reply, answer...)); err != nil {
			return
		}
	}
}

// receive reads one request into frame (Modbus Messaging on TCP/IP V1.0b, 3.1.3).
func (d *Door) receive(conn net.Conn, in *bufio.Reader, frame []byte) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(doorIdle)); err != nil {
		return nil, err
	}
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(doorRest)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(in, frame[:tcpHeader]); err != nil {
		return nil, err
	}
	protocol, size := binary.BigEndian.Uint16(frame[2:]), int(binary.BigEndian.Uint16(frame[4:]))
	if protocol != 0 || size < 2 || size > 1+mostPDU {
		d.count(&d.stats.Garbled) // there is no way to find the next request
		return nil, line.BadFrame(line.Noise, "what came is no Modbus TCP")
	}
	_, err := io.ReadFull(in, frame[tcpHeader:tcpHeader-1+size])
	return frame[:tcpHeader-1+size], err
}

// answer gives the answer to a request, an exception where there is none.
func (d *Door) answer(ctx context.Context, unit byte, request []byte) []byte {
	refuse := func(code Exception, counter *uint64) []byte {
		d.count(counter)
		return []byte{request[0] | exceptionBit, byte(code)}
	}
	if code := objection(request); code != 0 {
		return refuse(code, &d.stats.Refused)
	}
	if d.tooLong(unit, request) {
		return refuse(IllegalValue, &d.stats.Refused)
	}
	if _, writes := written(request); writes && !d.cfg.Writes {
		return refuse(IllegalFunction, &d.stats.Refused)
	}
	if d.poller.cfg.Kind != line.TCP && (unit == 0 || unit > 247) {
		return refuse(GatewayPath, &d.stats.NoPath) // no device can have that id there
	}
	answer, err := d.ask(ctx, unit, request)
	var code Exception
	switch {
	case err == nil:
		d.count(&d.stats.Answers)
		return answer
	case errors.As(err, &code):
		return refuse(code, &d.stats.Answers)
	case errors.Is(err, line.ErrClosed):
		return refuse(GatewayPath, &d.stats.NoPath)
	case errors.Is(err, line.ErrFull), errors.Is(err, context.DeadlineExceeded):
		return refuse(Busy, &d.stats.Busy)
	}
	return refuse(GatewayTarget, &d.stats.Silent)
}

// tooLong reports whether the answer of a unit, whose registers may be wide,
// would not fit into a frame.
func (d *Door) tooLong(unit byte, pdu []byte) bool {
	for _, dev := range d.poller.devices {
		if dev.cfg.Unit == unit {
			r := request{pdu: pdu, wide: dev.cfg.Wide}
			q, reads := r.question()
			return reads && q.size() > mostData
		}
	}
	return false
}

// ask puts a request to a unit when its turn comes. One request of all the
// clients is in the line's lane at a time, and where it made polls wait, they
// then have the line for as long as it took: however many clients there are,
// and however long the devices take, they leave the polls half of the time.
func (d *Door) ask(ctx context.Context, unit byte, request []byte) (answer []byte, err error) {
	select {
	case d.seats <- struct{}{}:
		defer func() { <-d.seats }()
	default:
		return nil, line.ErrFull
	}
	ctx, cancel := context.WithTimeout(ctx, doorPatience+2*d.poller.cfg.Timeout)
	defer cancel()
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for { // again while an earlier answer might pass for this one's
		pause(ctx, time.Until(d.rested))
		err = d.poller.line.Do(ctx, line.Commissioning, func(ctx context.Context, c *line.Conn) error {
			begin := time.Now()
			dev, known := d.device(unit)
			answer, err = dev.relay(c, request)
			if known {
				dev.relayed(ctx, request, err)
			}
			if end := time.Now(); c.Waits(line.Poll) {
				d.rested = end.Add(end.Sub(begin))
			}
			return err
		})
		if !errors.Is(err, errOwing) {
			return answer, err
		}
		pause(ctx, standAside)
	}
}

// pause waits for so long, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// device finds the device with that unit id. One that is not configured is
// remembered for what it owes. It runs on the owner goroutine.
func (d *Door) device(unit byte) (dev *device, known bool) {
	for _, dev := range d.poller.devices {
		if dev.cfg.Unit == unit {
			return dev, true
		}
	}
	guest := d.guests[unit]
	if guest == nil {
		guest = newDevice(d.poller, DeviceConfig{Name: fmt.Sprint("unit ", unit), Unit: unit})
		d.guests[unit] = guest
		d.poller.guests = append(d.poller.guests, guest)
	}
	return guest, false
}
