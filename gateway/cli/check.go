package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sluice/gateway/config"
)

func newCheck() *cobra.Command {
	var (
		asJSON bool
		given  string
	)
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate a configuration and print everything that is wrong with it",
		Long: `Reads the configuration as 'sluice run' would and prints every error and
warning with its place. Exit status 0 if the gateway would start, else 78.`,
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
			if asJSON {
				return checkJSON(cmd, cfg, err)
			}
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), err)
				return silent{ConfigError(err)}
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintf(cmd.OutOrStdout(), "warning: %v\n", w)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%v: ok\n", cfg)
			return err
		},
	}
	cmd.Flags().StringVarP(&given, "config", "c", "", "configuration `file`, as for run")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// checkJSON prints the findings as one object.
func checkJSON(cmd *cobra.Command, cfg *config.Config, loadErr error) error {
	out := struct {
		OK       bool            `json:"ok"`
		Errors   config.Problems `json:"errors"`
		Warnings config.Problems `json:"warnings"`
	}{OK: loadErr == nil, Errors: config.Problems{}, Warnings: config.Problems{}}
	if loadErr != nil && !errors.As(loadErr, &out.Errors) {
		out.Errors = config.Problems{{Text: loadErr.Error()}}
	}
	if cfg != nil && cfg.Warnings != nil {
		out.Warnings = cfg.Warnings
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	if loadErr != nil {
		return silent{ConfigError(loadErr)}
	}
	return nil
}
