package sim

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

func TestValuesByName(t *testing.T) {
	f := play(t, LineConfig{Name: "l", Kind: "rtu", NoPacing: true, Slaves: []SlaveConfig{{Unit: 5, Points: []PointConfig{
		{Name: "temp", Table: "input", Address: 1, Type: "i16", Scale: 0.1, Offset: -40, Wave: Wave{Base: 21.44}},
		{Name: "fan", Table: "holding", Address: 2, Wave: Wave{Shape: Sine, Base: 40, Swing: 10}, Writable: true},
	}}}})
	if got := f.Lines(); !slices.Equal(got, []string{"l"}) || f.Path("m") != "" || f.Slave("l", 6) != nil || f.Slave("m", 5) != nil || f.Talker("l", 0) != nil {
		t.Errorf("lines %v, or there is more than there is", got)
	}
	s := f.Slave("l", 5)
	if s.Unit() != 5 || math.Abs(s.Value("temp")-21.4) > 1e-9 || s.Value("fan") != 40 || !math.IsNaN(s.Value("none")) {
		t.Errorf("temp %v, fan %v", s.Value("temp"), s.Value("fan"))
	}
	before := time.Now()
	if err := s.SetValue("temp", -5.5); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	if got := s.Get("input", 1, 1); got[0] != 345 {
		t.Errorf("-5.5 °C is %d, want 345", got[0])
	}
	for _, c := range []struct {
		v        float64
		from, to time.Time
		want     bool
	}{
		{21.4, before.Add(-time.Second), before, true},
		{-5.5, before.Add(-time.Second), before.Add(-ms), false},
		{-5.5, after, after, true},
		{21.4, after, after.Add(time.Second), false},
	} {
		if got := s.HeldValue("temp", c.v, 0.01, c.from, c.to); got != c.want {
			t.Errorf("held %v: %v", c.v, got)
		}
	}
	s.Reset()
	if math.Abs(s.Value("temp")-21.4) > 1e-9 {
		t.Errorf("after a reboot: %v", s.Value("temp"))
	}
	for _, err := range []error{s.SetValue("none", 1), s.Set("shelf", 0, 1), s.Set("input", 65535, 1, 2),
		f.Unplug("m"), f.Replug("m"), s.SetFault(Fault{Kind: Dead, Probability: 2})} {
		if err == nil {
			t.Error("nonsense was taken")
		}
	}
}

func TestWaitForAWrite(t *testing.T) {
	f := play(t, LineConfig{Name: "l", Kind: "rtu", NoPacing: true, Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}}})
	s := f.Slave("l", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Wait(ctx, func() bool { return s.Get("holding", 0, 1)[0] == 7 }) }()
	m := open(t, f.Path("l"))
	for _, v := range []byte{5, 7} {
		set := withCRC(1, 6, 0, 0, 0, v)
		m.send(set)
		if got := m.take(8, 5*time.Second); !bytes.Equal(got, set) {
			t.Fatalf("got % x", got)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(ctx)
	end()
	if err := s.Wait(ended, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ended with %v", err)
	}
	if st := s.Stats(); st.Requests != 2 || st.Answers != 2 || st.Exceptions != 0 {
		t.Errorf("%+v", st)
	}
}
