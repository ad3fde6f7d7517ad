package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/adapters/sim"
)

// sluiceBinary is the real program, built once for all tests.
var sluiceBinary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sluice-test")
	if err != nil {
		panic(err)
	}
	sluiceBinary = filepath.Join(dir, "sluice")
	build := exec.Command("go", "build", "-o", sluiceBinary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building sluice: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// process is a running program whose output can be waited for.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	name string

	mu     sync.Mutex
	lines  []string
	grew   chan struct{} // closed and replaced with every line
	exited chan struct{}
	ended  bool // the test has ended it on purpose
}

// find looks a program up, also where only root has it in the path.
func find(program string) (path string, err error) {
	if path, err = exec.LookPath(program); err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + program); err != nil {
			return "", fmt.Errorf("%s is missing: run `make peers`", program)
		}
	}
	return path, nil
}

// launch starts a program. It is killed at the end of the test at the latest.
func launch(t testing.TB, env []string, program string, args ...string) *process {
	t.Helper()
	return (*place)(nil).launch(t, env, program, args...)
}

// launch starts a program in the place.
func (at *place) launch(t testing.TB, env []string, program string, args ...string) *process {
	t.Helper()
	path, err := find(program)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: filepath.Base(program), grew: make(chan struct{}), exited: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := at.do(p.cmd.Start); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go p.read(r)
	t.Cleanup(func() {
		ended := p.ended
		p.kill()
		if t.Failed() && !ended {
			t.Logf("last output of %s:\n%s", p.name, strings.Join(p.tail(15), "\n"))
		}
	})
	return p
}

// read gathers the output and ends when the program has.
func (p *process) read(r *os.File) {
	defer r.Close()
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, in.Text())
		close(p.grew)
		p.grew = make(chan struct{})
		p.mu.Unlock()
	}
	p.cmd.Wait()
	close(p.exited)
}

// output copies all lines so far; grew is closed when there are more.
func (p *process) output() (lines []string, grew <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...), p.grew
}

func (p *process) tail(n int) []string {
	lines, _ := p.output()
	return lines[max(0, len(lines)-n):]
}

// await waits until enough of the output satisfies what is looked for.
func (p *process) await(what string, limit time.Duration, enough func(lines []string) bool) {
	p.t.Helper()
	late := time.After(limit)
	for {
		lines, grew := p.output()
		if enough(lines) {
			return
		}
		select {
		case <-grew:
		case <-p.exited:
			if lines, _ = p.output(); !enough(lines) {
				p.t.Fatalf("%s ended before: %s", p.name, what)
			}
		case <-late:
			p.t.Fatalf("%s: not within %s: %s", p.name, limit, what)
		}
	}
}

// awaitLine waits for a line that contains text and gives it.
func (p *process) awaitLine(text string, limit time.Duration) (found string) {
	p.t.Helper()
	p.await("a line with "+text, limit, func(lines []string) bool {
		for _, l := range lines {
			if strings.Contains(l, text) {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// kill ends the program at once, as a power cut would.
func (p *process) kill() {
	p.ended = true
	p.cmd.Process.Kill()
	<-p.exited
}

// freeze has no thread of the program run in its own code any more. What one
// has asked of the kernel may still go on.
func (p *process) freeze() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGSTOP)
	threads := fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid)
	for late := time.Now().Add(10 * time.Second); ; {
		stats, err := filepath.Glob(threads)
		if err != nil {
			p.t.Fatal(err)
		}
		runs := false
		for _, name := range stats {
			// The state follows the program's name (proc(5)).
			if text, err := os.ReadFile(name); err == nil {
				_, state, _ := strings.Cut(string(text), ") ")
				runs = runs || !strings.HasPrefix(state, "T") && !strings.HasPrefix(state, "D")
			}
		}
		if !runs {
			return
		}
		if time.Now().After(late) {
			p.t.Fatalf("%s does not stop", p.name)
		}
	}
}

// terminate asks the program to stop and gives its exit status.
func (p *process) terminate(limit time.Duration) int {
	p.t.Helper()
	p.ended = true
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait(limit)
}

// wait waits for the program to end by itself.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("%s did not end within %s", p.name, limit)
		return -1
	}
}

const (
	firstPort = 12_000
	portCount = 20_000
)

// nextPort counts on from a place of this process's own.
var nextPort atomic.Int64

func init() { nextPort.Store(int64(os.Getpid()) * 101) }

// freePort gives a TCP port that nobody listens on and no other test was given.
// It is below those that the kernel gives to outgoing connections
// (ip_local_port_range, ip(7)), one of which might have it by then.
func freePort(t testing.TB) int {
	t.Helper()
	for range portCount {
		port := firstPort + int(nextPort.Add(1))%portCount
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// mosquitto starts a real mosquitto that keeps its sessions in dir.
func mosquitto(t testing.TB, dir string, port int) *process {
	t.Helper()
	return (*place)(nil).mosquitto(t, dir, "127.0.0.1", port)
}

func (at *place) mosquitto(t testing.TB, dir, host string, port int) *process {
	t.Helper()
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d %s\nallow_anonymous true\npersistence true\npersistence_location %s/\n"+
		"max_queued_messages 0\nmax_inflight_messages 100\nset_tcp_nodelay true\nuser root\n", port, host, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := at.launch(t, nil, "mosquitto", "-c", conf)
	at.awaitPort(t, host, port)
	return p
}

// awaitPort waits until somebody listens on the port.
func (at *place) awaitPort(t testing.TB, host string, port int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		err := at.do(func() error {
			c, err := d.DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", host, port))
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nobody listens on port %d: %v", port, err)
		}
	}
}

// subscribe starts a mosquitto_sub that prints topic, tab, payload.
func subscribe(t *testing.T, port int, args ...string) *process {
	t.Helper()
	return launch(t, nil, "mosquitto_sub", append([]string{"-p", fmt.Sprint(port), "-F", "%t\t%p"}, args...)...)
}

// publish runs mosquitto_pub to its end.
func publish(t *testing.T, port int, args ...string) {
	t.Helper()
	p := launch(t, nil, "mosquitto_pub", append([]string{"-p", fmt.Sprint(port)}, args...)...)
	if code := p.wait(20 * time.Second); code != 0 {
		t.Fatalf("mosquitto_pub: exit status %d: %q", code, p.tail(3))
	}
}

// site is a folder with a configuration to run the gateway in.
type site struct {
	t    testing.TB
	dir  string
	file string
	at   *place // where the gateway runs; nil: here
}

func newSite(t testing.TB, config string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.file = filepath.Join(s.dir, "config.toml")
	if err := os.WriteFile(s.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs the gateway until it serves.
func (s *site) start(args ...string) *process {
	s.t.Helper()
	p := s.at.launch(s.t, []string{"STATE_DIRECTORY=", "NOTIFY_SOCKET=", "WATCHDOG_USEC="}, sluiceBinary, append([]string{"run", "-c", s.file}, args...)...)
	p.awaitLine("serving", 20*time.Second)
	return p
}

// sample is a published reading as its receivers see it.
type message struct {
	topic, payload string
}

// parseMessages reads what mosquitto_sub printed.
func parseMessages(lines []string) []message {
	var all []message
	for _, l := range lines {
		if topic, payload, ok := strings.Cut(l, "\t"); ok {
			all = append(all, message{topic, payload})
		}
	}
	return all
}

// reading is the JSON of a published reading.
type reading struct {
	Value   json.RawMessage `json:"value"`
	Unit    string          `json:"unit"`
	Time    time.Time       `json:"time"`
	Quality string          `json:"quality"`
	Clock   string          `json:"clock"`
}

// simulate runs a simulated field until the test ends.
func simulate(t testing.TB, lines ...sim.LineConfig) *sim.Field {
	t.Helper()
	field, err := sim.New(lines, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- field.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		field.Close()
	})
	<-field.Ready()
	return field
}
