package sim

import "time"

// bus is an RS-485 line with Modbus slaves. It is not safe for concurrent
// use.
type bus struct {
	wire
	framing  busFraming
	stations []*station
}

// station is a slave and its twin on a bus.
type station struct {
	slave *Slave
	owes  time.Time // until then the slave is busy with an answer
	noisy time.Time // until then it babbles
	twin  byte      // its address stands for the second device of this unit
}

func newBus(c *LineConfig, slaves []*Slave) *bus {
	b := &bus{wire: newWire(c), framing: framingOf(c.Kind)}
	b.whole, b.patience = b.framing.whole, b.framing.patience()
	b.receive = b.request
	for _, s := range slaves {
		b.stations = append(b.stations, &station{slave: s})
	}
	return b
}

// request is called when a frame has ended.
func (b *bus) request(at time.Time, f frame) {
	unit, pdu, ok := b.framing.open(f.data)
	if f.overlapped || !ok {
		b.stats.Bad++
		return
	}
	b.stats.Requests++
	for _, s := range b.stations {
		if s.slave.unit != unit && unit != 0 {
			continue
		}
		if f.from.Before(s.owes) || s.slave.strict && f.hasty {
			b.stats.Unheard++
			continue
		}
		a := s.slave.answer(at, unit, pdu, f.data, b.framing)
		if unit == 0 || len(a.own) == 0 {
			continue // nobody answers a broadcast
		}
		b.stats.Answers++
		s.owes = b.transmit(s, at, a.own)
		if a.twin != nil {
			b.transmit(&s.twin, at, a.twin)
		}
	}
}

// advance plays the wire and lets the babblers babble.
func (b *bus) advance(now time.Time) {
	b.wire.advance(now)
	for _, s := range b.stations {
		if now.Before(s.noisy) {
			continue
		}
		if bursts := s.slave.unasked(now); bursts != nil {
			s.noisy = b.transmit(s, now, bursts)
		}
	}
}

func (b *bus) next() (time.Time, bool) {
	at, ok := b.wire.next()
	for _, s := range b.stations {
		due, babbles := s.slave.due()
		if due.Before(s.noisy) {
			due = s.noisy
		}
		if babbles && (!ok || due.Before(at)) {
			at, ok = due, true
		}
	}
	return at, ok
}

func (b *bus) cut() {
	b.wire.cut()
	for _, s := range b.stations {
		s.owes, s.noisy = time.Time{}, time.Time{}
	}
}

func (b *bus) counters() LineStats { return b.stats }
