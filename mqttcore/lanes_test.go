package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"sluice/mqttcore/store"
)

// drained reads all that a lane holds now, and settles it where told to.
func drained(t *testing.T, k *Consumer, settle bool) []string {
	t.Helper()
	var all []string
	var d Delivery
	k.Rewind()
	for {
		ok, err := k.Next(&d)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, string(d.Payload))
		if settle {
			k.Ack(d.Seq)
		}
	}
}

// TestSplit: what came before is in one lane and what comes after in another,
// over restarts, and a lane takes in again only when it is empty.
func TestSplit(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	r := start(t, Config{})
	filters := []Filter{{Topic: "up/#", QoS: 2}, {Topic: "more", QoS: 1}}
	open := func() *Consumer {
		t.Helper()
		k, err := r.Consumer(ctx, "cloud", filters)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	publish := func(payload string) {
		t.Helper()
		if err := errors.Join(
			r.Publish(ctx, Message{Topic: "up/x", Payload: []byte(payload), QoS: 2}),
			r.Publish(ctx, Message{Topic: "more", Payload: []byte("more " + payload), QoS: 1}),
		); err != nil {
			t.Fatal(err)
		}
	}
	both := func(payload string) []string { return []string{payload, "more " + payload} }
	k := open()
	for lane := 1; lane <= MaxLanes; lane++ {
		if k.Lane() != lane {
			t.Fatalf("lane %d takes in, want %d", k.Lane(), lane)
		}
		publish(fmt.Sprint(lane))
		next, err := k.Split(ctx)
		if lane == MaxLanes {
			if !errors.Is(err, ErrLanes) {
				t.Fatalf("a fifth lane: %v", err)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		k = next
	}
	for range 2 {
		others := k.Others()
		if len(others) != MaxLanes-1 {
			t.Fatalf("%d other lanes", len(others))
		}
		for i, o := range append(others, k) {
			if got := drained(t, o, false); o.Lane() != i+1 || !slices.Equal(got, both(fmt.Sprint(i+1))) {
				t.Errorf("lane %d holds %q", o.Lane(), got)
			}
		}
		r.restart()
		k = open()
	}
	// A lane that was emptied is used again, and its numbers go on.
	second := k.Others()[1]
	drained(t, second, true)
	k, err := k.Split(ctx)
	if err != nil || k.Lane() != 2 {
		t.Fatalf("the emptied lane does not take in: lane %d, %v", k.Lane(), err)
	}
	publish("again")
	if got := drained(t, k, false); !slices.Equal(got, both("again")) || k.Base() != 2 {
		t.Errorf("lane 2 holds %q after %d", got, k.Base())
	}
	// Other filters are those of all that comes from now on.
	r.restart()
	filters = filters[:1]
	k = open()
	publish("last")
	if got := drained(t, k, true); !slices.Equal(got, []string{"again", "more again", "last"}) {
		t.Errorf("lane 2 holds %q", got)
	}
	r.RemoveConsumers("cloud")
	if n := r.st.Stats().Sessions; n != MaxLanes {
		t.Errorf("%d sessions are left of a consumer that is kept, want %d", n, MaxLanes)
	}
	r.RemoveConsumers("cloud#2")
	await(t, "the consumer is gone", func() bool { return r.st.Stats().Sessions == 0 })
}

// TestSplitUnderLoad: whatever is published while lanes change is in one of
// them, once.
func TestSplitUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	r := start(t, Config{})
	k, err := r.Consumer(ctx, "cloud", []Filter{{Topic: "up/#", QoS: 1}})
	if err != nil {
		t.Fatal(err)
	}
	const publishers, each = 4, 300
	var all sync.WaitGroup
	for p := range publishers {
		all.Go(func() {
			for i := range each {
				m := Message{Topic: fmt.Sprintf("up/%d", p), Payload: fmt.Appendf(nil, "%d %d", p, i), QoS: 1}
				if err := r.Publish(ctx, m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var seen [publishers][]int
	read := func(lanes ...*Consumer) {
		for _, o := range lanes {
			for _, payload := range drained(t, o, true) {
				var p, i int
				fmt.Sscan(payload, &p, &i)
				seen[p] = append(seen[p], i)
			}
		}
	}
	for range 20 {
		next, err := k.Split(ctx)
		if err != nil {
			t.Fatal(err)
		}
		k = next
		read(k.Others()...)
	}
	all.Wait()
	read(append(k.Others(), k)...)
	for p := range seen {
		slices.Sort(seen[p])
		if len(seen[p]) != each || len(slices.Compact(seen[p])) != each {
			t.Errorf("publisher %d: %d came", p, len(seen[p]))
		}
	}
}

// TestUnfinishedSplit: two lanes that want the same messages, as a crash may
// leave them, are one that takes in and one that does not.
func TestUnfinishedSplit(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	r := start(t, Config{})
	filters := []Filter{{Topic: "a", QoS: 1}, {Topic: "b", QoS: 1}}
	if _, err := r.Consumer(ctx, "cloud", filters); err != nil {
		t.Fatal(err)
	}
	disk := make(chan error, 3)
	note := func(err error) { disk <- err }
	sid := r.st.CreateSession(laneName("cloud", 3), "", forever, note)
	r.st.PutSubscription(sid, store.Subscription{Filter: "a", Options: 1}, note)
	r.st.PutSubscription(sid, store.Subscription{Filter: "c", Options: 1}, note)
	for range 3 {
		if err := <-disk; err != nil {
			t.Fatal(err)
		}
	}
	r.restart()
	for _, name := range []string{"a", "b", "c"} { // before its owner is there
		if err := r.Publish(ctx, Message{Topic: name, Payload: []byte(name), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	k, err := r.Consumer(ctx, "cloud", filters)
	if err != nil {
		t.Fatal(err)
	}
	if got := drained(t, k, true); k.Lane() != 1 || !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("lane %d holds %q", k.Lane(), got)
	}
	if got := drained(t, k.Others()[0], true); len(got) > 0 {
		t.Errorf("the other lane holds %q", got)
	}
	r.restart()
	for _, s := range r.st.Sessions() {
		if _, lane, _ := ConsumerLane(s.Client); lane == 3 && len(s.Subs) > 0 {
			t.Errorf("the other lane is still subscribed to %v", s.Subs)
		}
	}
}
