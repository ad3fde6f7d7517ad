package modbus

import (
	"bytes"
	"slices"
	"time"

	"sluice/adapters/line"
)

// What another master has written and the device has confirmed is what the
// device holds. But the answer to a write of one value is the request itself
// once more, as it comes again where a device is silent; and that to a write of
// several tells their place, not their values.

// unconfirmed are the writes that a unit has not answered.
type unconfirmed struct {
	writes [][]byte  // at most mostDebts
	since  time.Time // of the last
	// usual are the times from requests to answers which are nothing else.
	usual line.Window
}

// promptly is how soon after a request that is answered with itself nobody has
// sent it again yet.
const promptly = 60 * time.Millisecond

func (u *unconfirmed) miss(write []byte, now time.Time) {
	u.since = now
	if slices.ContainsFunc(u.writes, func(w []byte) bool { return bytes.Equal(w, write) }) {
		return
	}
	if len(u.writes) == mostDebts {
		u.writes = u.writes[1:]
	}
	u.writes = append(u.writes, write)
}

// change gives the read whose answer would be the data that a write, or the
// writing part of a request, has brought; data is nil where that is not known.
func (r *request) change() (q question, data []byte) {
	s, writes := written(r.pdu)
	if !writes || r.wide && s.table == Holding {
		return q, nil
	}
	q = question{function: s.table.reads(), address: uint16(s.address), count: uint16(s.count)}
	switch r.pdu[0] {
	case writeCoil:
		data = []byte{r.pdu[3] & 1}
	case writeRegister:
		data = r.pdu[3:5]
	case writeCoils, writeRegisters:
		data = r.pdu[6:]
	case readWrite:
		data = r.pdu[10:]
	}
	return q, data
}

// cleared notes an answer that is certainly the one to the last request, and
// what it took: a device answers in order, so that nothing older can follow.
func (u *unconfirmed) cleared(took time.Duration) {
	u.writes = nil
	u.usual.Add(took)
}

// confirmed reports whether frame, which came just now as the answer to a write
// and is no exception, is certainly that.
func (m *monitor) confirmed(o *owing, r *request, frame []byte) bool {
	if m.last.Sub(o.since) > debtLife {
		o.writes = nil
	}
	took := m.took(r, frame)
	switch r.pdu[0] {
	case writeCoils, writeRegisters:
		if slices.ContainsFunc(o.writes, func(w []byte) bool { return bytes.Equal(w[:5], r.pdu[:5]) && !bytes.Equal(w, r.pdu) }) {
			return false
		}
		o.cleared(took)
		return true
	case writeCoil, writeRegister:
		if p50, _ := o.usual.Percentiles(); took > max(promptly, 2*p50+margin) {
			o.miss(r.pdu, m.last)
			return false
		}
		o.expire(m.last)
		return len(o.writes) == 0 && len(o.owed) == 0
	}
	return false
}
