package web

import (
	"encoding/json"
	"time"
)

// Source is where the page, the API and the metrics get what they show. Both
// methods may be called from several goroutines at once and must be quick:
// they give what is known now and wait for nothing.
type Source interface {
	// Status tells everything that is shown. The result is the caller's; what
	// it points to must not change afterwards.
	Status() Status
	// Health gives the reasons why the gateway is not healthy, one sentence
	// each; none means healthy.
	Health() []string
}

// Status is the state of the gateway at one moment, as /api/status gives it.
// Counters count from the start of the process. Times keep their monotonic
// reading where they have one, so that ages survive a step of the wall clock;
// a zero time is unknown and left out of the JSON.
type Status struct {
	Gateway   string     `json:"gateway"` // id of the gateway
	Version   string     `json:"version"`
	Started   time.Time  `json:"started,omitzero"`
	Lines     []Line     `json:"lines"`
	Devices   []Device   `json:"devices"`
	Upstreams []Upstream `json:"upstreams"`
	Broker    Broker     `json:"broker"`
	// Clients are those of the broker, by identifier: at most 100, those first
	// for whom messages wait or were dropped.
	Clients []Client `json:"clients"`
	Store   Store    `json:"store"`
}

// Line is one serial line or network endpoint.
type Line struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // rtu, tcp, uart …
	Port string `json:"port"` // path, or host:port
	Open bool   `json:"open"`
	// Reason says why the line is not open; "" while it is.
	Reason string `json:"reason,omitempty"`
	// Load is the share of wall time in which the wire was busy, 0 to 1.
	Load         float64 `json:"load"`
	Requests     uint64  `json:"requests"`
	Timeouts     uint64  `json:"timeouts"`
	CRCErrors    uint64  `json:"crc_errors"` // answers that were spoilt or broke off
	Mismatches   uint64  `json:"mismatches"` // answers of another unit, function or length
	Exceptions   uint64  `json:"exceptions"`
	Skipped      uint64  `json:"skipped"`       // reads dropped because their next was due already
	GarbageBytes uint64  `json:"garbage_bytes"` // received outside any frame
	Reopens      uint64  `json:"reopens"`
	Echo         bool    `json:"echo"` // the adapter hears itself; its echo is removed
	// Driver is what the port's driver counts; nil where it counts nothing.
	Driver *LineDriver `json:"driver,omitempty"`
	// P50Seconds and P99Seconds are the time from a request to its answer.
	P50Seconds float64 `json:"p50_seconds"`
	P99Seconds float64 `json:"p99_seconds"`
	// Findings say what is wrong with the line, a sentence each, by what was
	// counted over the last minute. Never nil.
	Findings []string `json:"findings"`
	// Unmatched counts the frames of a UART line that match no device.
	Unmatched uint64 `json:"unmatched,omitempty"`
	// Devices are the shares of the devices in it.
	Devices []LineDevice `json:"devices,omitempty"`
	// Share is what the line's door for other masters has done; nil without one.
	Share *Share `json:"share,omitempty"`
}

// LineDevice is what one device does on its line. All but Load count from the
// start.
type LineDevice struct {
	Name string `json:"name"`
	Unit uint8  `json:"unit,omitempty"` // none on a UART line
	// Load is the share of the line's time that its requests and their answers
	// took over the last minute, 0 to 1.
	Load     float64 `json:"load"`
	OK       uint64  `json:"ok"` // answers, exceptions not included; frames that match
	Timeouts uint64  `json:"timeouts"`
	CRC      uint64  `json:"crc"` // answers that were spoilt or broke off
	// Exceptions counts refusals by their code; 11 stands for all above, too.
	Exceptions   map[string]uint64 `json:"exceptions,omitempty"`
	Unmatched    uint64            `json:"unmatched,omitempty"` // frames that do not match it
	Overlong     uint64            `json:"overlong,omitempty"`  // frames
	Mismatches   uint64            `json:"mismatches"`          // of another unit, function or length
	Late         uint64            `json:"late"`                // answers after their time
	Twice        uint64            `json:"twice"`               // answers too many
	GarbageBytes uint64            `json:"garbage_bytes"`       // after its turn
	P50Seconds   float64           `json:"p50_seconds"`
	P99Seconds   float64           `json:"p99_seconds"`
}

// Share is a line's door for other Modbus masters. Each request counts once
// more, by how it was answered.
type Share struct {
	Address    string `json:"address"`
	Clients    int    `json:"clients"`     // connected now
	TurnedAway uint64 `json:"turned_away"` // came when there were too many
	PushedOut  uint64 `json:"pushed_out"`  // were silent and made room for these
	Garbled    uint64 `json:"garbled"`     // sent what is no Modbus TCP
	Requests   uint64 `json:"requests"`
	Answered   uint64 `json:"answered"`  // by a device, exceptions included
	Refused    uint64 `json:"refused"`   // writes that are not allowed, and nonsense
	Busy       uint64 `json:"busy"`      // exception 6: too many waited
	NoPath     uint64 `json:"no_path"`   // exception 10: the line was not open
	NoAnswer   uint64 `json:"no_answer"` // exception 11
}

// LineDriver counts what went wrong with characters on the wire.
type LineDriver struct {
	FramingErrors uint64 `json:"framing_errors"`
	ParityErrors  uint64 `json:"parity_errors"`
	Overruns      uint64 `json:"overruns"` // characters lost in this machine
	Breaks        uint64 `json:"breaks"`
}

// Device is one device on a line and what it last said.
type Device struct {
	Name   string `json:"name"`
	Line   string `json:"line"`
	Topic  string `json:"topic"`
	Online bool   `json:"online"`
	// Reason says why the device is offline; "" while it is online.
	Reason string    `json:"reason,omitempty"`
	LastOK time.Time `json:"last_ok,omitzero"` // of the last good answer
	// Requests that were answered well, and those that were not, by cause.
	OK         uint64 `json:"ok"`
	Timeouts   uint64 `json:"timeouts"`
	CRCErrors  uint64 `json:"crc_errors"`
	Mismatches uint64 `json:"mismatches"`
	Exceptions uint64 `json:"exceptions"`
	// P50Seconds and P99Seconds are the time from a request to its answer.
	P50Seconds float64 `json:"p50_seconds"`
	P99Seconds float64 `json:"p99_seconds"`
	Points     []Point `json:"points"`
}

// Point is one value of a device.
type Point struct {
	Name  string `json:"name"`
	Topic string `json:"topic"`
	// Value is a JSON number, boolean or string; null or empty unless
	// Quality is "good".
	Value   json.RawMessage `json:"value"`
	Unit    string          `json:"unit,omitempty"`
	Class   string          `json:"class,omitempty"` // Home Assistant's device class
	Quality string          `json:"quality"`         // good, stale, offline …; "" before the first reading
	Time    time.Time       `json:"time,omitzero"`   // when the answer arrived
}

// Upstream is one link to a server above.
type Upstream struct {
	Name string `json:"name"`
	// URL is where the link goes. User information and a query are cut off
	// before it is shown to anyone.
	URL       string    `json:"url"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // of the last change of Connected
	LastError string    `json:"last_error,omitempty"`
	// The backlog is what is stored and not yet acknowledged from above.
	BacklogMessages uint64  `json:"backlog_messages"`
	BacklogBytes    uint64  `json:"backlog_bytes"`
	OldestSeconds   float64 `json:"oldest_seconds"` // age of the oldest of them; 0 without a backlog
	Forwarded       uint64  `json:"forwarded"`      // acknowledged from above
	Received        uint64  `json:"received"`       // came down
	DeadLettered    uint64  `json:"dead_lettered"`  // refused for good, or too large for the server
	Dropped         uint64  `json:"dropped"`        // given up by the rules of the queue
	// Lanes are the queues of the backlog, the one that takes in last: more than
	// one where outages have left something with the order "live-first".
	Lanes []Lane `json:"lanes,omitempty"`
	// DroppedBy counts what was given up since the start, by the reason.
	DroppedBy map[string]uint64 `json:"dropped_by,omitempty"`
	InFlight  int               `json:"in_flight"` // sent and not yet acknowledged
	Window    int               `json:"window"`    // the most of them on this connection
	Resent    uint64            `json:"resent"`    // sent again after a cut
	Retried   uint64            `json:"retried"`   // refused for now and sent again
	// RateLimited tells whether messages wait now for the configured rate or the
	// provider's limits; RateWaitedSeconds how long they did in all.
	RateLimited       bool    `json:"rate_limited"`
	RateWaitedSeconds float64 `json:"rate_waited_seconds"`
	Aliases           int     `json:"aliases"`           // topic aliases of this connection
	AliasSavedBytes   uint64  `json:"alias_saved_bytes"` // that they have spared
	LastRefusal       string  `json:"last_refusal,omitempty"`
	LastDeadLetter    string  `json:"last_dead_letter,omitempty"`
}

// Lane is one queue of an upstream.
type Lane struct {
	Lane            int    `json:"lane"` // its number, from 1
	BacklogMessages uint64 `json:"backlog_messages"`
}

// Broker is the figures of the MQTT broker.
type Broker struct {
	Clients       uint64 `json:"clients"`  // connected now
	Sessions      uint64 `json:"sessions"` // connected or kept
	Subscriptions uint64 `json:"subscriptions"`
	Retained      uint64 `json:"retained"`
	Received      uint64 `json:"received"` // PUBLISH packets from clients
	Sent          uint64 `json:"sent"`     // PUBLISH packets to clients
	Dropped       uint64 `json:"dropped"`  // messages given up for a full queue
}

// Client is one MQTT client that is connected, or whose session is kept.
type Client struct {
	ID        string    `json:"id"`
	User      string    `json:"user,omitempty"`
	Address   string    `json:"address,omitempty"` // while it is connected
	Version   string    `json:"version,omitempty"` // of MQTT, while it is connected
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // when it came, or left
	// KeepAliveSeconds is 0 without one.
	KeepAliveSeconds float64 `json:"keep_alive_seconds"`
	// SessionExpirySeconds is how long its session outlives the connection; -1
	// for ever.
	SessionExpirySeconds float64 `json:"session_expiry_seconds"`
	Subscriptions        uint64  `json:"subscriptions"`
	Inflight             uint64  `json:"inflight"` // sent and not acknowledged
	QueuedMessages       uint64  `json:"queued_messages"`
	QueuedBytes          uint64  `json:"queued_bytes"`
	Dropped              uint64  `json:"dropped"`  // messages for it given up for a full queue
	Received             uint64  `json:"received"` // PUBLISH packets from it
	Sent                 uint64  `json:"sent"`     // PUBLISH packets to it
	BytesReceived        uint64  `json:"bytes_received"`
	BytesSent            uint64  `json:"bytes_sent"`
}

// Store is the figures of the durable log.
type Store struct {
	Bytes    uint64 `json:"bytes"` // on the disk
	Segments uint64 `json:"segments"`
	Appended uint64 `json:"appended"` // messages
	Commits  uint64 `json:"commits"`  // flushes to the disk
	// Durability is how long commits gather, and why.
	Durability string `json:"durability"`
	Dropped    uint64 `json:"dropped"` // messages given up for lack of room
	// Quarantined is how many bytes were found damaged and set aside.
	Quarantined uint64 `json:"quarantined_bytes"`
	// Error says why nothing can be stored now; "" while all is well.
	Error string `json:"error,omitempty"`
}
