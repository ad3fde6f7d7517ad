package line

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test for something that must happen.
const patience = 10 * time.Second

// bench is a pty whose master end is the device and whose slave end is
// reached through a link, as a real adapter is.
type bench struct {
	t      testing.TB
	master *os.File
	slave  *os.File // held open, or the master would read EIO between two opens
	link   string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, link: filepath.Join(t.TempDir(), "port")}
	b.plug()
	t.Cleanup(b.unplug)
	return b
}

func (b *bench) plug() {
	b.t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		b.t.Fatal(err)
	}
	b.master, b.slave = endable(b.t, master), slave
	if err := os.Symlink(slave.Name(), b.link); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) unplug() {
	_ = os.Remove(b.link)
	_ = b.slave.Close()
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

// answer serves the device: each time request has come, reply is sent.
func (b *bench) answer(request, reply string) {
	master := b.master
	go func() {
		var got []byte
		buf := make([]byte, 256)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			got = append(got, buf[:n]...)
			for bytes.Contains(got, []byte(request)) {
				got = got[bytes.Index(got, []byte(request))+len(request):]
				if _, err := io.WriteString(master, reply); err != nil {
					return
				}
			}
		}
	}()
}

func rtuConfig(port string) Config {
	return Config{Name: "bus", Kind: RTU, Port: port, Serial: Serial{115200, 8, 'N', 1}, Timeout: 300 * time.Millisecond, Retries: 1}
}

// run runs l until the test ends, and checks that Run ends then.
func run(t *testing.T, l *Line) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	wait(t, l.Ready(), "the first attempt to open")
}

func wait[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen in %v", what, patience)
	}
	return v
}

// states gives the changes of state as "open" or the reason.
func states(l *Line) <-chan string {
	c := make(chan string, 64)
	l.OnState(func(open bool, reason string) {
		if open {
			reason = "open"
		}
		c <- reason
	})
	return c
}

// until is a Framer that waits for a mark.
type until string

func (u until) Scan(b []byte) (skip, total int, err error) {
	if i := bytes.Index(b, []byte(u)); i >= 0 {
		return i, len(u), nil
	}
	return max(0, len(b)-len(u)+1), len(u), nil
}

func (u until) Fault(b []byte) error { return BadFrame(Short, "no %q in %q", string(u), b) }

func exchange(t *testing.T, l *Line, req string, expect Framer, timeout time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var answer string
	err := l.Do(ctx, Poll, func(_ context.Context, c *Conn) error {
		b, err := c.Exchange([]byte(req), expect, timeout)
		answer = string(b)
		return err
	})
	return answer, err
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestExchange(t *testing.T) {
	b := newBench(t)
	b.answer("ping", "pong")
	l := New(rtuConfig(b.link), quiet())
	run(t, l)
	got, err := exchange(t, l, "ping", until("pong"), 0)
	if err != nil || got != "pong" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := exchange(t, l, "silence", until("pong"), 20*time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Fatalf("no answer gave %v, want ErrTimeout", err)
	}
	s := l.Stats()
	if !s.Open || s.Requests != 2 || s.Answers != 1 || s.Timeouts != 1 || s.BytesOut != 11 || s.BytesIn != 4 || s.P50 <= 0 || s.Load <= 0 {
		t.Errorf("figures: %+v", s)
	}
}

func TestFault01LateBytesAreThrownAwayBeforeTheNextRequest(t *testing.T) {
	b := newBench(t)
	b.answer("ping", "pong")
	l := New(rtuConfig(b.link), quiet())
	run(t, l)
	if _, err := b.master.Write([]byte("pong")); err != nil {
		t.Fatal(err)
	}
	arrived(t, b.slave, 4)
	if _, err := exchange(t, l, "other", until("pong"), 20*time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Fatalf("what came before the request was taken for its answer: %v", err)
	}
	if s := l.Stats(); s.Late != 1 || s.Garbage != 4 {
		t.Errorf("late %d, garbage %d; want 1, 4", s.Late, s.Garbage)
	}
}

// On a wire known to need its time, what comes while the request is still on
// it is no answer, however good it looks; unless all answers are like that.
func TestFault01BytesBeforeTheRequestIsOut(t *testing.T) {
	b := newBench(t)
	ping := strings.Repeat(" ", 60) + "ping" // takes half a second
	b.answer(ping, "pong")
	cfg := rtuConfig(b.link)
	cfg.Serial.Baud, cfg.Timeout = 1200, 20*time.Millisecond
	l := New(cfg, quiet())
	run(t, l)
	if err := l.Do(t.Context(), Command, func(context.Context, *Conn) error {
		l.timely = paced
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := exchange(t, l, ping, until("pong"), 0); !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %q, %v", got, err)
	}
	if s := l.Stats(); s.Late != 1 || s.Garbage != 4 || s.Answers != 0 {
		t.Errorf("figures: %+v", s)
	}
	if got, err := exchange(t, l, ping, until("pong"), 0); err != nil || got != "pong" {
		t.Fatalf("where it always comes so soon: got %q, %v", got, err)
	}
}

// arrived waits until n bytes can be read from the terminal.
func arrived(t *testing.T, tty *os.File, n int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if got, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCINQ); err != nil || got >= n {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the bytes do not arrive")
		}
		pause(100 * time.Microsecond)
	}
}

func TestFault07ShortAnswerIsNamed(t *testing.T) {
	b := newBench(t)
	b.answer("ping", "pon")
	l := New(rtuConfig(b.link), quiet())
	run(t, l)
	_, err := exchange(t, l, "ping", until("pong"), 50*time.Millisecond)
	var frame *FrameError
	if !errors.As(err, &frame) || frame.Fault != Short {
		t.Fatalf("got %v, want a short frame", err)
	}
	if s := l.Stats(); s.Short != 1 || s.Garbage != 3 {
		t.Errorf("short %d, garbage %d", s.Short, s.Garbage)
	}
}

func TestFault03EchoIsLearnedAndRemoved(t *testing.T) {
	b := newBench(t)
	b.answer("ping", "ping"+"pong")
	l := New(rtuConfig(b.link), quiet())
	run(t, l)
	if got, err := exchange(t, l, "ping", until("pong"), 0); err != nil || got != "pong" {
		t.Fatalf("got %q, %v", got, err)
	}
	// From now on an echo alone is no answer, although it looks like one.
	b.unansweredEcho(t, l)
}

func (b *bench) unansweredEcho(t *testing.T, l *Line) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := exchange(t, l, "set", until("set"), 50*time.Millisecond)
		done <- err
	}()
	// The slave end hears itself through the master: bytes are sent back.
	arrivedAt := make(chan error, 1)
	go func() {
		_, err := b.master.Write([]byte("set"))
		arrivedAt <- err
	}()
	if err := wait(t, arrivedAt, "the echo"); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, done, "the end of the request"); !errors.Is(err, ErrTimeout) {
		t.Fatalf("an echo alone gave %v, want ErrTimeout", err)
	}
}

// The terminal takes a few thousand bytes and then no more: Send must end.
func TestFault17SilenceBetweenFrames(t *testing.T) {
	b := newBench(t)
	cfg := rtuConfig(b.link)
	cfg.Serial = Serial{1200, 8, 'E', 1} // 3.5 characters are 32 ms
	l := New(cfg, quiet())
	run(t, l)
	answered := make(chan time.Time, 4)
	asked := make(chan time.Time, 4)
	go func() {
		buf := make([]byte, 16)
		for {
			if _, err := b.master.Read(buf); err != nil {
				return
			}
			asked <- time.Now()
			answered <- time.Now() // before the bytes are sent: the silence is not shorter
			if _, err := b.master.Write([]byte("b")); err != nil {
				return
			}
		}
	}()
	for range 2 {
		if _, err := exchange(t, l, "a", until("b"), 0); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, asked, "the first request")
	end := wait(t, answered, "the first answer")
	begin := wait(t, asked, "the second request")
	// A second stop bit may be on the wire still.
	if silence, want := begin.Sub(end), cfg.Serial.T35()+time.Second/1200; silence < want {
		t.Errorf("the second request came %v after the first answer, less than %v", silence, want)
	}
}

func TestListen(t *testing.T) {
	b := newBench(t)
	cfg := rtuConfig(b.link)
	cfg.Kind = UART
	l := New(cfg, quiet())
	heard := make(chan string, 64)
	l.Listen(func(chunk []byte, _ time.Time, fresh bool) {
		if fresh {
			heard <- "fresh"
		}
		heard <- string(chunk)
	})
	run(t, l)
	if _, err := b.master.Write([]byte("T=1\n")); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, heard, "the first chunk"); got != "fresh" {
		t.Fatalf("got %q", got)
	}
	for got := ""; got != "T=1\n"; {
		got += wait(t, heard, "the text")
	}
	// A command ends the wait for bytes, and what is spoken besides its answer is heard.
	b.answer("go", "T=2\nOK\nT=3\n")
	if got, err := exchange(t, l, "go", until("OK\n"), 0); err != nil || got != "OK\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	for got := ""; got != "T=2\nT=3\n"; {
		got += wait(t, heard, "the text around the answer")
	}
}

func TestFault28PeerClosesOrIsSilent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	connected := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connected <- conn
			go func() {
				buf := make([]byte, 64)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if string(buf[:n]) == "ping" {
						_, _ = conn.Write([]byte("pong"))
					}
				}
			}()
		}
	}()
	cfg := Config{Name: "net", Kind: TCP, Port: listener.Addr().String(), Timeout: 300 * time.Millisecond}
	l := New(cfg, quiet())
	changes := states(l)
	run(t, l)
	ask := func() {
		t.Helper()
		if got, err := exchange(t, l, "ping", until("pong"), 0); err != nil || got != "pong" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	ask()
	first := wait(t, connected, "the connection")
	_ = first.Close() // as a peer does that ends idle connections
	ask()
	second := wait(t, connected, "the second connection")
	for range muteLimit {
		if _, err := exchange(t, l, "what", until("pong"), 10*time.Millisecond); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	}
	ask()
	wait(t, connected, "a connection in place of the silent one")
	if s := l.Stats(); s.Opens != 3 || !s.Open {
		t.Errorf("opened %d times", s.Opens)
	}
	if s := wait(t, changes, "opening"); s != "open" || len(changes) != 0 {
		t.Errorf("the line told of changes that nobody need know")
	}
	_ = second.Close()
	_ = listener.Close()
}

// A peer that takes connections and parts from them soon is asked ever more
// seldom, and told of once, whatever it says before it does.
func TestPeerThatPartsSoon(t *testing.T) {
	for _, test := range []struct {
		name string
		kind Kind
		says []string // to the requests of a connection, the last before it ends
	}{
		{"after a byte", TCP, []string{"p"}},
		{"after a byte, behind a converter", RTUTCP, []string{"p"}},
		{"in the second answer", TCP, []string{"pong", "po"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				buf := make([]byte, 64)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					for _, text := range test.says {
						if _, err := conn.Read(buf); err == nil {
							_, _ = io.WriteString(conn, text)
						}
					}
					_ = conn.Close()
				}
			}()
			log, said := logged()
			l := New(Config{Name: "net", Kind: test.kind, Port: listener.Addr().String(), Timeout: 300 * time.Millisecond}, log)
			opened, tries := make(chan struct{}, 8), make(chan int, 8)
			l.OnState(func(open bool, _ string) {
				if open {
					opened <- struct{}{}
				} else {
					tries <- l.tries
				}
			})
			run(t, l)
			for want := 1; want <= 4; want++ {
				wait(t, opened, "a connection")
				for err := error(nil); err == nil; {
					_, err = exchange(t, l, "ping", until("pong"), 0)
				}
				if got := wait(t, tries, "the end of the connection"); got != want {
					t.Errorf("after connection %d the pause is that of attempt %d", want, got)
				}
			}
			if n := strings.Count(said(), "line is open"); n != 1 {
				t.Errorf("opening was told %d times: %s", n, said())
			}
			if n := strings.Count(said(), "line is closed"); n > 2 { // EOF, or a reset
				t.Errorf("closing was told %d times: %s", n, said())
			}
		})
	}
}
