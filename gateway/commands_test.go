package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// fullDisk is a disk that has no room for a while.
type fullDisk struct {
	store.FS
	full *atomic.Bool
}

func (d fullDisk) Create(name string, size int64) (store.File, error) {
	if d.full.Load() {
		return nil, syscall.ENOSPC
	}
	return d.FS.Create(name, size)
}

// TestCommandsOnAFullDisk starts the commands in a new folder on a full disk:
// they are ready, those at QoS 0 get their answer, and those at QoS 1 do as soon
// as there is room.
func TestCommandsOnAFullDisk(t *testing.T) {
	folder, err := store.Disk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full := new(atomic.Bool)
	full.Store(true)
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(store.Options{FS: fullDisk{folder, full}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b := mqttcore.New(mqttcore.Config{Listen: []string{"tcp://127.0.0.1:0"}}, st, log)
	c := newCommands(b, newClock(newToyMachine(), true, log), log)
	c.answerFor("d", "d")
	g := group{stopLimit: stopLimit}
	g.add(st)
	g.add(b)
	g.add(c)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- g.run(ctx, func() { close(ready) }, func(error) {}) }()
	limit := time.After(20 * time.Second)
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("does not start on a full disk: %v", err)
	case <-limit:
		t.Fatal("not ready in time")
	}
	answers := make(chan struct{}, 16)
	defer b.Subscribe("d/p/result", func(*mqttcore.Message) { answers <- struct{}{} })()
	answered := func(qos byte) {
		t.Helper()
		m := mqttcore.Message{Topic: "d/p/set", Payload: []byte("1"), QoS: qos}
		for err := b.Publish(ctx, m); err != nil; err = b.Publish(ctx, m) {
			if qos == 0 || ctx.Err() != nil {
				t.Fatal(err)
			}
			select { // refused: nothing was promised
			case <-time.After(50 * time.Millisecond):
			case <-limit:
				t.Fatalf("still refused: %v", err)
			}
		}
		select {
		case <-answers:
		case <-limit:
			t.Fatalf("no answer to a command at QoS %d", qos)
		}
	}
	answered(0)
	full.Store(false)
	answered(1)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}
