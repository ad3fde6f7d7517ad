package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"sluice/gateway/config"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// queueFlags are what all of `sluice queue` takes.
type queueFlags struct {
	data, config string
	json         bool
}

func newQueue() *cobra.Command {
	var o queueFlags
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Show what is stored and for whom; verify the durable log",
		Long: `Looks into the data folder: what waits for each upstream, for the commands and
for clients that are away. It writes nothing and holds no lock, so it can be used
while the gateway runs, on a copy of the folder and on a damaged one. What it
shows of a running gateway is what is on disk: deliveries may be a second more.

The folder is --data, else that of the configuration which 'sluice run' would
find, else ./data.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.StringVar(&o.data, "data", "", "data `folder`")
	f.StringVarP(&o.config, "config", "c", "", "configuration `file` that names the data folder, as for run")
	f.BoolVar(&o.json, "json", false, "print JSON")
	cmd.AddCommand(newQueueLs(&o), newQueueDump(&o), newQueueCheck(&o))
	return cmd
}

// folder finds the data folder.
func (o *queueFlags) folder() (string, error) {
	if o.data != "" {
		return o.data, nil
	}
	file, err := findConfig(o.config)
	if err != nil {
		return "data", nil // there is no configuration at all
	}
	cfg, err := config.Load(file)
	if err != nil {
		return "", ConfigError(err)
	}
	return cfg.Gateway.Data, nil
}

// look opens the data folder to be read, for do.
func (o *queueFlags) look(ctx context.Context, do func(folder string, i *store.Inspection) error) error {
	folder, err := o.folder()
	if err != nil {
		return err
	}
	i, err := store.Inspect(ctx, folder)
	switch {
	case errors.Is(err, store.ErrNoStore), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; name the data folder with --data", err)
	case errors.Is(err, store.ErrVersion):
		return fmt.Errorf("%w; use that version of sluice, or a later one", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; ask as the user that the gateway runs as", err)
	case err != nil:
		return err
	}
	return errors.Join(do(folder, i), i.Close())
}

// owner is a session as users know it.
type owner struct {
	kind string // upstream | gateway | client
	name string // in the configuration; of a client: its client identifier
	lane int    // 1; 2 and more are further queues of the same upstream
}

func ownerOf(client string) owner {
	consumer, lane, inside := mqttcore.ConsumerLane(client)
	if !inside {
		return owner{"client", client, 1}
	}
	if link, ok := strings.CutPrefix(consumer, upstreamConsumer); ok {
		return owner{"upstream", link, lane}
	}
	return owner{"gateway", consumer, lane}
}

// String is what a dump takes.
func (o owner) String() string { return o.kind + " " + o.name }

// upstreamConsumer begins the names of the upstreams' queues (see
// bridge.ConsumerName).
const upstreamConsumer = "upstream/"

// printJSON prints v for programs and people.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
