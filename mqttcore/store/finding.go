package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Finding is something that is wrong with a store.
type Finding struct {
	File   string // "" where it is in no single one
	Offset int64  // of the damaged place in File; -1: the file as a whole
	What   string
}

// String gives the finding in one line.
func (f Finding) String() string {
	switch {
	case f.File == "":
		return f.What
	case f.Offset < 0:
		return f.File + ": " + f.What
	}
	return fmt.Sprintf("%s at byte %d: %s", f.File, f.Offset, f.What)
}

// findings takes what recovery logs as wrong, so that an inspector finds
// exactly what the next start will. It belongs to one goroutine.
type findings struct{ list []Finding }

// Enabled implements slog.Handler.
func (*findings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

// WithAttrs and WithGroup implement slog.Handler; the store uses neither.
func (h *findings) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h *findings) WithGroup(string) slog.Handler { return h }

// Handle implements slog.Handler.
func (h *findings) Handle(_ context.Context, r slog.Record) error {
	f := Finding{Offset: -1, What: strings.TrimPrefix(r.Message, "store: ")}
	r.Attrs(func(a slog.Attr) bool {
		switch v := a.Value.Any().(type) {
		case LSN: // where a record is
			f.File, f.Offset = segName(v.seg()), v.off()
			return true
		case int64:
			if a.Key == "offset" {
				f.Offset = v
				return true
			}
		case string:
			if a.Key == "segment" || a.Key == "file" || a.Key == "snapshot" {
				f.File = v
				return true
			}
			if a.Key == "client" {
				f.What += fmt.Sprintf(" %s=%q", a.Key, v)
				return true
			}
		}
		f.What += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	h.list = append(h.list, f)
	return nil
}

// add takes a finding of the inspector's own.
func (h *findings) add(file string, offset int64, format string, args ...any) {
	h.list = append(h.list, Finding{File: file, Offset: offset, What: fmt.Sprintf(format, args...)})
}
