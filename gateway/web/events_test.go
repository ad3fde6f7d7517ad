package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// events is one page's stream.
type events struct {
	t    *testing.T
	body io.Closer
	scan *bufio.Scanner
}

// follow connects to the stream as the page that is served now would.
func follow(t *testing.T, s *Server) *events {
	t.Helper()
	resp, err := http.Get(s.url("/events?layout=" + s.recentPage().Layout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("got %s, %s", resp.Status, kind)
	}
	scan := bufio.NewScanner(resp.Body)
	scan.Buffer(nil, 1<<20)
	return &events{t, resp.Body, scan}
}

// next reads one event and wants it to be of this name.
func (e *events) next(name string) (data string) {
	e.t.Helper()
	got, data, ok := e.read()
	if !ok || got != name {
		e.t.Fatalf("got event %q with %s (%v), want %q", got, data, e.scan.Err(), name)
	}
	return data
}

func (e *events) read() (name, data string, ok bool) {
	for e.scan.Scan() {
		switch key, value, _ := strings.Cut(e.scan.Text(), ": "); key {
		case "event":
			name = value
		case "data":
			data = value
		case "":
			return name, data, true
		}
	}
	return name, data, false
}

// cells reads a cells event.
func (e *events) cells() map[string][2]string {
	e.t.Helper()
	data := e.next("cells")
	cells := map[string][2]string{}
	if err := json.Unmarshal([]byte(data), &cells); err != nil {
		e.t.Fatalf("%v in %s", err, data)
	}
	return cells
}

// quiet are fast limits without beats.
func quiet() limits {
	l := fast
	l.beat = time.Hour
	return l
}

// still is a gateway where nothing changes with time.
func still() *field {
	src := cellar()
	src.status.Started = time.Time{}
	src.status.Upstreams = nil
	for i := range src.status.Devices {
		d := &src.status.Devices[i]
		d.LastOK = time.Time{}
		for j := range d.Points {
			d.Points[j].Time = time.Time{}
		}
	}
	return src
}

func TestEventsCarryWhatChanged(t *testing.T) {
	src := still()
	s := serve(t, src, quiet())
	page := s.recentPage()
	ev := follow(t, s)
	first := ev.cells()
	if len(first) != len(page.cells) {
		t.Errorf("first %d cells, want all %d", len(first), len(page.cells))
	}
	if got := first["device/meter/point/voltage/value"]; got != [2]string{"231.4\u00a0V", ""} {
		t.Errorf("voltage: %q", got)
	}

	src.set(func(f *field) {
		f.status.Devices = append([]Device{}, f.status.Devices...)
		pump := &f.status.Devices[1]
		pump.Online, pump.Reason = true, ""
	})
	got := ev.cells()
	want := map[string][2]string{
		"summary":           {"No problems: 2 of 2 devices online.", "good"},
		"device/pump/state": {"online", "good"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after the pump came back: %q, want %q", got, want)
	}
}

func TestEventsBeat(t *testing.T) {
	ev := follow(t, serve(t, still(), fast))
	ev.next("cells")
	for range 3 {
		ev.next("beat")
	}
}

// TestEventsOutliveTheRequestLimit follows for longer than a request may take
// to arrive and an answer may take to be written.
func TestEventsOutliveTheRequestLimit(t *testing.T) {
	l := fast
	l.read, l.write = 300*time.Millisecond, 300*time.Millisecond
	began := time.Now()
	ev := follow(t, serve(t, still(), l))
	ev.next("cells")
	for time.Since(began) < 3*l.write {
		ev.next("beat")
	}
}

func TestEventsTellANewLayout(t *testing.T) {
	src := still()
	s := serve(t, src, quiet())
	ev := follow(t, s)
	ev.next("cells")
	before := s.recentPage().Layout
	src.set(func(f *field) { f.status.Devices = f.status.Devices[:1] })
	if data := ev.next("layout"); data == strconv.Quote(before) {
		t.Errorf("the layout is still %s", data)
	}
	if name, _, ok := ev.read(); ok {
		t.Errorf("an event %q after the layout changed", name)
	}

	resp, body := get(t, s, "/events?layout="+before)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, "event: layout\n") {
		t.Errorf("a page of the old layout got %s %q", resp.Status, body)
	}
}

// TestLayoutIgnoresOrder checks that a source without a fixed order doesn't
// make pages load over and over.
func TestLayoutIgnoresOrder(t *testing.T) {
	a, b := cellar().status, cellar().status
	b.Devices = []Device{b.Devices[1], b.Devices[0]}
	now := time.Now()
	one, two := newPage(a, nil, now), newPage(b, nil, now)
	if one.Layout != two.Layout {
		t.Errorf("layouts %s and %s", one.Layout, two.Layout)
	}
}

func TestEventsHead(t *testing.T) {
	s := serve(t, cellar(), quiet())
	resp, _ := ask(t, s, http.MethodHead, "/events", "")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD /events: %s, %v", resp.Status, resp.Header)
	}
}

func TestStreamLimit(t *testing.T) {
	s := serve(t, still(), quiet())
	var all []*events
	for range maxStreams {
		ev := follow(t, s)
		ev.next("cells")
		all = append(all, ev)
	}
	resp, body := get(t, s, "/events")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %s %q", resp.Status, body)
	}
	_, metrics := get(t, s, "/metrics")
	for _, line := range []string{
		fmt.Sprintf("sluice_web_streams %d\n", maxStreams),
		"sluice_web_streams_refused_total 1\n",
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %q in the metrics", line)
		}
	}
	all[0].body.Close()
	until(t, "a stream is free again", func() bool { return s.streams.Load() < maxStreams })
	follow(t, s).next("cells")
}

// restless is a Source whose every value differs from one look to the next.
type restless struct {
	looks atomic.Uint64
	now   [2]Status
}

func (r *restless) Status() Status   { return r.now[r.looks.Add(1)%2] }
func (r *restless) Health() []string { return nil }

func newRestless() *restless {
	r := &restless{}
	for i := range r.now {
		value := json.RawMessage(strconv.Quote(strings.Repeat(strconv.Itoa(i), 150)))
		var points []Point
		for n := range 500 {
			points = append(points, Point{Name: fmt.Sprint("p", n), Value: value, Quality: "good"})
		}
		r.now[i].Devices = []Device{{Name: "meter", Points: points}}
	}
	return r
}

// TestSlowPageIsCutOff lets a page connect and not read: its stream ends, and
// another one goes on.
func TestSlowPageIsCutOff(t *testing.T) {
	l := quiet()
	l.refresh, l.write = time.Millisecond, 100*time.Millisecond
	s := serve(t, newRestless(), l)

	slow, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if err := slow.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(slow, "GET /events?layout=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", s.recentPage().Layout)
	until(t, "the slow page is cut off", func() bool { return s.slowStreams.Load() == 1 })
	until(t, "its place is free", func() bool { return s.streams.Load() == 0 })
	ev := follow(t, s)
	ev.next("cells")
	ev.next("cells")
}
