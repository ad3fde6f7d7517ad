package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/gateway/config"
)

func newPlan() *cobra.Command {
	var (
		asJSON bool
		given  string
	)
	cmd := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "Show what will be asked on each Modbus line, and what it costs",
		Long: `Prints the requests of each line as they are sent at first: the registers read
at once, how many of them nobody wants, how long each keeps the line, how often
it is made, how busy the line is by that, and in what time every point was read
once. It reckons with devices that begin to answer after 10 ms; while the gateway
runs it measures each and plans anew. Exit status 0, or 78 for a bad file.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				given = args[0]
			}
			file, err := findConfig(given)
			if err != nil {
				return err
			}
			cfg, err := config.Load(file)
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), err)
				return silent{ConfigError(err)}
			}
			lines := planOf(cfg)
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(struct {
					Lines []plannedLine `json:"lines"`
				}{lines})
			}
			return printPlan(cmd.OutOrStdout(), lines)
		},
	}
	cmd.Flags().StringVarP(&given, "config", "c", "", "configuration `file`, as for run")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// plannedLine is the plan of one line.
type plannedLine struct {
	Name        string        `json:"name"`
	Kind        line.Kind     `json:"kind"`
	Serial      string        `json:"serial,omitempty"`
	LoadPercent float64       `json:"load_percent"` // above 100: more than the line can carry
	CycleMS     float64       `json:"cycle_ms"`     // in which every point was read once
	Requests    int           `json:"requests"`
	Registers   int           `json:"registers"` // bits counted like registers
	Reads       []plannedRead `json:"reads"`
}

// plannedRead is one request.
type plannedRead struct {
	Device   string   `json:"device"`
	Unit     uint8    `json:"unit"`
	Table    string   `json:"table"`
	Address  uint16   `json:"address"` // as on the wire, from 0
	Count    int      `json:"count"`
	Unwanted int      `json:"unwanted"` // of the count, what belongs to no point
	WireMS   float64  `json:"wire_ms"`
	EveryMS  float64  `json:"every_ms"`       // 0: as often as the line allows
	Once     bool     `json:"once,omitempty"` // each time the device comes online, and never else
	Points   []string `json:"points"`

	every time.Duration
}

// planOf plans the Modbus lines of a configuration.
func planOf(cfg *config.Config) []plannedLine {
	lines := []plannedLine{}
	for i := range cfg.Lines {
		l := &cfg.Lines[i]
		if l.Kind == line.UART {
			continue
		}
		lines = append(lines, planLine(l, cfg.Plan(l)))
	}
	return lines
}

func planLine(l *config.Line, plan modbus.Plan) plannedLine {
	out := plannedLine{
		Name: l.Name, Kind: l.Kind, LoadPercent: 100 * plan.Load, CycleMS: milliseconds(plan.Cycle),
		Requests: len(plan.Reads), Reads: []plannedRead{},
	}
	if l.Serial.Baud > 0 {
		out.Serial = l.Serial.String()
	}
	for _, r := range plan.Reads {
		out.Registers += r.Count
		once := r.Every == modbus.Once
		if once {
			r.Every = 0
		}
		out.Reads = append(out.Reads, plannedRead{
			Device: r.Device, Unit: r.Unit, Table: r.Table.String(), Address: r.Address, Count: r.Count, Unwanted: r.Unwanted,
			WireMS: milliseconds(r.Wire), EveryMS: milliseconds(r.Every), Once: once, Points: r.Points, every: r.Every,
		})
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func printPlan(w io.Writer, lines []plannedLine) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "there is no Modbus line")
		return err
	}
	for i, l := range lines {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "line %s (%s): %d requests, %d registers, load %.1f %%, cycle %.0f ms\n",
			l.Name, strings.TrimSpace(string(l.Kind)+" "+l.Serial), l.Requests, l.Registers, l.LoadPercent, l.CycleMS)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "  device\tunit\tread\tcount\tunwanted\twire ms\tevery\tpoints")
		for _, r := range l.Reads {
			every := "always"
			switch {
			case r.Once:
				every = "once"
			case r.every > 0:
				every = r.every.String()
			}
			fmt.Fprintf(table, "  %s\t%d\t%s %d\t%d\t%d\t%.1f\t%s\t%s\n",
				r.Device, r.Unit, r.Table, r.Address, r.Count, r.Unwanted, r.WireMS, every, strings.Join(r.Points, " "))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}
