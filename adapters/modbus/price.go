package modbus

import (
	"time"

	"sluice/adapters/line"
)

// price is what the reads of one device cost of its line's time.
type price struct {
	fixed   time.Duration // of every read: its frame, the turnaround, the silences
	perByte time.Duration // of each byte of data
	wide    bool          // as in question
	round   time.Duration // how long a round of the reads without a period takes
}

const (
	// usualTurnaround is what a device is expected to need from the end of a
	// request to the begin of its answer, until that has been measured.
	usualTurnaround = 10 * time.Millisecond
	// usualRound stands for the round until it has been reckoned.
	usualRound = time.Second
	// networkByte is what a byte costs where no wire paces it.
	networkByte = time.Microsecond
)

// priceOf reckons with a device that needs delay between two requests and
// turn from the end of a request to the begin of its answer. The frames are
// those of Modbus over Serial Line V1.02, 2.5.1 and 2.5.2; ASCII takes two
// characters for a byte.
func priceOf(cfg line.Config, delay, turn time.Duration) price {
	char := cfg.Serial.CharTime()
	switch {
	case cfg.Kind == line.TCP:
		char = networkByte
	case char <= 0: // behind a network converter, at a speed that is not told
		char = line.Serial{Baud: 19200, DataBits: 8, Parity: 'E', StopBits: 1}.CharTime()
	}
	const request, answer = 8, 5 // bytes around the data
	frame, perByte, silence := (request+answer)*char, char, time.Duration(0)
	switch cfg.Kind {
	case line.ASCII, line.ASCIITCP:
		frame, perByte, silence = (17+11)*char, 2*char, char
	case line.RTU, line.RTUTCP:
		silence = cfg.Serial.T35()
	}
	return price{fixed: frame + turn + max(silence, delay), perByte: perByte, round: usualRound}
}

// of is how long a read of count entries of table t keeps the line.
func (p price) of(t Table, count int) time.Duration {
	return p.fixed + time.Duration(question{t.reads(), 0, uint16(count), p.wide}.size())*p.perByte
}

// load is the share of the line that such a read takes when it is made every
// so often; 0 is as often as the line allows.
func (p price) load(t Table, count int, every time.Duration) float64 {
	if every <= 0 {
		every = p.round
	}
	return float64(p.of(t, count)) / float64(every)
}
