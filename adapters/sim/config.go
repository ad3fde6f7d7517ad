package sim

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// LineConfig describes one simulated line: a serial line behind a pty with
// Modbus slaves or talkers on it, or a network endpoint.
type LineConfig struct {
	Name string // unique in its Field; also the name of the link to the pty
	Kind string // "rtu", "ascii", "tcp", "rtu-tcp", "ascii-tcp" or "uart"

	// The character format gives the time that a byte needs on the wire:
	// (1 + DataBits + parity + StopBits) / Baud seconds. Zero values stand for
	// 19200 baud, 8 data bits, no parity ('N', 'E', 'O') and 1 stop bit.
	Baud     int
	DataBits int
	Parity   byte
	StopBits int

	// NoPacing lets bytes cross in no time, for tests that are not about
	// timing. Turnaround and faults keep their delays; silence is not judged.
	NoPacing bool
	// Echo returns to the master each byte it sends, as an RS-485 adapter
	// does whose receiver stays on.
	Echo bool
	// Link is the path of the symbolic link that leads to the pty; it stays
	// the same over Unplug and Replug. Empty: a link of the line's name in a
	// temporary folder. For Kind "rtu", "ascii" and "uart".
	Link string
	// Listen is the address of a network endpoint; empty is "127.0.0.1:0".
	Listen string

	Slaves  []SlaveConfig  // but for Kind "uart"
	Talkers []TalkerConfig // for Kind "uart"
}

// network reports whether the line is a network endpoint, not a pty.
func (c *LineConfig) network() bool { return strings.HasSuffix(c.Kind, "tcp") }

// SlaveConfig describes one Modbus device.
type SlaveConfig struct {
	Unit uint8 // 1–247; on TCP also 0 and 255, which name the endpoint itself

	// Turnaround passes between the end of the request (which a slave on a
	// serial line notices t3.5 after its last character) and the begin of the
	// answer. Jitter adds an evenly distributed part of itself.
	Turnaround time.Duration
	Jitter     time.Duration
	// Strict slaves do not hear a request that follows other traffic in less
	// than t3.5, as Modbus over serial line V1.02 §2.5.1.1 demands.
	Strict bool
	// MaxRegisters is the most registers that the slave gives or takes in one
	// request, else exception 3; 0: what the protocol allows.
	MaxRegisters int
	// Wide slaves answer four bytes for each register asked for, and refuse to
	// be written with exception 1. Their values have types of 32 or 64 bits; each
	// register is two words to Set, Get and Held.
	Wide bool

	Points []PointConfig
	Faults []Fault // the faults to begin with; see Slave.SetFault
	// Seed makes the chances of the faults and the jitter repeatable.
	Seed uint64
}

// PointConfig describes one value in a slave's registers.
type PointConfig struct {
	Name    string
	Table   string // "coil", "discrete", "input" or "holding"
	Address uint16 // as on the wire, from 0
	// Type is "bool", "string" or one of the numbers u8 to u64, i8 to i64, f16,
	// f32, f64, bcd16 and bcd32; empty is "bool" for coil and discrete, "u16"
	// for the others.
	Type   string
	Length int    // of a string, in registers
	Text   string // what a string says; cut to Length
	// Order is "ABCD" (default), "CDAB", "BADC" or "DCBA": the bytes of the
	// value as they appear on the wire. Values of one register know only AB
	// (ABCD, CDAB) and BA (BADC, DCBA).
	Order string
	// The wave's value is raw·Scale + Offset; a Scale of 0 is 1. What does
	// not fit the type is clamped to its range, a Ramp wraps as counters do.
	Scale, Offset float64
	Wave          Wave
	// Writable points stand at their wave's Base until they are written.
	// Others answer a write with exception 2. For coil and holding.
	Writable bool
}

// TalkerConfig describes a device on a UART that speaks in lines of text, or in
// frames.
type TalkerConfig struct {
	// Every is the time from line to line; 0: it speaks only when asked. The
	// first line comes after Every too, but within a second.
	Every time.Duration
	// Template is a line as sent, with its end, where {name} stands for the
	// value of the point of that name: "T={temp},H={hum}\n".
	Template string
	// Compose makes what is sent instead of Template where that is no text: it
	// is given the values of the points by name.
	Compose func(value func(point string) float64) []byte
	// Wrap, if it is not nil, makes a frame of each text that is sent.
	Wrap func(text []byte) []byte
	// Request is what it answers to with what it says else unasked.
	Request string
	// Turnaround passes between a command and the begin of its reply.
	Turnaround time.Duration
	Points     []TalkerPoint
	Answers    []AnswerConfig
	// Unknown is the reply to a line that fits no answer; empty is silence.
	Unknown string
}

// TalkerPoint is a value that a talker knows.
type TalkerPoint struct {
	Name     string
	Wave     Wave
	Decimals int // digits after the point in text, 0–9
}

// AnswerConfig says how a talker answers one kind of command.
type AnswerConfig struct {
	// Command is the line to answer, with its end. {name} in it takes a
	// number and remembers it as the value of that point: "VENT {vent}\n".
	// A name that is not among the Points makes a new one.
	Command string
	Reply   string // may hold {name}, like a Template
}

// fieldError is a fault in one field of a configuration.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.field + ": " + e.text }

// Field names the dotted key of the faulty field.
func (e *fieldError) Field() string { return e.field }

// problems gathers all that is wrong with a configuration.
type problems struct{ list []error }

func (p *problems) add(field, format string, args ...any) {
	p.list = append(p.list, &fieldError{field, fmt.Sprintf(format, args...)})
}

func (p *problems) err() error { return errors.Join(p.list...) }

// Validate reports everything that is wrong with the line, each as an error
// with a method Field() string that names the key. It fills in no defaults.
func (c *LineConfig) Validate() error {
	var p problems
	if c.Name == "" {
		p.add("name", "a line needs a name")
	}
	switch c.Kind {
	case "rtu", "ascii", "uart":
		c.validateSerial(&p)
	case "tcp", "rtu-tcp", "ascii-tcp":
		if c.Listen != "" {
			if _, _, err := net.SplitHostPort(c.Listen); err != nil {
				p.add("listen", "%q is no address, write host:port", c.Listen)
			}
		}
	default:
		p.add("kind", "%q is not simulated, choose rtu, ascii, tcp, rtu-tcp, ascii-tcp or uart", c.Kind)
	}
	if c.Kind == "uart" && len(c.Slaves) > 0 {
		p.add("slaves", "a uart has talkers, not Modbus slaves")
	}
	if c.Kind != "uart" && len(c.Talkers) > 0 {
		p.add("talkers", "only a uart has talkers")
	}
	units := map[uint8]bool{}
	for i := range c.Slaves {
		s := &c.Slaves[i]
		prefix := fmt.Sprintf("slaves.%d.", i)
		if units[s.Unit] {
			p.add(prefix+"unit", "unit %d is there twice", s.Unit)
		}
		units[s.Unit] = true
		if c.Kind != "tcp" && (s.Unit == 0 || s.Unit > 247) {
			p.add(prefix+"unit", "%d is outside 1–247", s.Unit)
		}
		s.validate(&p, prefix)
	}
	for i := range c.Talkers {
		c.Talkers[i].validate(&p, fmt.Sprintf("talkers.%d.", i))
	}
	return p.err()
}

func (c *LineConfig) validateSerial(p *problems) {
	if c.Baud < 0 || c.Baud > 4_000_000 {
		p.add("baud", "%d is outside 1–4000000", c.Baud)
	}
	if c.DataBits != 0 && (c.DataBits < 5 || c.DataBits > 8) {
		p.add("databits", "%d is outside 5–8", c.DataBits)
	}
	if c.Kind == "rtu" && c.DataBits != 0 && c.DataBits != 8 {
		p.add("databits", "Modbus RTU needs 8, not %d", c.DataBits)
	}
	if c.StopBits < 0 || c.StopBits > 2 {
		p.add("stopbits", "%d is neither 1 nor 2", c.StopBits)
	}
	switch c.Parity {
	case 0, 'N', 'E', 'O':
	default:
		p.add("parity", "%q is none of N, E, O", c.Parity)
	}
}

func (c *SlaveConfig) validate(p *problems, prefix string) {
	if c.Turnaround < 0 {
		p.add(prefix+"turnaround", "%v is negative", c.Turnaround)
	}
	if c.Jitter < 0 {
		p.add(prefix+"jitter", "%v is negative", c.Jitter)
	}
	if c.MaxRegisters < 0 {
		p.add(prefix+"maxregisters", "%d is negative", c.MaxRegisters)
	}
	for i, f := range c.Faults {
		if err := f.validate(); err != nil {
			p.add(fmt.Sprintf("%sfaults.%d", prefix, i), "%v", err)
		}
	}
	taken := map[cell]string{}
	for i := range c.Points {
		pt := &c.Points[i]
		key := prefix + "points." + pt.Name
		if pt.Name == "" {
			key = fmt.Sprintf("%spoints.%d", prefix, i)
		}
		before := len(p.list)
		pt.validate(p, key)
		if len(p.list) > before {
			continue
		}
		table, _ := parseTable(pt.Table)
		typ, _ := parseType(pt.Type, pt.Length, table)
		if c.Wide && !table.bits() {
			if typ.words()%2 != 0 {
				p.add(key+".type", "does not fill registers of four bytes, choose one of 32 or 64 bits")
			}
			typ.bits /= 2 // an address holds twice as much
		}
		if int(pt.Address)+typ.words() > 65536 {
			p.add(key+".address", "%d leaves no room for the %d registers of a %s", pt.Address, typ.words(), pt.Type)
			continue
		}
		for w := range typ.words() {
			at := cell{table, pt.Address + uint16(w)}
			if other, ok := taken[at]; ok {
				p.add(key, "overlaps point %s at %s %d", other, table, at.address)
				break
			}
			taken[at] = pt.Name
		}
	}
}

func (c *PointConfig) validate(p *problems, key string) {
	table, err := parseTable(c.Table)
	if err != nil {
		p.add(key+".table", "%v", err)
		return
	}
	if _, err := parseType(c.Type, c.Length, table); err != nil {
		p.add(key+".type", "%v", err)
		return
	}
	if _, err := parseOrder(c.Order); err != nil {
		p.add(key+".order", "%v", err)
	}
	if c.Writable && !table.writable() {
		p.add(key+".writable", "Modbus cannot write to table %s", table)
	}
	if err := c.Wave.validate(); err != nil {
		p.add(key+".wave", "%v", err)
	}
}

func (c *TalkerConfig) validate(p *problems, prefix string) {
	if c.Every < 0 {
		p.add(prefix+"every", "%v is negative", c.Every)
	}
	if (c.Every > 0 || c.Request != "") && c.Template == "" && c.Compose == nil {
		p.add(prefix+"template", "a talker that speaks needs a template")
	}
	if c.Turnaround < 0 {
		p.add(prefix+"turnaround", "%v is negative", c.Turnaround)
	}
	known := map[string]bool{}
	for i, pt := range c.Points {
		key := fmt.Sprintf("%spoints.%d", prefix, i)
		if pt.Name == "" || known[pt.Name] {
			p.add(key+".name", "%q: every point needs a name of its own", pt.Name)
		}
		known[pt.Name] = true
		if pt.Decimals < 0 || pt.Decimals > 9 {
			p.add(key+".decimals", "%d is outside 0–9", pt.Decimals)
		}
		if err := pt.Wave.validate(); err != nil {
			p.add(key+".wave", "%v", err)
		}
	}
	for i, a := range c.Answers {
		key := fmt.Sprintf("%sanswers.%d", prefix, i)
		_, names, err := compileCommand(a.Command)
		if err != nil {
			p.add(key+".command", "%v", err)
			continue
		}
		for _, name := range names {
			known[name] = true
		}
	}
	check := func(key, text string) {
		for _, name := range placeholders(text) {
			if !known[name] {
				p.add(key, "{%s} is no point of this talker", name)
			}
		}
	}
	check(prefix+"template", c.Template)
	for i, a := range c.Answers {
		check(fmt.Sprintf("%sanswers.%d.reply", prefix, i), a.Reply)
	}
}
