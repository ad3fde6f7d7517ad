package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

var (
	//go:embed page.css
	pageCSS []byte
	//go:embed page.js
	pageJS []byte
	//go:embed icon.svg
	iconSVG []byte
)

// contentPolicy lets the page load what this server embeds and nothing else;
// scripts can't turn text into markup.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'"

// routes is everything that the server answers. All of it is GET and HEAD.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("GET /api/status", s.serveStatus)
	mux.HandleFunc("GET /healthz", s.serveHealth)
	mux.Handle("GET /metrics", s.metrics())
	mux.Handle("GET /page.css", asset("page.css", "text/css; charset=utf-8", pageCSS))
	mux.Handle("GET /page.js", asset("page.js", "text/javascript; charset=utf-8", pageJS))
	mux.Handle("GET /icon.svg", asset("icon.svg", "image/svg+xml", iconSVG))
	return s.guard(mux)
}

// guard goes before every answer: it counts it, says how browsers have to
// treat it, and turns away requests for a foreign host name.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.answers.enter() {
			http.Error(w, "the gateway stops", http.StatusServiceUnavailable)
			return
		}
		defer s.answers.leave()
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")

		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local != nil && isLoopback(local.String()) && r.Host != "" && !isLoopback(r.Host) {
			s.refusedHosts.Add(1)
			http.Error(w, "this server is only known as localhost here; ask for http://localhost/, "+
				"or let a reverse proxy send \"Host: localhost\"", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopback tells whether host, with or without a port, can only mean this
// machine. A browser that was lured to a name which resolves to 127.0.0.1 (DNS
// rebinding) still sends that name, and so is found out. The names under
// localhost are loopback by RFC 6761 section 6.3.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// asset serves an embedded file, which a browser keeps and asks for again only
// by its hash.
func asset(name, kind string, content []byte) http.Handler {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	})
}

// serveStatus answers /api/status with the [Status] as JSON.
func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	s.writeJSON(w, http.StatusOK, s.status())
}

// serveHealth answers /healthz: 200 while the gateway is healthy, otherwise
// 503, and the reasons either way.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	reasons := s.src.Health()
	code := http.StatusOK
	if len(reasons) > 0 {
		code = http.StatusServiceUnavailable
	}
	s.writeJSON(w, code, struct {
		Healthy bool     `json:"healthy"`
		Reasons []string `json:"reasons"`
	}{len(reasons) == 0, append([]string{}, reasons...)})
}

func (s *Server) writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		s.fail(w, fmt.Errorf("encode: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that went away is no fault of ours.
	_, _ = w.Write(append(body, '\n'))
}

// fail answers a request that the server itself could not carry out.
func (s *Server) fail(w http.ResponseWriter, err error) {
	s.log.Error("web answer failed", "err", err)
	http.Error(w, "internal error, see the log of the gateway", http.StatusInternalServerError)
}
