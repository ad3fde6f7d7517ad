package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// long is how often a proof does what it does n times in every run: SLUICE_LONG
// times as often.
func long(t testing.TB, n int) int {
	t.Helper()
	word := os.Getenv("SLUICE_LONG")
	if word == "" {
		return n
	}
	times, err := strconv.Atoi(word)
	if err != nil || times < 1 {
		t.Fatalf("SLUICE_LONG=%s is not a number from 1 on", word)
	}
	return n * times
}

// load is publishers, and receivers of what they publish.
type load struct {
	t          testing.TB
	publishers []*publisher
	receivers  []*receiver
}

// ahead is how far a publisher may be before the last receiver: what is to be
// disturbed is the passing on, not a long queue.
const ahead = 1500

// publish adds a publisher of the gateway at addr and starts it.
func (l *load) publish(at *place, addr string, v packet.Version, qos byte) *publisher {
	p := &publisher{session: session{id: fmt.Sprintf("publisher%d", qos), v: v, at: at, addr: addr}, topic: fmt.Sprintf("load/%d", qos), qos: qos, window: 40}
	p.room = func(next int) bool {
		for _, r := range l.receivers {
			if next > r.newest(p.id)+ahead {
				return false
			}
		}
		return true
	}
	l.publishers = append(l.publishers, p)
	p.start(l.t)
	return p
}

// receive adds a receiver and waits for its subscription.
func (l *load) receive(at *place, addr, id, filter string, v packet.Version, qos byte) {
	l.t.Helper()
	r := &receiver{session: session{id: id, v: v, at: at, addr: addr}, filter: filter, qos: qos}
	r.start(l.t)
	l.receivers = append(l.receivers, r)
}

// flows waits until every publisher has got an acknowledgement since now.
func (l *load) flows() {
	l.t.Helper()
	before := l.acked()
	l.await("acknowledgements", func() bool {
		for i, n := range l.acked() {
			if n <= before[i] {
				return false
			}
		}
		return true
	})
}

func (l *load) acked() (all []int) {
	for _, p := range l.publishers {
		_, n := p.figures()
		all = append(all, n)
	}
	return all
}

// await waits until ok is true.
func (l *load) await(what string, ok func() bool) {
	l.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(60 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			l.t.Fatalf("not in time: %s\n%s", what, l.table())
		}
	}
}

// table says how far everybody is.
func (l *load) table() (text string) {
	for _, p := range l.publishers {
		sent, acked := p.figures()
		text += fmt.Sprintf("%s: %d sent, %d acknowledged\n", p.id, sent, acked)
		for _, r := range l.receivers {
			text += fmt.Sprintf("\t%s: %+v\n", r.id, r.of(p.id))
		}
	}
	return text
}

// settle ends the load and waits until everything has come everywhere. The
// last message of each publisher is sent when all before it are through, so
// that what comes late and twice is seen.
func (l *load) settle() {
	l.t.Helper()
	for _, n := range []int{0, 1} {
		for _, p := range l.publishers {
			p.finish(n)
		}
		l.await("everything everywhere", func() bool {
			for _, p := range l.publishers {
				sent, acked := p.figures()
				if acked < sent {
					return false
				}
				for _, r := range l.receivers {
					if s := r.of(p.id); s.highest < sent || len(s.missing) > 0 {
						return false
					}
				}
			}
			return true
		})
	}
}

// judge says what became of the streams. once tells where nothing may have come
// twice.
func (l *load) judge(once func(p *publisher, r *receiver) bool) {
	l.t.Helper()
	for _, r := range l.receivers {
		l.t.Logf("%s: %d runs of repeats, the longest of %d", r.id, len(r.again), slices.Max(append(r.again, 0)))
		for _, p := range l.publishers {
			sent, _ := p.figures()
			s := r.of(p.id)
			longest, all := s.duplicates()
			l.t.Logf("%s → %s: %d messages, %d again in %d runs of at most %d", p.id, r.id, sent, all, len(s.repeats), longest)
			if len(s.missing) > 0 || s.highest != sent {
				l.t.Errorf("%s → %s: %d messages are lost, the last is %d of %d", p.id, r.id, len(s.missing), s.highest, sent)
			}
			if s.late > 0 || s.holes > 0 {
				l.t.Errorf("%s → %s: %d messages came late, %d holes in what came again", p.id, r.id, s.late, s.holes)
			}
			if len(s.repeats) > 0 && once(p, r) {
				l.t.Errorf("%s → %s: %d messages came twice", p.id, r.id, all)
			}
		}
	}
}

// allTheWay tells whether a message is at QoS 2 from its publisher to its
// receiver.
func allTheWay(p *publisher, r *receiver) bool {
	return p.qos == 2 && (r.id == "upstream2" || r.id == "local2")
}
