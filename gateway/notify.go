package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifyLimit bounds one message to the service manager. Its socket blocks
// when the manager is busy, and no part of the gateway may hang on that; this
// is why the messages are not sent by [daemon.SdNotify], which has no limit.
const notifyLimit = 2 * time.Second

// notify sends one state to the service manager by sd_notify(3). It does
// nothing where no manager listens, that is without $NOTIFY_SOCKET.
func notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager at NOTIFY_SOCKET: %w", err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyLimit)); err != nil {
		return fmt.Errorf("tell the service manager at NOTIFY_SOCKET: %w", err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager at NOTIFY_SOCKET: %w", err)
	}
	return nil
}

// notifyReady tells the service manager that the gateway serves, and shows
// status beside it. It returns an error only where a manager is there and
// can't be told; so do the others.
func notifyReady(status string) error {
	return notify(daemon.SdNotifyReady + "\n" + statusLine(status))
}

// notifyStatus shows one line in `systemctl status`.
func notifyStatus(status string) error { return notify(statusLine(status)) }

// notifyStopping tells the service manager that an orderly stop has begun.
func notifyStopping() error { return notify(daemon.SdNotifyStopping) }

// statusLine keeps a status to one short line: what follows a line break would
// be taken for another assignment.
func statusLine(status string) string {
	const most = 256
	status = strings.Join(strings.Fields(strings.ToValidUTF8(status, "?")), " ")
	if runes := []rune(status); len(runes) > most {
		status = string(runes[:most-1]) + "…"
	}
	return "STATUS=" + status
}

// watchdogDefault is how long a part may be silent where no service manager
// asks for anything shorter or longer; silence is then only reported.
const watchdogDefault = time.Minute

// watchdog feeds the service manager's watchdog (WatchdogSec= of
// systemd.service(5)) as long as every part of the gateway that promised to
// beat does. A part that hangs ends the feeding; the manager then aborts the
// process, which leaves the stacks of all goroutines in the journal, and
// starts it again.
type watchdog struct {
	limit time.Duration // the longest silence of a part, and the manager's timeout
	fed   bool          // a manager waits to be fed
	send  func(state string) error
	log   *slog.Logger
	began time.Time
	ready chan struct{}

	mu    sync.Mutex
	parts []*part
}

// part is one thing that has to show progress.
type part struct {
	name string
	last atomic.Int64 // of the last beat, nanoseconds since watchdog.began
}

// newWatchdog makes a watchdog with the timeout that the service manager gives
// in $WATCHDOG_USEC. It fails where that is not a number.
func newWatchdog(log *slog.Logger) (*watchdog, error) {
	timeout, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("watchdog timeout of the service manager: %w", err)
	}
	return &watchdog{
		limit: cmp.Or(timeout, watchdogDefault),
		fed:   timeout > 0,
		send:  notify,
		log:   log,
		began: time.Now(),
		ready: make(chan struct{}),
	}, nil
}

// Add names one more part that has to show progress, from now on, and returns
// what it does so with: beat is cheap, never blocks and may be called from any
// goroutine. A part should beat every few seconds, and has to within the
// timeout, WatchdogSec= of the unit; so it beats while it waits for work too.
func (w *watchdog) Add(name string) (beat func()) {
	p := &part{name: name}
	beat = func() { p.last.Store(int64(time.Since(w.began))) }
	beat()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parts = append(w.parts, p)
	return beat
}

// Stale names the parts that have been silent for longer than the timeout, in
// the order in which they were added. It may be called from any goroutine.
func (w *watchdog) Stale() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := int64(time.Since(w.began))
	var names []string
	for _, p := range w.parts {
		if now-p.last.Load() > int64(w.limit) {
			names = append(names, p.name)
		}
	}
	return names
}

// Run feeds until ctx ends and returns nil then. Where no manager waits, it
// only reports parts that hang and parts that go on.
func (w *watchdog) Run(ctx context.Context) error {
	// Four looks per timeout: the manager hears twice as often as it must, and
	// one lost message does no harm.
	tick := time.NewTicker(max(w.limit/4, time.Millisecond))
	defer tick.Stop()
	close(w.ready)

	stuck, failing := "", ""
	for {
		now := strings.Join(w.Stale(), ", ")
		switch {
		case now == stuck:
		case now == "":
			w.log.Info("all parts make progress again", "were", stuck)
		default:
			w.log.Error("no progress: the service manager's watchdog is not fed", "parts", now, "for", w.limit)
		}
		var err error
		switch {
		case !w.fed:
		case now == "":
			err = w.send(daemon.SdNotifyWatchdog)
		case now != stuck:
			err = w.send(statusLine("no progress: " + now))
		}
		stuck = now
		failing = w.logOnChange(failing, err)

		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// logOnChange logs err unless it reads as before, and returns how it reads.
func (w *watchdog) logOnChange(before string, err error) string {
	if err == nil {
		return ""
	}
	if err.Error() != before {
		w.log.Error("watchdog not fed", "err", err)
	}
	return err.Error()
}

// Ready is closed once Run feeds.
func (w *watchdog) Ready() <-chan struct{} { return w.ready }

// String names the task.
func (w *watchdog) String() string { return "watchdog" }
