package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// publisher sends numbered messages, 1, 2, 3 and so on, whatever becomes of the
// broker. It is one stream.
type publisher struct {
	session
	topic  string
	qos    byte
	window int
	pad    string              // makes the payloads longer
	room   func(next int) bool // whether that message may be sent already

	mu     sync.Mutex
	sent   int       // the newest message
	acked  int       // all up to here are acknowledged in full
	flight []sending // what is not, in order
	nextID uint16
	most   int // the last message that is to be sent

	stop, ended chan struct{}
	halt        func()
}

// sending is a message on its way.
type sending struct {
	seq      int
	id       uint16 // 0: to be sent as new
	answered bool   // PUBREC came
	done     bool
}

func (p *publisher) start(t testing.TB) {
	p.most = math.MaxInt
	p.t, p.stop, p.ended = t, make(chan struct{}), make(chan struct{})
	p.halt = sync.OnceFunc(func() {
		close(p.stop)
		<-p.ended
	})
	go func() {
		defer close(p.ended)
		repeat(p.stop, p.serve)
	}()
	t.Cleanup(p.halt)
}

// figures are the newest message and up to which one all are acknowledged.
func (p *publisher) figures() (sent, acked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.acked
}

// finish sends n messages more and nothing after them.
func (p *publisher) finish(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = p.sent + n
}

// serve uses one connection until it ends.
func (p *publisher) serve() {
	c, err := p.connect()
	if err != nil {
		return
	}
	defer c.Close()
	p.resume(c)
	for again := false; !again; {
		p.fill(c)
		if c.flush() != nil {
			return
		}
		for {
			select {
			case <-p.stop:
				return
			default:
			}
			got, err := c.next(10 * time.Millisecond)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				p.lost(err)
				return
			}
			again = p.take(c, got) || again
			if c.in.Buffered() == 0 {
				break
			}
		}
	}
}

// resume sends again what is unfinished (MQTT 5.0, 4.4).
func (p *publisher) resume(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.flight {
		s := &p.flight[i]
		switch {
		case s.answered && !s.done:
			c.send(&packet.Ack{Type: packet.PUBREL, PacketID: s.id})
		case !s.done:
			c.send(p.message(s))
		}
	}
}

func (p *publisher) fill(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.sent < p.most && len(p.flight) < p.window && p.room(p.sent+1) {
		p.sent++
		p.flight = append(p.flight, sending{seq: p.sent})
		c.send(p.message(&p.flight[len(p.flight)-1]))
	}
}

// message makes the PUBLISH of a message, for the first time or again.
func (p *publisher) message(s *sending) *packet.Publish {
	again := s.id != 0
	if !again {
		if p.nextID++; p.nextID == 0 {
			p.nextID = 1
		}
		s.id = p.nextID
	}
	return &packet.Publish{Topic: []byte(p.topic), Payload: fmt.Appendf(nil, "%s %d %s", p.id, s.seq, p.pad), QoS: p.qos, PacketID: s.id, Dup: again}
}

// take handles an answer. A refusal ends the connection: what was refused is
// sent as new on the next one, so that the order is kept.
func (p *publisher) take(c *connection, got packet.Packet) (again bool) {
	a, ok := got.(*packet.Ack)
	if !ok {
		if _, bye := got.(*packet.Disconnect); !bye {
			p.t.Errorf("%s: the broker sent %T %+v", p.id, got, got)
		}
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.flight {
		s := &p.flight[i]
		if s.id != a.PacketID {
			continue
		}
		switch {
		case a.Reason >= 0x80 && !s.answered:
			s.id, again = 0, true
		case a.Type == packet.PUBREC && p.qos == 2 && !s.done:
			s.answered = true
			c.send(&packet.Ack{Type: packet.PUBREL, PacketID: a.PacketID})
		case a.Type == packet.PUBACK && p.qos == 1, a.Type == packet.PUBCOMP && s.answered:
			s.done = true
		default:
			p.t.Errorf("%s: message %d was answered by %v", p.id, s.seq, a.Type)
		}
	}
	for len(p.flight) > 0 && p.flight[0].done {
		p.acked = p.flight[0].seq
		p.flight = p.flight[1:]
	}
	return again
}
