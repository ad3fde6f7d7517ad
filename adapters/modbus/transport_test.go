package modbus

import (
	"strings"
	"testing"
	"time"

	goburrow "github.com/goburrow/modbus"

	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// What frames look like and how they travel makes no difference to what is
// published.
func TestNoWrongValueOnAnyTransport(t *testing.T) {
	t.Parallel()
	faults := []sim.Fault{
		{Kind: sim.Late, Probability: 0.04, Delay: 60 * ms},
		{Kind: sim.BadCRC, Probability: 0.05},
		{Kind: sim.GarbageBefore, Probability: 0.05},
		{Kind: sim.GarbageAfter, Probability: 0.03},
		{Kind: sim.Truncated, Probability: 0.02},
		{Kind: sim.WrongFunction, Probability: 0.03},
		{Kind: sim.WrongCount, Probability: 0.03},
		{Kind: sim.Echo, Probability: 0.03},
		{Kind: sim.Exception, Probability: 0.03},
		{Kind: sim.Split, Probability: 0.03, N: 5, Delay: 5 * ms},
	}
	for _, kind := range []line.Kind{line.ASCII, line.RTUTCP, line.ASCIITCP} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			slaves, devices := meters(2, []uint16{0, 100}, 10, 0, faults...)
			f := simulate(t, sim.LineConfig{Name: "bus", Kind: string(kind), Baud: 115200, Slaves: slaves})
			sink := newTruth(devices, 600)
			cfg := (&field{}).rtu()
			cfg.Kind, cfg.Port, cfg.Timeout = kind, f.Path("bus"), 40*ms
			if !kind.Serial() {
				cfg.Serial = line.Serial{}
			}
			p, l := start(t, cfg, sink, devices...)
			select {
			case <-sink.enough:
			case <-time.After(testPatience):
				t.Fatalf("too few good readings; %+v; %+v", l.Stats(), p.Stats())
			}
			sink.mu.Lock()
			defer sink.mu.Unlock()
			for _, text := range sink.wrong {
				t.Error(text)
			}
			if s := l.Stats(); s.Checksum == 0 || s.Mismatch == 0 || s.Garbage == 0 {
				t.Errorf("not all faults were met: %+v", s)
			}
		})
	}
}

// asciiOf frames a unit and its protocol data unit as goburrow does.
func asciiOf(t testing.TB, b ...byte) string {
	t.Helper()
	packager := goburrow.NewASCIIClientHandler("")
	packager.SlaveId = b[0]
	frame, err := packager.Encode(&goburrow.ProtocolDataUnit{FunctionCode: b[1], Data: b[2:]})
	if err != nil {
		t.Fatal(err)
	}
	return string(frame)
}

func TestASCIIFramer(t *testing.T) {
	request := asciiOf(t, 7, 3, 4, 0, 0, 2) // two registers from 0x0400: its echo begins like an answer
	answer := asciiOf(t, 7, 3, 4, 0xAB, 0xCD, 0, 1)
	f := asciiFramer{[]byte(request), false}
	for name, c := range map[string]struct {
		heard string
		fault string // "": the answer is found
	}{
		"alone":                    {answer, ""},
		"small letters":            {strings.ToLower(answer), ""},
		"behind noise":             {"\x00\xff:07" + answer, ""},
		"behind its echo":          {request + answer, ""},
		"behind half of itself":    {answer[:9] + answer, ""},
		"behind another's":         {asciiOf(t, 8, 3, 4, 1, 2, 3, 4) + answer, ""},
		"before noise":             {answer + ":0", ""},
		"an exception":             {asciiOf(t, 7, 0x83, 2), ""},
		"cut":                      {answer[:14], "broke off"},
		"cut before its line feed": {answer[:len(answer)-1], "broke off"},
		"wrong checksum":           {answer[:len(answer)-3] + "0\r\n", "checksum"},
		"a digit that is none":     {answer[:10] + "G" + answer[11:], "broke off"},
		"another unit":             {asciiOf(t, 8, 3, 4, 1, 2, 3, 4), "unit 8"},
		"another length":           {asciiOf(t, 7, 3, 2, 1, 2), "another question"},
		"another function":         {asciiOf(t, 7, 4, 4, 1, 2, 3, 4), "another question"},
		"another's exception":      {asciiOf(t, 7, 0x84, 2), "another question"},
		"RTU":                      {"\x07\x03\x04\xab\xcd\x00\x01\x8c\x5c\x00\x00", "no ASCII frame"},
	} {
		t.Run(name, func(t *testing.T) {
			found := ""
			for n := range len(c.heard) + 1 {
				skip, total, err := f.Scan([]byte(c.heard[:n]))
				if err != nil || skip < 0 || skip > n || total < 1 {
					t.Fatalf("of %q: %d, %d, %v", c.heard[:n], skip, total, err)
				}
				if n-skip >= total {
					found = c.heard[skip : skip+total]
					break
				}
			}
			if c.fault == "" {
				if found == "" || !strings.HasSuffix(strings.ToUpper(found), "\r\n") || !strings.Contains(c.heard, found) {
					t.Errorf("found %q in %q", found, c.heard)
				}
				return
			}
			if found != "" {
				t.Errorf("took %q for the answer", found)
			}
			if err := f.Fault([]byte(c.heard)); err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q: %v, want %q", c.heard, err, c.fault)
			}
		})
	}
}

// Whatever comes, what the framer takes for an answer is one that goburrow,
// which panics on malformed frames, decodes.
func FuzzASCIIFramer(f *testing.F) {
	request := asciiOf(f, 7, 3, 0, 0, 0, 2)
	f.Add([]byte(asciiOf(f, 7, 3, 4, 0xAB, 0xCD, 0, 1)))
	f.Add([]byte(":0703" + request))
	f.Add([]byte(":::\r\n:07\r\n"))
	packager := goburrow.NewASCIIClientHandler("")
	f.Fuzz(func(t *testing.T, heard []byte) {
		framer := asciiFramer{[]byte(request), false}
		skip, total, err := framer.Scan(heard)
		if err != nil || skip < 0 || skip > len(heard) || total < 1 {
			t.Fatalf("%d, %d, %v", skip, total, err)
		}
		if len(heard) > 0 {
			_ = framer.Fault(heard)
		}
		if len(heard)-skip < total {
			return
		}
		answer := heard[skip : skip+total]
		if err := packager.Verify([]byte(request), answer); err != nil {
			t.Fatal(err)
		}
		pdu, err := packager.Decode(answer)
		if err != nil || pdu.FunctionCode&0x7F != 3 {
			t.Fatalf("%v, %v", pdu, err)
		}
	})
}
