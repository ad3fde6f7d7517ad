package modbus

import (
	"net"
	"time"
)

// A door has room for doorClients masters. One more gets the place of the one
// that has been quiet for longest: of those that have never sent a whole
// request, after a second of that, and where there is none, of the others
// after a minute. Else it is turned away.
const (
	strangerGrace = time.Second
	masterGrace   = time.Minute
)

// visit is what is known of a client of a door.
type visit struct {
	since time.Time // of its last whole request, or when it came
	asked bool      // it has sent one
}

// mayStay is for how long it keeps its place from now on, whoever comes.
func (v *visit) mayStay(now time.Time) time.Duration {
	grace := strangerGrace
	if v.asked {
		grace = masterGrace
	}
	return grace - now.Sub(v.since)
}

func (v *visit) goesBefore(other *visit) bool {
	if v.asked != other.asked {
		return !v.asked
	}
	return v.since.Before(other.since)
}

// crowd tells of a door that is full: when that begins, but not more often
// than each minute, and when there is room again.
type crowd struct {
	full, told bool
	at         time.Time // when it was told last
	away       uint64    // pushed out and turned away when that began
}

const crowdAgain = time.Minute

// enter takes a client in if there is room for it, or room can be made.
func (d *Door) enter(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if len(d.clients) == doorClients {
		quiet := d.quietest(now)
		d.crowded(conn, quiet, now)
		if quiet == nil {
			d.stats.TurnedAway++
			return false
		}
		d.stats.PushedOut++
		delete(d.clients, quiet)
		_ = quiet.Close()
	}
	d.stats.Connects++
	d.clients[conn] = &visit{since: now}
	return true
}

// quietest gives the client that must make room, nil if none must.
func (d *Door) quietest(now time.Time) (quietest net.Conn) {
	for conn, v := range d.clients {
		if v.mayStay(now) > 0 {
			continue
		}
		if other := d.clients[quietest]; other == nil || v.goesBefore(other) {
			quietest = conn
		}
	}
	return quietest
}

// crowded tells that conn came to a full door.
func (d *Door) crowded(conn, quiet net.Conn, now time.Time) {
	c := &d.crowd
	if c.full {
		return
	}
	c.full, c.told, c.away = true, c.at.IsZero() || now.Sub(c.at) >= crowdAgain, d.stats.TurnedAway+d.stats.PushedOut
	if !c.told {
		return
	}
	c.at = now
	if quiet == nil {
		d.log.Warn("the line's door is full: another master was turned away; end those that are not needed",
			"clients", len(d.clients), "client", conn.RemoteAddr())
	} else {
		d.log.Warn("the line's door is full: a silent client had to make room for another master; end those that are not needed",
			"clients", len(d.clients), "client", conn.RemoteAddr(), "silent", quiet.RemoteAddr())
	}
}

func (d *Door) leave(conn net.Conn) {
	_ = conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.clients, conn)
	if c := &d.crowd; c.full && len(d.clients) <= doorClients/2 {
		if c.full = false; c.told {
			d.log.Info("the line's door has room again", "clients", len(d.clients), "had_no_place", d.stats.TurnedAway+d.stats.PushedOut-c.away)
		}
	}
}

// asked notes a whole request of a client.
func (d *Door) asked(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Requests++
	if v := d.clients[conn]; v != nil {
		v.since, v.asked = time.Now(), true
	}
}
