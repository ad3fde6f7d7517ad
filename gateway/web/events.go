package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"
)

// recent is the last view of the page, shared by all streams, so that many of
// them ask the source no more often than a few.
type recent struct {
	mu   sync.Mutex
	page *page
	made time.Time
}

// recentPage gives a view that is at most half a refresh old. It is shared
// and must not be changed.
func (s *Server) recentPage() *page {
	s.recent.mu.Lock()
	defer s.recent.mu.Unlock()
	if now := time.Now(); s.recent.page == nil || now.Sub(s.recent.made) >= s.limits.refresh/2 {
		s.recent.page, s.recent.made = newPage(s.status(), s.src.Health(), now), now
	}
	return s.recent.page
}

// serveEvents keeps a page up to date by server-sent events (HTML Living
// Standard section 9.2):
//
//	cells   {"KEY": ["text", "state"], …}: the cells that changed; first all of them
//	layout  the page has other cells now and has to be loaded again
//	beat    nothing has changed for a while
//
// The page names the layout it was made with. A client that doesn't take its
// events in time is cut off; what it missed comes with its next connection.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		s.refusedStreams.Add(1)
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many pages follow the gateway; close some, or reload this one now and then",
			http.StatusServiceUnavailable)
		return
	}
	defer s.streams.Add(-1)

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold the events back
	if r.Method == http.MethodHead {
		return
	}
	stream := &stream{w: w, conn: http.NewResponseController(w), limit: s.limits.write}
	err := s.follow(r, stream)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.slowStreams.Add(1)
		s.log.Debug("slow page cut off", "client", r.RemoteAddr)
	}
}

// follow writes events until the client goes, the server stops or the layout
// is no longer the one that the client has.
func (s *Server) follow(r *http.Request, out *stream) error {
	// The deadline of the request would otherwise end the stream.
	if err := out.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	tick := time.NewTicker(s.limits.refresh)
	defer tick.Stop()
	layout := r.URL.Query().Get("layout")
	var sent map[string]cell
	last := time.Now()
	for {
		view := s.recentPage()
		if view.Layout != layout {
			return out.event("layout", view.Layout)
		}
		if changed := view.since(sent); len(changed) > 0 {
			if err := out.event("cells", changed); err != nil {
				return err
			}
			last = time.Now()
		} else if time.Since(last) >= s.limits.beat {
			if err := out.event("beat", s.limits.beat.Seconds()); err != nil {
				return err
			}
			last = time.Now()
		}
		sent = view.cells

		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-tick.C:
		}
	}
}

// stream writes events to one client.
type stream struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	limit time.Duration
	buf   bytes.Buffer
}

// event writes one event whose data is v as JSON, and so has no line break.
func (s *stream) event(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.buf.Reset()
	s.buf.WriteString("event: ")
	s.buf.WriteString(name)
	s.buf.WriteString("\ndata: ")
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.limit)); err != nil {
		return err
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	return s.conn.Flush()
}
