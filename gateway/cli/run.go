package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

func newRun(run Runner) *cobra.Command {
	var o RunOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway",
		Long: `Runs the gateway until SIGTERM or SIGINT. Readings go to standard output, logs
to standard error.`,
		Args: usage(noFile),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "text", "json", "human"}, o.LogFormat) {
				return usageError{fmt.Errorf("--log-format %q: expected text or json", o.LogFormat)}
			}
			if !slices.Contains([]string{"debug", "info", "warn", "error"}, o.LogLevel) {
				return usageError{fmt.Errorf("--log-level %q: expected debug, info, warn or error", o.LogLevel)}
			}
			var err error
			if o.Config, err = findConfig(o.Config); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Config, "config", "c", "", "configuration `file` (default ./config.toml, then /etc/sluice/config.toml)")
	f.StringVar(&o.LogFormat, "log-format", "", "text or json (default: for people on a terminal, else text)")
	f.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&o.Quiet, "quiet", false, "keep readings off the terminal")
	return cmd
}

// noFile refuses arguments and tells where a file goes.
func noFile(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q: the configuration is given as -c %s", args[0], args[0])
	}
	return nil
}
