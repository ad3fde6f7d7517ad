// Package web serves what the gateway is doing over HTTP: a status page for
// people, JSON for programs, metrics for Prometheus and a health check for
// supervisors. It only shows; nothing can be changed through it. It knows no
// other room of the gateway: what it shows comes from a [Source].
package web

import (
	"context"
	"log/slog"
	"net"
)

// Server is the web server. Its methods may be called from any goroutine.
type Server struct {
	cfg   Config
	src   Source
	log   *slog.Logger
	ready chan struct{}
}

// New makes a server that shows src. It opens nothing; Run does. The Config
// must be valid.
func New(cfg Config, src Source, log *slog.Logger) *Server {
	return &Server{cfg: cfg, src: src, log: log, ready: make(chan struct{})}
}

// Run listens and serves until ctx ends, and returns nil then, when all
// requests have ended. It fails at once where the address can't be had. With
// an empty Listen it only waits for ctx. Run is to be called once.
func (s *Server) Run(ctx context.Context) error { panic("not written") }

// Ready is closed when the server accepts connections, or at once if it is
// turned off.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address in use; nil before Ready and where the server is off.
func (s *Server) Addr() net.Addr { return nil }

// String names the task.
func (s *Server) String() string { return "web" }
