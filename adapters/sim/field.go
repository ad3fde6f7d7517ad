// Package sim is a simulated field: RS-485 lines with Modbus RTU slaves and
// UARTs with talking devices behind real ptys, and Modbus TCP endpoints. It
// lets a configuration run without hardware and is the judge in tests: bytes
// take the time they take on a real wire, silence and collisions are watched,
// devices misbehave on demand, and every value can be asked for its past.
//
// It shares no code with the masters it judges.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Field is a set of simulated lines. Its methods may be called from any
// goroutine.
type Field struct {
	log     *slog.Logger
	names   []string // in the order of the configuration
	lines   map[string]*line
	folder  string // temporary folder of the links, "" if none was needed
	ready   chan struct{}
	running sync.Mutex // held by Run
}

// line is a simulated line with all that is on it.
type line struct {
	player
	slaves  map[uint8]*Slave
	talkers []*Talker
}

// player plays a line: a serial or an endpoint.
type player interface {
	path() string
	run(ctx context.Context)
	unplug() error
	replug() error
	close() error
	release() // after close, when run has returned
	stats() LineStats
}

// LineStats counts what happened on a line since New. On a UART a request is
// a line of text.
type LineStats struct {
	Requests   uint64        // frames from the master with a correct checksum, for any unit
	Bad        uint64        // frames from the master that no device could understand
	Answers    uint64        // answers given, faulty ones included
	Violations uint64        // requests begun less than t3.5 after other traffic ended
	Overlaps   uint64        // requests begun while an answer was on the wire
	Collisions uint64        // groups of bytes to the master garbled by another transmission
	Unheard    uint64        // requests missed because the slave owed an answer or wants its t3.5
	BytesIn    uint64        // from the master
	BytesOut   uint64        // to the master, those included that went nowhere
	Lost       uint64        // bytes to the master that nobody fetched
	Refused    uint64        // TCP connections beyond the limit
	Unplugs    uint64        // calls of Unplug
	Busy       time.Duration // time in which bytes crossed, both ways added
}

// New checks the lines and opens their ptys and listeners, so that Path is
// known; it starts no goroutine. Close the Field when done with it, whether
// it has run or not.
func New(lines []LineConfig, log *slog.Logger) (*Field, error) {
	f := &Field{log: log, lines: map[string]*line{}, ready: make(chan struct{})}
	cal := newCalendar(time.Now())
	links := map[string]bool{}
	for i := range lines {
		c := &lines[i]
		err := c.Validate()
		if err == nil && f.lines[c.Name] != nil {
			err = &fieldError{"name", "there is another line of this name"}
		}
		if err == nil && links[c.Link] {
			err = &fieldError{"link", "another line has this link"}
		}
		links[c.Link] = c.Link != ""
		var l *line
		if err == nil {
			l, err = f.newLine(c, cal)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("simulated line %q: %w", c.Name, err), f.Close())
		}
		f.names = append(f.names, c.Name)
		f.lines[c.Name] = l
		log.Debug("simulated line", "line", c.Name, "kind", c.Kind, "path", l.path())
	}
	return f, nil
}

func (f *Field) newLine(c *LineConfig, cal calendar) (*line, error) {
	l := &line{slaves: map[uint8]*Slave{}}
	var slaves []*Slave
	var port *serial
	wake := func() {}
	if !c.network() {
		link := c.Link
		if link == "" {
			if f.folder == "" {
				var err error
				if f.folder, err = os.MkdirTemp("", "sluice-sim-"); err != nil {
					return nil, fmt.Errorf("a folder for links to ptys: %w", err)
				}
			}
			link = filepath.Join(f.folder, strings.ReplaceAll(c.Name, "/", "_"))
		}
		var err error
		if port, err = newSerial(c, link); err != nil {
			return nil, err
		}
		wake = port.bell.ring
	}
	for i := range c.Slaves {
		s := newSlave(&c.Slaves[i], cal, wake)
		slaves = append(slaves, s)
		l.slaves[s.unit] = s
	}
	for i := range c.Talkers {
		l.talkers = append(l.talkers, newTalker(&c.Talkers[i], cal, wake))
	}
	switch {
	case c.network():
		e, err := newEndpoint(c, slaves)
		if err != nil {
			return nil, err
		}
		l.player = e
	case c.Kind == "uart":
		m := newChatter(c, l.talkers)
		m.deliver = port.deliver
		port.model, l.player = m, port
	default:
		m := newBus(c, slaves)
		m.deliver = port.deliver
		port.model, l.player = m, port
	}
	return l, nil
}

// Lines gives the names of the lines in the order of the configuration.
func (f *Field) Lines() []string { return append([]string(nil), f.names...) }

// Path gives where a master finds the line: the path of a link to a pty, or
// host:port. It stays the same over Unplug and Replug. "" if there is no
// such line.
func (f *Field) Path(line string) string {
	if l := f.lines[line]; l != nil {
		return l.path()
	}
	return ""
}

// Run plays all lines until ctx ends or the Field is closed and then returns
// nil. It may be called once. It leaves the ptys open for Close; TCP masters
// are cut off.
func (f *Field) Run(ctx context.Context) error {
	f.running.Lock()
	defer f.running.Unlock()
	select {
	case <-f.ready:
		return errors.New("a simulated field runs once: make a new one")
	default:
	}
	var lines sync.WaitGroup
	for _, l := range f.lines {
		lines.Go(func() { l.run(ctx) })
	}
	close(f.ready)
	lines.Wait()
	return nil
}

// Ready is closed when Run has started to play the lines.
func (f *Field) Ready() <-chan struct{} { return f.ready }

// String names the task.
func (f *Field) String() string { return "simulated field" }

// Close closes ptys, links, listeners and connections, and waits for Run to
// return if it runs. Closing again does nothing.
func (f *Field) Close() error {
	var errs []error
	for _, l := range f.lines {
		errs = append(errs, l.close())
	}
	f.running.Lock()
	defer f.running.Unlock()
	for _, l := range f.lines {
		l.release()
	}
	if f.folder != "" {
		errs = append(errs, os.RemoveAll(f.folder))
	}
	return errors.Join(errs...)
}

// Slave gives the slave of a unit, nil if there is none.
func (f *Field) Slave(line string, unit uint8) *Slave {
	if l := f.lines[line]; l != nil {
		return l.slaves[unit]
	}
	return nil
}

// Talker gives the n-th talker of a line, from 0; nil if there is none.
func (f *Field) Talker(line string, n int) *Talker {
	if l := f.lines[line]; l != nil && n >= 0 && n < len(l.talkers) {
		return l.talkers[n]
	}
	return nil
}

// Unplug takes the line away as pulling its adapter does: the link vanishes
// and whoever has the pty open sees it hang up; a TCP endpoint drops its
// connections and refuses new ones.
func (f *Field) Unplug(line string) error {
	l := f.lines[line]
	if l == nil {
		return fmt.Errorf("there is no simulated line %q", line)
	}
	return l.unplug()
}

// Replug brings the line back at the same Path. The devices kept their values.
func (f *Field) Replug(line string) error {
	l := f.lines[line]
	if l == nil {
		return fmt.Errorf("there is no simulated line %q", line)
	}
	return l.replug()
}

// Stats gives the counters of a line; zeros if there is no such line.
func (f *Field) Stats(line string) LineStats {
	if l := f.lines[line]; l != nil {
		return l.stats()
	}
	return LineStats{}
}
