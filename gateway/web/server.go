// Package web serves what the gateway is doing over HTTP: a status page for
// people, JSON for programs, metrics for Prometheus and a health check for
// supervisors. It only shows; nothing can be changed through it. It knows no
// other room of the gateway: what it shows comes from a [Source].
//
// The page is complete without scripts. With them it follows one stream of
// server-sent events, which carries only the cells of the page that changed.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the server. Nothing that it serves is large, and it shares its
// file descriptors with the broker.
const (
	maxConnections = 64
	maxStreams     = 32
	maxHeaderBytes = 16 << 10
)

// limits are the waits of the server; tests shorten them.
type limits struct {
	read     time.Duration // a whole request
	write    time.Duration // a whole answer, or one piece of a stream
	idle     time.Duration // a kept connection without a request
	shutdown time.Duration // requests still being answered when the server stops
	refresh  time.Duration // between two looks at the source for the streams
	beat     time.Duration // the longest silence on a stream
}

var defaultLimits = limits{
	read:     5 * time.Second,
	write:    10 * time.Second,
	idle:     60 * time.Second,
	shutdown: time.Second,
	refresh:  500 * time.Millisecond,
	beat:     15 * time.Second,
}

// Server is the web server. Its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	src     Source
	log     *slog.Logger
	limits  limits
	ready   chan struct{}
	addr    atomic.Pointer[net.Addr]
	handler http.Handler
	answers answers

	recent  recent
	streams atomic.Int64 // open now
	// What was turned away, and streams that were cut because their client
	// didn't read.
	refusedConnections, refusedStreams, refusedHosts, slowStreams atomic.Uint64
}

// New makes a server that shows src. It opens nothing; Run does. The Config
// must be valid.
func New(cfg Config, src Source, log *slog.Logger) *Server {
	s := &Server{cfg: cfg, src: src, log: log, limits: defaultLimits, ready: make(chan struct{})}
	s.handler = s.routes()
	return s
}

// Run listens and serves until ctx ends, and returns nil then, when all
// requests have ended. It fails at once where the address can't be had. With
// an empty Listen it only waits for ctx. Run is to be called once.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Listen == "" {
		close(s.ready)
		<-ctx.Done()
		return nil
	}
	inner, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("%w; give another address as listen in [web], or \"\" for none", err)
	}
	addr := inner.Addr()
	s.addr.Store(&addr)
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		s.log.Warn("the status page asks for no login: whoever reaches its address can read it", "address", addr)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.limits.read,
		ReadTimeout:       s.limits.read,
		WriteTimeout:      s.limits.write,
		IdleTimeout:       s.limits.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// Streams end with ctx, so that they don't hold up the stop.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(newBounded(inner, maxConnections, &s.refusedConnections)) }()
	close(s.ready)

	var failed error
	select {
	case err := <-served: // the listener broke
		failed = fmt.Errorf("web: serve %s: %w", addr, err)
		cancel()
	case <-ctx.Done():
	}
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), s.limits.shutdown)
	defer done()
	if err := server.Shutdown(grace); err != nil {
		s.log.Debug("requests cut at the stop", "err", err)
		if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Debug("web server closed", "err", err)
		}
	}
	if failed == nil {
		<-served
	}
	s.answers.stop()
	return failed
}

// answers counts the requests that are being answered, so that Run can outlive
// them all.
type answers struct {
	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup
}

// enter counts one more, unless the server has stopped.
func (a *answers) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped {
		a.running.Add(1)
	}
	return !a.stopped
}

func (a *answers) leave() { a.running.Done() }

// stop lets no more in and waits for those inside, whose connections are closed.
func (a *answers) stop() {
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.running.Wait()
}

// Ready is closed when the server accepts connections, or at once if it is
// turned off.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address in use; nil before Ready and where the server is off.
func (s *Server) Addr() net.Addr {
	if addr := s.addr.Load(); addr != nil {
		return *addr
	}
	return nil
}

// String names the task.
func (s *Server) String() string { return "web" }
