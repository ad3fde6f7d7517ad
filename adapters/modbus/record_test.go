package modbus

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/adapters"
)

// record is a Sink that keeps everything.
type record struct {
	t     testing.TB
	mu    sync.Mutex
	all   []adapters.Reading
	last  map[string]adapters.Reading // by device/point
	on    map[string]string           // device → online or the reason
	downs map[string]int              // device → times it went offline
	news  chan struct{}
}

func newRecord(t testing.TB) *record {
	return &record{t: t, last: make(map[string]adapters.Reading), on: make(map[string]string), downs: make(map[string]int), news: make(chan struct{}, 1)}
}

func (r *record) Put(readings []adapters.Reading) {
	r.mu.Lock()
	r.all = append(r.all, readings...)
	for _, reading := range readings {
		r.last[reading.Point.Device+"/"+reading.Point.Name] = reading
	}
	r.mu.Unlock()
	r.tell()
}

func (r *record) Availability(device string, online bool, reason string) {
	if online {
		reason = "online"
	}
	r.mu.Lock()
	r.on[device] = reason
	if !online {
		r.downs[device]++
	}
	r.mu.Unlock()
	r.tell()
}

func (r *record) tell() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// until waits until cond holds; it is asked after each news.
func (r *record) until(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.After(testPatience)
	for {
		if r.holds(cond) {
			return
		}
		select {
		case <-r.news:
		case <-deadline:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("%s did not happen in %v; last readings: %v; devices: %v", what, testPatience, r.last, r.on)
		}
	}
}

func (r *record) holds(cond func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cond()
}

// reads waits until the point was published as text, or as its quality.
func (r *record) reads(point, want string) {
	r.t.Helper()
	r.until(point+" = "+want, func() bool {
		reading, ok := r.last[point]
		if ok && reading.Quality != adapters.Good {
			return reading.Quality.String() == want && reading.Value.IsNone()
		}
		return ok && reading.Value.String() == want
	})
}

func (r *record) online(device string) {
	r.t.Helper()
	r.until(device+" online", func() bool { return r.on[device] == "online" })
}

func (r *record) offline(device string) {
	r.t.Helper()
	r.until(device+" offline", func() bool { return r.on[device] != "" && r.on[device] != "online" })
}

// only waits for n good readings and checks all good ones of the points named
// against the values they may have, parted by blanks.
func (r *record) only(n int, want map[string]string) {
	r.t.Helper()
	good := 0
	r.until(fmt.Sprint(n, " good readings"), func() bool {
		good = 0
		for _, reading := range r.all {
			if reading.Quality == adapters.Good {
				good++
			}
		}
		return good >= n
	})
	r.never(func(reading adapters.Reading) bool {
		values, ok := want[reading.Point.Device+"/"+reading.Point.Name]
		return ok && reading.Quality == adapters.Good && !slices.Contains(strings.Fields(values), reading.Value.String())
	})
}

// never checks that nothing of the kind was published.
func (r *record) never(bad func(adapters.Reading) bool) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, reading := range r.all {
		if bad(reading) {
			r.t.Errorf("published %s/%s = %v, %v", reading.Point.Device, reading.Point.Name, reading.Value, reading.Quality)
		}
		if reading.Quality != adapters.Good && !reading.Value.IsNone() {
			r.t.Errorf("%s/%s is %v and has a value", reading.Point.Device, reading.Point.Name, reading.Quality)
		}
	}
}
