package uart

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/adapters"
)

// The sentence is the example of NMEA 0183; the others were added up by hand.
func TestChecksums(t *testing.T) {
	for text, c := range map[string]Checksum{
		"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47": NMEAXOR,
		"\x01\x03\x00\x00\x00\x0a\xc5\xcd":                                  CRC16Modbus,
		"\x01\x02\xff\x02":                                                  Sum8,
		"\x42\x4d\x00\x1c\x00\x01\x00\x02\x00\x03\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00\x07\x00\x08\x00\x09\x97\x00\x01\x75": Sum16,
		"\x12\x34\x26": XOR8,
		"\x01\x02\xfd": LRC,
		"":             NoChecksum,
	} {
		if !c.fits([]byte(text)) {
			t.Errorf("checksum %d of %q does not fit, it would be %q", c, text, c.Of([]byte(text[:max(0, len(text)-len(c.Of(nil)))])))
		}
		if c == NoChecksum {
			continue
		}
		for i := range text {
			spoilt := []byte(text)
			if spoilt[i] ^= 1; c.fits(spoilt) && !(c == NMEAXOR && i == 0) { // "$" is not covered
				t.Errorf("checksum %d: a change of byte %d of %q is not noticed", c, i, text)
			}
		}
		if c.fits(nil) {
			t.Errorf("nothing has checksum %d", c)
		}
	}
}

// framing is a way to part frames with a stream that shows it.
type framing struct {
	Frame
	chunks  []string // "" is a silence
	want    []string
	partial uint64
	spoilt  uint64
	over    uint64
}

func framings() map[string]framing {
	return map[string]framing{
		"lines with a checksum": {Frame: Frame{Checksum: NMEAXOR},
			chunks: []string{"$A*41\r\n$A*42\r\n", "$B*4", "2\n"}, want: []string{"$A*41", "$B*42"}, spoilt: 1},
		"marks": {Frame: Frame{Start: "<", End: ">", Max: 6},
			chunks: []string{"x>", "<a", "b>noise<cd><", "12345678>", "<e>"}, want: []string{"<ab>", "<cd>", "<e>"}, spoilt: 1},
		"marks of two bytes": {Frame: Frame{Start: "<<", End: ">>"},
			chunks: []string{"<", "<a>", ">", "<"}, want: []string{"<<a>>"}},
		"an end mark inside": {Frame: Frame{Start: "\x02", End: "\x03", Checksum: Sum8},
			chunks: []string{"\x02a\x03b\xc8\x03", "\x02\x02\x03"}, want: []string{"\x02a\x03b\xc8\x03", "\x02\x02\x03"}},
		"marks, one spoilt": {Frame: Frame{Start: "\x02", End: "\x03", Checksum: Sum8},
			chunks: []string{"\x02abc\x03", "\x02a\x63\x03"}, want: []string{"\x02a\x63\x03"}, spoilt: 1},
		"a mark and a length": {Frame: Frame{Start: "BM", Length: 5, Checksum: Sum8},
			chunks: []string{"M", "BMBM\x01\x01\x91", "BM\x02\x03\x94"}, want: []string{"BM\x01\x01\x91", "BM\x02\x03\x94"}, spoilt: 1},
		"a length": {Frame: Frame{Length: 3},
			chunks: []string{"bc", "", "def", "gh", "", "ijk", "lmn"}, want: []string{"def", "ijk", "lmn"}, partial: 1},
		"a length and a checksum": {Frame: Frame{Length: 3, Checksum: Sum8},
			chunks: []string{"z\x01\x02\x03\x05\x05", "\x0a"}, want: []string{"\x01\x02\x03", "\x05\x05\x0a"}, spoilt: 1},
		"silence": {Frame: Frame{Gap: 10 * time.Millisecond, Max: 4},
			chunks: []string{"tail", "", "ab", "c", "", "toolong", "", "d", ""}, want: []string{"abc", "d"}, partial: 1, over: 1},
		"silence and a checksum": {Frame: Frame{Gap: 10 * time.Millisecond, Checksum: XOR8},
			chunks: []string{"", "\x12\x34\x26", "", "\x12\x34\x27", ""}, want: []string{"\x12\x34\x26"}, spoilt: 1},
	}
}

// play feeds chunks to a stream whose port was just opened.
func (f framing) play(chunks []string) (*assembler, []string) {
	a := &assembler{Frame: f.Frame}
	a.restart()
	if f.lines() || len(chunks) > 0 && chunks[0] == "" {
		a.drop = false // heard from its begin
	}
	var got []string
	take := func(content []byte) { got = append(got, string(content)) }
	now := time.Unix(1000, 0)
	a.last = now
	for _, chunk := range chunks {
		if chunk == "" {
			now = now.Add(framePause)
			a.rest(now, take)
			continue
		}
		now = now.Add(time.Millisecond)
		a.feed([]byte(chunk), now, take)
	}
	return a, got
}

func TestFrames(t *testing.T) {
	for name, f := range framings() {
		t.Run(name, func(t *testing.T) {
			a, got := f.play(f.chunks)
			if !slices.Equal(got, f.want) {
				t.Errorf("got %q, want %q", got, f.want)
			}
			if a.partial != f.partial || a.spoilt != f.spoilt || a.overlong != f.over {
				t.Errorf("partial %d, spoilt %d, overlong %d; want %d, %d, %d", a.partial, a.spoilt, a.overlong, f.partial, f.spoilt, f.over)
			}
		})
	}
}

// However the chunks between two silences are cut, the frames are the same; and
// whatever comes, memory is bounded.
func TestFramesAnyCut(t *testing.T) {
	all := framings()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		f := all[rapid.SampledFrom(names).Draw(t, "framing")]
		var cut []string
		for _, chunk := range f.chunks {
			if chunk == "" {
				cut = append(cut, "")
			}
			for len(chunk) > 0 {
				n := rapid.IntRange(1, len(chunk)).Draw(t, "n")
				cut, chunk = append(cut, chunk[:n]), chunk[n:]
			}
		}
		if _, got := f.play(cut); !slices.Equal(got, f.want) {
			t.Fatalf("%q: got %q, want %q", cut, got, f.want)
		}
		noise := rapid.StringOfN(rapid.SampledFrom([]rune("<>BM\x02\x03a\n*")), 0, 3000, -1).Draw(t, "noise")
		if a, _ := f.play([]string{noise}); len(a.buf) > f.most()+len(f.Start)+len(f.End)+2 {
			t.Fatalf("%d bytes are kept", len(a.buf))
		}
	})
}

// A dust sensor sends frames of 32 bytes; a second one with a text protocol is
// asked.
func TestBinaryFrames(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	frame := []byte("\x42\x4d\x00\x1c\x00\x01\x00\x02\x00\x03\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00\x07\x00\x08\x00\x09\x97\x00\x01\x75")
	_, r := start(t, b, dustSensor())
	b.say(string(frame[7:]))
	b.say(string(frame[:20]))
	b.say(string(frame[20:]))
	r.next("d: online", "pm1=0.1", "pm25=512", "low=3")
	frame[5]++
	b.say(string(frame)) // its checksum is wrong
	frame[5]--
	frame[7], frame[31] = 9, frame[31]+7
	b.say(string(frame))
	r.next("pm1=0.1", "pm25=2304", "low=3")
}

func TestPolledDevice(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d := greenhouse(0)
	d.Request, d.Every = "MEAS?\n", 20*time.Millisecond
	u, r := start(t, b, d)
	if got := b.hears(); got != "MEAS?" {
		t.Fatalf("it was asked %q", got)
	}
	b.say("# a comment\nT=1,H=2\n")
	r.until("hum=2")
	r.until("g: no answer to its request")
	go func() {
		for range b.heard {
			_, _ = b.master.WriteString("T=4\n") // fails when the test has ended
		}
	}()
	r.until("g: online")
	r.until("temp=4")
	s := u.Stats()[0]
	if s.Requests < 2 || s.Timeouts < 1 || s.Matched < 2 {
		t.Errorf("%+v", s)
	}
}

// Where several devices are asked, what comes unasked is nobody's, and after an
// answer that is missing it has time to come before the next device is asked.
func TestNoAnswerIsTakenForAnothers(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	talker, first, second := greenhouse(0), greenhouse(0), greenhouse(0)
	first.Name, first.Request, first.Every = "first", "A?\n", time.Hour
	second.Name, second.Request, second.Every = "second", "B?\n", time.Hour
	begin := time.Now()
	u, r := start(t, b, first, second, talker)
	if got := b.hears(); got != "A?" {
		t.Fatalf("asked %q first", got)
	}
	r.until("first: no answer to its request")
	if got := b.hears(); got != "B?" {
		t.Fatalf("asked %q then", got)
	}
	if d := time.Since(begin); d < 200*time.Millisecond { // the timeout, twice
		t.Errorf("the next device was asked after %v", d)
	}
	b.say("T=2\n")
	r.next("second: online", "temp=2")
	b.say("the end of a line\nT=9\n")
	r.until("g: online")
	// The talker hears last: the others have heard it by now.
	if s := u.Stats(); s[0].Matched != 0 || s[1].Matched != 1 {
		t.Errorf("frames taken: %d and %d", s[0].Matched, s[1].Matched)
	}
}

// until waits until something happens, whatever else does before.
func (r *record) until(want string) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got := <-r.ch:
			if got == want {
				return
			}
		case <-deadline:
			r.t.Fatalf("%q did not happen", want)
		}
	}
}

// dustSensor reads a sensor that sends 32 bytes: the mark, numbers, their sum.
func dustSensor() DeviceConfig {
	at := func(name string, b Binary, scale float64) PointConfig {
		return PointConfig{Point: &adapters.Point{Device: "d", Name: name}, Binary: &b, Mapping: adapters.Mapping{Scale: scale, Decimals: -1}}
	}
	return DeviceConfig{
		Name: "d", Frame: Frame{Start: "BM", Length: 32, Checksum: Sum16},
		Points: []PointConfig{
			at("pm1", Binary{At: 4, Type: adapters.TypeU16}, 0.1),
			at("pm25", Binary{At: 6, Type: adapters.TypeU16, Order: adapters.DCBA}, 1),
			at("low", Binary{At: 9, Type: adapters.TypeU8}, 1),
		},
	}
}

// The answer of a device that does not mark the end of its frames ends with
// silence.
func TestPolledDeviceWithSilence(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	d := dustSensor()
	d.Frame = Frame{Gap: 15 * time.Millisecond, Checksum: XOR8}
	d.Request, d.Every = "\x01\n", time.Hour
	d.Points = d.Points[:1]
	_, r := start(t, b, d)
	b.hears()
	b.say("\x00\x00\x00\x00\x00\x04\x04")
	r.next("d: online", "pm1=0.4")
}

func TestBitsOfFrames(t *testing.T) {
	frame := []byte{0x42, 0xA5, 0x80, 0x00}
	for want, b := range map[string]Binary{
		"true":    {At: 1, Type: adapters.TypeU8, Field: adapters.Field{Shift: 7, Bits: 1}, Bit: true},
		"false":   {At: 1, Type: adapters.TypeU8, Field: adapters.Field{Shift: 1, Bits: 1}, Bit: true},
		"2":       {At: 1, Type: adapters.TypeI8, Field: adapters.Field{Shift: 4, Bits: 2}},
		"8430914": {At: 0, Type: adapters.TypeU24, Order: adapters.DCBA},
		"invalid": {At: 2, Type: adapters.TypeI16},
	} {
		c := PointConfig{Point: &adapters.Point{Name: "p"}, Binary: &b, Mapping: adapters.Mapping{Decimals: -1, Bad: []adapters.Value{adapters.Int(0x8000)}}}
		if want != "invalid" {
			c.Bad = nil
		}
		v, quality, ok := newPoint(c, nil).find(frame, nil)
		got := v.String()
		if quality != adapters.Good {
			got = quality.String()
		}
		if !ok || got != want {
			t.Errorf("%+v is %s, want %s", b, got, want)
		}
	}
}
