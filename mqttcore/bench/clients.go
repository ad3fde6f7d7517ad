package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

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

// publish sends the messages of the flow and waits until they are through.
func (p *publisher) publish(ctx context.Context) error {
	send := p.flood
	if p.every > 0 {
		send = p.pace
	}
	err := send(ctx)
	if err == nil {
		p.flow.drain(ctx)
	}
	return err
}

// flood sends all that the window has room for in one write, again and again.
func (p *publisher) flood(ctx context.Context) error {
	var batch []byte
	until := time.Now().Add(p.lasts)
	for sent := 0; p.count == 0 || sent < p.count; {
		n := p.flow.room(ctx)
		if p.count > 0 {
			n = min(n, p.count-sent)
		} else if !time.Now().Before(until) {
			n = 0
		}
		if n == 0 {
			return nil
		}
		batch = batch[:0]
		at := now()
		for range n {
			batch = p.form.appendTo(batch, uint64(sent), at)
			sent++
		}
		p.flow.sent.Add(int64(n))
		if _, err := p.c.Write(batch); err != nil {
			return fmt.Errorf("publisher: %w", err)
		}
	}
	return nil
}

func (p *publisher) pace(ctx context.Context) error {
	begin := time.Now().Add(p.offset)
	var packet []byte
	wait := time.NewTimer(0)
	defer wait.Stop()
	for i := range p.count {
		wait.Reset(time.Until(begin.Add(p.every * time.Duration(i))))
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil
		}
		at := now()
		if p.sentAt != nil {
			p.sentAt[packetID(uint64(i))].Store(at)
		}
		p.flow.sent.Add(1)
		packet = p.form.appendTo(packet[:0], uint64(i), at)
		if _, err := p.c.Write(packet); err != nil {
			return fmt.Errorf("publisher: %w", err)
		}
	}
	return nil
}

// collect reads the publisher's acknowledgements until it is told to end.
func (p *publisher) collect() error {
	var replies []byte
	done := 0
	for {
		first, body, _, err := p.c.in.next()
		if err != nil {
			return ending("publisher", err)
		}
		id, err := ackID(body)
		if err != nil {
			return fmt.Errorf("publisher: %w", err)
		}
		switch first & 0xf0 {
		case typePubrec:
			replies = appendAck(replies, typePubrel, id)
		case typePuback, typePubcomp:
			done++
			p.flow.acked.Add(1)
			if p.sentAt != nil && done > p.skip {
				p.delays = append(p.delays, time.Duration(now()-p.sentAt[id].Load()))
			}
		}
		if p.c.in.more() {
			continue
		}
		if len(replies) > 0 {
			if _, err := p.c.Write(replies); err != nil {
				return fmt.Errorf("publisher: %w", err)
			}
			replies = replies[:0]
		}
		p.flow.progress()
	}
}

// sums adds up what the receivers counted. lost is what was published (from
// QoS 1 on: acknowledged) and has not come.
func (l *load) sums() (delivered, lost, dup, late int) {
	for _, r := range l.receivers {
		for p, t := range r.tallies {
			if t == nil {
				continue
			}
			delivered += t.got
			dup += t.dup
			late += t.late
			promised := int(l.flows[p].sent.Load())
			if l.qos > 0 {
				promised = int(l.flows[p].acked.Load())
			}
			lost += max(promised-t.got, 0)
		}
	}
	return delivered, lost, dup, late
}
