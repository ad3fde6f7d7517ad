package sim

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// desk plays a model in invented time.
type desk struct {
	model
	now time.Time
	got []heard
}

type heard struct {
	at   time.Duration // since the begin
	data []byte
}

var begin = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newDesk(t *testing.T, c LineConfig) (*desk, map[uint8]*Slave) {
	t.Helper()
	c.Name = "desk"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	d := &desk{now: begin}
	deliver := func(b []byte) { d.got = append(d.got, heard{d.now.Sub(begin), bytes.Clone(b)}) }
	cal := newCalendar(begin)
	slaves := map[uint8]*Slave{}
	if c.Kind == "uart" {
		var talkers []*Talker
		for i := range c.Talkers {
			talkers = append(talkers, newTalker(&c.Talkers[i], cal, func() {}))
		}
		m := newChatter(&c, talkers)
		m.deliver, d.model = deliver, m
		return d, nil
	}
	var list []*Slave
	for i := range c.Slaves {
		s := newSlave(&c.Slaves[i], cal, func() {})
		slaves[s.unit], list = s, append(list, s)
	}
	m := newBus(&c, list)
	m.deliver, d.model = deliver, m
	return d, slaves
}

// until plays to a time since the begin.
func (d *desk) until(end time.Duration) {
	for {
		at, ok := d.next()
		if !ok || at.Sub(begin) > end {
			break
		}
		if at.After(d.now) {
			d.now = at
		}
		d.advance(d.now)
	}
	d.now = begin.Add(end)
	d.advance(d.now)
}

// write lets the master write at a time since the begin.
func (d *desk) write(at time.Duration, b []byte) {
	d.until(at)
	d.arrive(d.now, b)
}

// all gives everything that was heard, and forgets it.
func (d *desk) all() []byte {
	var b []byte
	for _, h := range d.got {
		b = append(b, h.data...)
	}
	d.got = nil
	return b
}

func read(unit, function byte, address, n uint16) []byte {
	pdu := []byte{function}
	pdu = binary.BigEndian.AppendUint16(pdu, address)
	pdu = binary.BigEndian.AppendUint16(pdu, n)
	return withCRC(append([]byte{unit}, pdu...)...)
}

// withCRC appends the CRC, computed bit by bit as the specification draws it,
// apart from the code under test.
func withCRC(b ...byte) []byte {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low == 1 {
				crc ^= 0xA001
			}
		}
	}
	return append(b[:len(b):len(b)], byte(crc), byte(crc>>8))
}

func registers(n uint16) []PointConfig {
	var points []PointConfig
	for i := range n {
		points = append(points, PointConfig{Name: string(rune('a' + i)), Table: "holding", Address: i,
			Wave: Wave{Base: float64(1000 + i)}, Writable: true})
	}
	return points
}

const ms = time.Millisecond

// 9600 8E1: a character takes 11/9600 s = 1.145833 ms, t3.5 is 4.010416 ms.
const char9600 = 11 * time.Second / 9600

func TestAnswerArrivesAsAUARTDeliversIt(t *testing.T) {
	d, _ := newDesk(t, LineConfig{Kind: "rtu", Baud: 9600, Parity: 'E',
		Slaves: []SlaveConfig{{Unit: 1, Turnaround: 10 * ms, Points: registers(10)}}})
	d.write(0, read(1, 3, 0, 10))
	d.until(time.Second)
	// 8 request characters, t3.5, turnaround, then 25 characters: 8, 8, 8, 1.
	start := 8*char9600 + char9600*7/2 + 10*ms
	want := []struct {
		at time.Duration
		n  int
	}{{start + 8*char9600, 8}, {start + 16*char9600, 8}, {start + 24*char9600, 8}, {start + 25*char9600, 1}}
	if len(d.got) != len(want) {
		t.Fatalf("%d groups arrived, want %d", len(d.got), len(want))
	}
	for i, w := range want {
		if d.got[i].at != w.at || len(d.got[i].data) != w.n {
			t.Errorf("group %d: %d bytes at %v, want %d at %v", i, len(d.got[i].data), d.got[i].at, w.n, w.at)
		}
	}
	s := d.counters()
	if s.Requests != 1 || s.Answers != 1 || s.BytesIn != 8 || s.BytesOut != 25 || s.Busy != 33*char9600 {
		t.Errorf("counters %+v", s)
	}
	answer := d.all()
	if !bytes.Equal(answer, withCRC(answer[:23]...)) || answer[2] != 20 || answer[3] != 1000>>8 || answer[4] != 1000&0xFF {
		t.Errorf("answer % x", answer)
	}
}

func TestCharacterAndSilence(t *testing.T) {
	for _, c := range []struct {
		line        LineConfig
		char, quiet time.Duration
	}{
		{LineConfig{Baud: 9600}, 1041666, 3645831},
		{LineConfig{Baud: 9600, Parity: 'E'}, 1145833, 4010415},
		{LineConfig{}, 520833, 1822915},
		{LineConfig{Baud: 38400, StopBits: 2}, 286458, 1750 * time.Microsecond},
		{LineConfig{Baud: 115200, DataBits: 8, Parity: 'O', StopBits: 1}, 95486, 1750 * time.Microsecond},
	} {
		if got := c.line.charTime(); got != c.char {
			t.Errorf("%+v: character %v, want %v", c.line, got, c.char)
		}
		if got := c.line.quietTime(); got != c.quiet {
			t.Errorf("%+v: t3.5 %v, want %v", c.line, got, c.quiet)
		}
	}
}

func TestSilenceIsJudged(t *testing.T) {
	for _, strict := range []bool{false, true} {
		d, _ := newDesk(t, LineConfig{Kind: "rtu", Baud: 9600, Parity: 'E',
			Slaves: []SlaveConfig{{Unit: 1, Strict: strict, Points: registers(1)}}})
		quiet := char9600 * 7 / 2
		end := 8*char9600 + quiet + 7*char9600 // of the first answer
		d.write(0, read(1, 3, 0, 1))
		second := end + quiet
		d.write(second, read(1, 3, 0, 1)) // just in time
		if s := d.counters(); s.Violations != 0 {
			t.Fatalf("exactly t3.5 counts as a violation: %+v", s)
		}
		d.write(second+end+quiet-time.Microsecond, read(1, 3, 0, 1)) // a microsecond early
		d.until(time.Second)
		s := d.counters()
		want := uint64(3)
		if strict {
			want = 2
		}
		if s.Violations != 1 || s.Overlaps != 0 || s.Answers != want {
			t.Errorf("strict %v: %+v, want 1 violation and %d answers", strict, s, want)
		}
	}
}

func TestOverlapGarblesBoth(t *testing.T) {
	d, _ := newDesk(t, LineConfig{Kind: "rtu", Baud: 9600, Parity: 'E',
		Slaves: []SlaveConfig{{Unit: 1, Points: registers(20)}, {Unit: 2, Points: registers(1)}}})
	d.write(0, read(1, 3, 0, 20))
	start := 8*char9600 + char9600*7/2
	d.write(start+10*char9600, read(2, 3, 0, 1)) // in the middle of the answer
	d.until(time.Second)
	s := d.counters()
	if s.Overlaps != 1 || s.Bad != 1 || s.Answers != 1 || s.Collisions != 2 {
		t.Errorf("%+v, want one overlap, nothing heard, two groups garbled", s)
	}
	if answer := d.all(); len(answer) != 45 || bytes.Equal(answer, withCRC(answer[:43]...)) {
		t.Errorf("the answer came through unharmed: % x", answer)
	}
	// The line recovers by itself.
	d.write(2*time.Second, read(2, 3, 0, 1))
	d.until(3 * time.Second)
	if answer := d.all(); !bytes.Equal(answer, withCRC(2, 3, 2, 0x03, 0xE8)) {
		t.Errorf("after the collision: % x", answer)
	}
}

func TestSlaveThatOwesAnAnswerDoesNotHear(t *testing.T) {
	d, s := newDesk(t, LineConfig{Kind: "rtu", Baud: 115200,
		Slaves: []SlaveConfig{{Unit: 1, Points: registers(4)}, {Unit: 2, Points: registers(4)}}})
	if err := s[1].SetFault(Fault{Kind: Late, Delay: 330 * ms, Count: 1}); err != nil {
		t.Fatal(err)
	}
	d.write(0, read(1, 3, 0, 1))
	d.write(302*ms, read(1, 3, 1, 1)) // not heard
	d.write(305*ms, read(2, 3, 2, 1)) // heard
	d.until(time.Second)
	if got, want := d.all(), append(withCRC(2, 3, 2, 0x03, 0xEA), withCRC(1, 3, 2, 0x03, 0xE8)...); !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	if c := d.counters(); c.Unheard != 1 || c.Answers != 2 {
		t.Errorf("%+v, want one request unheard", c)
	}
}

func TestRequestInPieces(t *testing.T) {
	request := read(1, 3, 0, 1)
	for _, c := range []struct {
		name    string
		line    LineConfig
		gap     time.Duration
		answers uint64
	}{
		{"within t3.5", LineConfig{Baud: 9600}, 4*1041666 + 3*ms, 1},
		{"beyond t3.5", LineConfig{Baud: 9600}, 4*1041666 + 4*ms, 0},
		{"unpaced", LineConfig{NoPacing: true}, 10 * ms, 1},
		{"unpaced, given up", LineConfig{NoPacing: true}, 30 * ms, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.line.Kind, c.line.Slaves = "rtu", []SlaveConfig{{Unit: 1, Points: registers(1)}}
			d, _ := newDesk(t, c.line)
			d.write(0, request[:4])
			d.write(c.gap, request[4:])
			d.until(time.Second)
			if s := d.counters(); s.Answers != c.answers || s.Requests != c.answers {
				t.Errorf("%+v, want %d answers", s, c.answers)
			}
		})
	}
}

func TestEchoLine(t *testing.T) {
	d, _ := newDesk(t, LineConfig{Kind: "rtu", Baud: 9600, Echo: true,
		Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}}})
	request := read(1, 3, 0, 1)
	d.write(0, request)
	d.until(8 * 1041666)
	if got := d.all(); !bytes.Equal(got, request) {
		t.Fatalf("echo % x, want % x", got, request)
	}
	d.until(time.Second)
	if got := d.all(); !bytes.Equal(got, withCRC(1, 3, 2, 0x03, 0xE8)) {
		t.Errorf("answer % x", got)
	}
}

func TestBroadcastIsCarriedOutInSilence(t *testing.T) {
	d, s := newDesk(t, LineConfig{Kind: "rtu", Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}, {Unit: 2, Points: registers(1)}}})
	d.write(0, withCRC(0, 6, 0, 0, 0, 77))
	d.until(time.Second)
	for unit, slave := range s {
		if words, _ := slave.bank.read(d.now, cell{holding, 0}, 1); words[0] != 77 {
			t.Errorf("unit %d holds %d", unit, words[0])
		}
	}
	if got := d.all(); len(got) != 0 {
		t.Errorf("somebody answered a broadcast: % x", got)
	}
}

func TestForeignFramesAreIgnored(t *testing.T) {
	d, _ := newDesk(t, LineConfig{Kind: "rtu", NoPacing: true, Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}}})
	d.write(0, read(9, 3, 0, 1))
	bad := read(1, 3, 0, 1)
	bad[7] ^= 1
	d.write(time.Second, bad)
	d.until(2 * time.Second)
	if s := d.counters(); len(d.got) != 0 || s.Requests != 1 || s.Bad != 1 {
		t.Errorf("heard %v, counters %+v", d.got, s)
	}
}
