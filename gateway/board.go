package main

import (
	"context"
	"sync"
	"time"

	"sluice/adapters"
)

// row is a point's newest reading and where it was published.
type row struct {
	adapters.Reading
	topic string
}

// text is the value with its unit, or why there is none.
func (r row) text() string {
	switch {
	case r.Time.IsZero():
		return "waiting"
	case r.Quality != adapters.Good:
		return r.Quality.String()
	case r.Point.Unit == "":
		return r.Value.String()
	default:
		return r.Value.String() + " " + r.Point.Unit
	}
}

// presence is whether a device answers.
type presence struct {
	Known  bool
	Online bool
	Reason string
	Since  time.Time
}

// board remembers the newest reading of each point for people to look at: the
// terminal, the status page. All its methods may be called from any goroutine.
type board struct {
	mu       sync.Mutex
	index    map[*adapters.Point]int
	latest   []row // in the order of the configuration
	devices  map[string]presence
	watchers map[*watcher]bool

	summary func() string // one line about the gateway's state; set before use
}

func newBoard() *board {
	return &board{
		index:    map[*adapters.Point]int{},
		devices:  map[string]presence{},
		watchers: map[*watcher]bool{},
		summary:  func() string { return "" },
	}
}

// add makes a point known. It is called before the gateway runs.
func (b *board) add(p *adapters.Point, topic string) {
	b.index[p] = len(b.latest)
	b.latest = append(b.latest, row{Reading: adapters.Reading{Point: p, Quality: adapters.Offline}, topic: topic})
}

// update takes a new reading.
func (b *board) update(r adapters.Reading) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, known := b.index[r.Point]
	if !known {
		return
	}
	b.latest[i].Reading = r
	for w := range b.watchers {
		w.offer(b.latest[i])
	}
}

// present notes that a device began or ceased to answer.
func (b *board) present(device string, online bool, reason string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices[device] = presence{Known: true, Online: online, Reason: reason, Since: now}
}

// device tells what is known of a device.
func (b *board) device(name string) presence {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.devices[name]
}

// online counts the devices that answer.
func (b *board) online() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.devices {
		if d.Online {
			n++
		}
	}
	return n
}

// rows copies the newest readings, in the order of the configuration.
func (b *board) rows() []row {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]row(nil), b.latest...)
}

// of gives the newest reading of one point.
func (b *board) of(p *adapters.Point) (row, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, known := b.index[p]
	if !known {
		return row{}, false
	}
	return b.latest[i], true
}

// watcherLimit bounds what waits for one watcher; beyond it the oldest go.
const watcherLimit = 4096

// watcher receives every reading from the moment it watches.
type watcher struct {
	mu      sync.Mutex
	rows    []row
	dropped int
	more    chan struct{} // holds one token while rows wait
}

func (b *board) watch() *watcher {
	w := &watcher{more: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers[w] = true
	return w
}

func (b *board) unwatch(w *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchers, w)
}

func (w *watcher) offer(r row) {
	w.mu.Lock()
	if len(w.rows) >= watcherLimit {
		w.rows = w.rows[1:]
		w.dropped++
	}
	w.rows = append(w.rows, r)
	w.mu.Unlock()
	poke(w.more)
}

// take waits for readings and takes all that wait, with how many were dropped
// since the last call. It gives nil when ctx has ended.
func (w *watcher) take(ctx context.Context) ([]row, int) {
	for {
		select {
		case <-ctx.Done():
			return nil, 0
		case <-w.more:
		}
		w.mu.Lock()
		rows, dropped := w.rows, w.dropped
		w.rows, w.dropped = nil, 0
		w.mu.Unlock()
		if len(rows) > 0 {
			return rows, dropped
		}
	}
}
