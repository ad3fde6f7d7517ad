package bridge

import "time"

// bucket lets through so much a second on average. It is filled up to a burst
// and may be overdrawn by the last that went through, so that nothing is too
// large for it.
type bucket struct {
	rate, burst float64 // a second; at once
	level       float64
	at          time.Time // when level was right
}

// newBucket makes a full bucket.
func newBucket(rate float64, burst time.Duration) *bucket {
	b := &bucket{rate: rate, burst: rate * burst.Seconds()}
	b.level = b.burst
	return b
}

// wait returns how long nothing may pass; 0: now.
func (b *bucket) wait(now time.Time) time.Duration {
	if passed := now.Sub(b.at); b.at.IsZero() || passed > 0 {
		if !b.at.IsZero() {
			b.level = min(b.burst, b.level+b.rate*passed.Seconds())
		}
		b.at = now
	}
	if b.level > 0 {
		return 0
	}
	return time.Duration((1-b.level)/b.rate*float64(time.Second)) + 1
}

// pace holds the PUBLISH packets of a link to the rates that are configured or
// that its provider allows. It outlives connections. Acknowledgements and
// what keeps the connection alive pass by it.
type pace struct {
	bytes    []*bucket
	messages []*bucket
}

// paceBurst is how many seconds of its rate may pass at once: it lets a cycle
// of readings through at once, and is too short to fill a slow line.
const paceBurst = time.Second

// newPace makes the pace of a link; nil where there is no bound.
func newPace(cfg *Config) *pace {
	p := &pace{}
	if cfg.Rate > 0 {
		p.bytes = append(p.bytes, newBucket(float64(cfg.Rate), paceBurst))
	}
	prof := cfg.profile()
	if prof.bytesPerSecond > 0 {
		p.bytes = append(p.bytes, newBucket(prof.bytesPerSecond, prof.burst))
	}
	if prof.publishesPerSecond > 0 {
		p.messages = append(p.messages, newBucket(prof.publishesPerSecond, prof.burst))
	}
	if len(p.bytes)+len(p.messages) == 0 {
		return nil
	}
	return p
}

// wait returns how long nothing may be sent; 0: something may, now.
func (p *pace) wait() (longest time.Duration) {
	if p == nil {
		return 0
	}
	now := time.Now()
	for _, b := range p.bytes {
		longest = max(longest, b.wait(now))
	}
	for _, b := range p.messages {
		longest = max(longest, b.wait(now))
	}
	return longest
}

// spend notes that a PUBLISH of so many bytes was sent.
func (p *pace) spend(bytes int) {
	if p == nil {
		return
	}
	for _, b := range p.bytes {
		b.level -= float64(bytes)
	}
	for _, b := range p.messages {
		b.level--
	}
}
