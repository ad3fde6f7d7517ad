package sim

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// ask asks a fresh slave with one fault for two registers after a first,
// healthy question for others, and gives the second answer and its time.
func ask(t *testing.T, f Fault, request []byte) (d *desk, s *Slave, start time.Duration) {
	t.Helper()
	d, slaves := newDesk(t, LineConfig{Kind: "rtu", Baud: 115200, Slaves: []SlaveConfig{{Unit: 1, Points: registers(8), Seed: 1}}})
	d.write(0, read(1, 3, 4, 2))
	d.until(time.Second)
	d.all()
	if err := slaves[1].SetFault(f); err != nil {
		t.Fatal(err)
	}
	d.write(time.Second, request)
	d.until(3 * time.Second)
	return d, slaves[1], time.Second + 8*(10*time.Second/115200) + 1750*time.Microsecond
}

func TestFaults(t *testing.T) {
	request := read(1, 3, 0, 2)
	good := withCRC(1, 3, 4, 0x03, 0xE8, 0x03, 0xE9)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	flipped := slices.Clone(good)
	flipped[8] ^= 0x5A
	for _, c := range []struct {
		fault Fault
		want  []byte
	}{
		{Fault{Kind: Late}, good},
		{Fault{Kind: BadCRC}, flipped},
		{Fault{Kind: GarbageBefore, Bytes: []byte{0, 0xFF}}, join([]byte{0, 0xFF}, good)},
		{Fault{Kind: GarbageAfter, Bytes: []byte{0}}, join(good, []byte{0})},
		{Fault{Kind: Truncated}, good[:4]},
		{Fault{Kind: Truncated, N: 7}, good[:7]},
		{Fault{Kind: WrongUnit}, withCRC(2, 3, 4, 0x03, 0xE8, 0x03, 0xE9)},
		{Fault{Kind: WrongFunction}, withCRC(1, 4, 4, 0x03, 0xE8, 0x03, 0xE9)},
		{Fault{Kind: WrongCount}, withCRC(1, 3, 2, 0x03, 0xE8)},
		{Fault{Kind: Echo}, join(request, good)},
		{Fault{Kind: Duplicate}, join(good, good)},
		{Fault{Kind: Replay}, withCRC(1, 3, 4, 0x03, 0xEC, 0x03, 0xED)},
		{Fault{Kind: Split, N: 2}, good},
		{Fault{Kind: Exception}, withCRC(1, 0x83, 6)},
		{Fault{Kind: Exception, Code: 5}, withCRC(1, 0x83, 5)},
		{Fault{Kind: Exception, Functions: []byte{6}}, good},
		{Fault{Kind: Dead}, nil},
		{Fault{Kind: SilentUnknown}, good},
	} {
		d, s, _ := ask(t, c.fault, request)
		if got := d.all(); !bytes.Equal(got, c.want) {
			t.Errorf("%s %+v: got % x, want % x", c.fault.Kind, c.fault, got, c.want)
		}
		want := uint64(1)
		if c.fault.Kind == SilentUnknown || c.fault.Functions != nil {
			want = 0
		}
		if n := s.Stats().Faults[c.fault.Kind]; n != want {
			t.Errorf("%s befell it %d times, want %d", c.fault.Kind, n, want)
		}
	}
}

func TestFaultsInTime(t *testing.T) {
	char := 10 * time.Second / 115200
	request := read(1, 3, 0, 2)

	d, _, start := ask(t, Fault{Kind: Late, Delay: 500 * ms}, request)
	if at := d.got[0].at; at != start+500*ms+8*char {
		t.Errorf("late: first group at %v, want %v", at, start+500*ms+8*char)
	}
	d, _, start = ask(t, Fault{Kind: Split, N: 3, Delay: 7 * ms}, request)
	for i, want := range []time.Duration{start + 3*char, start + 7*ms + 6*char, start + 14*ms + 9*char} {
		if d.got[i].at != want || len(d.got[i].data) != 3 {
			t.Errorf("split: piece %d at %v, want %v", i, d.got[i].at, want)
		}
	}
	d, _, start = ask(t, Fault{Kind: Duplicate, Delay: 9 * ms}, request)
	if at := d.got[2].at; at != start+9*char+9*ms+8*char {
		t.Errorf("duplicate begins to arrive at %v", at)
	}
}

func TestTwinCollides(t *testing.T) {
	d, _, _ := ask(t, Fault{Kind: Twin, Delay: 300 * time.Microsecond}, read(1, 3, 0, 2))
	if s := d.counters(); s.Collisions == 0 {
		t.Errorf("two answers at once did not collide: %+v", s)
	}
	got := d.all()
	if len(got) != 18 || bytes.Contains(got, withCRC(1, 3, 4, 0x03, 0xE8, 0x03, 0xE9)) {
		t.Errorf("heard % x", got)
	}
	// Where the second comes later, both are whole, and differ.
	d, _, _ = ask(t, Fault{Kind: Twin, Delay: 50 * ms}, read(1, 3, 0, 2))
	if got, want := d.all(), append(withCRC(1, 3, 4, 0x03, 0xE8, 0x03, 0xE9), withCRC(1, 3, 4, 0xFC, 0x17, 0xFC, 0x16)...); !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
}

func TestBabble(t *testing.T) {
	d, s := newDesk(t, LineConfig{Kind: "rtu", Baud: 9600, Slaves: []SlaveConfig{{Unit: 1, Points: registers(1)}}})
	if err := s[1].SetFault(Fault{Kind: Babble, N: 4, Delay: 50 * ms, Count: 5}); err != nil {
		t.Fatal(err)
	}
	d.until(time.Second)
	if n := len(d.all()); n != 20 {
		t.Errorf("%d bytes of noise, want 5 bursts of 4", n)
	}
	if _, ok := d.next(); ok {
		t.Error("something is still due after the last burst")
	}
}

func TestWrongCountOfWritesAndSingles(t *testing.T) {
	for _, c := range []struct{ request, want []byte }{
		{withCRC(1, 6, 0, 0, 0, 9), withCRC(1, 6, 0, 0, 0, 8)},
		{withCRC(1, 16, 0, 0, 0, 1, 2, 0, 9), withCRC(1, 16, 0, 0, 0, 0)},
		{read(1, 3, 0, 1), withCRC(1, 3, 4, 0x03, 0xE8, 0, 0)},
	} {
		d, _, _ := ask(t, Fault{Kind: WrongCount}, c.request)
		if got := d.all(); !bytes.Equal(got, c.want) {
			t.Errorf("% x: got % x, want % x", c.request, got, c.want)
		}
	}
}

func TestSilentUnknown(t *testing.T) {
	d, s, _ := ask(t, Fault{Kind: SilentUnknown}, read(1, 3, 7, 2))
	if got := d.all(); len(got) != 0 || s.Stats().Faults[SilentUnknown] != 1 {
		t.Errorf("got % x", got)
	}
}

func TestChancesAndCounts(t *testing.T) {
	d, s := newDesk(t, LineConfig{Kind: "rtu", NoPacing: true, Slaves: []SlaveConfig{{Unit: 1, Points: registers(1), Seed: 3}}})
	if err := s[1].SetFault(Fault{Kind: BadCRC, Probability: 0.05}, Fault{Kind: Dead, Count: 10}); err != nil {
		t.Fatal(err)
	}
	const n = 4000
	for i := range n {
		d.write(time.Duration(i)*ms, read(1, 3, 0, 1))
	}
	d.until(time.Hour)
	st := s[1].Stats()
	if st.Faults[Dead] != 10 || st.Requests != n-10 || st.Answers != n-10 {
		t.Errorf("%+v, want exactly 10 unheard", st)
	}
	// 5 % of 3990 are 200 ± 14; the seed fixes the draw.
	if got := st.Faults[BadCRC]; got < 140 || got > 260 {
		t.Errorf("5 %% of %d are %d", n-10, got)
	}
	if err := s[1].SetFault(Fault{Kind: "gremlin"}); err == nil {
		t.Error("an unknown fault was taken")
	}
	if err := s[1].SetFault(); err != nil || len(s[1].faults) != 0 {
		t.Error("the slave is not healed")
	}
}
