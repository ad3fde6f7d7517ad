// Package modbus polls Modbus devices over a line, in RTU, ASCII and TCP
// frames, and carries out commands. The line's owner goroutine does the work; a Poller only says
// when. No number is published that is not proven to be the answer to the
// question asked.
package modbus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// Poller polls the devices of one line. Its methods may be called from any
// goroutine.
type Poller struct {
	line    *line.Line
	cfg     line.Config
	sink    adapters.Sink
	log     *slog.Logger
	client  *client
	devices []*device
	wake    chan struct{} // holds one
	ready   chan struct{}
	once    sync.Once

	// What follows belongs to the line's owner goroutine.
	round     time.Duration // of the reads without a period, as planned; 0: there are none
	commanded time.Time     // when the last command came
	hurried   bool          // reads are kept short, for commands come
	now, soon []due         // reused
	guests    []*device     // units that only other masters ask, through the door
	waits     [classes]bool // in which a read was due when the last was chosen
	owed      [classes]time.Duration

	mu      sync.Mutex // guards the figures of the devices, and what follows
	asked   *device    // last
	heeded  bool       // it answered
	foreign uint64
}

// NewPoller makes the poller of line l, which must not be of kind uart; the
// devices are taken to be valid. It starts nothing; call it before l.Run.
func NewPoller(l *line.Line, devices []DeviceConfig, sink adapters.Sink, log *slog.Logger) *Poller {
	p := &Poller{
		line:   l,
		cfg:    l.Config(),
		sink:   sink,
		log:    log.With("line", l.Config().Name),
		client: newClient(l.Config().Kind),
		wake:   make(chan struct{}, 1),
		ready:  make(chan struct{}),
	}
	for _, c := range devices {
		p.devices = append(p.devices, newDevice(p, c))
	}
	p.round = roundOf(p.cfg, devices)
	for _, d := range p.devices {
		d.blocks = d.planner().plan(d.points)
	}
	l.OnState(p.lineChanged)
	return p
}

// Ready is closed when polling has begun.
func (p *Poller) Ready() <-chan struct{} { return p.ready }

// String names the task.
func (p *Poller) String() string { return "poll " + p.cfg.Name }

// Device gives the device of that name to write to, nil if it is not on this
// line.
func (p *Poller) Device(name string) adapters.Writer {
	for _, d := range p.devices {
		if d.cfg.Name == name {
			return d
		}
	}
	return nil
}

// Run polls until ctx ends. A line that is closed, or devices that do not
// answer, are no error.
func (p *Poller) Run(ctx context.Context) error {
	p.once.Do(func() { close(p.ready) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next, err := time.Time{}, error(nil)
		if len(p.devices) > 0 {
			err = p.line.Do(ctx, line.Poll, func(ctx context.Context, c *line.Conn) error {
				next = p.step(ctx, c)
				return nil
			})
		}
		pause := time.Until(next)
		switch {
		case errors.Is(err, line.ErrClosed) || len(p.devices) == 0:
			pause = time.Hour // the line tells when it is open
		case err != nil && ctx.Err() == nil:
			p.log.Warn("polling is delayed", "error", err)
			pause = time.Second
		case pause <= 0:
			continue
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-p.wake:
		case <-ctx.Done():
		}
	}
	return nil
}

func (p *Poller) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// lineChanged runs on the owner goroutine.
func (p *Poller) lineChanged(open bool, reason string) {
	now := time.Now()
	for _, d := range p.devices {
		if !open {
			d.goOffline("line "+p.cfg.Name+": "+reason, now)
			continue
		}
		d.probe, d.fails = now, 0
		d.forgive()
	}
	p.rouse()
}

// step makes the reads that are due, the most urgent first, on the owner
// goroutine, until another job wants the line or a read has to be waited for;
// it tells when that is due.
func (p *Poller) step(ctx context.Context, c *line.Conn) (next time.Time) {
	for {
		begin := time.Now()
		p.hurry(begin)
		d, b, at := p.pick(begin)
		if d == nil {
			return at
		}
		d.poll(ctx, c, b)
		end := time.Now()
		p.spent(b, end.Sub(begin))
		if c.Yield() {
			return end
		}
	}
}

const (
	// commandWait is the longest read, as predicted, while commands come: a
	// command can't overtake the read that has begun.
	commandWait = 80 * time.Millisecond
	// commandsEnd is after what time without a command none is expected.
	commandsEnd = time.Minute
)

// longest is the longest read that may be planned now, 0 for any.
func (p *Poller) longest() time.Duration {
	if p.hurried {
		return commandWait
	}
	return 0
}

// hurry plans for short reads when commands begin to come, and for cheap ones
// when they have ended.
func (p *Poller) hurry(now time.Time) {
	come := !p.commanded.IsZero() && now.Sub(p.commanded) < commandsEnd
	if come == p.hurried {
		return
	}
	p.hurried = come
	for _, d := range p.devices {
		d.replan(true)
	}
}

// Stats gives a snapshot of each device's figures, in the order of the
// configuration.
func (p *Poller) Stats() []DeviceStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := make([]DeviceStats, len(p.devices))
	for i, d := range p.devices {
		stats[i] = d.stats
		stats[i].P50, stats[i].P99 = d.latency.Percentiles()
		_, stats[i].Wait = d.waits.Percentiles()
	}
	return stats
}

// DeviceStats is what was measured of one device. Counters never go back.
type DeviceStats struct {
	Name   string
	Unit   uint8
	Online bool
	Reason string    // why it is not online
	Since  time.Time // of the last change of Online

	Requests     uint64
	Answers      uint64 // exceptions included
	Timeouts     uint64
	BadFrames    uint64 // wrong checksum, broken off, of another unit, function or length
	Exceptions   uint64
	Codes        [12]uint64    // exceptions by their code, the last for all higher ones
	Spoilt       uint64        // of BadFrames: wrong checksum, or broken off
	Strangers    uint64        // of BadFrames: another unit answered
	Stranger     uint8         // the last that did
	Late         uint64        // answers that came after their time was over
	Again        uint64        // answers that came although there had been one
	Garbage      uint64        // bytes after its turn that are no frame
	Busy         time.Duration // that its requests and their answers took of the line
	Skipped      uint64        // reads that were dropped because their next was due already
	Writes       uint64
	WriteErrors  uint64
	BadRegisters int           // points that the device says it does not have
	LastAnswer   time.Time     // zero: never
	P50, P99     time.Duration // from request to answer, over the last 128 answers
	Wait         time.Duration // of 99 % of them from the end of the request to the begin of the answer
	Timeout      time.Duration // the wait for an answer as learned so far, 0: not yet

	// Of a device that is only listened to:
	Unheard bool     // nothing of it was heard for its Stale, although the line is open
	Unread  []string // points that nobody has read for as long since it is online
}
