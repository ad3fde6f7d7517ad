package mqttcore

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"sluice/mqttcore/store"
)

// TestConsumerWaitsForRoom opens a consumer while the disk is full. It is told
// why it waits, gets its consumer when there is room, and what was promised then
// is there after a restart.
func TestConsumerWaitsForRoom(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	r.stop()
	disk, err := store.Disk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full := new(atomic.Bool)
	r.disk = fullDisk{disk, full}
	full.Store(true)
	r.up()
	filters := []Filter{{Topic: "t", QoS: 1}}
	if _, err := r.Consumer(t.Context(), "c", filters); !errors.Is(err, store.ErrFull) {
		t.Fatalf("consumer on a full disk: %v", err)
	}
	told := make(chan error, 2)
	type result struct {
		k   *Consumer
		err error
	}
	got := make(chan result, 1)
	go func() {
		k, err := r.AwaitConsumer(t.Context(), "c", filters, func(why error) { told <- why })
		got <- result{k, err}
	}()
	select {
	case why := <-told:
		if !errors.Is(why, store.ErrFull) {
			t.Errorf("waits because: %v", why)
		}
	case g := <-got:
		t.Fatalf("consumer on a full disk: %v", g.err)
	case <-time.After(patience):
		t.Fatal("not told that it waits")
	}
	full.Store(false)
	var g result
	select {
	case g = <-got:
	case <-time.After(patience):
		t.Fatal("no consumer, though there is room")
	}
	if g.err != nil {
		t.Fatal(g.err)
	}
	if err := r.Publish(t.Context(), Message{Topic: "t", Payload: []byte("one"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.up()
	k, err := r.Consumer(t.Context(), "c", filters)
	if err != nil {
		t.Fatal(err)
	}
	var d Delivery
	if ok, err := k.Next(&d); !ok || err != nil || string(d.Payload) != "one" {
		t.Errorf("after a restart: %v, %q, %v", ok, d.Payload, err)
	}
}

// TestPromptConsumer: what comes for a consumer that is waited for does not let
// its commit gather.
func TestPromptConsumer(t *testing.T) {
	b := start(t, Config{}).Broker
	k, err := b.Consumer(t.Context(), "c", []Filter{{Topic: "t", QoS: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		r := b.takeRouter()
		r.route(r.compose(&Message{Topic: "t", QoS: 1}))
		if len(r.routes) != 1 || r.routes[0].Prompt != want {
			t.Errorf("routes %+v, want one with Prompt %v", r.routes, want)
		}
		b.giveRouter(r)
		k.Prompt()
	}
}
