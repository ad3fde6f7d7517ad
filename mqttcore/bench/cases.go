package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sample is what one run of a case measured, by the name of the metric.
type sample map[string]float64

// scenario is one case of the benchmark.
type scenario struct {
	name string
	what string
	more bool // not part of the default run
	full bool // needs more than forwarding: QoS 2 or sessions
	run  func(ctx context.Context, b *process, o options) (sample, error)
}

// scenarios lists all cases.
func scenarios() []scenario {
	var all []scenario
	online := func(name, what string, t traffic) {
		all = append(all, scenario{name: name, what: what, full: t.qos == 2, run: t.throughput})
	}
	for _, size := range []int{20, 200} {
		suffix := fmt.Sprintf("_%d", size)
		of := func(t traffic) traffic { t.size = size; return t }
		online("q0_1x1"+suffix, "QoS 0, one to one", of(traffic{publishers: 1, receivers: 1}))
		online("q0_fanin"+suffix, "QoS 0, 20 to one", of(traffic{publishers: 20, receivers: 1}))
		online("q0_fanout"+suffix, "QoS 0, one to 20", of(traffic{publishers: 1, receivers: 20}))
		online("q0_pairs"+suffix, "QoS 0, 50 pairs", of(traffic{publishers: 50, receivers: 50, pairs: true}))
		online("q1_pairs"+suffix, "QoS 1, 10 pairs, clean sessions", of(traffic{publishers: 10, receivers: 10, pairs: true, qos: 1}))
		online("q1_fanin"+suffix, "QoS 1, 20 to one, clean sessions", of(traffic{publishers: 20, receivers: 1, qos: 1}))
		online("q2_pairs"+suffix, "QoS 2, 10 pairs, clean sessions", of(traffic{publishers: 10, receivers: 10, pairs: true, qos: 2}))
	}
	all = append(all,
		scenario{name: "lat_q0", what: "QoS 0, 10 pairs at 2000 msg/s", run: traffic{publishers: 10, receivers: 10, pairs: true, size: 100, count: 8000, rate: 2000}.latency},
		scenario{name: "lat_q1", what: "QoS 1, 10 pairs at 1000 msg/s", run: traffic{publishers: 10, receivers: 10, pairs: true, qos: 1, size: 100, count: 4000, rate: 1000}.latency},
		scenario{name: "burst_q1", what: "QoS 1, 10 times 500 at once to one that is online", run: traffic{publishers: 10, receivers: 1, qos: 1, size: 100, count: 5000, window: 5000}.throughput},
		scenario{name: "idle", what: "clients that hold one QoS 1 subscription", run: idle},
		scenario{name: "off_20k", what: "offline session, one publisher, window 100", full: true, run: traffic{publishers: 1, receivers: 1, qos: 1, size: 100, count: 20_000, window: 100, durable: true}.offline},
		scenario{name: "off_p20", what: "offline session, 20 publishers, window 50 each", full: true, run: traffic{publishers: 20, receivers: 1, qos: 1, size: 100, count: 60_000, window: 1000, durable: true}.offline},
		scenario{name: "off_w1", what: "offline session, one publisher, window 1", full: true, run: traffic{publishers: 1, receivers: 1, qos: 1, size: 100, count: 1500, window: 1, durable: true}.offline},
		scenario{name: "off_fan10", what: "10 offline sessions, one publisher, window 100", more: true, full: true, run: traffic{publishers: 1, receivers: 10, qos: 1, size: 100, count: 20_000, window: 100, durable: true}.offline},
		scenario{name: "off_1m", what: "offline session, 1,000,000 messages, window 1000", more: true, full: true, run: traffic{publishers: 1, receivers: 1, qos: 1, size: 100, count: 1_000_000, window: 1000, durable: true}.offline},
		scenario{name: "off_10m", what: "offline session, 10,000,000 messages, window 1000", more: true, full: true, run: traffic{publishers: 1, receivers: 1, qos: 1, size: 100, count: 10_000_000, window: 1000, durable: true}.offline},
	)
	return all
}

// throughput publishes as fast as the window allows: for a fixed time, as fast
// brokers would else be measured too shortly, or a fixed number of messages.
func (t traffic) throughput(ctx context.Context, b *process, o options) (sample, error) {
	l, s, err := t.online(ctx, b, o)
	if l == nil {
		return nil, err
	}
	delivered, lost, dup, late := l.sums()
	_, peak := b.rss()
	s["msgs/s"] = float64(delivered) / s["s"]
	s["cpu µs/msg"] = 1e6 * s["cpu s"] / float64(max(delivered, 1))
	s["gen µs/msg"] = 1e6 * s["gen s"] / float64(max(delivered, 1))
	s["peak MB"] = mega(peak)
	s["lost"], s["dup"], s["late"] = float64(lost), float64(dup), float64(late)
	return s, err
}

// online connects, publishes and receives, and measures times.
func (t traffic) online(ctx context.Context, b *process, o options) (*load, sample, error) {
	l := newLoad("bench", t, o)
	defer l.close()
	if err := l.connectReceivers(b.addr); err != nil {
		return nil, nil, err
	}
	if err := l.connectPublishers(b.addr); err != nil {
		return nil, nil, err
	}
	s, err := measure(ctx, b, o, l, "", nil)
	return l, s, err
}

// measure runs a load between two looks at the clocks. What first does, if
// anything, counts as well.
func measure(ctx context.Context, b *process, o options, l *load, phase string, first func() error) (sample, error) {
	stopProfile, err := b.profile(o, phase)
	if err != nil {
		return nil, err
	}
	cpu, own, began := b.cpu(), ownCPU(), time.Now()
	var before time.Duration
	if first != nil {
		if err := first(); err != nil {
			return nil, errors.Join(err, stopProfile())
		}
		before = time.Since(began)
	}
	took, err := l.run(ctx, o.stall)
	took += before
	s := sample{"s": took.Seconds(), "cpu s": (b.cpu() - cpu).Seconds(), "gen s": (ownCPU() - own).Seconds()}
	if perr := stopProfile(); err == nil {
		err = perr
	}
	if l.stalled {
		s["stalled"] = 1
	}
	return s, err
}

// latency publishes at a fixed rate; the first tenth is left out.
func (t traffic) latency(ctx context.Context, b *process, o options) (sample, error) {
	l, s, err := t.online(ctx, b, o)
	if l == nil {
		return nil, err
	}
	var through, acked []time.Duration
	for _, r := range l.receivers {
		through = append(through, r.delays...)
	}
	for _, p := range l.publishers {
		acked = append(acked, p.delays...)
	}
	delivered, lost, dup, late := l.sums()
	s["p50 µs"], s["p99 µs"] = percentile(through, 50), percentile(through, 99)
	if t.qos > 0 {
		s["ack p50 µs"], s["ack p99 µs"] = percentile(acked, 50), percentile(acked, 99)
	}
	s["cpu µs/msg"] = 1e6 * s["cpu s"] / float64(max(delivered, 1))
	s["lost"], s["dup"], s["late"] = float64(lost), float64(dup), float64(late)
	return s, err
}

// percentile gives a percentile in microseconds; 0 where there is nothing.
func percentile(d []time.Duration, percent int) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[min(len(d)*percent/100, len(d)-1)]) / 1e3
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }
