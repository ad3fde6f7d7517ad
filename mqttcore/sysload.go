package mqttcore

import (
	"math"
	"time"
)

// loads are averages per minute over the last 1, 5 and 15 minutes, weighted
// by age as the system load of Unix is.
type loads struct {
	at   time.Time
	last [len(loadNames)]uint64
	rate [len(loadNames)][len(loadPeriods)]float64
}

var loadPeriods = [...]struct {
	name    string
	seconds float64
}{{"1min", 60}, {"5min", 300}, {"15min", 900}}

var loadNames = [...]struct {
	name string
	of   func(*Stats) uint64
}{
	{"messages/received", func(s *Stats) uint64 { return s.MessagesReceived }},
	{"messages/sent", func(s *Stats) uint64 { return s.MessagesSent }},
	{"publish/received", func(s *Stats) uint64 { return s.PublishReceived }},
	{"publish/sent", func(s *Stats) uint64 { return s.PublishSent }},
	{"publish/dropped", func(s *Stats) uint64 { return s.Dropped }},
	{"bytes/received", func(s *Stats) uint64 { return s.BytesReceived }},
	{"bytes/sent", func(s *Stats) uint64 { return s.BytesSent }},
	{"sockets", func(s *Stats) uint64 { return s.Connects + s.Refused }},
	{"connections", func(s *Stats) uint64 { return s.Connects }},
}

// add takes the counters as they are now.
func (l *loads) add(s Stats, now time.Time) {
	first, passed := l.at.IsZero(), now.Sub(l.at).Seconds()
	if !first && passed <= 0 {
		return
	}
	l.at = now
	for i := range loadNames {
		n := loadNames[i].of(&s)
		perMinute := float64(n-l.last[i]) * 60 / passed
		l.last[i] = n
		if first {
			continue // the time since the start is not known to be a fair one
		}
		for j, p := range loadPeriods {
			l.rate[i][j] = perMinute + math.Exp(-passed/p.seconds)*(l.rate[i][j]-perMinute)
		}
	}
}
