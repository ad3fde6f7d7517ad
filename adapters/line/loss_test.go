package line

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// book is a log that can be read while it is written.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// closings gives the lines of the log that tell of a closed line.
func (b *book) closings() (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, "line is closed") {
			lines = append(lines, line)
		}
	}
	return lines
}

func (b *book) log() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// An adapter that was pulled is one line in the log, although its port has
// vanished first and is not there then.
func TestUnplugIsLoggedOnce(t *testing.T) {
	b, said := newBench(t), &book{}
	l := New(rtuConfig(b.link), said.log())
	changes := states(l)
	run(t, l)
	wait(t, changes, "opening")
	b.unplug()
	for s := ""; !strings.Contains(s, "is not there"); {
		s = wait(t, changes, "the reason")
	}
	if lines := said.closings(); len(lines) != 1 || !strings.Contains(lines[0], "vanished") {
		t.Errorf("logged: %q", lines)
	}
}

// So is a peer that has gone, and it is said what happened.
func TestLostPeerIsLoggedOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		connected <- conn
		buf := make([]byte, 64)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			_, _ = conn.Write([]byte("pong"))
		}
	}()
	said := &book{}
	l := New(Config{Name: "net", Kind: TCP, Port: listener.Addr().String(), Timeout: patience}, said.log())
	changes := states(l)
	run(t, l)
	if got, err := exchange(t, l, "ping", until("pong"), 0); err != nil || got != "pong" {
		t.Fatalf("got %q, %v", got, err)
	}
	wait(t, changes, "opening")
	_ = listener.Close()
	_ = wait(t, connected, "the connection").Close()
	if _, err := exchange(t, l, "ping", until("pong"), 0); !errors.Is(err, ErrClosed) {
		t.Fatalf("without a peer: %v", err)
	}
	refused := "connect to " + listener.Addr().String() + ": connection refused"
	for s := ""; s != refused; {
		s = wait(t, changes, "the reason")
	}
	if lines := said.closings(); len(lines) != 1 || !strings.Contains(lines[0], `"the peer closed the connection, and a new connection can't be made: `+refused) {
		t.Errorf("logged: %q", lines)
	}
}

// A reason that turns out to be another one, and stays, is logged.
func TestReasonsThatFollow(t *testing.T) {
	said := &book{}
	l := New(rtuConfig("/dev/none"), said.log())
	gone, busy := errGone, errors.New("port is in use by another")
	l.lost = time.Now()
	l.closed(gone)
	l.closed(busy)
	if lines := said.closings(); len(lines) != 1 {
		t.Errorf("logged at once: %q", lines)
	}
	l.lost = l.lost.Add(-lossSettles)
	l.closed(busy)
	l.closed(busy)
	if lines := said.closings(); len(lines) != 2 || !strings.Contains(lines[1], "in use") {
		t.Errorf("logged then: %q", lines)
	}
}
