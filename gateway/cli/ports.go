package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice/adapters/line"
)

// port is what `sluice ports --json` prints of each port.
type port struct {
	Port    string       `json:"port"`   // its path now
	Stable  []string     `json:"stable"` // names to write into the configuration, the best first
	Driver  string       `json:"driver"`
	USB     *portUSB     `json:"usb,omitempty"`
	Console bool         `json:"console"`
	Holders []portHolder `json:"held_by"`
}

type portUSB struct {
	Vendor  string `json:"vendor"`
	Product string `json:"product"`
	Serial  string `json:"serial"`
	Maker   string `json:"manufacturer"`
	Model   string `json:"model"`
}

type portHolder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

func newPorts() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ports",
		Short: "The serial ports of this machine, their stable names and who holds them",
		Long: `Lists the serial ports with their drivers, the names that stay with an adapter
or with its socket, and the programs that have them open (of other users only
if root asks). It opens no port: nothing on the wire notices.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := line.Ports()
			if err != nil {
				return err
			}
			ports := portsOf(found)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), ports)
			}
			return printPorts(cmd.OutOrStdout(), ports)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func portsOf(found []line.PortInfo) []port {
	ports := make([]port, 0, len(found))
	for _, p := range found {
		out := port{Port: p.Path, Stable: append([]string{}, p.Stable...), Driver: p.Driver, Console: p.Console, Holders: []portHolder{}}
		if u := p.USB; u != nil {
			out.USB = &portUSB{u.Vendor, u.Product, u.Serial, u.Maker, u.Model}
		}
		for _, h := range p.Holders {
			out.Holders = append(out.Holders, portHolder{h.PID, h.Command})
		}
		ports = append(ports, out)
	}
	return ports
}

// printPorts prints the ports for people, each further name on its own line.
func printPorts(out io.Writer, ports []port) error {
	if len(ports) == 0 {
		_, err := fmt.Fprintln(out, "no serial ports")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PORT\tDRIVER\tADAPTER\tHELD BY\tSTABLE NAMES")
	for _, p := range ports {
		best, others := "-", p.Stable
		if len(others) > 0 {
			best, others = others[0], others[1:]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Port, orDash(p.Driver), p.adapter(), p.heldBy(), shown(best, 100))
		for _, name := range others {
			fmt.Fprintf(w, "\t\t\t\t%s\n", shown(name, 100))
		}
	}
	return w.Flush()
}

func (p port) adapter() string {
	if p.USB == nil {
		return "-"
	}
	return orDash(shown(strings.TrimSpace(p.USB.Maker+" "+p.USB.Model), 40))
}

func (p port) heldBy() string {
	var all []string
	for _, h := range p.Holders {
		all = append(all, fmt.Sprintf("%s (%d)", shown(h.Command, 20), h.PID))
	}
	if p.Console {
		all = append(all, "console")
	}
	return orDash(strings.Join(all, ", "))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
