package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// screen shows the latest readings: on a terminal as one calm table that is
// redrawn in place, elsewhere as a line for each reading.
type screen struct {
	out   io.Writer
	board *board
	live  bool              // a terminal: redraw in place
	size  func() (w, h int) // of the terminal, in cells
	ready chan struct{}

	mu    sync.Mutex
	drawn int // lines of the table now on the terminal
}

// redraw is how often the table is refreshed.
const redraw = 500 * time.Millisecond

func newScreen(out io.Writer, b *board, live bool, size func() (int, int)) *screen {
	return &screen{out: out, board: b, live: live, size: size, ready: make(chan struct{})}
}

// String names the task.
func (s *screen) String() string { return "screen" }

// Ready is closed when the screen shows what comes.
func (s *screen) Ready() <-chan struct{} { return s.ready }

// Run shows readings until ctx ends.
func (s *screen) Run(ctx context.Context) error {
	changes := s.board.watch()
	defer s.board.unwatch(changes)
	close(s.ready)
	if !s.live {
		return s.stream(ctx, changes)
	}
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.draw()
		}
	}
}

// announce prints where the gateway can be reached.
func (s *screen) announce(addresses []string) {
	s.Write([]byte("sluice serves " + strings.Join(addresses, " and ") + "\n"))
}

// stream prints each reading as a line.
func (s *screen) stream(ctx context.Context, changes *watcher) error {
	for {
		rows, dropped := changes.take(ctx)
		if rows == nil {
			return nil
		}
		var b strings.Builder
		if dropped > 0 {
			fmt.Fprintf(&b, "… %d readings not shown: the output is too slow\n", dropped)
		}
		for _, r := range rows {
			fmt.Fprintf(&b, "%s  %s  %s\n", r.Time.Local().Format("15:04:05.000"), r.topic, r.text())
		}
		if _, err := io.WriteString(s.out, b.String()); err != nil {
			return nil // nobody reads any more; the gateway goes on
		}
	}
}

// draw replaces the table by a fresh one.
func (s *screen) draw() {
	width, height := s.size()
	table := s.table(width, height)
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.out, s.wipe()+strings.Join(table, "\n")+"\n")
	s.drawn = len(table)
}

// wipe gives what takes the drawn table off the terminal.
func (s *screen) wipe() string {
	if s.drawn == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", s.drawn)
}

// Write prints a log line above the table, so that both stay readable.
func (s *screen) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := io.WriteString(s.out, s.wipe()+string(line))
	s.drawn = 0
	return len(line), err
}

// table renders the newest reading of every point, cut to the terminal.
func (s *screen) table(width, height int) []string {
	rows := s.board.rows()
	nameWidth := 0
	for _, r := range rows {
		nameWidth = max(nameWidth, utf8.RuneCountInString(r.topic))
	}
	lines := []string{""}
	now := time.Now()
	for i, r := range rows {
		if len(lines) >= height-2 && i < len(rows)-1 {
			lines = append(lines, fmt.Sprintf("  … and %d more points", len(rows)-i))
			break
		}
		age := "–"
		if !r.Time.IsZero() {
			age = fmt.Sprintf("%.1f s ago", max(0, now.Sub(r.Time).Seconds()))
		}
		pad := strings.Repeat(" ", nameWidth-utf8.RuneCountInString(r.topic))
		lines = append(lines, clip(fmt.Sprintf("  %s%s  %-18s %s", r.topic, pad, r.text(), age), width))
	}
	return append(lines, clip("  "+s.board.summary(), width))
}

// clip cuts a line to width cells.
func clip(s string, width int) string {
	if width <= 1 || utf8.RuneCountInString(s) < width {
		return s
	}
	return string([]rune(s)[:width-2]) + "…"
}
