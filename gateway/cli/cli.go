// Package cli holds the operator's commands: what they are called, what they
// take and what they print. It parses and prints; the work is done elsewhere.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// The exit statuses of sluice. A configuration error is 78 (EX_CONFIG), not 2,
// which is also what a Go panic gives: a supervisor can tell them apart.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78
)

// RunOptions is what `sluice run` takes.
type RunOptions struct {
	Config    string // path of the configuration; "" = the default places
	LogFormat string // text | json | human; "" = human on a terminal, else text
	LogLevel  string // debug | info | warn | error
	Quiet     bool   // no readings on the terminal
}

// Runner runs the gateway until ctx ends.
type Runner func(ctx context.Context, o RunOptions) error

// configError marks errors of the configuration file.
type configError struct{ error }

// Unwrap gives the error itself.
func (e configError) Unwrap() error { return e.error }

// ConfigError marks err as one of the configuration file: the exit status
// becomes 78.
func ConfigError(err error) error { return configError{err} }

// usageError marks wrong usage of the command line.
type usageError struct{ error }

// silent is an error that has been reported already.
type silent struct{ error }

// Unwrap gives the error itself.
func (e silent) Unwrap() error { return e.error }

// Main runs the command line and returns the exit status.
func Main(ctx context.Context, args []string, run Runner) int {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Edge gateway: RS-485 Modbus and UART devices to MQTT",
		Long: `sluice polls Modbus and UART devices, serves their readings from its own MQTT
broker and relays them upstream through a durable queue.

Exit status: 0 done, 1 failed while working, 2 wrong usage, 78 configuration error.`,
		Version:       strings.TrimPrefix(BuildVersion().String(), "sluice "),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newRun(run), newCheck(), newPlan(), newPasswd(), newPorts(), newProfiles(), newQueue(), newVersion())
	root.SetArgs(args)

	cmd, err := root.ExecuteContextC(ctx)
	var (
		wrongConfig configError
		wrongUsage  usageError
		reported    silent
	)
	if err != nil && !errors.As(err, &reported) {
		fmt.Fprintf(os.Stderr, "sluice: %v\n", err)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrongConfig):
		return exitConfig
	case errors.As(err, &wrongUsage) || isUnknownCommand(root, args):
		fmt.Fprintf(os.Stderr, "see '%s --help'\n", cmd.CommandPath())
		return exitUsage
	default:
		return exitFailed
	}
}

// usage makes a check of positional arguments a usage error.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// subcommand refuses what a command that only has others below it was given,
// and names the one that was probably meant.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2 // slips, at most
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean %q?", near[0])
	}
	return usageError{fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)}
}

// isUnknownCommand tells cobra's own error for an unknown command, which has
// no type, from others.
func isUnknownCommand(root *cobra.Command, args []string) bool {
	_, _, err := root.Find(args)
	return err != nil
}

// findConfig finds the configuration file: the one given, ./config.toml, or
// /etc/sluice/config.toml.
func findConfig(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	usual := []string{"config.toml", "/etc/sluice/config.toml"}
	for _, file := range usual {
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
	}
	return "", ConfigError(fmt.Errorf("no configuration: neither %s is there; name one with -c FILE", strings.Join(usual, " nor ")))
}
