package bridge

import (
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"

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

// TestStartOnAFullDisk starts a link in a new folder on a full disk: it is ready
// and says why it waits, and queues messages as soon as there is room.
func TestStartOnAFullDisk(t *testing.T) {
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
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	b := mqttcore.New(mqttcore.Config{}, st, log)
	l := New(linkTo("127.0.0.1:1", 1), b, log)
	runTask(t, st.Run, st.Ready())
	runTask(t, b.Run, b.Ready())
	runTask(t, l.Run, l.Ready())
	if l.Stats().LastError == "" {
		t.Error("nothing says that the link waits")
	}
	full.Store(false)
	eventually(t, "a message is queued for the upstream", func() bool {
		err := b.Publish(t.Context(), mqttcore.Message{Topic: "home/x", Payload: []byte("1"), QoS: 1})
		return err == nil && l.Stats().Backlog > 0
	})
}
