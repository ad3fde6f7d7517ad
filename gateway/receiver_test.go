package main

import (
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// receiver is a durable subscriber that judges the streams it gets. At QoS 2 it
// takes a message once, as the standard has it, and not because it knows it.
type receiver struct {
	session
	filter string
	qos    byte

	open map[uint16]bool // received, and not yet released

	mu      sync.Mutex
	streams map[string]*stream // by publisher
	again   []int              // lengths of the runs in which all, of whatever publisher, had come before
	fresh   bool               // the newest message had not

	subscribed, stop, ended chan struct{}
	halt                    func()
}

// stream is what came of one publisher's messages.
type stream struct {
	last, highest int          // the newest message, and the highest number
	repeats       []int        // lengths of the runs of messages that had come before
	missing       map[int]bool // passed over so far
	late          int          // came after all
	holes         int          // jumps ahead among those that had come before
}

func (s *stream) note(seq int) {
	switch {
	case seq <= s.last:
		s.repeats = append(s.repeats, 0)
	case seq > s.last+1:
		if s.last < s.highest {
			s.holes++
		}
		for i := max(s.last, s.highest) + 1; i < seq; i++ {
			s.missing[i] = true
		}
	}
	if s.missing[seq] {
		delete(s.missing, seq)
		s.late++
	} else if seq <= s.highest {
		s.repeats[len(s.repeats)-1]++
	}
	s.last, s.highest = seq, max(s.highest, seq)
}

// duplicates are the longest run of repetitions, and how many there are in all.
func (s *stream) duplicates() (longest, all int) {
	for _, n := range s.repeats {
		longest, all = max(longest, n), all+n
	}
	return longest, all
}

// start connects and returns when the server has the subscription.
func (r *receiver) start(t testing.TB) {
	t.Helper()
	r.t, r.open, r.streams = t, map[uint16]bool{}, map[string]*stream{}
	r.subscribed, r.stop, r.ended = make(chan struct{}), make(chan struct{}), make(chan struct{})
	r.halt = sync.OnceFunc(func() {
		close(r.stop)
		<-r.ended
	})
	go func() {
		defer close(r.ended)
		repeat(r.stop, r.serve)
	}()
	t.Cleanup(r.halt)
	select {
	case <-r.subscribed:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: no subscription", r.id)
	}
}

// of gives what came of a publisher so far.
func (r *receiver) of(publisher string) stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[publisher]; s != nil {
		now := *s
		now.missing = maps.Clone(s.missing)
		return now
	}
	return stream{}
}

// newest is the highest number that came of a publisher.
func (r *receiver) newest(publisher string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[publisher]; s != nil {
		return s.highest
	}
	return 0
}

// serve uses one connection until it ends.
func (r *receiver) serve() {
	c, err := r.connect()
	if err != nil {
		return
	}
	defer c.Close()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-r.stop:
			c.Close()
		case <-ended:
		}
	}()
	select {
	case <-r.subscribed:
	default:
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(r.filter), QoS: r.qos}}})
	}
	for {
		if c.in.Buffered() == 0 && c.flush() != nil {
			return
		}
		got, err := c.next(time.Hour)
		if err != nil {
			r.lost(err)
			return
		}
		r.take(c, got)
	}
}

func (r *receiver) take(c *connection, got packet.Packet) {
	switch p := got.(type) {
	case *packet.Suback:
		close(r.subscribed)
	case *packet.Publish:
		if p.QoS != 2 || !r.open[p.PacketID] {
			r.note(string(p.Payload))
		}
		switch p.QoS {
		case 1:
			c.send(&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID})
		case 2:
			r.open[p.PacketID] = true
			c.send(&packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID})
		default:
			if r.qos > 0 {
				r.t.Errorf("%s: %q came at QoS 0", r.id, p.Payload)
			}
		}
	case *packet.Ack:
		if p.Type != packet.PUBREL {
			r.t.Errorf("%s: the server sent %v", r.id, p.Type)
		}
		delete(r.open, p.PacketID)
		c.send(&packet.Ack{Type: packet.PUBCOMP, PacketID: p.PacketID})
	default:
		r.t.Errorf("%s: the server sent %T %+v", r.id, got, got)
	}
}

func (r *receiver) note(payload string) {
	from, rest, _ := strings.Cut(payload, " ")
	number, _, _ := strings.Cut(rest, " ")
	seq, err := strconv.Atoi(number)
	if err != nil {
		r.t.Errorf("%s: %q: %v", r.id, payload, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams[from] == nil {
		r.streams[from] = &stream{missing: map[int]bool{}}
	}
	fresh := seq > r.streams[from].highest
	r.streams[from].note(seq)
	if !fresh && r.fresh {
		r.again = append(r.again, 0)
	}
	if !fresh {
		r.again[len(r.again)-1]++
	}
	r.fresh = fresh
}
