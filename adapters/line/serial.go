package line

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Serial is how characters are sent: "19200 8E1".
type Serial struct {
	Baud     int  // 50 to 4000000
	DataBits int  // 5 to 8
	Parity   byte // 'N', 'E' or 'O'
	StopBits int  // 1 or 2
}

// ParseSerial reads the usual notation: the speed, a blank, then data bits,
// parity and stop bits, such as "9600 8N1" or "19200 8E1".
func ParseSerial(s string) (Serial, error) {
	words := strings.Fields(s)
	if len(words) != 2 || len(words[1]) != 3 {
		return Serial{}, fmt.Errorf("serial %q is not understood; write speed and frame, such as \"19200 8E1\"", s)
	}
	baud, err := strconv.Atoi(words[0])
	if err != nil {
		return Serial{}, fmt.Errorf("serial %q: %q is not a speed; write it as in \"19200 8E1\"", s, words[0])
	}
	frame := strings.ToUpper(words[1])
	parsed := Serial{
		Baud:     baud,
		DataBits: int(frame[0]) - '0',
		Parity:   frame[1],
		StopBits: int(frame[2]) - '0',
	}
	if text := parsed.fault(); text != "" {
		return Serial{}, fmt.Errorf("serial %q: %s", s, text)
	}
	return parsed, nil
}

func (s Serial) fault() string {
	switch {
	case s.Baud < 50 || s.Baud > 4_000_000:
		return fmt.Sprintf("speed %d is outside 50 to 4000000 baud", s.Baud)
	case s.DataBits < 5 || s.DataBits > 8:
		return fmt.Sprintf("%d data bits; use 5 to 8", s.DataBits)
	case s.Parity != 'N' && s.Parity != 'E' && s.Parity != 'O':
		return fmt.Sprintf("parity %q; use N, E or O", s.Parity)
	case s.StopBits != 1 && s.StopBits != 2:
		return fmt.Sprintf("%d stop bits; use 1 or 2", s.StopBits)
	}
	return ""
}

// String gives the notation that ParseSerial reads.
func (s Serial) String() string {
	return fmt.Sprintf("%d %d%c%d", s.Baud, s.DataBits, s.Parity, s.StopBits)
}

// CharTime is how long one character takes on the wire, with its start,
// parity and stop bits.
func (s Serial) CharTime() time.Duration {
	bits := 1 + s.DataBits + s.StopBits
	if s.Parity != 'N' {
		bits++
	}
	return time.Duration(bits) * s.bitTime()
}

func (s Serial) bitTime() time.Duration {
	if s.Baud <= 0 {
		return 0
	}
	return time.Second / time.Duration(s.Baud)
}

// T35 is the silence that parts two frames: 3.5 characters, and 1.75 ms
// above 19200 baud (Modbus over Serial Line V1.02, 2.5.1.1).
func (s Serial) T35() time.Duration {
	if s.Baud > 19200 {
		return 1750 * time.Microsecond
	}
	return s.CharTime() * 7 / 2
}
