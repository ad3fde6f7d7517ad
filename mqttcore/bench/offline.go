package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
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
	if t.window == 1 {
		if out["syncs/s"], err = syncRate(b.dir); err != nil {
			return nil, err
		}
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

// syncRate is what the disk does in the same minute: pages written and synced one
// after the other, over space that was written before.
func syncRate(dir string) (perSecond float64, err error) {
	const pages, page = 256, 4096
	f, err := os.Create(filepath.Join(dir, "syncs"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, pages*page)); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	began := time.Now()
	for i := range int64(pages) {
		if _, err := f.WriteAt(make([]byte, page), i*page); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return pages / time.Since(began).Seconds(), nil
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
