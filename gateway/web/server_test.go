package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain fails when the tests leave a goroutine of the server behind.
func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	look := time.NewTicker(2 * time.Millisecond)
	deadline := time.Now().Add(5 * time.Second)
	for range look.C {
		buf := make([]byte, 1<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		if strings.Count(stacks, "sluice/gateway/web.") <= 1 && !strings.Contains(stacks, "net/http.(*conn).serve") {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s", stacks)
			code = 1
			break
		}
	}
	os.Exit(code)
}

// field is a Source whose state the test sets.
type field struct {
	mu       sync.Mutex
	status   Status
	problems []string
}

func (f *field) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *field) Health() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problems
}

func (f *field) set(change func(f *field)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// cellar is a gateway with something of everything.
func cellar() *field {
	now := time.Now()
	return &field{status: Status{
		Gateway: "pi-cellar",
		Version: "1.2.3",
		Started: now.Add(-26 * time.Hour),
		Lines: []Line{{
			Name: "rs485", Kind: "rtu", Port: "/dev/ttyUSB0", Open: true, Load: 0.425,
			Requests: 1204, Timeouts: 3, CRCErrors: 1, P50Seconds: 0.0123, P99Seconds: 0.2,
			Share: &Share{Address: "127.0.0.1:1502", Clients: 1, Requests: 7, Answered: 5, Refused: 2},
		}},
		Devices: []Device{
			{
				Name: "meter", Line: "rs485", Topic: "home/floor1/meter", Online: true,
				LastOK: now, OK: 600, P50Seconds: 0.012, P99Seconds: 0.019,
				Points: []Point{
					{Name: "voltage", Topic: "home/floor1/meter/voltage", Value: json.RawMessage("231.4"), Unit: "V", Quality: "good", Time: now},
					{Name: "relay", Topic: "home/floor1/meter/relay", Value: json.RawMessage("true"), Quality: "good", Time: now.Add(-90 * time.Minute)},
					{Name: "serial", Topic: "home/floor1/meter/serial", Value: json.RawMessage(`"A-17"`), Quality: "good", Time: now},
					{Name: "energy", Topic: "home/floor1/meter/energy", Value: json.RawMessage("null"), Unit: "kWh", Quality: "bad_register", Time: now},
					{Name: "new", Topic: "home/floor1/meter/new"},
				},
			},
			{Name: "pump", Line: "rs485", Topic: "home/pump", Reason: "timeout", Timeouts: 44},
		},
		Upstreams: []Upstream{{
			Name: "cloud", URL: "mqtts://pi:hunter2@mq.example.com:8883?key=hunter2", Since: now.Add(-12 * time.Minute),
			LastError: "connection refused", BacklogMessages: 1204, BacklogBytes: 98611, OldestSeconds: 720,
			Forwarded: 88, DeadLettered: 2, InFlight: 3, Window: 99, RateLimited: true, RateWaitedSeconds: 1.5,
			Lanes:     []Lane{{Lane: 1, BacklogMessages: 1200}, {Lane: 2, BacklogMessages: 4}},
			DroppedBy: map[string]uint64{"expired": 5}, LastDeadLetter: "home/x: too large",
		}},
		Broker: Broker{Clients: 7, Sessions: 9, Subscriptions: 12, Retained: 31, Received: 1000, Sent: 2000, Dropped: 1},
		Clients: []Client{
			{ID: "panel", User: "anna", Address: "192.0.2.7:40000", Version: "5.0", Connected: true, Since: now.Add(-3 * time.Minute),
				Subscriptions: 2, Received: 1000, Sent: 2000},
			{ID: "logger", Since: now.Add(-2 * time.Hour), SessionExpirySeconds: 86400, QueuedMessages: 1204, QueuedBytes: 98611, Dropped: 3},
		},
		Store: Store{Bytes: 4 << 20, Segments: 1, Appended: 5000, Commits: 900},
	}}
}

// fast are limits that let a test see what otherwise takes seconds.
var fast = limits{
	read:     5 * time.Second,
	write:    5 * time.Second,
	idle:     5 * time.Second,
	shutdown: 2 * time.Second,
	refresh:  5 * time.Millisecond,
	beat:     15 * time.Millisecond,
}

// serve runs a server on a free port until the test ends.
func serve(t testing.TB, src Source, l limits) *Server {
	t.Helper()
	s := New(Config{Listen: "127.0.0.1:0"}, src, slog.New(slog.DiscardHandler))
	s.limits = l
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatalf("Run: %v", err)
	}
	return s
}

func (s *Server) url(path string) string { return "http://" + s.Addr().String() + path }

// get asks for path and returns the answer with its whole body.
func get(t testing.TB, s *Server, path string) (*http.Response, string) {
	t.Helper()
	return ask(t, s, http.MethodGet, path, "")
}

func ask(t testing.TB, s *Server, method, path, host string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// until polls a condition that another goroutine brings about.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	deadline := time.After(30 * time.Second)
	for !done() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestRunOff(t *testing.T) {
	s := New(Config{}, cellar(), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	if s.Addr() != nil {
		t.Errorf("a server that is off listens on %s", s.Addr())
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRunAddressTaken(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s := New(Config{Listen: other.Addr().String()}, cellar(), slog.New(slog.DiscardHandler))
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), other.Addr().String()) || !strings.Contains(err.Error(), "[web]") {
		t.Errorf("got %v, want an error with the address and the place to change it", err)
	}
	select {
	case <-s.Ready():
		t.Error("ready although it could not listen")
	default:
	}
}

// TestStopEndsStreams stops a server while a page follows it and another
// client has sent half a request.
func TestStopEndsStreams(t *testing.T) {
	s := New(Config{Listen: "127.0.0.1:0"}, cellar(), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	events := follow(t, s)
	events.next("cells")
	half, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := io.WriteString(half, "GET / HTTP/1.1\r\nHost: localhost\r\n"); err != nil {
		t.Fatal(err)
	}

	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not return")
	}
	if n := s.streams.Load(); n != 0 {
		t.Errorf("%d streams outlived Run", n)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

func TestConnectionLimit(t *testing.T) {
	s := serve(t, cellar(), defaultLimits)
	request := "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	var open []net.Conn
	for range maxConnections {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("connection %d: %v", len(open), err)
		}
		open = append(open, conn)
	}
	over, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	if err := over.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := over.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("one connection too many: read %d bytes, %v; want it closed", n, err)
	}
	if n := s.refusedConnections.Load(); n != 1 {
		t.Errorf("%d connections counted as refused, want 1", n)
	}
	open[0].Close()
	until(t, "a place is free again", func() bool {
		resp, err := http.Get(s.url("/healthz"))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		listen string
		wants  string // in the error; "" = valid
	}{
		{"", ""},
		{"127.0.0.1:8080", ""},
		{":8080", ""},
		{"[::1]:0", ""},
		{"[fe80::1%eth0]:80", ""},
		{"pi-cellar.local:80", ""},
		{"8080", "host:port"},
		{"127.0.0.1", "host:port"},
		{"::1:80", "host:port"},
		{"127.0.0.1:65536", "port"},
		{"127.0.0.1:http", "port"},
		{"127.0.0.1:-1", "port"},
		{"two words:80", "host name"},
		{"-x:80", "host name"},
		{"a..b:80", "host name"},
		{"x y:99999", "port"}, // and the host
	} {
		err := Config{Listen: c.listen}.Validate()
		if c.wants == "" {
			if err != nil {
				t.Errorf("%q: %v", c.listen, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.wants) {
			t.Errorf("%q: got %v, want an error about the %s", c.listen, err, c.wants)
			continue
		}
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			t.Errorf("%q: errors are not joined: %T", c.listen, err)
			continue
		}
		for _, one := range joined.Unwrap() {
			if f, ok := one.(interface{ Field() string }); !ok || f.Field() != "listen" {
				t.Errorf("%q: %v does not name the key listen", c.listen, one)
			}
		}
	}
}
