package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// publisher sends the messages of one flow.
type publisher struct {
	c      *client
	flow   *flow
	count  int           // messages; 0 = as many as time allows
	lasts  time.Duration // that time
	form   template
	every  time.Duration  // between messages; 0 = as the window allows
	offset time.Duration  // of the first message
	sentAt []atomic.Int64 // by packet identifier; only where acks are timed
	delays []time.Duration
	skip   int
}

// connectPublishers connects one publisher per flow.
func (l *load) connectPublishers(addr string) error {
	for i, f := range l.flows {
		c, err := dial(addr, fmt.Sprintf("%s-p%d", l.name, i), true)
		if err != nil {
			return err
		}
		p := &publisher{c: c, flow: f, count: l.each(), lasts: l.lasts, form: newTemplate(l.topic(i), l.qos, i, l.size), skip: l.each() / 10}
		if l.rate > 0 {
			p.every = time.Second * time.Duration(len(l.flows)) / time.Duration(l.rate)
			p.offset = p.every * time.Duration(i) / time.Duration(len(l.flows))
			if l.qos > 0 {
				p.sentAt = make([]atomic.Int64, 65536)
				p.delays = make([]time.Duration, 0, p.count)
			}
		}
		l.publishers = append(l.publishers, p)
	}
	return nil
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
