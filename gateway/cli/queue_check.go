package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"sluice/mqttcore/store"
)

// queueReport is what `sluice queue check --json` prints.
type queueReport struct {
	OK bool `json:"ok"`
	*queueList
	Files   int         `json:"files"` // read from end to end
	Read    int64       `json:"read_bytes"`
	Changed bool        `json:"changed"` // a running gateway got rid of files meanwhile
	Drops   []queueDrop `json:"drops"`
}

type queueDrop struct {
	Session string       `json:"session"`
	From    uint64       `json:"from"`
	To      uint64       `json:"to"`
	Count   uint64       `json:"count"`
	Bytes   uint64       `json:"bytes"`
	Reason  store.Reason `json:"reason"`
	Time    time.Time    `json:"time"`
}

// errDamaged tells that a check found something; it has said what.
var errDamaged = errors.New("the store is damaged")

func newQueueCheck(o *queueFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Verify every checksum of the log and account for every message",
		Long: `Reads every file of the log from end to end and verifies all checksums, the order
of all records, and that for each session and in total
    appended = delivered + queued + dropped
Lists the losses on record. Exit status 0 if all is well, 1 if something is wrong.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.look(cmd.Context(), func(folder string, i *store.Inspection) error {
				r, err := checkQueues(folder, i)
				if err != nil {
					return err
				}
				if o.json {
					err = printJSON(cmd.OutOrStdout(), r)
				} else {
					err = r.print(cmd.OutOrStdout())
				}
				if err == nil && !r.OK {
					err = silent{errDamaged}
				}
				return err
			})
		},
	}
}

func checkQueues(folder string, i *store.Inspection) (*queueReport, error) {
	v, err := i.Verify()
	if err != nil {
		return nil, err
	}
	r := &queueReport{Files: v.Files, Read: v.Bytes, Changed: v.Moved, Drops: []queueDrop{}}
	if r.queueList, err = listQueues(folder, i); err != nil {
		return nil, err
	}
	r.OK = len(r.Findings) == 0
	for _, d := range i.Drops() {
		q := queueDrop{From: d.From, To: d.To, Count: d.Count, Bytes: d.Bytes, Reason: d.Reason, Time: d.At.UTC()}
		if d.Client == "" {
			q.Session = fmt.Sprintf("session %d, deleted since", d.Session)
		} else {
			q.Session = ownerOf(d.Client).String()
		}
		r.Drops = append(r.Drops, q)
	}
	return r, nil
}

// dropsShown bounds the losses that are listed for people.
const dropsShown = 50

// lossRow is neighbours that a session lost for one reason.
type lossRow struct {
	queueDrop
	until time.Time
}

// lossRows puts together what the log has in pieces, commit by commit.
func lossRows(drops []queueDrop) (rows []*lossRow) {
	last := map[string]*lossRow{}
	for _, d := range drops {
		if l := last[d.Session]; l != nil && l.Reason == d.Reason && (l.To < l.From) == (d.To < d.From) && d.From == l.To+1 {
			l.To = d.To
			l.Count += d.Count
			l.Bytes += d.Bytes
			l.until = d.Time
			continue
		}
		last[d.Session] = &lossRow{d, d.Time}
		rows = append(rows, last[d.Session])
	}
	return rows
}

// String is the row for people.
func (l *lossRow) String() string {
	which := fmt.Sprintf("%d to %d", l.From, l.To)
	if l.To < l.From {
		which = fmt.Sprintf("after %d", l.To) // they never had a number
	}
	when := l.Time.Format(time.RFC3339)
	if until := l.until.Format(time.RFC3339); until != when {
		when += " to " + until
	}
	return fmt.Sprintf("dropped for %s: %d messages (%s, %s), %s, %s", shown(l.Session, 60), l.Count, which, size(int64(l.Bytes)), l.Reason, when)
}

func (r *queueReport) print(out io.Writer) error {
	rows := lossRows(r.Drops)
	for _, l := range rows[max(0, len(rows)-dropsShown):] {
		fmt.Fprintln(out, l)
	}
	if n := len(rows) - dropsShown; n > 0 {
		fmt.Fprintf(out, "and %d times before: see --json\n", n)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(out, "wrong: %v\n", f)
	}
	if r.Log.TornTails > 0 {
		fmt.Fprintln(out, "the end of the log was cut off by a crash: nothing acknowledged was in it")
	}
	if r.Changed {
		fmt.Fprintln(out, "the gateway got rid of files while they were read: those were left out")
	}
	fmt.Fprintf(out, "%s: %d files, %s; %d appended = %d delivered + %d queued + %d dropped%s\n",
		r.Data, r.Files, size(r.Read), r.Appended, r.Delivered, r.Queued, total(r.Dropped), reasons(r.Dropped))
	if r.OK {
		_, err := fmt.Fprintln(out, "ok")
		return err
	}
	_, err := fmt.Fprintf(out, `findings: %d. Nothing needs to be repaired: a gateway that starts with this folder
sets damaged places aside in quarantine/, goes on with all the rest, and counts what
is lost. Copy the folder first to keep it as it is, and look after the disk: damage
comes from failing cards, cables and power supplies.
`, len(r.Findings))
	return err
}
