package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice/adapters"
	"sluice/adapters/modbus"
	"sluice/gateway/config"
)

func newProfiles() *cobra.Command {
	var (
		asJSON bool
		given  string
	)
	cmd := &cobra.Command{
		Use:   "profiles [NAME]",
		Short: "The device library: what \"use\" of a device may name",
		Long: `Lists the profiles that come with the program and those in the folder profiles
beside the configuration, or shows one: where it is from, what is not certain of
it, and its points. A file of the folder wins over one of the same name that is
shipped. Exit status 0, 1 if there is no such profile, 78 if one is broken.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := findConfig(given)
			if err != nil {
				file = "config.toml" // need not be there: only its folder counts
			}
			if len(args) == 1 {
				return showProfile(cmd, file, args[0], asJSON)
			}
			found, broken := config.Profiles(file)
			list := make([]profile, 0, len(found))
			for i := range found {
				list = append(list, profileOf(&found[i]))
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), list)
			} else {
				err = printProfiles(cmd.OutOrStdout(), list)
			}
			if broken != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), broken)
				return silent{ConfigError(broken)}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&given, "config", "c", "", "configuration `file`, beside which the folder profiles is")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// profile is what `sluice profiles --json` prints of each.
type profile struct {
	Name       string         `json:"name"`
	Title      string         `json:"title"`
	File       string         `json:"file"`   // "" if it is shipped
	Serial     string         `json:"serial"` // as delivered
	Source     []string       `json:"source"`
	Unverified []string       `json:"unverified"`
	Points     []profilePoint `json:"points"`
}

type profilePoint struct {
	Name     string  `json:"name"`
	Table    string  `json:"table"`
	Address  uint16  `json:"address"` // as on the wire, from 0
	Type     string  `json:"type"`
	Order    string  `json:"order"`
	Scale    float64 `json:"scale"`
	Offset   float64 `json:"offset"`
	Decimals *int    `json:"decimals,omitempty"` // digits the value is rounded to; left out where raw, scale and offset tell
	Unit     string  `json:"unit"`
	Writable bool    `json:"writable"`
}

func profileOf(p *config.Profile) profile {
	out := profile{
		Name: p.Name, Title: p.Title, File: p.File, Serial: p.Serial,
		Source: p.Source, Unverified: append([]string{}, p.Unverified...), Points: []profilePoint{},
	}
	for _, pt := range p.Device.Points {
		row := profilePoint{
			Name: pt.Point.Name, Table: pt.Table.String(), Address: pt.Address, Type: pt.Type.String(), Order: pt.Order.String(),
			Scale: pt.Scale, Offset: pt.Offset, Unit: pt.Point.Unit, Writable: pt.Write != modbus.ReadOnly,
		}
		if pt.Decimals >= 0 {
			row.Decimals = &pt.Decimals
		}
		out.Points = append(out.Points, row)
	}
	return out
}

func showProfile(cmd *cobra.Command, file, name string, asJSON bool) error {
	found, err := config.ProfileOf(file, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		fmt.Fprintln(cmd.ErrOrStderr(), err)
		return silent{ConfigError(err)}
	case asJSON:
		return printJSON(cmd.OutOrStdout(), profileOf(found))
	}
	return printProfile(cmd.OutOrStdout(), profileOf(found))
}

func printProfiles(out io.Writer, list []profile) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROFILE\tPOINTS\tSERIAL\tFROM\tDEVICE")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", p.Name, len(p.Points), orDash(p.Serial), cmp.Or(shown(p.File, 60), "shipped"), shown(p.Title, 80))
	}
	return w.Flush()
}

func printProfile(out io.Writer, p profile) error {
	fmt.Fprintf(out, "%s: %s (%s)\n", p.Name, shown(p.Title, 100), cmp.Or(shown(p.File, 100), "shipped"))
	if p.Serial != "" {
		fmt.Fprintf(out, "as delivered: %s\n", p.Serial)
	}
	for _, s := range p.Source {
		fmt.Fprintf(out, "source: %s\n", shown(s, 200))
	}
	for _, s := range p.Unverified {
		fmt.Fprintf(out, "not certain: %s\n", shown(s, 200))
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POINT\tADDRESS\tTYPE\tVALUE\tUNIT\tCOMMANDS")
	for _, pt := range p.Points {
		value, commands := "raw", "-"
		if pt.Scale != 1 {
			value += " × " + number(pt.Scale)
		}
		if pt.Offset != 0 {
			value += " + " + number(pt.Offset)
		}
		if pt.Decimals != nil {
			value += ", " + decimals(*pt.Decimals)
		}
		if pt.Writable {
			commands = "yes"
		}
		kind := pt.Type
		if pt.Order != adapters.ABCD.String() {
			kind = strings.Join([]string{pt.Type, pt.Order}, " ")
		}
		fmt.Fprintf(w, "%s\t%s %d\t%s\t%s\t%s\t%s\n", shown(pt.Name, 40), pt.Table, pt.Address, kind, value, orDash(shown(pt.Unit, 12)), commands)
	}
	return w.Flush()
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func decimals(n int) string {
	if n == 1 {
		return "1 decimal"
	}
	return fmt.Sprintf("%d decimals", n)
}
