package sim

import (
	"hash/fnv"
	"math"
	"strings"
	"time"
)

// hint is what is plausible for a quantity, found by unit, by a word of the
// point's name, or by both. Empty fields fit everything.
type hint struct {
	unit  string // as written, spaces removed
	words string // any of these, between spaces
	wave  Wave
}

func walk(base, swing float64, period time.Duration) Wave {
	return Wave{Shape: Walk, Base: base, Swing: swing, Period: period}
}

func sine(base, swing float64, period time.Duration) Wave {
	return Wave{Shape: Sine, Base: base, Swing: swing, Period: period}
}

func ramp(base, swing float64, period time.Duration) Wave {
	return Wave{Shape: Ramp, Base: base, Swing: swing, Period: period}
}

func toggle(base, swing float64, period time.Duration) Wave {
	return Wave{Shape: Toggle, Base: base, Swing: swing, Period: period}
}

// hints are searched in order: the special before the general.
var hints = []hint{
	{"°C", "boiler supply flow heating buffer", walk(48, 9, 20*time.Minute)},
	{"°C", "return", walk(38, 7, 20*time.Minute)},
	{"°C", "dhw tank cpu", walk(52, 6, 30*time.Minute)},
	{"°C", "out outdoor outside ambient", walk(9, 7, 3*time.Hour)},
	{"°C", "dewpoint dew", walk(9, 2, 30*time.Minute)},
	{"°C", "", walk(20.5, 3, 10*time.Minute)},
	{"°F", "", walk(69, 5, 10*time.Minute)},
	{"K", "", walk(293, 3, 10*time.Minute)},
	{"V", "battery bat dc", walk(50.5, 2.5, 20*time.Minute)},
	{"V", "pv string", walk(380, 60, 10*time.Minute)},
	{"V", "", sine(230, 3, 90*time.Second)},
	{"mV", "", walk(500, 120, 2*time.Minute)},
	{"A", "", walk(6, 4.5, 2*time.Minute)},
	{"mA", "", walk(12, 6, 2*time.Minute)},
	{"W", "", walk(1350, 1000, 2*time.Minute)},
	{"kW", "", walk(1.35, 1, 2*time.Minute)},
	{"VA", "", walk(1420, 1000, 2*time.Minute)},
	{"kVA", "", walk(1.42, 1, 2*time.Minute)},
	{"var", "", walk(120, 180, 2*time.Minute)},
	{"kvar", "", walk(0.12, 0.18, 2*time.Minute)},
	{"Wh", "", ramp(120_000, 1350, time.Hour)},
	{"kWh", "", ramp(120, 1.35, time.Hour)},
	{"MWh", "", ramp(12, 0.00135, time.Hour)},
	{"kvarh", "", ramp(14, 0.12, time.Hour)},
	{"kVAh", "", ramp(125, 1.42, time.Hour)},
	{"Hz", "", walk(50, 0.03, time.Minute)},
	{"%", "soc battery charge", walk(62, 30, 4*time.Hour)},
	{"%", "level tank fill", walk(60, 25, 2*time.Hour)},
	{"%", "soil moisture", walk(34, 9, time.Hour)},
	{"%", "valve vent fan damper pump speed dimmer", walk(40, 35, 10*time.Minute)},
	{"%", "", walk(48, 10, 15*time.Minute)},
	{"%rH", "", walk(48, 10, 15*time.Minute)},
	{"ppm", "", walk(720, 290, 12*time.Minute)},
	{"ppb", "", walk(160, 110, 12*time.Minute)},
	{"µg/m³", "", walk(11, 8, 10*time.Minute)},
	{"hPa", "", walk(1013, 9, 6*time.Hour)},
	{"mbar", "", walk(1013, 9, 6*time.Hour)},
	{"kPa", "", walk(101.3, 0.9, 6*time.Hour)},
	{"Pa", "", walk(35, 20, 2*time.Minute)},
	{"bar", "", walk(1.8, 0.3, 10*time.Minute)},
	{"lx", "", walk(420, 380, 5*time.Minute)},
	{"W/m²", "", walk(410, 390, 5*time.Minute)},
	{"m/s", "", walk(3.2, 3, time.Minute)},
	{"km/h", "", walk(12, 11, time.Minute)},
	{"l/h", "", walk(640, 220, 4*time.Minute)},
	{"l/min", "", walk(10.5, 4, 4*time.Minute)},
	{"m³/h", "", walk(0.64, 0.22, 4*time.Minute)},
	{"m³", "", ramp(310, 0.02, time.Hour)},
	{"l", "", ramp(31_000, 20, time.Hour)},
	{"rpm", "", walk(1450, 60, time.Minute)},
	{"1/min", "", walk(1450, 60, time.Minute)},
	{"dB", "", walk(44, 9, time.Minute)},
	{"dBm", "", walk(-72, 8, time.Minute)},
	{"mm", "", walk(800, 250, time.Hour)},
	{"cm", "", walk(80, 25, time.Hour)},
	{"m", "", walk(1.6, 0.5, time.Hour)},
	{"°", "", walk(180, 170, 5*time.Minute)},
	{"pH", "", walk(7.2, 0.3, time.Hour)},
	{"h", "", ramp(900, 1, time.Hour)},
	{"s", "uptime runtime", ramp(0, 3600, time.Hour)},
	// Without a unit that says it, the name does.
	{"", "temp temperature", walk(20.5, 3, 10*time.Minute)},
	{"", "hum humidity rh", walk(48, 10, 15*time.Minute)},
	{"", "co2", walk(720, 290, 12*time.Minute)},
	{"", "pressure", walk(1013, 9, 6*time.Hour)},
	{"", "voltage", sine(230, 3, 90*time.Second)},
	{"", "current", walk(6, 4.5, 2*time.Minute)},
	{"", "power", walk(1350, 1000, 2*time.Minute)},
	{"", "energy import export total", ramp(120, 1.35, time.Hour)},
	{"", "frequency freq", walk(50, 0.03, time.Minute)},
	{"", "pf cosphi factor", walk(0.95, 0.04, 2*time.Minute)},
	{"", "level fill", walk(60, 25, 2*time.Hour)},
	{"", "lux light brightness", walk(420, 380, 5*time.Minute)},
	{"", "counter count pulses", ramp(0, 60, time.Minute)},
	{"", "uptime runtime hours", ramp(900, 1, time.Hour)},
	{"", "ph", walk(7.2, 0.3, time.Hour)},
	{"", "setpoint target", Wave{Base: 21}},
	{"", "alarm fault error warning status state mode", Wave{}},
	{"", "door window contact motion presence leak button input switch run running open", toggle(0, 1, 20*time.Second)},
}

// Guess picks a plausible wave for a point by its name and unit: 230 V ± 3,
// a room at 20 °C, a counter for kWh. It lies within min and max where they
// are given. The name also seeds it, so that points of one kind differ.
// Without any clue it wanders around 50.
func Guess(name, unit string, min, max *float64) Wave {
	words := nameWords(name)
	unit = strings.ReplaceAll(unit, " ", "")
	w := Wave{Shape: Walk, Base: 50, Swing: 20, Period: 5 * time.Minute}
	for _, h := range hints {
		if (h.unit == "" || h.unit == unit) && (h.words == "" || anyWord(words, h.words)) {
			w = h.wave
			break
		}
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name)) // never fails
	w.Seed = sum.Sum64()
	return w.within(min, max)
}

// within moves and flattens a wave until it lies between the bounds. A Ramp
// has no upper end to mind.
func (w Wave) within(min, max *float64) Wave {
	low, high := math.Inf(-1), math.Inf(1)
	if min != nil {
		low = *min
	}
	if max != nil {
		high = *max
	}
	if low > high || w.Shape == Toggle {
		return w
	}
	if w.Shape == Ramp {
		if w.Base < low {
			w.Base = low
		}
		return w
	}
	if w.Base-w.Swing >= low && w.Base+w.Swing <= high {
		return w
	}
	switch {
	case math.IsInf(high, 0):
		w.Base = low + w.Swing
	case math.IsInf(low, 0):
		w.Base = high - w.Swing
	default:
		w.Base = low/2 + high/2
		w.Swing = math.Min(w.Swing, (high/2-low/2)*0.8)
	}
	return w
}

// nameWords cuts a name like "voltage_l1" or "supplyTemp" into lower-case words.
func nameWords(name string) map[string]bool {
	words := map[string]bool{}
	var word strings.Builder
	flush := func() {
		if word.Len() > 0 {
			words[word.String()] = true
			word.Reset()
		}
	}
	lower := false
	for _, r := range name {
		switch {
		case r >= 'A' && r <= 'Z':
			if lower {
				flush()
			}
			word.WriteRune(r + 'a' - 'A')
			lower = false
		case r == '_' || r == '-' || r == '/' || r == '.' || r == ' ':
			flush()
			lower = false
		default:
			word.WriteRune(r)
			lower = true
		}
	}
	flush()
	return words
}

func anyWord(have map[string]bool, of string) bool {
	for word := range strings.FieldsSeq(of) {
		if have[word] {
			return true
		}
	}
	return false
}
