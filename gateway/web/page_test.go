package web

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// elements parses a page into its elements, in order.
func elements(t *testing.T, body string) []*html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var all []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
	}
	return all
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// TestPageWithoutScripts checks that the page is complete as it comes.
func TestPageWithoutScripts(t *testing.T) {
	resp, body := get(t, serve(t, cellar(), defaultLimits), "/")
	if kind := resp.Header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", kind)
	}
	cells := map[string]string{}
	for _, n := range elements(t, body) {
		key := attr(n, "data-cell")
		if key == "" {
			continue
		}
		if _, twice := cells[key]; twice {
			t.Errorf("cell %s is there twice", key)
		}
		cells[key] = text(n) + "|" + attr(n, "data-state")
	}
	for key, want := range map[string]string{
		"summary":                            "Not all is well: 1 of 2 devices online, 0 of 1 upstream connected.|warn",
		"uptime":                             "1 d 2 h|",
		"device/meter/state":                 "online|good",
		"device/pump/state":                  "offline: timeout|bad",
		"device/pump/timeouts":               "44|warn",
		"device/pump/last-answer":            "never|",
		"device/meter/point/voltage/value":   "231.4\u00a0V|",
		"device/meter/point/voltage/quality": "good|good",
		"device/meter/point/relay/value":     "true|",
		"device/meter/point/relay/age":       "1 h 30 min ago|",
		"device/meter/point/serial/value":    "A-17|",
		"device/meter/point/energy/value":    "–|",
		"device/meter/point/energy/quality":  "bad register|bad",
		"device/meter/point/new/quality":     "waiting|warn",
		"device/meter/point/new/age":         "never|",
		"upstream/cloud/state":               "not connected: connection refused|bad",
		"upstream/cloud/backlog":             "1,204 messages, 96.3 KiB, the oldest 12 min old|",
		"upstream/cloud/last-change":         "12 min ago|",
		"upstream/cloud/dead-letters":        "2|warn",
		"upstream/cloud/in-flight":           "3 of 99|",
		"upstream/cloud/rate":                "messages wait for it|",
		"upstream/cloud/last-dead-letter":    "home/x: too large|",
		"upstream/cloud/last-refusal":        "none|",
		"line/rs485/state":                   "open|good",
		"line/rs485/busy":                    "42 %|",
		"line/rs485/response":                "half within 12 ms, 99 % within 200 ms|",
		"broker/clients":                     "7|",
		"clients/0/name":                     "panel, user anna|",
		"clients/0/state":                    "connected, MQTT 5.0, 3 min|good",
		"clients/0/waiting":                  "–|",
		"clients/1/state":                    "away, 2 h|",
		"clients/1/waiting":                  "1,204 messages, 96.3 KiB|",
		"clients/1/dropped":                  "3|warn",
		"clients/7/name":                     "|",
		"store/on-disk":                      "4.0 MiB|",
		"store/state":                        "working|good",
	} {
		if cells[key] != want {
			t.Errorf("%s: %q, want %q", key, cells[key], want)
		}
	}
	if strings.Contains(body, "hunter2") {
		t.Error("the password of the upstream is shown")
	}
}

// TestPageIsSelfContained checks that the page works under any path and loads
// nothing from elsewhere, as its content policy demands.
func TestPageIsSelfContained(t *testing.T) {
	_, body := get(t, serve(t, cellar(), defaultLimits), "/")
	for _, n := range elements(t, body) {
		for _, key := range []string{"href", "src"} {
			if u := attr(n, key); strings.HasPrefix(u, "/") || strings.Contains(u, ":") {
				t.Errorf("<%s %s=%q> is not relative", n.Data, key, u)
			}
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has %s", n.Data, a.Key)
			}
		}
		if n.Data == "style" || n.Data == "script" && attr(n, "src") == "" {
			t.Errorf("<%s> inline", n.Data)
		}
	}
	for name, content := range map[string][]byte{"page.js": pageJS, "page.css": pageCSS} {
		if s := string(content); strings.Contains(s, "//cdn") || strings.Contains(s, "http:") || strings.Contains(s, "https:") ||
			strings.Contains(s, "innerHTML") || strings.Contains(s, "@import") {
			t.Errorf("%s reaches outside", name)
		}
	}
}

// TestPageForScreenReaders checks what a reader of the page by ear depends on.
func TestPageForScreenReaders(t *testing.T) {
	_, body := get(t, serve(t, cellar(), defaultLimits), "/")
	ids := map[string]*html.Node{}
	var all = elements(t, body)
	for _, n := range all {
		if id := attr(n, "id"); id != "" {
			if ids[id] != nil {
				t.Errorf("id %q is there twice", id)
			}
			ids[id] = n
		}
	}
	heading, seen := 0, map[string]int{}
	for _, n := range all {
		seen[n.Data]++
		switch n.Data {
		case "html":
			if attr(n, "lang") == "" {
				t.Error("the page has no language")
			}
		case "th":
			if attr(n, "scope") == "" {
				t.Errorf("header %q has no scope", text(n))
			}
		case "table":
			if first := n.FirstChild; first == nil || first.NextSibling == nil || first.NextSibling.Data != "caption" {
				t.Error("a table has no caption")
			}
		case "section":
			if ids[attr(n, "aria-labelledby")] == nil {
				t.Errorf("section %q has no name", attr(n, "id"))
			}
		case "h1", "h2", "h3":
			if level := int(n.Data[1] - '0'); level > heading+1 {
				t.Errorf("heading %q skips a level", text(n))
			} else {
				heading = level
			}
		case "a":
			if target, ok := strings.CutPrefix(attr(n, "href"), "#"); ok && ids[target] == nil {
				t.Errorf("link to #%s goes nowhere", target)
			}
		}
		if state := attr(n, "data-state"); state != "" && text(n) == "" {
			t.Errorf("%s is told by colour alone", attr(n, "data-cell"))
		}
		// Figures that run must not be read out as they do.
		if live := attr(n, "role") == "status" || attr(n, "aria-live") != ""; live && attr(n, "id") != "summary" && attr(n, "id") != "link" {
			t.Errorf("<%s> is announced", n.Data)
		}
	}
	for tag, want := range map[string]int{"h1": 1, "main": 1, "header": 1, "title": 1} {
		if seen[tag] != want {
			t.Errorf("%d <%s>, want %d", seen[tag], tag, want)
		}
	}
}

// TestPageEscapes feeds markup in every text that comes from outside.
func TestPageEscapes(t *testing.T) {
	const evil = `"><img src=x onerror=alert(1)><script>alert(1)</script>&amp;`
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	src := &field{
		problems: []string{evil},
		status: Status{
			Gateway: evil, Version: evil,
			Lines: []Line{{Name: evil, Kind: evil, Port: evil, Reason: evil}},
			Devices: []Device{{Name: evil, Line: evil, Topic: evil, Reason: evil, Points: []Point{
				{Name: evil, Topic: evil, Value: quoted, Unit: evil, Quality: evil},
			}}},
			Upstreams: []Upstream{{Name: evil, URL: evil, LastError: evil}},
			Store:     Store{Error: evil},
		},
	}
	_, body := get(t, serve(t, src, defaultLimits), "/")
	texts := 0
	for _, n := range elements(t, body) {
		if n.Data == "img" || n.Data == "script" && attr(n, "src") != "page.js" {
			t.Errorf("markup got through: <%s>", n.Data)
		}
		if n.FirstChild != nil && n.FirstChild.Type == html.TextNode && strings.Contains(n.FirstChild.Data, evil) {
			texts++
		}
	}
	if texts < 15 {
		t.Errorf("the text shows in %d places, want it everywhere", texts)
	}
}

// TestKeysDoNotClash gives devices names that look like parts of a key.
func TestKeysDoNotClash(t *testing.T) {
	st := Status{Devices: []Device{
		{Name: "a", Points: []Point{{Name: "b"}}},
		{Name: "a/point/b"},
		{Name: "a/point", Points: []Point{{Name: "b/value"}}},
	}}
	p := newPage(st, nil, time.Now())
	shown := 2 // summary and uptime
	for _, s := range p.Sections {
		for _, c := range s.Cards {
			shown += len(c.Facts) + 3*len(c.Points)
			if c.State.Key != "" {
				shown++
			}
		}
	}
	if len(p.cells) != shown {
		t.Errorf("%d cells have %d keys", shown, len(p.cells))
	}
}

func TestWords(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ got, want string }{
		{grouped(0), "0"}, {grouped(999), "999"}, {grouped(1000), "1,000"}, {grouped(uint64(1234567)), "1,234,567"},
		{grouped(^uint64(0)), "18,446,744,073,709,551,615"},
		{plural(0, "message"), "0 messages"}, {plural(1, "message"), "1 message"},
		{sized(0), "0 bytes"}, {sized(1023), "1,023 bytes"}, {sized(1024), "1.0 KiB"}, {sized(1 << 30), "1.0 GiB"},
		{sized(^uint64(0)), "16384.0 PiB"},
		{brief(0.0004), "0.4 ms"}, {brief(0.0123), "12 ms"}, {brief(1.54), "1.5 s"},
		{span(-time.Second), "0 s"}, {span(59 * time.Second), "59 s"}, {span(61 * time.Second), "1 min"},
		{span(2 * time.Hour), "2 h"}, {span(125 * time.Minute), "2 h 5 min"}, {span(97 * time.Hour), "4 d 1 h"},
		{span(seconds(1e300)), "106645 d 5 h"}, {span(seconds(-5)), "0 s"},
		{since(time.Time{}, now), "never"}, {since(now, now), "now"}, {since(now.Add(time.Hour), now), "now"},
		{since(now.Add(-90*time.Second), now), "1 min ago"},
		{valueText(nil, "V"), "–"}, {valueText(json.RawMessage("null"), "V"), "–"},
		{valueText(json.RawMessage("1e-7"), ""), "1e-7"}, {valueText(json.RawMessage(`"ü\n"`), ""), "ü\n"},
		{valueText(json.RawMessage(`"`+strings.Repeat("ü", 300)+`"`), ""), strings.Repeat("ü", 199) + "…"},
		{shortened("a\xffb"), "a�b"},
		{joined("", "a", "", "b"), "a · b"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// large is a gateway at the upper end of what one board serves.
func large() *field {
	src := cellar()
	src.status.Devices = nil
	for d := range 32 {
		dev := Device{Name: fmt.Sprint("device", d), Line: "rs485", Online: true}
		for p := range 32 {
			dev.Points = append(dev.Points, Point{
				Name: fmt.Sprint("point", p), Topic: fmt.Sprintf("home/device%d/point%d", d, p),
				Value: json.RawMessage("21.5"), Unit: "°C", Quality: "good", Time: time.Now(),
			})
		}
		src.status.Devices = append(src.status.Devices, dev)
	}
	return src
}

// BenchmarkAnswers tells what one answer costs with 32 devices of 32 points,
// and how large it is.
func BenchmarkAnswers(b *testing.B) {
	s := serve(b, large(), defaultLimits)
	for _, path := range []string{"/", "/api/status", "/metrics", "/healthz"} {
		b.Run(path, func(b *testing.B) {
			size := 0
			for b.Loop() {
				_, body := get(b, s, path)
				size = len(body)
			}
			b.ReportMetric(float64(size), "bytes/answer")
		})
	}
}

// BenchmarkRefresh tells what one look at the source costs the streams.
func BenchmarkRefresh(b *testing.B) {
	s := New(Config{}, large(), slog.New(slog.DiscardHandler))
	s.limits.refresh = 0
	before := s.recentPage()
	b.ReportAllocs()
	for b.Loop() {
		s.recentPage().since(before.cells)
	}
}

// Each finding of a line is shown whole, below the others, and an echo that is
// removed is none to worry about.
func TestFindingsAreShown(t *testing.T) {
	of := func(l Line) cell {
		for _, f := range lineCard(l).Facts {
			if f.Label == "Findings" {
				return f.cell
			}
		}
		t.Fatal("the card has no findings")
		return cell{}
	}
	echo, long := "the adapter echoes", strings.Repeat("long ", 30)
	for _, test := range []struct {
		line        Line
		text, state string
	}{
		{Line{}, "nothing", ""},
		{Line{Echo: true, Findings: []string{echo}}, echo, ""},
		{Line{Findings: []string{"a fault"}}, "a fault", "warn"},
		{Line{Echo: true, Findings: []string{echo, long, long}}, echo + "\n" + long + "\n" + long, "warn"},
	} {
		if c := of(test.line); c.Text != test.text || c.State != test.state {
			t.Errorf("%q is %q, %q", test.line.Findings, c.Text, c.State)
		}
	}
	many := of(Line{Findings: slices.Repeat([]string{"f"}, mostFound+5)})
	if !strings.HasSuffix(many.Text, "f\nand 5 more") {
		t.Errorf("of many: %q", many.Text)
	}
}
