package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"sluice/adapters"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
	"sluice/gateway/cli"
	"sluice/gateway/web"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// healthEvery is the period of the health topics.
const healthEvery = 10 * time.Second

// health tells how the gateway is: to the status page, on its own topics, and
// to the service manager. It implements web.Source and task.
type health struct {
	g     *gateway
	ready chan struct{}

	mu     sync.Mutex
	losses []fullQueue
	wires  map[string]*watched // by line
}

// fullQueue is what becomes of messages that full queues have no room for.
type fullQueue struct {
	text  string
	count func(store.Stats) uint64
	told  bool      // the publisher knows: nothing is wrong with the gateway
	seen  uint64    // count, when looked at last
	at    time.Time // when that grew last; zero: not since the start
}

// lossShown is how long health names messages that were given up.
const lossShown = time.Minute

func newHealth(g *gateway) *health {
	return &health{g: g, ready: make(chan struct{}), wires: map[string]*watched{}, losses: []fullQueue{
		{text: "a queue is full: its oldest messages are being given up",
			count: func(s store.Stats) uint64 { return s.Dropped[store.ReasonQuota] }},
		{text: "a queue is full: new messages are being given up",
			count: func(s store.Stats) uint64 { return s.Dropped[store.ReasonNewest] }},
		{text: "a queue is full: new messages are refused, and their publishers told", told: true,
			count: func(s store.Stats) uint64 { return s.Rejected }},
	}}
}

// String names the task.
func (h *health) String() string { return "health" }

// Ready is closed when the gateway has said that it is online.
func (h *health) Ready() <-chan struct{} { return h.ready }

// topic is one of the gateway's own topics.
func (h *health) topic(rest string) string { return "sluice/" + h.g.cfg.Gateway.ID + "/" + rest }

// availability is the topic that says whether the gateway itself is there.
func (h *health) availability() string { return h.topic("availability") }

// Run publishes health until ctx ends.
func (h *health) Run(ctx context.Context) error {
	h.publish(ctx, h.availability(), []byte("online"), 1)
	close(h.ready)
	h.mu.Lock()
	for i := range h.losses {
		l := &h.losses[i]
		l.seen = l.count(h.g.store.Stats()) // of earlier runs
	}
	h.mu.Unlock()
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		h.look()
		h.lookAtLines(time.Now())
		h.report(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			h.publish(last, h.availability(), []byte("offline"), 1)
			return nil
		}
	}
}

// report publishes the health of each line and upstream.
func (h *health) report(ctx context.Context) {
	s := h.Status()
	for _, l := range s.Lines {
		h.publishJSON(ctx, h.topic("line/"+l.Name), l)
	}
	for _, u := range s.Upstreams {
		h.publishJSON(ctx, h.topic("upstream/"+u.Name), u)
	}
	if err := notifyStatus(h.sentence()); err != nil {
		h.g.log.Warn("service manager not told", "error", err)
	}
}

// beat sends a message through the broker to nobody in particular.
func (h *health) beat(ctx context.Context) {
	_ = h.g.broker.Publish(ctx, mqttcore.Message{Topic: "$SYS/sluice/beat"}) // that it returns is the point
}

func (h *health) publishJSON(ctx context.Context, topic string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		h.g.log.Error("health not published", "topic", topic, "error", err)
		return
	}
	h.publish(ctx, topic, body, 0)
}

func (h *health) publish(ctx context.Context, topic string, body []byte, qos byte) {
	m := mqttcore.Message{Topic: topic, Payload: body, QoS: qos, Retain: true, Live: true}
	if err := h.g.broker.Publish(ctx, m); err != nil && ctx.Err() == nil {
		h.g.log.Error("health not published", "topic", topic, "error", err)
	}
}

// sentence is the gateway's state in one line.
func (h *health) sentence() string {
	parts := []string{
		fmt.Sprintf("%d of %d devices answer", h.g.board.online(), len(h.g.cfg.Devices)),
		fmt.Sprintf("%d clients", h.g.broker.Stats().Connected),
	}
	for _, u := range h.upstreams() {
		switch {
		case u.Connected:
			parts = append(parts, fmt.Sprintf("%s: up, %d queued", u.Name, u.BacklogMessages))
		case u.Since.IsZero():
			parts = append(parts, fmt.Sprintf("%s: not yet up, %d queued", u.Name, u.BacklogMessages))
		default:
			parts = append(parts, fmt.Sprintf("%s: down for %s, %d queued", u.Name, time.Since(u.Since).Round(time.Second), u.BacklogMessages))
		}
	}
	return strings.Join(parts, " · ")
}

// Health implements web.Source: why the gateway can't do its work. A device
// or an upstream that is away is the field's trouble, not the gateway's.
func (h *health) Health() []string {
	var reasons []string
	if s := h.g.store.Stats(); s.Err != nil {
		reasons = append(reasons, "the durable log is "+s.State+": "+s.Err.Error())
	}
	h.mu.Lock()
	for _, l := range h.losses {
		if l.recent() && !l.told {
			reasons = append(reasons, l.text)
		}
	}
	h.mu.Unlock()
	if h.g.readings.broken.Load() {
		reasons = append(reasons, "the broker refuses readings")
	}
	for _, name := range h.g.watchdog.Stale() {
		reasons = append(reasons, name+" makes no progress")
	}
	return reasons
}

// recent says whether it has just happened.
func (l *fullQueue) recent() bool { return !l.at.IsZero() && time.Since(l.at) < lossShown }

// look notes what full queues have cost since the last look, and logs the first
// of a row.
func (h *health) look() {
	s := h.g.store.Stats()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.losses {
		l := &h.losses[i]
		n := l.count(s)
		if n <= l.seen {
			continue
		}
		if !l.recent() {
			h.g.log.Warn(l.text, "messages", n-l.seen, "whose", "sluice queue ls")
		}
		l.seen, l.at = n, time.Now()
	}
}

// Status implements web.Source.
func (h *health) Status() web.Status {
	b, s := h.g.broker.Stats(), h.g.store.Stats()
	failed := ""
	if s.Err != nil {
		failed = s.Err.Error()
	}
	var lost uint64
	for _, n := range s.Dropped {
		lost += n
	}
	return web.Status{
		Clients: h.clients(),
		Gateway: h.g.cfg.Gateway.ID, Version: cli.BuildVersion().Version, Started: h.g.clock.at(h.g.started),
		Lines: h.lines(), Devices: h.devices(), Upstreams: h.upstreams(),
		Broker: web.Broker{
			Clients: uint64(b.Connected), Sessions: uint64(b.Sessions), Subscriptions: uint64(b.Subscriptions),
			Retained: uint64(b.Retained), Received: b.PublishReceived, Sent: b.PublishSent,
			Dropped: b.Dropped + h.g.readings.dropped.Load() + h.g.readings.refused.Load(),
		},
		Store: web.Store{
			Bytes: uint64(s.Bytes), Segments: uint64(s.Segments), Appended: s.Appended, Commits: s.Commits, Durability: h.g.durability.String(),
			Dropped: lost, Quarantined: uint64(s.QuarantinedBytes), Error: failed,
		},
	}
}

func (h *health) lines() []web.Line {
	out := make([]web.Line, 0, len(h.g.lines))
	for _, l := range h.g.lines {
		s := l.Stats()
		w := web.Line{
			Name: s.Name, Kind: string(s.Kind), Port: s.Port, Open: s.Open, Reason: s.Reason, Load: s.Load,
			Requests: s.Requests, Timeouts: s.Timeouts, CRCErrors: s.Checksum + s.Short, Mismatches: s.Mismatch, GarbageBytes: s.Garbage,
			Reopens: max(s.Opens, 1) - 1, Echo: s.Echoes, P50Seconds: s.P50.Seconds(), P99Seconds: s.P99.Seconds(),
		}
		if c := s.Driver; c.Known {
			w.Driver = &web.LineDriver{FramingErrors: c.Framing, ParityErrors: c.Parity, Overruns: c.Overruns, Breaks: c.Breaks}
		}
		w.Findings, w.Devices = h.found(s.Name)
		if p := h.g.pollers[s.Name]; p != nil {
			for _, d := range p.Stats() {
				w.Exceptions += d.Exceptions
				w.Skipped += d.Skipped
			}
		}
		if tap := h.g.taps[s.Name]; tap != nil {
			heard, noise := tap.Overheard()
			w.Requests, w.Timeouts, w.Exceptions, w.GarbageBytes = heard.Requests, heard.Timeouts, heard.Exceptions, noise
			w.CRCErrors, w.Mismatches = heard.Spoilt, heard.BadFrames-heard.Spoilt
		}
		if u := h.g.listeners[s.Name]; u != nil {
			talkers := u.Stats()
			w.CRCErrors = mostOf(talkers, func(d uart.DeviceStats) uint64 { return d.Spoilt })
			w.GarbageBytes = mostOf(talkers, func(d uart.DeviceStats) uint64 { return d.Garbage })
			w.Unmatched, _ = u.Strays()
		}
		if door := h.g.doors[s.Name]; door != nil {
			w.Share = share(door.Stats())
		}
		out = append(out, w)
	}
	return out
}

// share tells what a line's door has done.
func share(s modbus.DoorStats) *web.Share {
	return &web.Share{
		Address: s.Address, Clients: s.Clients, TurnedAway: s.TurnedAway, PushedOut: s.PushedOut, Garbled: s.Garbled,
		Requests: s.Requests, Answered: s.Answers, Refused: s.Refused, Busy: s.Busy, NoPath: s.NoPath, NoAnswer: s.Silent,
	}
}

func (h *health) devices() []web.Device {
	measured := map[string]web.Device{}
	var masters []modbus.DeviceStats
	for _, p := range h.g.pollers {
		masters = append(masters, p.Stats()...)
	}
	for _, t := range h.g.taps {
		masters = append(masters, t.Stats()...)
	}
	for _, d := range masters {
		measured[d.Name] = web.Device{
			OK: d.Answers, Timeouts: d.Timeouts, CRCErrors: d.Spoilt, Mismatches: d.BadFrames - d.Spoilt, Exceptions: d.Exceptions,
			LastOK: h.g.clock.at(d.LastAnswer), P50Seconds: d.P50.Seconds(), P99Seconds: d.P99.Seconds(),
		}
	}
	for _, u := range h.g.listeners {
		for _, d := range u.Stats() {
			measured[d.Name] = web.Device{
				OK: d.Matched, Timeouts: d.Timeouts, CRCErrors: d.Spoilt, LastOK: h.g.clock.at(d.LastMatch),
			}
		}
	}
	out := make([]web.Device, 0, len(h.g.cfg.Devices))
	for i := range h.g.cfg.Devices {
		d := &h.g.cfg.Devices[i]
		w := measured[d.Name]
		at := h.g.board.device(d.Name)
		w.Name, w.Line, w.Topic, w.Online, w.Reason = d.Name, d.Line, d.Topic, at.Online, at.Reason
		w.Points = []web.Point{}
		for _, p := range d.Points {
			r, _ := h.g.board.of(p.Point)
			wp := web.Point{Name: p.Name, Topic: p.Topic, Unit: p.Unit, Class: p.Class, Time: h.g.clock.at(r.Time)}
			if !r.Time.IsZero() {
				wp.Quality = r.Quality.String()
				if r.Quality == adapters.Good {
					wp.Value = r.Value.AppendJSON(nil)
				}
			}
			w.Points = append(w.Points, wp)
		}
		out = append(out, w)
	}
	return out
}

func (h *health) upstreams() []web.Upstream {
	out := make([]web.Upstream, 0, len(h.g.links))
	for i, l := range h.g.links {
		s := l.Stats()
		if s.Connected {
			s.LastError = "" // of before: it would read as one of now
		}
		up := web.Upstream{
			Name: h.g.cfg.Upstreams[i].Name, URL: h.g.cfg.Upstreams[i].URL, Connected: s.Connected, Since: h.g.clock.at(s.Since),
			LastError: s.LastError, BacklogMessages: s.Backlog, BacklogBytes: s.BacklogBytes,
			OldestSeconds: s.OldestBacklog.Seconds(), Forwarded: s.Forwarded, Received: s.Received, DeadLettered: s.DeadLettered,
			Dropped: s.Dropped, DroppedBy: s.DroppedBy, InFlight: s.InFlight, Window: s.Window,
			Resent: s.Resent, Retried: s.Retried, RateLimited: s.RateLimited, RateWaitedSeconds: s.RateWaited.Seconds(),
			Aliases: s.Aliases, AliasSavedBytes: uint64(max(0, s.AliasSaved)),
			LastRefusal: s.LastRefusal, LastDeadLetter: s.LastDeadLetter,
		}
		for _, n := range s.Lanes {
			up.Lanes = append(up.Lanes, web.Lane{Lane: n.Lane, BacklogMessages: n.Backlog})
		}
		out = append(out, up)
	}
	return out
}
