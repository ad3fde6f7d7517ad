package bridge

import (
	"math/rand/v2"
	"time"
)

const (
	// backoffFirst and backoffMax bound the wait after a connection that the
	// upstream accepted and that came to nothing.
	backoffFirst = 500 * time.Millisecond
	backoffMax   = time.Minute
	// backoffFloor keeps random waits from falling to zero.
	backoffFloor = 50 * time.Millisecond
	// refusedMax bounds the wait after an attempt that reached nobody. It
	// costs a packet or two, and keeps the way back, handshakes included, below
	// a second.
	refusedMax = 500 * time.Millisecond
	// productiveMax bounds the wait after a connection that did something.
	productiveMax = time.Second
	// connectEvery is the least time from one CONNECT to the next, whatever
	// became of the first. A profile may ask for more.
	connectEvery = time.Second
	// stableAfter is how long a connection must live to be called good.
	stableAfter = 30 * time.Second
)

// outcome is how one attempt to be connected ended.
type outcome uint8

const (
	unreached  outcome = iota // nobody answered: no connection at all
	rejected                  // accepted and ended before it was of any use
	productive                // messages got through, but it was cut early
	stable                    // it lived for stableAfter
	throttled                 // the upstream told us to come back more slowly
)

// backoff decides how long to wait before the next attempt: exponentially
// longer with full jitter while the upstream accepts and drops us, but never
// long while nobody answers at all, so that a server that was restarted sees
// us again within a second.
type backoff struct {
	failures int                               // in a row
	random   func(time.Duration) time.Duration // uniform in [0, d); a seam for tests
	every    time.Duration                     // from one CONNECT to the next; a seam for tests
	last     time.Time                         // of the last CONNECT
}

func newBackoff(every time.Duration) *backoff {
	return &backoff{every: max(connectEvery, every), random: func(d time.Duration) time.Duration { return rand.N(d) }}
}

// next returns the wait after an attempt that ended so.
func (b *backoff) next(o outcome) time.Duration {
	bound := productiveMax
	switch o {
	case unreached:
		return max(backoffFloor, refusedMax/2+b.random(refusedMax/2))
	case stable:
		b.failures = 0
		bound = backoffFirst
	case productive:
		// Cut again and again, but each time something got through: keep
		// going, as a mobile link may never do better.
		b.failures /= 2
	case rejected, throttled:
		b.failures = min(b.failures+1, 16)
		bound = min(backoffMax, backoffFirst<<b.failures)
	}
	return max(backoffFloor, b.random(bound))
}

// connecting notes that a CONNECT is about to be sent.
func (b *backoff) connecting(now time.Time) { b.last = now }

// until returns the wait after an attempt that ended so: that of next, and long
// enough that CONNECTs do not follow too closely.
func (b *backoff) until(o outcome, now time.Time) time.Duration {
	wait := b.next(o)
	if b.last.IsZero() {
		return wait
	}
	return max(wait, b.last.Add(b.every).Sub(now))
}
