package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestGather: a commit gathers for its interval, less only when much waits or
// somebody does.
func TestGather(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	sid := r.session("a")
	r.stop()
	synctest.Test(t, func(t *testing.T) {
		const interval = time.Hour
		r := start(t, Options{Dir: dir, CommitInterval: interval})
		defer r.stop()
		begin := time.Now()
		append := func(size int, prompt bool) (durable func() time.Duration) {
			c := make(chan time.Duration, 1)
			m := Message{Topic: "t", Payload: make([]byte, size), QoS: 1, Routes: []Route{{Session: sid, QoS: 1, Prompt: prompt}}}
			r.Append(&m, func(err error) {
				if err != nil {
					t.Error(err)
				}
				c <- time.Since(begin)
			})
			return func() time.Duration { return <-c }
		}
		small := append(10, false)
		time.Sleep(interval / 2) // fake: the bubble's clock
		other := append(10, false)
		if a, b := small(), other(); a != interval || b != interval {
			t.Errorf("durable after %v and %v", a, b)
		}
		begin = time.Now()
		small = append(10, false)
		large := append(gatherBytes, false)
		if a, b := small(), large(); a != 0 || b != 0 {
			t.Errorf("64 KiB: durable after %v and %v", a, b)
		}
		small = append(10, false)
		prompt := append(10, true)
		if a, b := small(), prompt(); a != 0 || b != 0 {
			t.Errorf("prompt: durable after %v and %v", a, b)
		}
		if d := append(10, false)(); d != interval {
			t.Errorf("after a prompt one: durable after %v", d)
		}
	})
}
