package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// diary is a task that notes when it starts and stops.
type diary struct {
	name    string
	fails   time.Duration // 0 = never
	lingers time.Duration // how long its end takes
	ready   chan struct{}
	log     *journal
}

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (d *diary) Run(ctx context.Context) error {
	d.log.note("start " + d.name)
	close(d.ready)
	var failed <-chan time.Time
	if d.fails > 0 {
		failed = time.After(d.fails)
	}
	select {
	case <-ctx.Done():
		<-time.After(d.lingers)
		d.log.note("stop " + d.name)
		return nil
	case <-failed:
		return errors.New("broke")
	}
}
func (d *diary) Ready() <-chan struct{} { return d.ready }
func (d *diary) String() string         { return d.name }

func groupOf(j *journal, tasks ...*diary) *group {
	g := &group{stopLimit: 5 * time.Second}
	for _, d := range tasks {
		d.ready, d.log = make(chan struct{}), j
		g.add(d)
	}
	return g
}

func nothing() {}

func whatever(error) {}

func TestGroupStartsUpwardsAndStopsDownwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := groupOf(j, &diary{name: "store", lingers: time.Second}, &diary{name: "broker", lingers: time.Second}, &diary{name: "poller"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ctx, stop := context.WithCancel(ctx)
		err := g.run(ctx, func() { j.note("ready"); stop() }, whatever)
		if err != nil {
			t.Errorf("an asked-for stop is no error, got %v", err)
		}
		want := []string{"start store", "start broker", "start poller", "ready", "stop poller", "stop broker", "stop store"}
		if !slices.Equal(j.lines, want) {
			t.Errorf("order:\n%s", strings.Join(j.lines, "\n"))
		}
	})
}

func TestGroupFailureStopsAllAndNamesTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := groupOf(j, &diary{name: "store"}, &diary{name: "line rs485", fails: time.Hour}, &diary{name: "web"})
		err := g.run(t.Context(), nothing, whatever)
		if err == nil || err.Error() != "line rs485: broke" {
			t.Errorf("error = %v", err)
		}
		if !slices.Contains(j.lines, "stop store") || !slices.Contains(j.lines, "stop web") {
			t.Errorf("not all stopped: %q", j.lines)
		}
	})
}

func TestGroupGivesUpOnATaskThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := groupOf(&journal{}, &diary{name: "stuck", lingers: time.Minute})
		ctx, stop := context.WithCancel(t.Context())
		began := time.Now()
		err := g.run(ctx, stop, whatever)
		if err == nil || !strings.Contains(err.Error(), "stuck still busy") {
			t.Errorf("error = %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("gave up after %s", took)
		}
		<-time.After(time.Hour) // let it end, for the bubble's sake
	})
}
