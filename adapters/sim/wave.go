package sim

import (
	"fmt"
	"math"
	"time"
)

// Shape is the form of a Wave.
type Shape uint8

// The shapes.
const (
	Const  Shape = iota // Base
	Sine                // Base ± Swing, one turn per Period
	Ramp                // Base + Swing per Period, without end: a counter
	Walk                // wanders within Base ± Swing; Period is the time of its widest moves
	Toggle              // Base or Base + Swing, drawn anew every Period
)

// Wave is a value that lives: a pure function of time, the same for the same
// Seed. The zero Wave is always 0.
type Wave struct {
	Shape       Shape
	Base, Swing float64
	Period      time.Duration // default one minute
	// Step is the time for which the value stands still (default 100 ms).
	// It makes the question "was this ever true?" one with an answer.
	Step time.Duration
	Seed uint64
}

const (
	defaultPeriod = time.Minute
	defaultStep   = 100 * time.Millisecond
)

func (w Wave) validate() error {
	if w.Shape > Toggle {
		return fmt.Errorf("shape %d is unknown", w.Shape)
	}
	if w.Period < 0 || w.Step < 0 {
		return fmt.Errorf("period and step must not be negative")
	}
	for _, f := range [...]float64{w.Base, w.Swing} {
		if math.IsInf(f, 0) {
			return fmt.Errorf("base and swing must be finite")
		}
	}
	return nil
}

// At gives the value at d since the field's epoch.
func (w Wave) At(d time.Duration) float64 {
	if w.Shape == Const {
		return w.Base
	}
	period := w.period()
	d = w.hold(d)
	turns := float64(d) / float64(period)
	switch w.Shape {
	case Sine:
		phase := hash(w.Seed, 0)
		return w.Base + w.Swing*math.Sin(2*math.Pi*(turns+phase))
	case Ramp:
		return w.Base + w.Swing*max(turns, 0)
	case Walk:
		// Three octaves of lattice noise: bounded, and any instant can be
		// asked for without walking there.
		n := 0.62*noise(w.Seed, turns) + 0.27*noise(w.Seed+1, turns*3.7) + 0.11*noise(w.Seed+2, turns*13.1)
		return w.Base + w.Swing*n
	case Toggle:
		if hash(w.Seed, int64(math.Floor(turns))) < 0.5 {
			return w.Base
		}
		return w.Base + w.Swing
	}
	return w.Base
}

func (w Wave) period() time.Duration {
	if w.Period <= 0 {
		return defaultPeriod
	}
	return w.Period
}

func (w Wave) step() time.Duration {
	if w.Step <= 0 {
		return defaultStep
	}
	return w.Step
}

// hold gives the begin of the step that d lies in.
func (w Wave) hold(d time.Duration) time.Duration {
	step := w.step()
	held := d.Truncate(step) // towards zero
	if held > d {
		held -= step
	}
	return held
}

// hash gives an evenly distributed number in [0, 1) for a seed and a place
// (the finalizer of SplitMix64).
func hash(seed uint64, place int64) float64 {
	x := seed*0x9E3779B97F4A7C15 + uint64(place)*0xD1B54A32D192ED03 + 0x632BE59BD9B4E019
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}

// noise gives a smooth curve within ±1 through random values at whole x.
func noise(seed uint64, x float64) float64 {
	floor := math.Floor(x)
	a, b := hash(seed, int64(floor))*2-1, hash(seed, int64(floor)+1)*2-1
	f := x - floor
	f = f * f * (3 - 2*f)
	return a + (b-a)*f
}
