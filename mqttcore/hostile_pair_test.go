package mqttcore

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// pair is a publisher and a subscriber at QoS 1 that mind their own business
// while others misbehave: each message must arrive, once and in its turn.
type pair struct {
	t    testing.TB
	got  atomic.Uint64
	quit chan struct{}
	done chan error
}

// steady starts a pair. It ends with finish.
func steady(r *rig) *pair {
	r.t.Helper()
	sub, _ := r.connect(packet.V5, "steady-sub", keep)
	sub.subscribe(1, "steady")
	pub, _ := r.connect(packet.V311, "steady-pub")
	p := &pair{t: r.t, quit: make(chan struct{}), done: make(chan error, 1)}
	go func() { p.done <- p.run(pub, sub) }()
	return p
}

// run publishes one message after the other, each when the one before has
// arrived and is acknowledged.
func (p *pair) run(pub, sub *client) error {
	for n := uint64(1); ; n++ {
		select {
		case <-p.quit:
			return nil
		default:
		}
		pid := uint16(1 + n%60000)
		late := time.Now().Add(patience)
		_, _ = pub.nc.SetWriteDeadline(late), sub.nc.SetWriteDeadline(late)
		b := message("steady", strconv.FormatUint(n, 10), 1, pid).Append(nil, pub.v)
		if _, err := pub.nc.Write(b); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		in, err := sub.next(patience)
		if err != nil {
			return fmt.Errorf("message %d does not arrive: %w", n, err)
		}
		m, ok := in.(*packet.Publish)
		if !ok || string(m.Payload) != strconv.FormatUint(n, 10) {
			return fmt.Errorf("message %d: got %+v", n, in)
		}
		if _, err := sub.nc.Write(answer(packet.PUBACK, m.PacketID).Append(nil, sub.v)); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		in, err = pub.next(patience)
		if err != nil {
			return fmt.Errorf("message %d is not acknowledged: %w", n, err)
		}
		if a, ok := in.(*packet.Ack); !ok || a.Type != packet.PUBACK || a.PacketID != pid {
			return fmt.Errorf("message %d: got %+v", n, in)
		}
		p.got.Add(1)
	}
}

// flows wants the pair to go on: n more messages from now.
func (p *pair) flows(n uint64) {
	p.t.Helper()
	from := p.got.Load()
	await(p.t, "the others' messages go on", func() bool {
		select {
		case err := <-p.done:
			p.t.Fatal(err)
		default:
		}
		return p.got.Load() >= from+n
	})
}

// finish ends the pair, which must not have lost anything.
func (p *pair) finish() {
	p.t.Helper()
	p.flows(1)
	close(p.quit)
	if err := <-p.done; err != nil {
		p.t.Error(err)
	}
}

// one gives the figures of a client.
func (r *rig) one(id string) ClientStats {
	r.t.Helper()
	for _, c := range r.Clients() {
		if c.ID == id {
			return c
		}
	}
	r.t.Fatalf("no client %s", id)
	return ClientStats{}
}
