package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice/mqttcore/store"
)

// queueList is what `sluice queue ls --json` prints.
type queueList struct {
	Data       string                  `json:"data"`
	Sessions   []queueSession          `json:"sessions"`
	Appended   uint64                  `json:"appended"` // with sessions deleted since, as all of these
	Delivered  uint64                  `json:"delivered"`
	Queued     uint64                  `json:"queued"`
	Dropped    map[store.Reason]uint64 `json:"dropped"`
	Log        queueLog                `json:"log"`
	Quarantine queueAside              `json:"quarantine"`
	Findings   []queueFinding          `json:"findings"`
}

type queueSession struct {
	Session       store.SID `json:"session"`
	Kind          string    `json:"kind"` // upstream | gateway | client
	Name          string    `json:"name"`
	Lane          int       `json:"lane"` // 1; an upstream may have further queues
	User          string    `json:"user,omitempty"`
	Queued        uint64    `json:"queued"`
	Bytes         uint64    `json:"bytes"`
	OldestSeconds float64   `json:"oldest_seconds"`
	InFlight      uint64    `json:"in_flight"`
	Appended      uint64    `json:"appended"`
	Delivered     uint64    `json:"delivered"`
	Dropped       uint64    `json:"dropped"`
	// Reasons are those of Dropped, as far as the log still has the record.
	Reasons       map[store.Reason]uint64 `json:"reasons"`
	Connected     bool                    `json:"connected"`
	AwaySeconds   float64                 `json:"away_seconds"`
	Subscriptions []queueSubscription     `json:"subscriptions"`
}

type queueSubscription struct {
	Filter string `json:"filter"`
	QoS    byte   `json:"qos"`
}

type queueLog struct {
	Store           string  `json:"store"`
	State           string  `json:"state"`
	Segments        int     `json:"segments"`
	Bytes           int64   `json:"bytes"`
	FreeSegments    int     `json:"free_segments"`
	FreeBytes       int64   `json:"free_bytes"`
	Snapshots       int     `json:"snapshots"`
	SnapshotSeconds float64 `json:"snapshot_seconds"`
	TornTails       uint64  `json:"torn_tails"`
}

type queueAside struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

type queueFinding struct {
	File   string `json:"file,omitempty"`
	Offset *int64 `json:"offset,omitempty"`
	What   string `json:"what"`
}

func newQueueLs(o *queueFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "What is stored, and for whom",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.look(cmd.Context(), func(folder string, i *store.Inspection) error {
				l, err := listQueues(folder, i)
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(cmd.OutOrStdout(), l)
				}
				return l.print(cmd.OutOrStdout())
			})
		},
	}
}

func listQueues(folder string, i *store.Inspection) (*queueList, error) {
	queues, err := i.Queues()
	if err != nil {
		return nil, err
	}
	log, err := i.Log()
	if err != nil {
		return nil, err
	}
	st := i.Stats()
	l := &queueList{
		Data: folder, Sessions: []queueSession{},
		Appended: st.Appended, Delivered: st.Delivered, Queued: st.Queued, Dropped: st.Dropped,
		Log: queueLog{
			Store: log.Store, State: logState(log), Segments: log.Segments, Bytes: log.Bytes,
			FreeSegments: log.Free, FreeBytes: log.FreeBytes, Snapshots: log.Snapshots,
			SnapshotSeconds: log.Covered.Seconds(), TornTails: log.TornTails,
		},
		Quarantine: queueAside{log.Aside, log.AsideSize},
		Findings:   findingsOf(i),
	}
	why := map[store.SID]map[store.Reason]uint64{}
	for _, d := range i.Drops() {
		if why[d.Session] == nil {
			why[d.Session] = map[store.Reason]uint64{}
		}
		why[d.Session][d.Reason] += d.Count
	}
	for _, q := range queues {
		s := queueSession{
			Session: q.ID, Queued: q.Queued, Bytes: q.Bytes, OldestSeconds: q.Oldest.Seconds(),
			InFlight: q.InFlight, Appended: q.Appended, Delivered: q.Delivered, Dropped: q.Dropped,
			Connected: q.Connected, AwaySeconds: q.Away.Seconds(), Subscriptions: []queueSubscription{},
		}
		if s.Reasons = why[q.ID]; s.Reasons == nil {
			s.Reasons = map[store.Reason]uint64{}
		}
		of := ownerOf(q.Client)
		s.Kind, s.Name, s.Lane = of.kind, of.name, of.lane
		if of.kind == "client" { // the others have a note there
			s.User = q.User
		}
		for _, sub := range q.Subs {
			s.Subscriptions = append(s.Subscriptions, queueSubscription{sub.Filter, sub.Options & 3})
		}
		l.Sessions = append(l.Sessions, s)
	}
	return l, nil
}

func logState(l store.LogInfo) string {
	switch {
	case l.Open:
		return "open" // a gateway has it
	case l.Clean:
		return "closed"
	}
	return "not closed" // killed, or cut off
}

func findingsOf(i *store.Inspection) []queueFinding {
	all := []queueFinding{}
	for _, f := range i.Findings() {
		q := queueFinding{File: f.File, What: f.What}
		if f.Offset >= 0 {
			q.Offset = &f.Offset
		}
		all = append(all, q)
	}
	return all
}

// String gives the finding in one line.
func (f queueFinding) String() string {
	of := store.Finding{File: f.File, Offset: -1, What: f.What}
	if f.Offset != nil {
		of.Offset = *f.Offset
	}
	return of.String()
}

// print prints the list for people.
func (l *queueList) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FOR\tQUEUED\tBYTES\tOLDEST\tIN FLIGHT\tDELIVERED\tDROPPED\tAWAY\tSUBSCRIPTIONS")
	for _, s := range l.Sessions {
		oldest, away := "-", "-"
		if s.Queued > 0 {
			oldest = age(s.OldestSeconds)
		}
		if !s.Connected {
			away = age(s.AwaySeconds)
		}
		filters := make([]string, 0, len(s.Subscriptions))
		for _, f := range s.Subscriptions {
			filters = append(filters, f.Filter)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%d\t%d%s\t%s\t%s\n", s.title(), s.Queued, size(int64(s.Bytes)), oldest,
			s.InFlight, s.Delivered, s.Dropped, reasons(s.Reasons), away, shown(strings.Join(filters, " "), 60))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nlog: %s, %d segments and %d snapshots of %s, %d segments (%s) free\n",
		l.Log.State, l.Log.Segments, l.Log.Snapshots, size(l.Log.Bytes), l.Log.FreeSegments, size(l.Log.FreeBytes))
	fmt.Fprintf(out, "messages: %d appended = %d delivered + %d queued + %d dropped%s\n",
		l.Appended, l.Delivered, l.Queued, total(l.Dropped), reasons(l.Dropped))
	if l.Quarantine.Files > 0 {
		fmt.Fprintf(out, "quarantine: %d files, %s, set aside because of damage\n", l.Quarantine.Files, size(l.Quarantine.Bytes))
	}
	for _, f := range l.Findings {
		fmt.Fprintf(out, "wrong: %v\n", f)
	}
	if len(l.Findings) > 0 {
		fmt.Fprintln(out, "see 'sluice queue check'")
	}
	return nil
}

func (s *queueSession) title() string {
	title := s.Kind + " " + shown(s.Name, 40)
	if s.Lane > 1 {
		title += fmt.Sprintf(" (lane %d)", s.Lane)
	}
	return title
}

// shown makes text from outside fit for a terminal.
func shown(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '·'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func total(dropped map[store.Reason]uint64) (n uint64) {
	for _, c := range dropped {
		n += c
	}
	return n
}

// reasons lists the counts of what was dropped.
func reasons(dropped map[store.Reason]uint64) string {
	var all []string
	for _, r := range slices.Sorted(maps.Keys(dropped)) {
		if dropped[r] > 0 {
			all = append(all, fmt.Sprintf("%s %d", r, dropped[r]))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// age gives a time in its two largest units.
func age(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// size gives bytes in the unit that is read best.
func size(n int64) string {
	unit, v := "B", float64(n)
	for _, u := range []string{"KiB", "MiB", "GiB"} {
		if v < 1024 {
			break
		}
		unit, v = u, v/1024
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
