package main

import (
	"context"
	"log/slog"
)

// notifyReady tells the service manager that the gateway serves.
func notifyReady(status string) error { panic("not written") }

// notifyStatus shows one line in `systemctl status`.
func notifyStatus(status string) error { panic("not written") }

// notifyStopping tells the service manager that an orderly stop has begun.
func notifyStopping() error { panic("not written") }

// watchdog feeds the service manager's watchdog while every part of the
// gateway that promised to beat still does.
type watchdog struct{}

// newWatchdog makes a watchdog with the timeout that the service manager asks
// for in the environment.
func newWatchdog(log *slog.Logger) (*watchdog, error) { panic("not written") }

// Add names one more part that has to show progress, from now on, and returns
// the func it does so with.
func (w *watchdog) Add(name string) (beat func()) { panic("not written") }

// Stale names the parts that have shown no progress for too long.
func (w *watchdog) Stale() []string { panic("not written") }

// Run feeds until ctx ends.
func (w *watchdog) Run(ctx context.Context) error { panic("not written") }

// Ready is closed once the watchdog is being fed.
func (w *watchdog) Ready() <-chan struct{} { panic("not written") }

// String names the task.
func (w *watchdog) String() string { return "watchdog" }
