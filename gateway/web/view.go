package web

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// newPage words a Status for people, as it is now.
func newPage(st Status, problems []string, now time.Time) *page {
	p := &page{
		Gateway: st.Gateway,
		Version: st.Version,
		Made:    now,
		Summary: summary(st, problems),
		Uptime:  cell{Key: "uptime", Text: "unknown"},
		Sections: []section{
			{ID: "devices", Title: "Devices", Empty: "No devices are configured."},
			{ID: "upstreams", Title: "Upstreams", Empty: "No upstream is configured: readings stay here."},
			{ID: "lines", Title: "Lines", Empty: "No lines are configured: this is a broker only."},
			{ID: "broker", Title: "Broker", Cards: []card{brokerCard(st.Broker), storeCard(st.Store)}},
			{ID: "clients", Title: "Clients", Empty: "No client has a session.", Clients: clientRows(st.Clients, now)},
		},
	}
	if !st.Started.IsZero() {
		p.Uptime.Text = span(now.Sub(st.Started))
	}
	devices, upstreams, lines := &p.Sections[0], &p.Sections[1], &p.Sections[2]
	for _, d := range st.Devices {
		devices.Cards = append(devices.Cards, deviceCard(d, now))
	}
	for _, u := range st.Upstreams {
		upstreams.Cards = append(upstreams.Cards, upstreamCard(u, now))
	}
	for _, l := range st.Lines {
		lines.Cards = append(lines.Cards, lineCard(l))
	}
	p.index()
	return p
}

// summary is the one sentence that a screen reader announces when it changes,
// so it has no figure that runs.
func summary(st Status, problems []string) cell {
	c := cell{Key: "summary"}
	if len(problems) > 0 {
		c.State = "bad"
		c.Text = fmt.Sprintf("%s: %s.", plural(len(problems), "problem"), strings.Join(problems, "; "))
		return c
	}
	answering, connected := 0, 0
	for _, d := range st.Devices {
		if d.Online {
			answering++
		}
	}
	for _, u := range st.Upstreams {
		if u.Connected {
			connected++
		}
	}
	c.State = "good"
	if answering < len(st.Devices) || connected < len(st.Upstreams) {
		c.State = "warn"
	}
	var parts []string
	if n := len(st.Devices); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s online", answering, plural(n, "device")))
	}
	if n := len(st.Upstreams); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s connected", connected, plural(n, "upstream")))
	}
	if len(parts) == 0 {
		parts = []string{"the broker is running"}
	}
	c.Text = "No problems: " + strings.Join(parts, ", ") + "."
	if c.State == "warn" {
		c.Text = "Not all is well: " + strings.Join(parts, ", ") + "."
	}
	return c
}

// keyOf makes the key of something named, which no other name can give.
func keyOf(kind, name string) string { return kind + "/" + url.PathEscape(name) }

// facts builds the facts of one card under a common key.
type facts struct {
	key  string
	list []fact
}

func (f *facts) add(label, text, state string) {
	key := f.key + "/" + strings.ReplaceAll(strings.ToLower(label), " ", "-")
	f.list = append(f.list, fact{label, cell{key, text, state}})
}

// count adds a figure that should be 0, or one that may be anything.
func (f *facts) count(label string, n uint64, wanted bool) {
	state := ""
	if n > 0 && !wanted {
		state = "warn"
	}
	f.add(label, grouped(n), state)
}

// responses adds how long answers take, which is unknown before the first.
func (f *facts) responses(p50, p99 float64) {
	if p99 > 0 {
		f.add("Response", fmt.Sprintf("half within %s, 99 %% within %s", brief(p50), brief(p99)), "")
		return
	}
	f.add("Response", "–", "")
}

// upOrDown is a state cell with its reason.
func upOrDown(key string, up bool, yes, no, reason string) cell {
	if up {
		return cell{key + "/state", yes, "good"}
	}
	if reason != "" {
		no += ": " + shortened(reason)
	}
	return cell{key + "/state", no, "bad"}
}

func deviceCard(d Device, now time.Time) card {
	key := keyOf("device", d.Name)
	f := facts{key: key}
	f.add("Last answer", since(d.LastOK, now), "")
	f.count("Answers", d.OK, true)
	f.count("Timeouts", d.Timeouts, false)
	f.count("CRC errors", d.CRCErrors, false)
	f.count("Mismatches", d.Mismatches, false)
	f.count("Exceptions", d.Exceptions, false)
	f.responses(d.P50Seconds, d.P99Seconds)
	c := card{
		Name:  d.Name,
		Note:  joined(d.Topic, "on line "+d.Line),
		State: upOrDown(key, d.Online, "online", "offline", d.Reason),
		Facts: f.list,
	}
	for _, pt := range d.Points {
		at := keyOf(key+"/point", pt.Name)
		c.Points = append(c.Points, pointRow{
			Name:    pt.Name,
			Topic:   pt.Topic,
			Value:   cell{at + "/value", valueText(pt.Value, pt.Unit), ""},
			Quality: qualityCell(at+"/quality", pt.Quality),
			Age:     cell{at + "/age", since(pt.Time, now), ""},
		})
	}
	return c
}

// qualityCell words a quality.
func qualityCell(key, quality string) cell {
	switch quality {
	case "":
		return cell{key, "waiting", "warn"}
	case "good":
		return cell{key, "good", "good"}
	case "stale":
		return cell{key, "stale", "warn"}
	}
	return cell{key, strings.ReplaceAll(quality, "_", " "), "bad"}
}

func upstreamCard(u Upstream, now time.Time) card {
	key := keyOf("upstream", u.Name)
	f := facts{key: key}
	f.add("Last change", since(u.Since, now), "")
	backlog := "none"
	if u.BacklogMessages > 0 {
		backlog = fmt.Sprintf("%s, %s, the oldest %s old", plural(u.BacklogMessages, "message"),
			sized(u.BacklogBytes), span(seconds(u.OldestSeconds)))
	}
	f.add("Backlog", backlog, "")
	f.add("In flight", fmt.Sprintf("%d of %d", u.InFlight, u.Window), "")
	pace := "free"
	if u.RateLimited {
		pace = "messages wait for it"
	}
	f.add("Rate", pace, "")
	f.count("Forwarded", u.Forwarded, true)
	f.count("Received", u.Received, true)
	f.count("Dead letters", u.DeadLettered, false)
	f.count("Dropped", u.Dropped, false)
	f.add("Last dead letter", shortened(cmp.Or(u.LastDeadLetter, "none")), "")
	f.add("Last refusal", shortened(cmp.Or(u.LastRefusal, "none")), "")
	lastError := "none"
	if u.LastError != "" {
		lastError = shortened(u.LastError)
	}
	f.add("Last error", lastError, "")
	reason := ""
	if !u.Connected {
		reason = u.LastError
	}
	return card{
		Name:  u.Name,
		Note:  u.URL,
		State: upOrDown(key, u.Connected, "connected", "not connected", reason),
		Facts: f.list,
	}
}

func lineCard(l Line) card {
	key := keyOf("line", l.Name)
	f := facts{key: key}
	load := ""
	if l.Load >= 0.9 {
		load = "warn"
	}
	f.add("Busy", fmt.Sprintf("%.0f %%", 100*l.Load), load)
	f.count("Requests", l.Requests, true)
	f.count("Timeouts", l.Timeouts, false)
	f.count("CRC errors", l.CRCErrors, false)
	f.count("Mismatches", l.Mismatches, false)
	f.count("Exceptions", l.Exceptions, false)
	f.count("Skipped reads", l.Skipped, false)
	f.count("Stray bytes", l.GarbageBytes, false)
	f.count("Reopened", l.Reopens, true)
	if l.Share != nil {
		f.count("Other masters", uint64(l.Share.Clients), true)
		f.count("Their requests", l.Share.Requests, true)
	}
	f.responses(l.P50Seconds, l.P99Seconds)
	f.add("Findings", found(l.Findings), concern(l))
	return card{
		Name:  l.Name,
		Note:  joined(l.Kind, l.Port),
		State: upOrDown(key, l.Open, "open", "not open", l.Reason),
		Facts: f.list,
	}
}

// mostFound is how many findings of a line are shown.
const mostFound = 20

// found puts findings below each other.
func found(findings []string) string {
	if len(findings) == 0 {
		return "nothing"
	}
	var lines []string
	for _, text := range findings[:min(len(findings), mostFound)] {
		lines = append(lines, shortened(text))
	}
	if more := len(findings) - mostFound; more > 0 {
		lines = append(lines, "and "+grouped(more)+" more")
	}
	return strings.Join(lines, "\n")
}

// concern is the state of what was found on a line. That its adapter echoes is
// found as well, and no fault.
func concern(l Line) string {
	if faults := len(l.Findings); faults > 1 || faults == 1 && !l.Echo {
		return "warn"
	}
	return ""
}

func brokerCard(b Broker) card {
	f := facts{key: "broker"}
	f.count("Clients", b.Clients, true)
	f.count("Sessions", b.Sessions, true)
	f.count("Subscriptions", b.Subscriptions, true)
	f.count("Retained", b.Retained, true)
	f.count("Received", b.Received, true)
	f.count("Sent", b.Sent, true)
	f.count("Dropped", b.Dropped, false)
	return card{Name: "MQTT", Facts: f.list}
}

func storeCard(s Store) card {
	f := facts{key: "store"}
	f.add("On disk", sized(s.Bytes), "")
	f.count("Segments", s.Segments, true)
	f.count("Messages stored", s.Appended, true)
	f.count("Commits", s.Commits, true)
	if s.Durability != "" {
		f.add("Durability", s.Durability, "")
	}
	f.count("Dropped", s.Dropped, false)
	damaged := ""
	if s.Quarantined > 0 {
		damaged = "warn"
	}
	f.add("Set aside as damaged", sized(s.Quarantined), damaged)
	return card{
		Name:  "Store",
		State: upOrDown("store", s.Error == "", "working", "failing", s.Error),
		Facts: f.list,
	}
}
