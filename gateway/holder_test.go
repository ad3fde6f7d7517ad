package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// A port that another program has is told with that program, and each thing
// once.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	port, page := freePort(t), freePort(t)
	text := "[broker]\nlisten = [\"tcp://127.0.0.1:%d\"]\n[web]\nlisten = \"127.0.0.1:%d\"\n"
	first := newSite(t, fmt.Sprintf(text, port, page)).start("--quiet")
	first.awaitLine("serving", 20*time.Second)
	for _, test := range []struct {
		port, page int
		want       []string
	}{
		{port, freePort(t), []string{"broker: listen on", "give another address as listen in [broker]"}},
		{freePort(t), page, []string{"web: listen tcp", "give another address as listen in [web]"}},
	} {
		s := newSite(t, fmt.Sprintf(text, test.port, test.page))
		p := launch(t, []string{"STATE_DIRECTORY=", "NOTIFY_SOCKET=", "WATCHDOG_USEC="}, sluiceBinary, "run", "-c", s.file, "--quiet")
		p.ended = true
		if code := p.wait(20 * time.Second); code != 1 {
			t.Errorf("exit status %d", code)
		}
		lines, _ := p.output()
		said := strings.Join(lines, "\n")
		for _, want := range append(test.want, fmt.Sprintf("(process %d)", first.cmd.Process.Pid)) {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q:\n%s", want, said)
			}
		}
		for _, stutter := range []string{"broker: broker", "web: web"} {
			if strings.Contains(said, stutter) {
				t.Errorf("%q in:\n%s", stutter, said)
			}
		}
	}
	first.terminate(6 * time.Second)
}

// Who may not be known is to be found.
func TestHolderThatIsNotShown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = net.Listen("tcp", l.Addr().String())
	if text := withHolder(err).Error(); !strings.Contains(text, fmt.Sprintf("ss -ltnp 'sport = :%d'", l.Addr().(*net.TCPAddr).Port)) {
		t.Errorf("it says %s", text)
	}
}
