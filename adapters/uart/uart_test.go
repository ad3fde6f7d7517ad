package uart

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"sluice/adapters"
	"sluice/adapters/line"
)

const patience = 20 * time.Second

// board is a device that speaks on a UART: the master end of a pty.
type board struct {
	t            *testing.T
	master, hold *os.File
	link         string
	heard        chan string // lines sent to it
}

func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{t: t, link: filepath.Join(t.TempDir(), "uart"), heard: make(chan string, 64)}
	b.plug()
	t.Cleanup(b.unplug)
	return b
}

func (b *board) plug() {
	b.t.Helper()
	var err error
	if b.master, b.hold, err = pty.Open(); err != nil {
		b.t.Fatal(err)
	}
	b.master = endable(b.t, b.master)
	if err := os.Symlink(b.hold.Name(), b.link); err != nil {
		b.t.Fatal(err)
	}
	go func(master *os.File) {
		buf, text := make([]byte, 64), ""
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			text += string(buf[:n])
			for {
				before, after, ok := strings.Cut(text, "\n")
				if !ok {
					break
				}
				b.heard <- before
				text = after
			}
		}
	}(b.master)
}

func (b *board) unplug() {
	_ = os.Remove(b.link)
	_ = b.hold.Close()
	_ = b.master.Close()
}

// endable makes a pty's master one whose Close ends a Read that waits.
func endable(t testing.TB, master *os.File) *os.File {
	t.Helper()
	// Not inherited: a program started meanwhile would keep the pty alive.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = master.Close()
	return os.NewFile(uintptr(fd), "pty")
}

func (b *board) say(text string) {
	b.t.Helper()
	if _, err := io.WriteString(b.master, text); err != nil {
		b.t.Fatal(err)
	}
}

func (b *board) hears() string {
	b.t.Helper()
	select {
	case text := <-b.heard:
		return text
	case <-time.After(patience):
		b.t.Fatal("nothing was sent to the device")
		return ""
	}
}

// record is a Sink that writes down what happens, in order.
type record struct {
	t  *testing.T
	ch chan string
}

func (r *record) Put(readings []adapters.Reading) {
	for _, reading := range readings {
		text := reading.Value.String()
		if reading.Quality != adapters.Good {
			text = reading.Quality.String()
		}
		r.ch <- reading.Point.Name + "=" + text
	}
}

func (r *record) Availability(device string, online bool, reason string) {
	if online {
		reason = "online"
	}
	r.ch <- device + ": " + reason
}

// next checks what happens next, in this order.
func (r *record) next(want ...string) {
	r.t.Helper()
	for _, w := range want {
		select {
		case got := <-r.ch:
			if got != w {
				r.t.Fatalf("got %q, want %q", got, w)
			}
		case <-time.After(patience):
			r.t.Fatalf("%q did not happen", w)
		}
	}
}

func start(t *testing.T, b *board, devices ...DeviceConfig) (*Listener, *record) {
	t.Helper()
	cfg := line.Config{Name: "tty", Kind: line.UART, Port: b.link, Timeout: 100 * time.Millisecond,
		Serial: line.Serial{Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 1}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	r := &record{t, make(chan string, 1024)}
	l := line.New(cfg, log)
	u := NewListener(l, devices, r, log)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	group.Go(func() {
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); group.Wait() })
	select {
	case <-l.Ready():
	case <-time.After(patience):
		t.Fatal("the line is not ready")
	}
	return u, r
}

func readable(name string) PointConfig {
	return PointConfig{Point: &adapters.Point{Device: "g", Name: name}, From: name, Mapping: adapters.Mapping{Decimals: -1}}
}

func greenhouse(stale time.Duration) DeviceConfig {
	low, high := 0.0, 100.0
	vent := readable("vent")
	vent.From, vent.Send, vent.Expect = "", "VENT {value}\n", `^OK( (?P<value>\d+))?`
	vent.Timeout = patience
	vent.Point.Min, vent.Point.Max = &low, &high
	hush := readable("beep")
	hush.From, hush.Send = "", "BEEP {value}\n"
	return DeviceConfig{
		Name: "g", Stale: stale, Frame: Frame{Max: 40},
		Match:  regexp.MustCompile(`^T=(?P<temp>[^,]*)(,H=(?P<hum>\d+))?$`),
		Points: []PointConfig{readable("temp"), readable("hum"), vent, hush},
	}
}

func TestFault32LinesCutAndOverlong(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	u, r := start(t, b, greenhouse(0))
	b.say("9,H=4\nT=21.40,H=40\r\n")
	r.next("g: online", "temp=21.4", "hum=40")
	b.say("T=-3\nhello\n" + strings.Repeat("T=1", 60) + "\nT=nan,H=2\nT=22,")
	r.next("temp=-3", "temp=invalid", "hum=2") // no number, and text would be another type
	b.say("H=1\n")
	r.next("temp=22", "hum=1")
	s := u.Stats()[0]
	s.Since, s.LastMatch = time.Time{}, time.Time{}
	if want := (DeviceStats{Name: "g", Online: true, Lines: 5, Matched: 4, Unmatched: 1, Partial: 1, Overlong: 1, Garbage: 187}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestFault32NothingGoodIsHeard(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	_, r := start(t, b, greenhouse(50*time.Millisecond))
	r.next("temp=stale", "hum=stale", "g: nothing good heard for 50ms")
	b.say("\nT=1,H=2\n")
	r.next("g: online", "temp=1", "hum=2", "temp=stale", "hum=stale", "g: nothing good heard for 50ms")
}

func TestUnplugAndReplug(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	_, r := start(t, b, greenhouse(0))
	b.say("\nT=1,H=2\n")
	r.next("g: online", "temp=1", "hum=2")
	b.unplug()
	r.next("temp=offline", "hum=offline")
	if got := <-r.ch; !strings.HasPrefix(got, "g: line tty: ") {
		t.Fatal(got)
	}
	b.plug()
	// Lines are said until one is heard: when the port is open again is not known.
	for said := false; !said; {
		b.say("T=3,H=4\n")
		select {
		case got := <-r.ch:
			if said = got == "g: online"; !said {
				t.Fatal(got)
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	r.next("temp=3", "hum=4")
}

func TestWrite(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	u, r := start(t, b, greenhouse(0))
	write := func(name string, v adapters.Value) <-chan adapters.Result {
		done := make(chan adapters.Result, 1)
		go func() { done <- u.Device("g").Write(context.Background(), adapters.Command{Point: name, Value: v}) }()
		return done
	}
	// The first line after the opening confirms, as nobody was speaking.
	done := write("vent", adapters.Int(400))
	if got := b.hears(); got != "VENT 100" {
		t.Errorf("sent %q, want it clamped", got)
	}
	b.say("OK 99\n")
	r.next("vent=99")
	if res := <-done; res.Err != nil || res.Value != adapters.Int(99) || res.Elapsed <= 0 {
		t.Errorf("got %+v", res)
	}
	// What the device says besides is not lost, not even around the answer.
	b.say("\nT=1,")
	done = write("vent", adapters.Float(12.5))
	if got := b.hears(); got != "VENT 12.5" {
		t.Errorf("sent %q", got)
	}
	b.say("H=2\nT=3,H=4\nOK\nT=5,H=6\n")
	if res := <-done; res.Err != nil || !res.Value.IsNone() {
		t.Errorf("got %+v", res)
	}
	r.next("g: online", "temp=1", "hum=2", "temp=3", "hum=4", "temp=5", "hum=6")
	// Where no confirmation is expected none is waited for.
	if res := <-write("beep", adapters.Bool(true)); res.Err != nil || !res.Value.IsNone() {
		t.Errorf("got %+v", res)
	}
	if got := b.hears(); got != "BEEP 1" {
		t.Errorf("sent %q", got)
	}
	for name, want := range map[string]string{"temp": "read only", "none": "no such point"} {
		if res := <-write(name, adapters.Int(1)); res.Err == nil || !strings.Contains(res.Err.Error(), want) {
			t.Errorf("%s: %v", name, res.Err)
		}
	}
	if s := u.Stats()[0]; s.Writes != 5 || s.WriteErrors != 2 {
		t.Errorf("%d writes, %d errors", s.Writes, s.WriteErrors)
	}
}

func TestWriteWithoutConfirmation(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	cfg := greenhouse(0)
	cfg.Points[2].Timeout = 0 // the line's
	u, r := start(t, b, cfg)
	done := make(chan adapters.Result, 1)
	go func() {
		done <- u.Device("g").Write(context.Background(), adapters.Command{Point: "vent", Value: adapters.Int(1)})
	}()
	b.hears()
	b.say("\nT=1,H=2\nERR\n")
	r.next("g: online", "temp=1", "hum=2")
	res := <-done
	var frame *line.FrameError
	if !errors.As(res.Err, &frame) || !strings.Contains(res.Err.Error(), "ERR") {
		t.Errorf("got %v", res.Err)
	}
	// What was sent once is not to be sent again: it may be a pulse.
	if res := u.Device("g").Write(t.Context(), adapters.Command{Point: "vent", Value: adapters.Int(1)}); !errors.Is(res.Err, line.ErrTimeout) || errors.Is(res.Err, adapters.ErrOffline) {
		t.Errorf("silence gave %v", res.Err)
	}
	if got := b.hears(); got != "VENT 1" || len(b.heard) > 0 {
		t.Errorf("sent %q and %d more", got, len(b.heard))
	}
	// It waits while the line is closed: nothing was sent.
	b.unplug()
	r.next("temp=offline", "hum=offline", "g: line tty: the port has vanished")
	if res := u.Device("g").Write(t.Context(), adapters.Command{Point: "vent", Value: adapters.Int(1)}); !errors.Is(res.Err, line.ErrClosed) || !errors.Is(res.Err, adapters.ErrOffline) {
		t.Errorf("a closed line gave %v", res.Err)
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		typ   Type
		scale float64
		text  string
		want  adapters.Value
	}{
		{Auto, 0, "21.40", adapters.Float(21.4)},
		{Auto, 0, " 007 ", adapters.Int(7)},
		{Auto, 0, "+5", adapters.Int(5)},
		{Auto, 0.1, "214", adapters.Float(21.4)},
		{Auto, 0, "open", adapters.String("open")},
		{Auto, 0, "", adapters.Value{}},
		{Number, 0, "inf", adapters.Value{}},
		{Number, 0, "0x10", adapters.Value{}},
		{Number, 0, "1_0", adapters.Value{}},
		{Number, 0, "1e3", adapters.Float(1000)},
		{Number, 0, "1e999", adapters.Value{}},
		{Bool, 0, "ON", adapters.Bool(true)},
		{Bool, 0, "0", adapters.Bool(false)},
		{Bool, 0, "maybe", adapters.Value{}},
		{Number, 0, "+ 1", adapters.Value{}},
		{Number, 0, "1.2.3", adapters.Value{}},
		{Number, 0, "1e-400", adapters.Float(0)},
		{Text, 0, "1", adapters.String("1")},
		{Text, 0, "a\tb", adapters.String("a\tb")},
		{Text, 0, "a\x1b[2J", adapters.Value{}},
		{Auto, 0, "a\x00b", adapters.Value{}},
		{Auto, 0, "\u0085a\u009b", adapters.Value{}},
	} {
		c := readable("p")
		c.Type, c.Scale = test.typ, test.scale
		if got, _ := newPoint(c, nil).parse(test.text); got != test.want {
			t.Errorf("type %d ·%v of %q: got %v (%d), want %v", test.typ, test.scale, test.text, got, got.Kind(), test.want)
		}
	}
}

func TestMapping(t *testing.T) {
	c := readable("p")
	c.Scale, c.Range = 0.1, &adapters.Range{Low: 0, High: 50}
	c.Bad = []adapters.Value{adapters.Int(-127), adapters.String("ERR")}
	for text, want := range map[string]string{
		"214": "21.4", "-127": "invalid", "-127.0": "invalid", "ERR": "invalid", "501": "out_of_range", "nan": "invalid",
	} {
		v, quality := newPoint(c, nil).parse(text)
		got := quality.String()
		if quality == adapters.Good {
			got = v.String()
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	d := readable("p")
	d.Send = "{value}"
	const big = "18446744073709551615"
	p := newPoint(d, nil)
	v, _ := p.parse(big)
	if sent, err := p.format(v); v.String() != big || sent != big || err != nil {
		t.Errorf("%s became %v and was sent as %s, %v", big, v, sent, err)
	}
}

// A point with words takes these and their numbers alone.
func TestWordsThatAreSent(t *testing.T) {
	c := readable("mode")
	c.Send, c.Point.Names = "MODE {value}\n", map[int64]string{0: "off", 5: "boost"}
	p := newPoint(c, nil)
	for _, test := range []struct{ command, sent, err string }{
		{"boost", "5", ""},
		{"5", "5", ""},
		{"off", "0", ""},
		{"false", "0", ""},
		{"on", "", `true is not one of the words of the point: expected "off" (0) or "boost" (5)`},
		{"7", "", `7 is not in the map of the point: expected "off" (0) or "boost" (5)`},
		{"sleep", "", `"sleep" is not one of the words`},
	} {
		sent, err := p.format(c.Point.Parse(test.command))
		if sent != test.sent || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s is sent as %q, %v, want %q, %s", test.command, sent, err, test.sent, test.err)
		}
	}
}

func TestRequestCannotBeSmuggled(t *testing.T) {
	c := readable("say")
	c.Send = "SAY {value}\n"
	p := newPoint(c, nil)
	if got, err := p.format(adapters.String("hello")); err != nil || p.request(got) != "SAY hello\n" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"hello\nVENT 100", "hello\rVENT 100", "a\x00b", "a\x1bb", "a\u0085b", "\xff\xfe"} {
		if got, err := p.format(adapters.String(text)); err == nil {
			t.Errorf("%q is sent as %q", text, got)
		}
	}
	c.Send = "SAY {value};"
	p = newPoint(c, nil)
	if got, err := p.format(adapters.String("hello;VENT 100")); err == nil {
		t.Errorf("a second command was smuggled in: %q", got)
	}
	for _, text := range []string{"", "a\tb", "{value}", "°C"} {
		if got, err := p.format(adapters.String(text)); err != nil || got != text {
			t.Errorf("%q is sent as %q, %v", text, got, err)
		}
	}
}

func TestValidate(t *testing.T) {
	a, b := readable("a"), readable("b")
	a.From = "nothing"
	b.From, b.Expect, b.Scale = "", "(", 1
	err := DeviceConfig{Frame: Frame{Max: 1 << 20}, Match: regexp.MustCompile("x"), Stale: -1, Points: []PointConfig{a, a, b, {}}}.Validate()
	var got []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		got = append(got, e.(interface{ Field() string }).Field())
	}
	want := "name max stale points.a.from points.a points.a.from points.b points.b.expect points.b.expect points"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %v\nwant %v", strings.Join(got, " "), want)
	}
}
