package main

import (
	"context"
	"fmt"
)

// offline publishes to sessions whose clients are away, then lets them come
// back and take everything.
func (t traffic) offline(ctx context.Context, b *process, o options) (sample, error) {
	t.count = max(int(float64(t.count)*o.scale), t.publishers)
	if err := t.leaveSessions(b, o); err != nil {
		return nil, err
	}

	only := t
	only.receivers = 0
	pub := newLoad("bench", only, o)
	defer pub.close()
	if err := pub.connectPublishers(b.addr); err != nil {
		return nil, err
	}
	rss, _ := b.rss()
	written := b.written()
	s, err := measure(ctx, b, o, pub, "fill", nil)
	if err != nil {
		return nil, err
	}
	full, _ := b.rss()
	acked := 0
	for _, f := range pub.flows {
		acked += int(f.acked.Load())
	}
	per := float64(max(acked, 1))
	out := sample{
		"acks/s":     float64(acked) / s["s"],
		"pub µs/msg": 1e6 * s["cpu s"] / per,
		"rss B/msg":  float64(full-rss) / per,
		"disk B/msg": float64(b.written()-written) / per,
		"dir MB":     mega(b.stored()),
	}

	drain := newLoad("bench", t, o)
	defer drain.close()
	for i, f := range pub.flows {
		drain.flows[i].sent.Store(f.sent.Load())
		drain.flows[i].acked.Store(f.acked.Load())
	}
	// A broker sends as soon as a client is back, so the clocks start before.
	back := func() error {
		if err := drain.connectReceivers(b.addr); err != nil {
			return err
		}
		for i, r := range drain.receivers {
			r.expected = acked // all but what was not acknowledged, which is not owed
			if !r.c.present {
				return fmt.Errorf("the session of receiver %d was forgotten", i)
			}
		}
		return nil
	}
	if s, err = measure(ctx, b, o, drain, "drain", back); err != nil {
		return nil, err
	}
	delivered, lost, dup, late := drain.sums()
	_, peak := b.rss()
	out["drain/s"] = float64(delivered) / s["s"]
	out["drain µs/msg"] = 1e6 * s["cpu s"] / float64(max(delivered, 1))
	out["peak MB"] = mega(peak)
	out["lost"], out["dup"], out["late"] = float64(lost), float64(dup), float64(late)
	out["stalled"] = s["stalled"]
	return out, nil
}

// leaveSessions makes the durable sessions and disconnects them.
func (t traffic) leaveSessions(b *process, o options) error {
	l := newLoad("bench", t, o)
	defer l.close()
	if err := l.connectReceivers(b.addr); err != nil {
		return err
	}
	for _, r := range l.receivers {
		if r.c.present {
			return fmt.Errorf("the broker knew a session before it was made")
		}
		if _, err := r.c.Write([]byte{0xe0, 0}); err != nil {
			return err
		}
		// The broker closes the connection: then the session is offline.
		if _, _, _, err := r.c.in.next(); err == nil {
			return fmt.Errorf("a packet came after DISCONNECT")
		}
	}
	return nil
}
