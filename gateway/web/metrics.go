package web

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics answers /metrics in the Prometheus formats. The names follow
// https://prometheus.io/docs/practices/naming/: base units, _total on counters.
// All labels come from the configuration or from a fixed list, none from
// clients, so that nobody can make their number grow.
func (s *Server) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector{s},
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
}

// metric is one metric and its labels.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

var metrics []metric

func describe(kind prometheus.ValueType, name, help string, labels ...string) metric {
	m := metric{prometheus.NewDesc("sluice_"+name, help, labels, nil), kind}
	metrics = append(metrics, m)
	return m
}

func gauge(name, help string, labels ...string) metric {
	return describe(prometheus.GaugeValue, name, help, labels...)
}

func counter(name, help string, labels ...string) metric {
	return describe(prometheus.CounterValue, name, help, labels...)
}

var (
	buildInfo = gauge("build_info", "A constant 1, labelled with what is running.", "version", "goversion")
	startTime = gauge("start_time_seconds", "When the gateway started, in Unix time.")
	healthy   = gauge("healthy", "1 while the gateway finds nothing wrong with itself, otherwise 0.")

	lineOpen     = gauge("line_open", "1 while the line is open, otherwise 0.", "line")
	lineLoad     = gauge("line_busy_ratio", "Share of time in which the wire is busy.", "line")
	lineRequests = counter("line_requests_total", "Requests sent on the line.", "line")
	lineErrors   = counter("line_errors_total", "Requests without a good answer, by cause.", "line", "cause")
	lineSkipped  = counter("line_skipped_reads_total", "Reads dropped because their next was due already.", "line")
	lineGarbage  = counter("line_stray_bytes_total", "Bytes received outside any frame.", "line")
	lineStrays   = counter("line_unmatched_frames_total", "Frames of a UART line that match no device.", "line")
	lineReopens  = counter("line_reopens_total", "Times the line was opened again after it was lost.", "line")
	lineClients  = gauge("line_share_clients", "Other masters connected to the line's door.", "line")
	lineShared   = counter("line_share_requests_total", "Requests of other masters, by how they were answered.", "line", "answer")
	lineAway     = counter("line_share_turned_away_total", "Other masters that were not let in or had to leave, by cause.", "line", "cause")
	lineP50      = gauge("line_response_p50_seconds", "Half of the latest answers came within this time.", "line")
	lineP99      = gauge("line_response_p99_seconds", "99 of 100 of the latest answers came within this time.", "line")

	deviceUp       = gauge("device_up", "1 while the device answers, otherwise 0.", "device", "line")
	deviceLastOK   = gauge("device_last_success_timestamp_seconds", "When the device last answered well, in Unix time.", "device", "line")
	deviceRequests = counter("device_requests_total", "Requests to the device, by what came of them.", "device", "line", "result")
	deviceP50      = gauge("device_response_p50_seconds", "Half of the latest answers came within this time.", "device", "line")
	deviceP99      = gauge("device_response_p99_seconds", "99 of 100 of the latest answers came within this time.", "device", "line")
	pointValue     = gauge("value", "The point's value while its quality is good; a boolean is 0 or 1.", "device", "point", "unit")

	upstreamConnected = gauge("upstream_connected", "1 while the upstream is connected, otherwise 0.", "upstream")
	upstreamForwarded = counter("upstream_forwarded_total", "Messages that the upstream has acknowledged.", "upstream")
	upstreamReceived  = counter("upstream_received_total", "Messages that came down from the upstream.", "upstream")
	upstreamDead      = counter("upstream_dead_lettered_total", "Messages that the upstream will never take.", "upstream")
	upstreamInFlight  = gauge("upstream_in_flight", "Messages sent to the upstream and not yet acknowledged.", "upstream")
	upstreamWindow    = gauge("upstream_window", "The most messages that may be in flight on this connection.", "upstream")
	upstreamResent    = counter("upstream_resent_total", "Messages sent again after a connection was cut.", "upstream")
	upstreamRetried   = counter("upstream_retried_total", "Messages that the upstream refused for now.", "upstream")
	upstreamLimited   = gauge("upstream_rate_limited", "1 while messages wait for the rate of the upstream, otherwise 0.", "upstream")
	upstreamWaited    = counter("upstream_rate_waited_seconds_total", "How long messages have waited for the rate of the upstream.", "upstream")
	upstreamSaved     = counter("upstream_alias_saved_bytes_total", "Bytes that topic aliases have spared.", "upstream")
	queueLanes        = gauge("queue_lanes", "Queues of the upstream that hold messages.", "upstream")
	queueLost         = counter("queue_given_up_total", "Messages for the upstream given up since the start, by the reason.", "upstream", "reason")
	queueMessages     = gauge("queue_messages", "Messages stored for the upstream and not yet acknowledged.", "upstream")
	queueBytes        = gauge("queue_bytes", "Size of the messages stored for the upstream.", "upstream")
	queueOldest       = gauge("queue_oldest_age_seconds", "Age of the oldest message stored for the upstream.", "upstream")
	queueDropped      = counter("queue_dropped_total", "Messages for the upstream given up by the rules of its queue.", "upstream")

	brokerClients       = gauge("broker_clients", "Clients connected to the broker.")
	brokerSessions      = gauge("broker_sessions", "Sessions that the broker keeps, connected or not.")
	brokerSubscriptions = gauge("broker_subscriptions", "Subscriptions of all sessions.")
	brokerRetained      = gauge("broker_retained_messages", "Retained messages.")
	brokerReceived      = counter("broker_messages_received_total", "PUBLISH packets from clients.")
	brokerSent          = counter("broker_messages_sent_total", "PUBLISH packets to clients.")
	brokerDropped       = counter("broker_messages_dropped_total", "Messages given up because a client's queue was full.")

	storeBytes       = gauge("store_bytes", "Size of the store on the disk.")
	storeSegments    = gauge("store_segments", "Files of the store's log.")
	storeAppended    = counter("store_appended_total", "Messages appended to the store.")
	storeCommits     = counter("store_commits_total", "Flushes of the store to the disk.")
	storeDropped     = counter("store_dropped_total", "Messages given up because the store had no room.")
	storeQuarantined = gauge("store_quarantined_bytes", "Bytes found damaged and set aside.")
	storeFailing     = gauge("store_failing", "1 while nothing can be stored, otherwise 0.")

	webStreams            = gauge("web_streams", "Pages that follow the gateway.")
	webSlow               = counter("web_streams_slow_total", "Pages cut off because they did not take their events in time.")
	webRefusedStreams     = counter("web_streams_refused_total", "Pages that were not let follow, for their number.")
	webRefusedConnections = counter("web_connections_refused_total", "HTTP connections closed at once, for their number.")
	webRefusedHosts       = counter("web_hosts_refused_total", "HTTP requests turned away for a foreign host name.")
)

// collector reads the metrics off the source whenever Prometheus asks.
type collector struct{ s *Server }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	put := func(m metric, v float64, labels ...string) {
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "�")
		}
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
	}
	st := c.s.status()
	put(buildInfo, 1, st.Version, runtime.Version())
	put(startTime, unix(st.Started))
	put(healthy, one(len(c.s.src.Health()) == 0))
	for _, l := range st.Lines {
		collectLine(put, l)
	}
	for _, d := range st.Devices {
		collectDevice(put, d)
	}
	for _, u := range st.Upstreams {
		collectUpstream(put, u)
	}

	b := st.Broker
	put(brokerClients, float64(b.Clients))
	put(brokerSessions, float64(b.Sessions))
	put(brokerSubscriptions, float64(b.Subscriptions))
	put(brokerRetained, float64(b.Retained))
	put(brokerReceived, float64(b.Received))
	put(brokerSent, float64(b.Sent))
	put(brokerDropped, float64(b.Dropped))

	put(storeBytes, float64(st.Store.Bytes))
	put(storeSegments, float64(st.Store.Segments))
	put(storeAppended, float64(st.Store.Appended))
	put(storeCommits, float64(st.Store.Commits))
	put(storeDropped, float64(st.Store.Dropped))
	put(storeQuarantined, float64(st.Store.Quarantined))
	put(storeFailing, one(st.Store.Error != ""))

	put(webStreams, float64(c.s.streams.Load()))
	put(webSlow, float64(c.s.slowStreams.Load()))
	put(webRefusedStreams, float64(c.s.refusedStreams.Load()))
	put(webRefusedConnections, float64(c.s.refusedConnections.Load()))
	put(webRefusedHosts, float64(c.s.refusedHosts.Load()))
}

type putFunc func(m metric, v float64, labels ...string)

func collectLine(put putFunc, l Line) {
	put(lineOpen, one(l.Open), l.Name)
	put(lineLoad, l.Load, l.Name)
	put(lineRequests, float64(l.Requests), l.Name)
	put(lineErrors, float64(l.Timeouts), l.Name, "timeout")
	put(lineErrors, float64(l.CRCErrors), l.Name, "crc")
	put(lineErrors, float64(l.Mismatches), l.Name, "mismatch")
	put(lineErrors, float64(l.Exceptions), l.Name, "exception")
	put(lineSkipped, float64(l.Skipped), l.Name)
	put(lineGarbage, float64(l.GarbageBytes), l.Name)
	put(lineStrays, float64(l.Unmatched), l.Name)
	put(lineReopens, float64(l.Reopens), l.Name)
	if s := l.Share; s != nil {
		put(lineClients, float64(s.Clients), l.Name)
		put(lineShared, float64(s.Answered), l.Name, "device")
		put(lineShared, float64(s.Refused), l.Name, "refused")
		put(lineShared, float64(s.Busy), l.Name, "busy")
		put(lineShared, float64(s.NoPath), l.Name, "no_path")
		put(lineShared, float64(s.NoAnswer), l.Name, "no_answer")
		put(lineAway, float64(s.TurnedAway), l.Name, "full")
		put(lineAway, float64(s.PushedOut), l.Name, "silent")
		put(lineAway, float64(s.Garbled), l.Name, "garbled")
	}
	if l.P99Seconds > 0 { // unknown before the first answer
		put(lineP50, l.P50Seconds, l.Name)
		put(lineP99, l.P99Seconds, l.Name)
	}
}

func collectDevice(put putFunc, d Device) {
	put(deviceUp, one(d.Online), d.Name, d.Line)
	if !d.LastOK.IsZero() {
		put(deviceLastOK, unix(d.LastOK), d.Name, d.Line)
	}
	put(deviceRequests, float64(d.OK), d.Name, d.Line, "ok")
	put(deviceRequests, float64(d.Timeouts), d.Name, d.Line, "timeout")
	put(deviceRequests, float64(d.CRCErrors), d.Name, d.Line, "crc")
	put(deviceRequests, float64(d.Mismatches), d.Name, d.Line, "mismatch")
	put(deviceRequests, float64(d.Exceptions), d.Name, d.Line, "exception")
	if d.P99Seconds > 0 {
		put(deviceP50, d.P50Seconds, d.Name, d.Line)
		put(deviceP99, d.P99Seconds, d.Name, d.Line)
	}
	for _, p := range d.Points {
		if v, ok := number(p); ok {
			put(pointValue, v, d.Name, p.Name, p.Unit)
		}
	}
}

func collectUpstream(put putFunc, u Upstream) {
	put(upstreamConnected, one(u.Connected), u.Name)
	put(upstreamForwarded, float64(u.Forwarded), u.Name)
	put(upstreamReceived, float64(u.Received), u.Name)
	put(upstreamDead, float64(u.DeadLettered), u.Name)
	put(queueMessages, float64(u.BacklogMessages), u.Name)
	put(queueBytes, float64(u.BacklogBytes), u.Name)
	put(queueOldest, u.OldestSeconds, u.Name)
	put(queueDropped, float64(u.Dropped), u.Name)
	put(upstreamInFlight, float64(u.InFlight), u.Name)
	put(upstreamWindow, float64(u.Window), u.Name)
	put(upstreamResent, float64(u.Resent), u.Name)
	put(upstreamRetried, float64(u.Retried), u.Name)
	put(upstreamLimited, one(u.RateLimited), u.Name)
	put(upstreamWaited, u.RateWaitedSeconds, u.Name)
	put(upstreamSaved, float64(u.AliasSavedBytes), u.Name)
	lanes := 0
	for _, n := range u.Lanes {
		if n.BacklogMessages > 0 {
			lanes++
		}
	}
	put(queueLanes, float64(lanes), u.Name)
	for reason, n := range u.DroppedBy {
		put(queueLost, float64(n), u.Name, reason)
	}
}

// number is the value of a point as a metric; texts and values that are not
// good are none.
func number(p Point) (float64, bool) {
	if p.Quality != "good" {
		return 0, false
	}
	var v any
	if err := json.Unmarshal(p.Value, &v); err != nil {
		return 0, false
	}
	switch v := v.(type) {
	case float64:
		return v, true
	case bool:
		return one(v), true
	}
	return 0, false
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// unix is t in seconds since 1970; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
