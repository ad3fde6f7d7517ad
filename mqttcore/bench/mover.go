package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"strings"
	"sync"
)

// mover forwards packets as they are. It keeps no sessions, checks nothing and
// acknowledges QoS 1 at once, so it is no broker: it shows what reading,
// finding the subscribers and writing cost a simple Go program at least.
type mover struct {
	mu   sync.RWMutex
	subs map[string][]*sink // by topic, or by filter without its final #
}

// sink is the way to one subscriber.
type sink struct {
	mu   sync.Mutex
	conn net.Conn
}

func (s *sink) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.conn.Write(b) // a subscriber that went is none
}

// serveMover serves until standard input ends.
func serveMover(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	m := &mover{subs: map[string][]*sink{}}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return nil // closed: the end was asked for
		}
		go m.serve(c)
	}
}

func (m *mover) serve(c net.Conn) {
	defer c.Close()
	in := newPackets(c, 64<<10)
	own := &sink{conn: c}
	var replies []byte
	batches := map[*sink][]byte{} // what this batch brings for whom
	known := map[string][]*sink{} // the subscribers of topics, once looked up
	for {
		first, body, whole, err := in.next()
		if err != nil {
			return
		}
		switch first & 0xf0 {
		case typeConnect:
			replies = append(replies, typeConnack, 2, 0, 0)
		case typeSubscribe:
			if len(body) < 6 {
				return
			}
			m.subscribe(string(body[4:len(body)-1]), own)
			replies = append(replies, typeSuback, 3, body[0], body[1], body[len(body)-1])
		case typePublish:
			n := 2 + int(binary.BigEndian.Uint16(body))
			to, ok := known[string(body[2:n])]
			if !ok {
				to = m.find(string(body[2:n]))
				known[string(body[2:n])] = to
			}
			for _, s := range to {
				batches[s] = append(batches[s], whole...)
			}
			if first&0x06 == 0x02 {
				replies = append(replies, typePuback, 2, body[n], body[n+1])
			}
		}
		if in.more() {
			continue
		}
		for s, b := range batches {
			if len(b) > 0 {
				s.write(b)
				batches[s] = b[:0]
			}
		}
		if len(replies) > 0 {
			own.write(replies)
			replies = replies[:0]
		}
	}
}

func (m *mover) subscribe(filter string, s *sink) {
	m.mu.Lock()
	defer m.mu.Unlock()
	filter = strings.TrimSuffix(filter, "#")
	m.subs[filter] = append(m.subs[filter], s)
}

func (m *mover) find(topic string) []*sink {
	m.mu.RLock()
	defer m.mu.RUnlock()
	to := m.subs[topic]
	if i := strings.LastIndexByte(topic, '/'); i >= 0 {
		to = append(to[:len(to):len(to)], m.subs[topic[:i+1]]...)
	}
	return to
}
