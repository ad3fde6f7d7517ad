package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// FuzzSession plays scripts of several clients and judges after every step
// what each of them got. The bytes of a script are steps and their arguments;
// see play.step.
func FuzzSession(f *testing.F) {
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) { newPlay(t, script).run() })
	})
}

// TestSession plays scripts of chance, the same each time.
func TestSession(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		script := make([]byte, 4*playSteps)
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		synctest.Test(t, func(t *testing.T) { newPlay(t, script).run() })
		if t.Failed() {
			t.Logf("script: %q", script)
			return
		}
	}
}

var (
	playFilters = []string{"a/b", "a/+", "a/#", "#", "+/b", "b", "$SYS/x/#"}
	playTopics  = []string{"a/b", "a/c", "b", "a", "a/b/c"}
	playIDs     = []string{"x", "y", "z"}
)

const playSteps = 150

// play is one script on its stage.
type play struct {
	t      *testing.T
	script []byte
	w      *world
	fs     *simfs.FS
	born   time.Time
	b      *Broker
	stop   func()
	actors map[string]*actor
	text   int // makes payloads different
	trace  []string
}

func newPlay(t *testing.T, script []byte) *play {
	p := &play{t: t, script: script, fs: simfs.New(), born: time.Now(), actors: map[string]*actor{}}
	p.w = &world{inflight: 4, sessions: map[string]*modelSession{}, retained: map[string]modelMessage{}}
	p.up()
	return p
}

func (p *play) clock() time.Duration { return time.Since(p.born) }

func (p *play) up() {
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(store.Options{FS: p.fs, SegmentSize: 64 << 10, Clock: bubbleClock(p.clock), Log: log})
	if err != nil {
		p.t.Fatal(err)
	}
	p.b = newBroker(Config{MaxInflight: p.w.inflight, SysInterval: -1}, st, log, p.clock)
	ctx, stop := context.WithCancel(p.t.Context())
	storeCtx, stopStore := context.WithCancel(p.t.Context())
	brokerDone, storeDone := make(chan error, 1), make(chan error, 1)
	go func() { storeDone <- st.Run(storeCtx) }()
	go func() { brokerDone <- p.b.Run(ctx) }()
	<-p.b.Ready()
	p.stop = func() {
		stop()
		err := <-brokerDone
		stopStore()
		if err := errors.Join(err, <-storeDone, st.Close()); err != nil {
			p.t.Error(err)
		}
		for _, a := range p.actors {
			_ = a.nc.Close()
		}
		clear(p.actors)
	}
}

func (p *play) run() {
	defer func() {
		p.stop()
		if p.t.Failed() {
			for _, line := range p.trace {
				p.t.Log(line)
			}
		}
	}()
	for n := 0; len(p.script) > 0 && n < playSteps && !p.t.Failed(); n++ {
		p.step()
		synctest.Wait()
		p.judge()
	}
	if s := p.b.Stats(); s.Panics+s.ProtocolErrors+s.Dropped > 0 {
		p.t.Errorf("%d faults, %d protocol errors, %d dropped", s.Panics, s.ProtocolErrors, s.Dropped)
	}
}

// byte takes one byte of the script; 0 at its end.
func (p *play) byte() byte {
	if len(p.script) == 0 {
		return 0
	}
	x := p.script[0]
	p.script = p.script[1:]
	return x
}

func pick[T any](x byte, from []T) T { return from[int(x)%len(from)] }

func (p *play) note(format string, args ...any) {
	p.trace = append(p.trace, fmt.Sprintf(format, args...))
}

// step plays one step. A client that is not connected can only connect.
func (p *play) step() {
	what, who := p.byte(), pick(p.byte(), playIDs)
	a := p.actors[who]
	switch what % 16 {
	case 0:
		p.note("restart")
		p.w.restart()
		p.stop()
		p.up()
		return
	case 1:
		d := time.Duration(1+what/16) * 7 * time.Second
		p.note("%v pass", d)
		p.w.pass(d)
		time.Sleep(d) // fake
		return
	}
	if a == nil {
		p.connect(who)
		return
	}
	s := p.w.sessions[who]
	switch what % 16 {
	case 2:
		p.connect(who)
	case 3:
		p.leave(a, what >= 128)
	case 4, 5, 6:
		p.subscribe(a, s)
	case 7:
		f := pick(p.byte(), playFilters)
		p.note("%s unsubscribes %s", who, f)
		delete(s.subs, f)
		a.send(&packet.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(f)}})
	case 8, 9, 10, 11:
		p.publish(a, s)
	case 12:
		p.release(a, s)
	default:
		p.settle(a, s)
	}
}

func (p *play) connect(who string) {
	how := p.byte()
	c := &packet.Connect{Version: packet.V5, ClientID: who, CleanStart: how&1 != 0}
	if how&2 != 0 {
		c.Version = packet.V311
	} else {
		if how&4 != 0 {
			c.Properties.SetUint(packet.PropSessionExpiry, pick(how>>5, []uint32{50, 500, 100_000, 3_000_000}))
		}
		if how&8 != 0 {
			c.Properties.SetUint(packet.PropReceiveMaximum, uint32(1+how>>5))
		}
	}
	present := p.w.connect(who, c)
	p.note("%s connects: version %v, clean %v, expiry %d, receive maximum %d", who, c.Version, c.CleanStart,
		c.Properties.SessionExpiry, c.Properties.ReceiveMaximum)
	here, there := net.Pipe()
	p.b.open(there)
	if old := p.actors[who]; old != nil {
		old.taken = true
	}
	a := &actor{id: who, v: c.Version, nc: here}
	p.actors[who] = a
	a.greeting = &packet.Connack{SessionPresent: present}
	go a.listen()
	a.send(c)
}

func (p *play) leave(a *actor, rudely bool) {
	p.note("%s leaves, rudely %v", a.id, rudely)
	if !rudely {
		a.send(&packet.Disconnect{})
	}
	_ = a.nc.Close()
	delete(p.actors, a.id)
	p.w.disconnect(p.w.sessions[a.id])
}

func (p *play) subscribe(a *actor, s *modelSession) {
	how := p.byte()
	sub := modelSub{Filter: packet.Filter{Topic: []byte(pick(p.byte(), playFilters)), QoS: how & 3 % 3}}
	m := &packet.Subscribe{PacketID: 1}
	if a.v == packet.V5 {
		sub.NoLocal, sub.RetainAsPublished, sub.RetainHandling = how&4 != 0, how&8 != 0, how>>4&3%3
		if id := uint32(how >> 6); id > 0 {
			sub.id = id
			m.Properties.SubscriptionIDs = []uint32{id}
		}
	}
	m.Filters = []packet.Filter{sub.Filter}
	p.note("%s subscribes %s: %+v", a.id, sub.Topic, sub)
	p.w.subscribe(s, sub)
	a.send(m)
}

func (p *play) publish(a *actor, s *modelSession) {
	how := p.byte()
	m := &packet.Publish{Topic: []byte(pick(p.byte(), playTopics)), QoS: how & 3 % 3, Retain: how&4 != 0}
	if p.text++; how&0x38 != 0 {
		m.Payload = fmt.Appendf(nil, "%d", p.text)
	}
	if m.QoS > 0 {
		m.PacketID = uint16(1 + how>>6)
		m.Dup = m.QoS == 2 && s.inbound[m.PacketID]
	}
	p.note("%s publishes %q to %s, QoS %d as %d, retain %v, dup %v", a.id, m.Payload, m.Topic, m.QoS, m.PacketID, m.Retain, m.Dup)
	p.w.publish(s, m)
	a.send(m)
}

func (p *play) release(a *actor, s *modelSession) {
	pid := uint16(1 + p.byte()>>6)
	p.note("%s: PUBREL %d", a.id, pid)
	p.w.pubrel(s, pid)
	a.send(answer(packet.PUBREL, pid))
}

// settle goes one step on with some message that the client has got.
func (p *play) settle(a *actor, s *modelSession) {
	which, here := p.byte(), 0
	for i := range s.queue {
		if s.queue[i].here {
			here++
		}
	}
	if here == 0 {
		return
	}
	nth := int(which&0x7f) % here
	i := slices.IndexFunc(s.queue, func(m modelMessage) bool {
		if m.here {
			nth--
		}
		return m.here && nth < 0
	})
	m := &s.queue[i]
	done := true
	reply := answer(packet.PUBACK, m.pid)
	switch {
	case m.state == recorded:
		reply.Type = packet.PUBCOMP
	case m.qos == 2:
		reply.Type = packet.PUBREC
		if done = a.v == packet.V5 && which >= 0x80; done {
			reply.Reason = packet.QuotaExceeded
		}
	}
	p.note("%s: %v %d (%q), reason %v", a.id, reply.Type, m.pid, m.payload, reply.Reason)
	if done {
		s.queue = slices.Delete(s.queue, i, i+1)
	} else {
		m.state, m.here = recorded, false
	}
	a.send(reply)
}

// judge looks at all that came.
func (p *play) judge() {
	for id, a := range p.actors {
		s := p.w.sessions[id]
		if s == nil {
			p.t.Errorf("%s: has no session", id)
			return
		}
		in, err := a.take()
		if err != nil {
			p.t.Errorf("%s: connection lost: %v", id, err)
		}
		for _, m := range in {
			p.note("    %s got %s", id, show(m))
			switch m := m.(type) {
			case *packet.Connack:
				if a.greeting == nil || m.Reason != packet.Success || m.SessionPresent != a.greeting.SessionPresent {
					p.t.Errorf("%s: CONNACK %+v, want session present %v", id, m, a.greeting)
				}
				a.greeting = nil
			case *packet.Suback, *packet.Unsuback:
			default:
				if err := s.get(m); err != nil {
					p.t.Errorf("%s: %v", id, err)
				}
			}
		}
		if a.greeting != nil {
			p.t.Errorf("%s: no CONNACK", id)
		}
		if err := s.settled(); err != nil && !p.t.Failed() {
			p.t.Errorf("%s: %v", id, err)
		}
	}
}

func show(m packet.Packet) string {
	switch m := m.(type) {
	case *packet.Publish:
		return fmt.Sprintf("PUBLISH %q on %s, QoS %d as %d, dup %v, retain %v", m.Payload, m.Topic, m.QoS, m.PacketID, m.Dup, m.Retain)
	case *packet.Ack:
		return fmt.Sprintf("%v %d (%v)", m.Type, m.PacketID, m.Reason)
	}
	return fmt.Sprintf("%T", m)
}

// actor is one connection of a client.
type actor struct {
	id       string
	v        packet.Version
	nc       net.Conn
	greeting *packet.Connack // expected
	taken    bool            // another connection took its place

	mu  sync.Mutex
	in  []packet.Packet
	err error
}

func (a *actor) send(p packet.Packet) {
	// The broker reads always, so that this ends; an error shows on the other
	// side.
	_, _ = a.nc.Write(p.Append(nil, a.v))
}

// listen collects what comes until the connection ends.
func (a *actor) listen() {
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		n, err := a.nc.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			h, head, bad := packet.ParseHeader(buf)
			if bad != nil || head == 0 || len(buf) < head+h.Remaining {
				err = errors.Join(err, bad)
				break
			}
			p, bad := packet.Decode(a.v, h, slices.Clone(buf[head:head+h.Remaining]))
			buf = buf[head+h.Remaining:]
			a.mu.Lock()
			if a.err = errors.Join(a.err, bad); bad == nil {
				a.in = append(a.in, p)
			}
			a.mu.Unlock()
		}
		if err != nil {
			a.mu.Lock()
			a.err = errors.Join(a.err, err)
			a.mu.Unlock()
			return
		}
	}
}

// take gives what has come since.
func (a *actor) take() ([]packet.Packet, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.in
	a.in = nil
	return in, a.err
}
