package main

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"slices"

	"sluice/gateway/config"
	"sluice/mqttcore"
)

// reloader reads the configuration again whenever it is told to and lets the
// broker take up who may log in, what they may do and its certificates. A file
// with an error in it changes nothing.
type reloader struct {
	now    *config.Config // in force, apart from what has been taken up since
	broker *mqttcore.Broker
	told   <-chan os.Signal
	log    *slog.Logger
	ready  chan struct{}
	warned config.Problems // of what was read last, told already
}

func newReloader(cfg *config.Config, b *mqttcore.Broker, told <-chan os.Signal, log *slog.Logger) *reloader {
	return &reloader{now: cfg, broker: b, told: told, log: log, ready: make(chan struct{}), warned: cfg.Warnings}
}

// Run serves until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	close(r.ready)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.told:
			r.reload()
		}
	}
}

// Ready is closed once Run listens.
func (r *reloader) Ready() <-chan struct{} { return r.ready }

// String names the task.
func (r *reloader) String() string { return "reload" }

func (r *reloader) reload() {
	cfg, err := config.Load(r.now.File)
	if err == nil {
		err = r.broker.Reload(cfg.Broker)
	}
	if err != nil {
		r.log.Error("configuration not reloaded: the former stays in force", "err", err)
		return
	}
	for _, w := range cfg.Warnings {
		if !slices.ContainsFunc(r.warned, func(old *config.Problem) bool { return old.Text == w.Text }) {
			r.log.Warn(w.Text, "file", w.File, "line", w.Line, "hint", w.Hint)
		}
	}
	r.warned = cfg.Warnings
	if !sameButAccess(r.now, cfg) {
		r.log.Warn("only users, access rules and certificates are taken up while running: the other changes wait for the next start")
	}
	r.log.Info("configuration reloaded", "config", cfg.String())
}

// sameButAccess compares two configurations without what a reload takes up.
func sameButAccess(a, b *config.Config) bool {
	plain := func(c *config.Config) config.Config {
		p := *c
		p.Broker.Users, p.Broker.ACL, p.Broker.Anonymous, p.Broker.Version = nil, nil, false, ""
		p.Warnings = nil
		return p
	}
	return reflect.DeepEqual(plain(a), plain(b))
}
