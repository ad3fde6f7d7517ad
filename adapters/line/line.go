// Package line owns the wires: one serial port or one network endpoint has
// one owner goroutine, and nobody else ever touches it. Who wants something
// of the line hands in a job; jobs wait in lanes. The owner keeps the silences
// a bus needs, reopens a port that was unplugged and measures what happens.
//
// The package is made for Linux.
package line

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// Lane is a queue of jobs. Commands go before what somebody asks who sets the
// line up, and that before polls; but after each job that overtook others one
// of these gets its turn, so that a command never waits for more than one job,
// and nothing waits for ever.
type Lane uint8

// The lanes, in the order of their priority.
const (
	Command       Lane = iota
	Commissioning      // a tool of an installer
	Poll
	laneCount = iota
)

// Line is one line. Its methods may be called from any goroutine.
type Line struct {
	cfg    Config
	log    *slog.Logger
	lanes  *lanes
	meter  *meter
	ready  chan struct{}
	ran    atomic.Bool
	states []func(open bool, reason string)
	ears   []func(chunk []byte, at time.Time, fresh bool)

	// What follows belongs to the owner goroutine.
	wire    wire
	waiter  *waiter
	broken  error     // why the wire must be closed after the present job
	reason  string    // for being closed, the last
	told    error     // the reason that was logged last; nil: none since the line was sound
	lost    time.Time // when the wire was closed last
	tries   int       // attempts to open since the line was sound last
	since   time.Time // when it was opened
	spoke   bool      // something has come in since
	sound   bool      // and also once it had been open for a while
	flapped bool      // it was opened last and closed before it was sound
	fresh   bool      // nothing was heard since the port was opened
	last    time.Time // when the last byte was on the wire
	silence time.Duration
	gap     time.Duration // the longest pause inside an answer beside the time its bytes take
	longest time.Duration // how long an answer that has begun in time may last
	echo    echo
	thrown  []byte // before the last exchange
	beside  []byte // the last answer
	timely  int    // answers in a row that came in their time, up to paced
	mute    int    // timeouts in a row without a single byte
	kept    []byte // of a stream: bytes that came after the last answer
	buf     [bufSize]byte
	host    machine
	noted   map[string]bool // what was told of the port
	counted tally           // what its driver had counted when looked at last
	looked  time.Time       // when that was
}

// bufSize bounds what is taken in while waiting for one answer. It holds the
// longest Modbus frame several times, and a long line of text.
const bufSize = 8192

// New makes a line; it starts nothing and opens nothing. cfg is taken to be
// valid.
func New(cfg Config, log *slog.Logger) *Line {
	if !cfg.Kind.Serial() {
		cfg.Port = endpoint(cfg.Port)
	}
	l := &Line{
		cfg:   cfg,
		log:   log.With("line", cfg.Name),
		lanes: newLanes(),
		meter: newMeter(cfg),
		ready: make(chan struct{}),
		host:  thisMachine,
		noted: map[string]bool{},
	}
	l.pace()
	return l
}

// The pauses that are allowed inside an answer.
const (
	byteGap   = 25 * time.Millisecond  // a USB adapter hands over what it has every 16 ms
	asciiGap  = 100 * time.Millisecond // Modbus ASCII allows a second, but for devices on telephone lines
	streamGap = 250 * time.Millisecond // a converter sends on what it has when it likes, and networks stall
)

// pace sets the silences and pauses of the line.
func (l *Line) pace() {
	char := l.cfg.Serial.CharTime()
	l.gap, l.longest = byteGap, 2*byteGap+320*char
	switch l.cfg.Kind {
	case RTU:
		// A UART hands over the last characters when four more have not come.
		l.gap += 4 * char
		// One bit more: a second stop bit may still be on the wire.
		l.silence = l.cfg.Serial.T35() + l.cfg.Serial.bitTime()
	case ASCII:
		// Frames need no silence; one character's time lets the device that
		// spoke last let go of the wire.
		l.silence = char + l.cfg.Serial.bitTime()
		l.gap, l.longest = asciiGap, 2*asciiGap+640*char
	case UART:
		l.longest = 2*byteGap + 4096*char
	case RTUTCP, ASCIITCP:
		// How fast the wire behind the converter is, is not known here.
		l.gap, l.longest = streamGap, 4*streamGap
	}
}

// Ready is closed after the first attempt to open the port, whatever its end.
func (l *Line) Ready() <-chan struct{} { return l.ready }

// String names the task.
func (l *Line) String() string { return "line " + l.cfg.Name }

// Config gives what the line was made of.
func (l *Line) Config() Config { return l.cfg }

// Stats gives a snapshot of the figures.
func (l *Line) Stats() Stats {
	s := l.meter.snapshot()
	s.Waiting, s.Rejected = l.lanes.lengths()
	return s
}

// OnState asks to be told of every change between open and closed, of the
// first state, and of a new reason for being closed. fn runs on the owner
// goroutine, as jobs do; it must not block nor call Do. Call it before Run;
// several may ask.
func (l *Line) OnState(fn func(open bool, reason string)) { l.states = append(l.states, fn) }

// Listen takes what comes in unasked on a UART line, or on one that is only
// listened to. fn runs on the owner
// goroutine, as jobs do, and must not block nor keep chunk. fresh marks the
// first chunk after the port was opened: it may begin anywhere. Call it
// before Run; several may listen.
func (l *Line) Listen(fn func(chunk []byte, at time.Time, fresh bool)) {
	l.ears = append(l.ears, fn)
}

// Do runs fn on the owner goroutine when the lane's turn comes, and returns
// its error once it has ended. While fn waits its turn, the end of ctx
// withdraws it; once begun, fn is waited for (its exchanges heed ctx too). On
// a line that is not open Do returns ErrClosed at once; before the first
// attempt to open it, jobs wait.
func (l *Line) Do(ctx context.Context, lane Lane, fn func(ctx context.Context, c *Conn) error) error {
	j := &job{ctx: ctx, fn: fn, done: make(chan error, 1)}
	if err := l.lanes.push(lane, j); err != nil {
		return fmt.Errorf("line %s: %w", l.cfg.Name, err)
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if l.lanes.withdraw(j) {
			return ctx.Err()
		}
		return <-j.done // begun: it ends soon, for its exchanges heed ctx
	}
}

// Run owns the line until ctx ends; it can be called once. A port that can't
// be opened, or vanishes, is no error: it is tried again for as long as Run
// runs.
func (l *Line) Run(ctx context.Context) error {
	if l.ran.Swap(true) {
		return fmt.Errorf("line %s: Run was called twice", l.cfg.Name)
	}
	if err := l.lanes.arm(); err != nil {
		return fmt.Errorf("line %s: %w", l.cfg.Name, err)
	}
	defer l.lanes.disarm()
	waiter, err := newWaiter()
	if err != nil {
		return fmt.Errorf("line %s: %w", l.cfg.Name, err)
	}
	defer waiter.close()
	if err := waiter.watch(l.lanes.alarm); err != nil {
		return fmt.Errorf("line %s: %w", l.cfg.Name, err)
	}
	l.waiter = waiter
	stop := context.AfterFunc(ctx, l.lanes.wake)
	defer stop()
	for ctx.Err() == nil {
		if l.wire == nil {
			l.open(ctx)
			continue
		}
		if j := l.lanes.next(); j != nil {
			j.done <- j.fn(j.ctx, &Conn{line: l, ctx: j.ctx, run: ctx})
		} else if err := l.idle(ctx); err != nil {
			l.broken = err
		}
		if l.broken != nil {
			l.closed(l.broken)
		} else if time.Since(l.looked) >= idleLook {
			l.count()
		}
	}
	if l.wire != nil {
		l.wire.close()
		l.wire = nil
	}
	l.lanes.shut(fmt.Errorf("%w: %w", ErrClosed, ErrStopped))
	return nil
}

// The pauses between attempts to open: they double from firstPause.
const (
	firstPause      = 100 * time.Millisecond
	longestPause    = 500 * time.Millisecond // a look for a path costs next to nothing
	longestPauseTCP = 2 * time.Second
)

// open makes one attempt to open the port, after the pause that is due.
func (l *Line) open(ctx context.Context) {
	if l.tries > 0 {
		longest := longestPause
		if !l.cfg.Kind.Serial() {
			longest = longestPauseTCP
		}
		timer := time.NewTimer(min(firstPause<<min(l.tries-1, 10), longest))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	w, err := l.connect(ctx)
	if ctx.Err() != nil {
		if w != nil {
			w.close()
		}
		return
	}
	if err != nil {
		l.tries++
		l.meter.failed()
		l.closed(err)
	} else {
		l.opened(w)
	}
	select {
	case <-l.ready:
	default:
		close(l.ready)
	}
}

func (l *Line) connect(ctx context.Context) (wire, error) {
	if !l.cfg.Kind.Serial() {
		s, err := dial(ctx, l.cfg.Port)
		if err != nil {
			return nil, err // not s: a nil *stream in a wire is not nil
		}
		return s, nil
	}
	p, err := l.host.open(l.cfg, l.once)
	if err != nil {
		return nil, err
	}
	p.wait = l.waiter
	if err := l.waiter.watch(p.side); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (l *Line) opened(w wire) {
	l.wire, l.broken, l.fresh = w, nil, true
	l.forget()
	l.since, l.spoke, l.sound = time.Now(), false, false
	if p, ok := w.(*port); ok {
		l.counted, _ = p.tally() // what was before is not ours
	}
	// What is sent at once might be taken for the end of a frame of before.
	l.last = time.Now()
	l.meter.opened()
	l.lanes.admit()
	if !l.flapped {
		l.told = nil
		l.log.Info("line is open", "port", l.cfg.Port)
	}
	for _, fn := range l.states {
		fn(true, "")
	}
}

// closed closes the wire, if it is open, and tells why it is not.
func (l *Line) closed(why error) {
	wasOpen := l.wire != nil
	if wasOpen {
		l.wire.close()
		l.wire, l.broken, l.lost = nil, nil, time.Now()
		if l.spoke {
			l.prove()
		}
		if !l.sound { // accepted and dropped is no better than refused, even after a word
			l.tries++
			l.flapped = true
		}
	}
	l.lanes.shut(fmt.Errorf("%w: %w", ErrClosed, why))
	reason := why.Error()
	l.meter.closed(reason)
	if !l.implied(why, wasOpen) {
		l.told = why
		l.log.Warn("line is closed and will be tried again", "reason", reason)
	}
	if wasOpen || reason != l.reason {
		for _, fn := range l.states {
			fn(false, reason)
		}
	}
	l.reason = reason
}

// lossSettles is how long after the loss of a wire the reasons why it can't be
// opened again are taken for consequences of that.
const lossSettles = 2 * time.Second

// implied reports whether the reason for being closed says no more than what
// was logged already.
func (l *Line) implied(why error, wasOpen bool) bool {
	switch {
	case l.told == nil:
		return false
	case why.Error() == l.told.Error():
		return true
	case wasOpen:
		return false
	case strings.Contains(l.told.Error(), why.Error()):
		return true
	case errors.Is(l.told, errGone) && absent(why):
		return true
	}
	return time.Since(l.lost) < lossSettles
}

// once tells something of the port, the first time that it is so.
func (l *Line) once(text string) {
	if !l.noted[text] {
		l.noted[text] = true
		l.log.Warn(text, "port", l.cfg.Port)
	}
}

// count takes over what the port's driver has counted since the last look.
func (l *Line) count() {
	l.looked = time.Now()
	if p, ok := l.wire.(*port); ok {
		if now, ok := p.tally(); ok {
			l.meter.counted(now, l.counted)
			l.counted = now
		}
	}
}

// soundAfter is for how long a line must be open for what comes in to prove
// that it works: a peer may answer, and part at the next request, for ever.
const soundAfter = 3 * time.Second

// heard counts bytes that came in.
func (l *Line) heard(n int) {
	l.meter.received(n)
	l.spoke = true
	l.prove()
}

// prove notes that the line works if it has been open for long enough.
func (l *Line) prove() {
	if l.sound || time.Since(l.since) < soundAfter {
		return
	}
	l.sound, l.tries, l.told = true, 0, nil
	if l.flapped {
		l.flapped = false
		l.log.Info("line is open", "port", l.cfg.Port)
	}
}

// forget drops what was learned from a connection that is no more.
func (l *Line) forget() {
	l.echo, l.timely, l.mute, l.kept = l.cfg.Echo.known(), 0, 0, l.kept[:0]
}

// idleLook is how often an idle serial port is looked at, so that an unplugged
// adapter shows although nothing is asked.
const idleLook = time.Second

// idle waits for something to do.
func (l *Line) idle(ctx context.Context) error {
	if len(l.ears) > 0 && (l.cfg.Kind == UART || l.cfg.Listen) {
		var err error
		waitErr := l.waiter.until(time.Now().Add(idleLook), func() bool {
			err = l.hear()
			return err != nil || l.lanes.calm()
		})
		return errors.Join(err, waitErr)
	}
	if !l.cfg.Kind.Serial() {
		select {
		case <-l.lanes.signal:
		case <-ctx.Done():
		}
		return nil
	}
	timer := time.NewTimer(idleLook)
	defer timer.Stop()
	select {
	case <-l.lanes.signal:
	case <-ctx.Done():
	case <-timer.C:
		return l.wire.alive()
	}
	return nil
}

// hear hands what has come in unasked to those who listen.
func (l *Line) hear() error {
	for {
		n, err := l.wire.take(l.buf[:])
		if err != nil || n == 0 {
			return err
		}
		at := time.Now()
		l.heard(n)
		if l.cfg.Listen {
			l.meter.overheard(at, time.Duration(n)*l.cfg.Serial.CharTime())
		}
		l.tell(l.buf[:n], at)
		if n < len(l.buf) {
			return nil // jobs may wait; the rest makes the next wait end at once
		}
	}
}

func (l *Line) tell(chunk []byte, at time.Time) {
	if len(chunk) == 0 {
		return
	}
	for _, fn := range l.ears {
		fn(chunk, at, l.fresh)
	}
	l.fresh = false
}
