package line

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// Stats is what a line has measured. Counters count since the start of the
// program and never go back.
type Stats struct {
	Name   string
	Kind   Kind
	Port   string
	Open   bool
	Reason string    // why it is not open, "" while it is
	Since  time.Time // of the last change of Open

	Opens    uint64 // times the port was opened, the first included
	Failures uint64 // attempts to open that failed

	Requests uint64
	Answers  uint64 // requests with a valid answer
	Timeouts uint64 // requests on which nothing usable came in time
	Checksum uint64 // answers whose checksum was wrong
	Short    uint64 // answers that broke off
	Mismatch uint64 // answers of another unit, function or length
	Noise    uint64 // times the line would not fall silent
	Late     uint64 // times something came when nobody waited for it any more
	Garbage  uint64 // bytes thrown away
	Rejected uint64 // jobs refused because their lane was full
	BytesOut uint64 // bytes written
	BytesIn  uint64 // bytes read
	Echoes   bool   // the adapter hears itself
	Driver   DriverStats
	Busy     time.Duration  // time the wire was taken by requests, answers and the silences they need
	Load     float64        // Busy as a share of the last 10 s, 0 to 1
	Waiting  [laneCount]int // jobs waiting now, by Lane
	P50, P99 time.Duration  // from request to answer, over the last 512 answers
}

// DriverStats is what the driver of a serial port counted while it was open.
type DriverStats struct {
	Known    bool   // whether the driver counts at all
	Framing  uint64 // characters without a stop bit: another speed or format, or noise
	Parity   uint64 // characters of the wrong parity
	Overruns uint64 // characters lost in the UART or the driver
	Breaks   uint64 // times the line stood still at 0: a short circuit, or A and B swapped
}

const loadWindow = 10 // seconds

// meter gathers the figures. The owner writes, anybody reads.
type meter struct {
	mu      sync.Mutex
	stats   Stats
	start   time.Time
	latency Window
	second  [loadWindow]int64         // which second a bucket counts
	busy    [loadWindow]time.Duration // busy time in it
}

func newMeter(cfg Config) *meter {
	now := time.Now()
	return &meter{
		start:   now,
		latency: NewWindow(512),
		stats:   Stats{Name: cfg.Name, Kind: cfg.Kind, Port: cfg.Port, Since: now, Reason: "not opened yet"},
	}
}

func (m *meter) count(counter *uint64, n int) {
	m.mu.Lock()
	*counter += uint64(n)
	m.mu.Unlock()
}

func (m *meter) failed()         { m.count(&m.stats.Failures, 1) }
func (m *meter) wasted(n int)    { m.count(&m.stats.Garbage, n) }
func (m *meter) wrote(n int)     { m.count(&m.stats.BytesOut, n) }
func (m *meter) received(n int)  { m.count(&m.stats.BytesIn, n) }
func (m *meter) noisy(bytes int) { m.thrown(&m.stats.Noise, bytes) }
func (m *meter) late(bytes int)  { m.thrown(&m.stats.Late, bytes) }

func (m *meter) echoed() {
	m.mu.Lock()
	m.stats.Echoes = true
	m.mu.Unlock()
}

func (m *meter) thrown(counter *uint64, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*counter++
	m.stats.Garbage += uint64(bytes)
	m.stats.BytesIn += uint64(bytes)
}

func (m *meter) opened() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Opens++
	if !m.stats.Open {
		m.stats.Open, m.stats.Since = true, time.Now()
	}
	m.stats.Reason = ""
}

func (m *meter) closed(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stats.Open {
		m.stats.Open, m.stats.Since = false, time.Now()
	}
	m.stats.Reason = reason
}

// counted adds what the driver counted between two looks.
func (m *meter) counted(now, before tally) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := &m.stats.Driver
	d.Known = true
	d.Framing += uint64(uint32(now.frame - before.frame))
	d.Parity += uint64(uint32(now.parity - before.parity))
	d.Overruns += uint64(uint32(now.overrun-before.overrun)) + uint64(uint32(now.bufOverrun-before.bufOverrun))
	d.Breaks += uint64(uint32(now.brk - before.brk))
}

// sent counts a request without an answer.
func (m *meter) sent(begin, end time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Requests++
	m.occupied(end, end.Sub(begin))
}

// exchanged counts a request and how it ended.
func (m *meter) exchanged(begin, end time.Time, silence time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Requests++
	m.occupied(end, end.Sub(begin)+silence)
	var frame *FrameError
	switch {
	case err == nil:
		m.stats.Answers++
		m.latency.Add(end.Sub(begin))
	case !errors.As(err, &frame):
		m.stats.Timeouts++
	case frame.Fault == Checksum:
		m.stats.Checksum++
	case frame.Fault == Short:
		m.stats.Short++
	case frame.Fault == Mismatch:
		m.stats.Mismatch++
	default:
		m.stats.Noise++
	}
}

// overheard counts the time that others took on the wire.
func (m *meter) overheard(end time.Time, d time.Duration) {
	m.mu.Lock()
	m.occupied(end, d)
	m.mu.Unlock()
}

func (m *meter) occupied(end time.Time, d time.Duration) {
	m.stats.Busy += d
	second := int64(end.Sub(m.start) / time.Second)
	i := second % loadWindow
	if m.second[i] != second {
		m.second[i], m.busy[i] = second, 0
	}
	m.busy[i] += d
}

func (m *meter) snapshot() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.P50, s.P99 = m.latency.Percentiles()
	age := time.Since(m.start)
	now := int64(age / time.Second)
	var busy time.Duration
	for i, second := range m.second {
		if second > now-loadWindow {
			busy += m.busy[i]
		}
	}
	// The present second has only begun.
	span := min(age, age-time.Duration(now-loadWindow+1)*time.Second)
	if span > 0 {
		s.Load = min(1, float64(busy)/float64(span))
	}
	return s
}

// Window holds the last durations of a measurement, for percentiles. It has
// no lock of its own.
type Window struct {
	ring []time.Duration
	next int
}

// NewWindow makes a window of the last n.
func NewWindow(n int) Window { return Window{ring: make([]time.Duration, 0, n)} }

// Add takes one in and lets the oldest go.
func (w *Window) Add(d time.Duration) {
	if len(w.ring) < cap(w.ring) {
		w.ring = append(w.ring, d)
		return
	}
	w.ring[w.next] = d
	w.next = (w.next + 1) % len(w.ring)
}

// Len tells how many there are.
func (w *Window) Len() int { return len(w.ring) }

// Percentiles gives the median and the 99th percentile, 0 if there are none.
func (w *Window) Percentiles() (p50, p99 time.Duration) {
	n := len(w.ring)
	if n == 0 {
		return 0, 0
	}
	sorted := slices.Clone(w.ring)
	slices.Sort(sorted)
	return sorted[n/2], sorted[min(n-1, n*99/100)]
}
