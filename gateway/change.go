package main

import (
	"math"
	"time"

	"sluice/adapters"
)

// change decides which readings of a point are news.
type change struct {
	on        bool    // else all are
	deadband  float64 // a number must move by so much; 0: at all
	heartbeat time.Duration
	slack     time.Duration // polls are not to the millisecond

	last  adapters.Reading // published last
	known bool
}

// passes reports whether r is to be published, and takes it for published.
func (c *change) passes(r adapters.Reading) bool {
	if c.on && c.known && r.Quality == c.last.Quality && !c.moved(r.Value) &&
		(c.heartbeat <= 0 || r.Time.Sub(c.last.Time)+c.slack < c.heartbeat) {
		return false
	}
	c.last, c.known = r, true
	return true
}

// moved reports whether v is far enough from the value published last. That
// 21.6 is 0.2 more than 21.4 must not be lost in the last of 53 bits.
func (c *change) moved(v adapters.Value) bool {
	now, isNumber := v.Number()
	then, wasNumber := c.last.Value.Number()
	if !isNumber || !wasNumber || c.deadband == 0 {
		return v != c.last.Value
	}
	return math.Abs(now-then) >= c.deadband*(1-1e-9)
}
