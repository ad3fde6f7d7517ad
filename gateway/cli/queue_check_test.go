package cli

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Losses are recorded with each commit; people see one row for neighbours.
func TestLossRows(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 1, 2, 3, 4, s, 0, time.UTC) }
	var got []string
	for _, l := range lossRows([]queueDrop{
		{"upstream cloud", 1, 3, 3, 300, "quota", at(0)},
		{"client panel", 8, 7, 1, 10, "newest", at(0)},
		{"upstream cloud", 4, 5, 2, 200, "quota", at(0)},
		{"client panel", 8, 7, 2, 20, "newest", at(9)},
		{"upstream cloud", 7, 7, 1, 100, "quota", at(1)},
		{"upstream cloud", 8, 9, 2, 200, "age", at(2)},
	}) {
		got = append(got, l.String())
	}
	want := []string{
		"dropped for upstream cloud: 5 messages (1 to 5, 500 B), quota, 2026-01-02T03:04:00Z",
		"dropped for client panel: 3 messages (after 7, 30 B), newest, 2026-01-02T03:04:00Z to 2026-01-02T03:04:09Z",
		"dropped for upstream cloud: 1 messages (7 to 7, 100 B), quota, 2026-01-02T03:04:01Z",
		"dropped for upstream cloud: 2 messages (8 to 9, 200 B), age, 2026-01-02T03:04:02Z",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
}
