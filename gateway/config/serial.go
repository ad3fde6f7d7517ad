package config

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/adapters/line"
)

// usualSerial is the speed and format of lines that do not tell theirs: for
// Modbus the default of its specification (Modbus over Serial Line V1.02,
// 2.5.1 and 2.5.2).
var usualSerial = map[line.Kind]string{line.RTU: "19200 8E1", line.ASCII: "19200 7E1", line.UART: "115200 8N1"}

// serialFormat wants a speed and a format.
func serialFormat(b *binder, path string, v any) (string, bool) {
	s, isText := v.(string)
	if isText {
		_, err := line.ParseSerial(s)
		if err == nil {
			return s, true
		}
		b.bad(path, nearSerial(s), "%v", err)
		return "", false
	}
	b.bad(path, nearSerial(fmt.Sprint(v)), `expected speed and format such as "19200 8E1" in quotes, not %s`, describe(v))
	return "", false
}

var (
	serialSpeed = regexp.MustCompile(`^([0-9]+)(?: ?(?:BAUD|BPS|BD))?([^0-9].*|)$`)
	serialFrame = regexp.MustCompile(`^(?:([5-8])([NEO])|([NEO])([5-8]))([12])$`)
	serialWords = strings.NewReplacer("NONE", "N", "EVEN", "E", "ODD", "O", " ", "", ",", "", ";", "", ":", "", "/", "", "-", "", "_", "", ".", "")
)

// nearSerial gives the hint to what was probably meant by 9600, "9600,8,N,1" or
// "9600-8N1"; "" if nobody knows.
func nearSerial(s string) string {
	speed := serialSpeed.FindStringSubmatch(strings.ToUpper(strings.TrimSpace(s)))
	if speed == nil {
		return ""
	}
	frame := serialFrame.FindStringSubmatch(cmp.Or(serialWords.Replace(speed[2]), "8N1"))
	if frame == nil {
		return ""
	}
	fixed := speed[1] + " " + frame[1] + frame[4] + frame[2] + frame[3] + frame[5]
	if _, err := line.ParseSerial(fixed); err != nil {
		return ""
	}
	return fmt.Sprintf("write %q", fixed)
}

// checkSerial reads the speed and format of a serial line.
func (b *binder) checkSerial(l *rawLine, out *Line) {
	switch {
	case !l.kind.Serial():
		if l.has("serial") {
			b.badKey(l.at("serial"), "", `"serial" is for lines of kind "rtu", "ascii" and "uart": %s is a network endpoint`, l.title())
		}
		return
	case !b.fine(l.at("serial")):
		return
	}
	s, _ := line.ParseSerial(cmp.Or(l.serial, usualSerial[l.kind])) // was read already
	if l.kind == line.RTU && s.DataBits != 8 {
		b.bad(l.at("serial"), "", "expected 8 data bits, which Modbus RTU needs, not %d", s.DataBits)
	}
	if l.kind == line.ASCII && s.DataBits < 7 {
		b.bad(l.at("serial"), "", "expected 7 or 8 data bits, which Modbus ASCII needs, not %d", s.DataBits)
	}
	if !usualSpeed(s.Baud) {
		near := s
		near.Baud = nearestSpeed(s.Baud)
		hint := fmt.Sprintf("did you mean %q?", near)
		if !slip(s.Baud, near.Baud) {
			hint = fmt.Sprintf("the nearest usual one is %d", near.Baud)
		}
		b.warn(l.at("serial"), hint, "%d baud is no usual speed", s.Baud)
	}
	out.Serial = s
}

// commonSpeeds are those of sensors, meters and converters, in baud.
var commonSpeeds = []int{300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200, 230400, 460800, 921600}

// usualSpeed reports whether devices are known to speak at so many baud: the
// common speeds, the others that Linux has names for, and those that divide the
// clocks of microcontrollers.
func usualSpeed(baud int) bool {
	others := []int{
		50, 75, 110, 134, 150, 200, 1800, 576000, 1152000, // of Linux
		56000, 128000, 153600, 256000, 10400, 74880, 100000, 125000, 420000, // modems, ISO 9141, ESP8266, SBUS, CRSF
	}
	return slices.Contains(commonSpeeds, baud) || slices.Contains(others, baud) || baud%31250 == 0 || baud%50000 == 0
}

// nearestSpeed gives the common speed that is one slip away, or else the nearest.
func nearestSpeed(baud int) int {
	far := func(speed int) float64 {
		off := math.Abs(math.Log(float64(baud) / float64(speed)))
		if !slip(baud, speed) {
			off += 1000
		}
		return off
	}
	return slices.MinFunc(commonSpeeds, func(a, b int) int { return cmp.Compare(far(a), far(b)) })
}

// slip reports whether one number is written instead of the other by one slip.
func slip(a, b int) bool { return distance(strconv.Itoa(a), strconv.Itoa(b)) <= 1 }
