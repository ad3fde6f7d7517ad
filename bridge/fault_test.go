package bridge

import (
	"context"
	"io"
	"log/slog"
	"syscall"
	"testing"

	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// readOnlyDisk is a disk that can only be read.
type readOnlyDisk struct{ store.FS }

func (d readOnlyDisk) Lock() (io.Closer, error) {
	l, err := d.FS.Lock()
	if err == nil {
		err = syscall.EROFS
	}
	return l, err
}

func (readOnlyDisk) Create(string, int64) (store.File, error) { return nil, syscall.EROFS }
func (readOnlyDisk) Rename(string, string) error              { return syscall.EROFS }
func (readOnlyDisk) Remove(string) error                      { return syscall.EROFS }

// TestUnwritableLog starts a link over a log that can only be read. At QoS 1 what
// is queued goes up; at QoS 2 it waits, as no release can be stored. What is
// published now is refused to its publisher, and goes up all the same while
// there is a connection.
func TestUnwritableLog(t *testing.T) {
	u := newUpstream(t, "").start()
	w := newWitness(t, u.addr, "site7/#", 1)
	for qos := byte(1); qos <= 2; qos++ {
		dir := t.TempDir()
		g := startGateway(t, dir, linkTo("127.0.0.1:1", qos))
		g.publish(t, "home/queued", qos, 1, 3)
		g.halt()

		folder, err := store.Disk(dir)
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		st, err := store.Open(store.Options{FS: readOnlyDisk{folder}, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		b := mqttcore.New(mqttcore.Config{}, st, log)
		cfg := linkTo(u.addr, qos)
		cfg.Prefix += string('a'+rune(qos)) + "/"
		l := New(cfg, b, log)
		stopStore := runTask(t, func(ctx context.Context) error { _ = st.Run(ctx); return nil }, st.Ready())
		stopBroker := runTask(t, b.Run, b.Ready())
		stopLink := runTask(t, l.Run, l.Ready())
		eventually(t, "the link is up", func() bool { return l.Stats().Connected })
		live := mqttcore.Message{Topic: "home/live", Payload: []byte("now"), QoS: qos}
		eventually(t, "a live message went up", func() bool {
			if err := b.Publish(t.Context(), live); err == nil {
				t.Error("what cannot be kept was accepted")
			}
			return w.has(cfg.Prefix+"home/live", "now")
		})
		if qos == 1 {
			eventually(t, "the queue went up", func() bool { return w.tally(3) == (tally{}) && l.Stats().Backlog == 0 })
		} else if got := l.Stats(); got.Backlog != 3 || got.Forwarded > 0 {
			t.Errorf("at QoS 2: %+v", got)
		}
		stopLink()
		stopBroker()
		stopStore()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}
