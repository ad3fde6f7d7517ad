package mqttcore

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"sluice/mqttcore/packet"
)

// roughLink is the network between a client and the broker. It is cut where a test
// says, in the middle of packets too, and outlives the broker.
type roughLink struct {
	t  *testing.T
	l  net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	moved   *sync.Cond // to or closed has changed
	to      string     // where the broker is; empty: away, connections wait
	closed  bool
	strands map[*strand]struct{}
	plan    []int // bytes that each of the next connections may carry
	losses  func(packet.Type) bool
	cuts    int // connections that carried all they may, or met losses
}

// strand is one connection through a link.
type strand struct {
	client, broker net.Conn
	left           int // bytes that it may carry yet; below 0: no end
	cut            bool
}

// newRoughLink opens a link to the broker. It passes everything until it is told
// otherwise.
func newRoughLink(t *testing.T, to string) *roughLink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &roughLink{t: t, l: l, to: to, strands: map[*strand]struct{}{}}
	k.moved = sync.NewCond(&k.mu)
	k.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			k.wg.Go(func() { k.serve(nc) })
		}
	})
	t.Cleanup(func() {
		k.mu.Lock()
		k.closed = true
		k.moved.Broadcast()
		for w := range k.strands {
			w.end()
		}
		k.mu.Unlock()
		_ = l.Close()
		k.wg.Wait()
	})
	return k
}

func (k *roughLink) addr() string { return k.l.Addr().String() }

// lead says where the broker is now. Empty: nowhere, clients wait for it.
func (k *roughLink) lead(to string) {
	k.mu.Lock()
	k.to = to
	k.moved.Broadcast()
	k.mu.Unlock()
}

// cutAfter cuts the connection that is open and those that follow after so
// many bytes each; when the plan is used up the link holds.
func (k *roughLink) cutAfter(plan []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for w := range k.strands {
		w.left, plan = plan[0], plan[1:]
	}
	k.plan = plan
}

// lose cuts connections in place of passing a packet from the broker for which
// which says so. It holds for connections opened from now on and is asked by
// one of them at a time: give each client a link of its own.
func (k *roughLink) lose(which func(packet.Type) bool) {
	k.mu.Lock()
	k.losses = which
	k.mu.Unlock()
}

// cut counts the connections that the link has cut.
func (k *roughLink) cut() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cuts
}

// serve carries one connection.
func (k *roughLink) serve(client net.Conn) {
	defer client.Close()
	k.mu.Lock()
	for k.to == "" && !k.closed {
		k.moved.Wait()
	}
	to := k.to
	k.mu.Unlock()
	broker, err := net.DialTimeout("tcp", to, patience)
	if err != nil {
		return
	}
	defer broker.Close()
	w := &strand{client: client, broker: broker, left: -1}
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	if len(k.plan) > 0 {
		w.left, k.plan = k.plan[0], k.plan[1:]
	}
	k.strands[w] = struct{}{}
	losses := k.losses
	k.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() { k.carry(w, client, broker) })
	if losses != nil {
		k.carryPackets(w, losses)
	} else {
		k.carry(w, broker, client)
	}
	up.Wait()
	k.mu.Lock()
	delete(k.strands, w)
	if !w.cut && w.left > 0 { // ended by others: the next one carries the rest
		k.plan = append([]int{w.left}, k.plan...)
	}
	k.mu.Unlock()
}

// carry passes bytes one way.
func (k *roughLink) carry(w *strand, from, to net.Conn) {
	defer w.end()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		n, over := k.spend(w, n)
		if _, werr := to.Write(buf[:n]); werr != nil || over {
			break
		}
		if err != nil {
			return
		}
	}
	w.reset()
}

// carryPackets passes packets from the broker until one is to be lost.
func (k *roughLink) carryPackets(w *strand, losses func(packet.Type) bool) {
	defer w.end()
	in := bufio.NewReader(w.broker)
	for {
		raw := make([]byte, 0, 5)
		var h packet.Header
		for n := 0; n == 0; {
			x, err := in.ReadByte()
			if err != nil {
				return
			}
			raw = append(raw, x)
			if h, n, err = packet.ParseHeader(raw); err != nil {
				k.t.Errorf("the broker sent % x: %v", raw, err)
				return
			}
		}
		raw = append(raw, make([]byte, h.Remaining)...)
		if _, err := io.ReadFull(in, raw[len(raw)-h.Remaining:]); err != nil {
			return
		}
		if losses(h.Type) {
			k.mu.Lock()
			k.cuts++
			k.mu.Unlock()
			w.reset()
			return
		}
		if _, err := w.client.Write(raw); err != nil {
			return
		}
	}
}

// spend takes n bytes from what a connection may carry; over says that they
// were the last ones.
func (k *roughLink) spend(w *strand, n int) (may int, over bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w.left < 0 {
		return n, false
	}
	may = min(n, w.left)
	w.left -= may
	if w.left == 0 && !w.cut {
		w.cut = true
		k.cuts++
	}
	return may, w.cut
}

// end closes both sides.
func (w *strand) end() {
	_ = w.client.Close()
	_ = w.broker.Close()
}

// reset ends both sides as a dead link does: what is under way is lost.
func (w *strand) reset() {
	for _, nc := range []net.Conn{w.client, w.broker} {
		_ = nc.(*net.TCPConn).SetLinger(0)
	}
	w.end()
}

// hardships plans n cuts, the same ones each time: some within the handshake,
// most among messages.
func hardships(seed uint64, n int) []int {
	r := rand.New(rand.NewPCG(seed, 0))
	plan := make([]int, n)
	for i := range plan {
		plan[i] = 1 + r.IntN(1200)
		if i%4 == 3 {
			plan[i] = 1 + r.IntN(80)
		}
	}
	return plan
}
