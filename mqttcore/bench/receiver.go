package main

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// receiver is a subscriber that counts and acknowledges.
type receiver struct {
	c        *client
	index    int             // among the receivers of its flows
	expected int             // messages, after which it ends; 0 = it is told to
	flows    []*flow         // whose messages it gets, with holes
	tallies  []*tally        // by publisher, with holes
	open     map[uint16]bool // QoS 2 messages received and not released
	delays   []time.Duration // publish to receipt; only where the rate is fixed
	skip     uint64          // the first messages are not timed
	timed    bool
	got      atomic.Int64 // packets of any kind, for the watch
}

// connectReceivers connects the receivers and subscribes them. A durable one
// that the broker remembers is not subscribed again.
func (l *load) connectReceivers(addr string) error {
	for i := range l.traffic.receivers {
		c, err := dial(addr, fmt.Sprintf("%s-r%d", l.name, i), !l.durable)
		if err != nil {
			return err
		}
		r := &receiver{
			c: c, index: i, open: map[uint16]bool{},
			timed: l.rate > 0, skip: uint64(l.each() / 10),
			flows: make([]*flow, len(l.flows)), tallies: make([]*tally, len(l.flows)),
		}
		for p, f := range l.flows {
			if l.pairs && p != i {
				continue
			}
			r.flows[p], r.tallies[p] = f, new(tally)
		}
		if l.pairs {
			r.index = 0
		}
		l.receivers = append(l.receivers, r)
		if c.present {
			continue
		}
		if err := c.mustSubscribe(l.subscription(i), l.qos); err != nil {
			return err
		}
	}
	return nil
}

// receive counts and acknowledges messages until all expected ones are here or
// it is told to end. Acknowledgements are written once per batch read.
func (r *receiver) receive() error {
	var acks []byte
	unique := 0
	for {
		first, body, _, err := r.c.in.next()
		if err != nil {
			return ending("receiver", err)
		}
		switch first & 0xf0 {
		case typePublish:
			fresh, err := r.take(first, body, &acks)
			if err != nil {
				return fmt.Errorf("receiver: %w", err)
			}
			if fresh {
				unique++
			}
		case typePubrel:
			id, err := ackID(body)
			if err != nil {
				return fmt.Errorf("receiver: %w", err)
			}
			delete(r.open, id)
			acks = appendAck(acks, typePubcomp, id)
		}
		if r.c.in.more() {
			continue
		}
		if len(acks) > 0 {
			if _, err := r.c.Write(acks); err != nil {
				return fmt.Errorf("receiver: %w", err)
			}
			acks = acks[:0]
		}
		r.got.Add(1)
		for _, f := range r.flows {
			if f != nil {
				f.progress()
			}
		}
		if r.expected > 0 && unique == r.expected && len(r.open) == 0 {
			return nil
		}
	}
}

// take counts one PUBLISH and says whether it is new.
func (r *receiver) take(first byte, body []byte, acks *[]byte) (fresh bool, err error) {
	p, err := parsePublish(first, body)
	if err != nil {
		return false, err
	}
	switch first & 0x06 {
	case 0x02:
		*acks = appendAck(*acks, typePuback, p.id)
	case 0x04:
		*acks = appendAck(*acks, typePubrec, p.id)
		if r.open[p.id] {
			return false, nil // the same message once more, as the standard allows
		}
		r.open[p.id] = true
	}
	if int(p.publisher) >= len(r.tallies) || r.tallies[p.publisher] == nil {
		return false, fmt.Errorf("message of publisher %d, who sends elsewhere", p.publisher)
	}
	if int64(p.seq) >= r.flows[p.publisher].sent.Load() {
		return false, fmt.Errorf("message %d of publisher %d, never sent", p.seq, p.publisher)
	}
	if fresh = r.tallies[p.publisher].note(p.seq); !fresh {
		return false, nil
	}
	r.flows[p.publisher].got[r.index].Add(1)
	if r.timed && p.seq >= r.skip {
		r.delays = append(r.delays, time.Duration(now()-p.sent))
	}
	return true, nil
}

// ending is what an error of reading means: nothing where the load is over.
func ending(who string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("%s: %w", who, err)
}
