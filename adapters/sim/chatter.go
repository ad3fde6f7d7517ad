package sim

import (
	"bytes"
	"time"
)

// chatter is a UART with its talkers. It is not safe for concurrent use.
type chatter struct {
	wire
	talkers []*Talker
	heard   []byte // received and not yet a line
	now     time.Time
}

// maxHeard is the longest command that a talker takes.
const maxHeard = 256

func newChatter(c *LineConfig, talkers []*Talker) *chatter {
	w := &chatter{wire: newWire(c), talkers: talkers}
	w.whole = func([]byte) bool { return true }
	w.receive = w.listen
	return w
}

// listen takes the bytes that have crossed.
func (c *chatter) listen(at time.Time, f frame) {
	c.heard = append(c.heard, f.data...)
	for _, t := range c.talkers {
		if out, ok := t.asked(at, c.heard); ok {
			c.stats.Requests++
			c.heard = nil
			if len(out) > 0 {
				c.stats.Answers++
				c.transmit(t, at.Add(t.cfg.Turnaround), []burst{{0, out}})
			}
			return
		}
	}
	for {
		end := bytes.IndexAny(c.heard, "\r\n")
		if end < 0 {
			break
		}
		line := c.heard[:end]
		if len(line) > 0 {
			c.stats.Requests++
			c.command(at, line, false)
		}
		c.heard = c.heard[end+1:]
	}
	if len(c.heard) > 0 && c.command(at, c.heard, true) {
		c.stats.Requests++
		c.heard = nil
	}
	if len(c.heard) > maxHeard {
		c.stats.Bad++
		c.heard = nil
	}
}

func (c *chatter) command(at time.Time, line []byte, bare bool) (taken bool) {
	for _, t := range c.talkers {
		out, ok := t.hear(at, line, bare)
		if out != "" {
			c.stats.Answers++
			c.transmit(t, at.Add(t.cfg.Turnaround), []burst{{0, []byte(out)}})
		}
		taken = taken || ok
	}
	return taken
}

func (c *chatter) advance(now time.Time) {
	c.now = now
	c.wire.advance(now)
	for _, t := range c.talkers {
		if out := t.speak(now); len(out) > 0 {
			c.say(t, now, out)
		}
	}
}

// backlog is how many bytes may wait for a line that is too slow for what its
// talkers have to say.
const backlog = maxSaid + 4096

func (c *chatter) say(t *Talker, now time.Time, out []byte) {
	if c.queued()+len(out) > backlog {
		c.stats.Lost += uint64(len(out))
		return
	}
	c.transmit(t, now, []burst{{0, out}})
}

func (c *chatter) next() (time.Time, bool) {
	at, ok := c.wire.next()
	for _, t := range c.talkers {
		if due, speaks := t.next(c.now); speaks && (!ok || due.Before(at)) {
			at, ok = due, true
		}
	}
	return at, ok
}

func (c *chatter) cut() {
	c.wire.cut()
	c.heard = nil
}

func (c *chatter) counters() LineStats { return c.stats }
