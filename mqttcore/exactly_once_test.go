package mqttcore

import (
	"fmt"
	"sync"
	"testing"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// The steps of a QoS 2 message from one durable session to another, as its
// clients know them. What the test marks has happened in all states after it.
type handshake struct {
	step string
	n    int // of the message, from 1
	pid  uint16
}

const (
	published = "publisher sends PUBLISH"
	received  = "publisher has PUBREC"
	completed = "publisher has PUBCOMP"
	delivered = "subscriber has PUBLISH"
	released  = "subscriber has PUBREL"
)

// exactly is what both clients know: it is what a client that keeps its own
// state over its own crashes would have on disk.
type exactly struct {
	t   *testing.T
	at  string // the crash, for messages
	dam *dam   // nil: the disk is quick
	// came is what came to the subscriber while it waited for something else.
	came []packet.Packet
	pub  map[int]string
	sub  struct {
		got  []string       // handed to the application
		open map[uint16]int // between PUBLISH and PUBREL
		pids map[int]uint16 // that messages came with
	}
}

// dam is a disk that can be held: nothing is durable while it is.
type dam struct {
	*simfs.FS
	held sync.Mutex
}

func (d *dam) Open(name string) (store.File, error) {
	f, err := d.FS.Open(name)
	return dammed{f, d}, err
}

func (d *dam) Create(name string, size int64) (store.File, error) {
	f, err := d.FS.Create(name, size)
	return dammed{f, d}, err
}

type dammed struct {
	store.File
	d *dam
}

func (f dammed) Datasync() error {
	f.d.held.Lock()
	defer f.d.held.Unlock()
	return f.File.Datasync()
}

// ask sends a packet whose answer must wait for the disk.
func (x *exactly) ask(c *client, p packet.Packet, pid uint16) {
	x.t.Helper()
	if x.dam == nil {
		c.send(p)
		return
	}
	x.dam.held.Lock()
	defer x.dam.held.Unlock()
	c.send(p)
	for range 2 { // what was left to another goroutine comes before the second
		c.send(&packet.Ping{Type: packet.PINGREQ})
		for {
			p := c.read()
			if _, done := p.(*packet.Ping); done {
				break
			}
			if a, ok := p.(*packet.Ack); ok && a.PacketID == pid {
				x.t.Fatalf("%v before the disk has what it says", a.Type)
			}
			x.came = append(x.came, p)
		}
	}
}

// next is the next packet to the subscriber; nil: the connection was closed.
func (x *exactly) next(c *client) packet.Packet {
	if len(x.came) > 0 {
		p := x.came[0]
		x.came = x.came[1:]
		return p
	}
	return c.read()
}

func newExactly(t *testing.T) *exactly {
	x := &exactly{t: t, pub: map[int]string{}}
	x.sub.open, x.sub.pids = map[uint16]int{}, map[int]uint16{}
	return x
}

// learn takes in a step.
func (x *exactly) learn(h handshake) {
	switch h.step {
	case delivered:
		x.sub.got = append(x.sub.got, fmt.Sprint(h.n))
		x.sub.open[h.pid] = h.n
		x.sub.pids[h.n] = h.pid
	case released:
		delete(x.sub.open, h.pid)
	default:
		x.pub[h.n] = h.step
	}
}

// take is what a subscriber does with a packet: it answers, and hands on what
// it has not got (MQTT 5.0, 4.3.3).
func (x *exactly) take(c *client, p packet.Packet, learn func(handshake)) {
	x.t.Helper()
	switch p := p.(type) {
	case *packet.Publish:
		var n int
		fmt.Sscan(string(p.Payload), &n)
		if pid, again := x.sub.pids[n]; again && (pid != p.PacketID || !p.Dup) {
			x.t.Errorf("%s: message %d came as %d, now as %d with DUP %v", x.at, n, pid, p.PacketID, p.Dup)
		}
		if _, open := x.sub.open[p.PacketID]; !open {
			learn(handshake{delivered, n, p.PacketID})
		}
		x.ask(c, answer(packet.PUBREC, p.PacketID), p.PacketID)
	case *packet.Ack:
		if p.Type != packet.PUBREL {
			x.t.Fatalf("%s: %v to a subscriber", x.at, p.Type)
		}
		learn(handshake{released, x.sub.open[p.PacketID], p.PacketID})
		c.send(answer(packet.PUBCOMP, p.PacketID))
	default:
		x.t.Fatalf("%s: the subscriber got %T %+v", x.at, p, p)
	}
}

// exactlyMessages are sent with one packet identifier, so that one which is not
// free again swallows the next message.
const (
	exactlyMessages = 2
	exactlyPID      = 7
)

// publish brings the publisher from where it is to its last PUBCOMP.
func (x *exactly) publish(c *client, learn func(handshake)) {
	x.t.Helper()
	for n := 1; n <= exactlyMessages; n++ {
		at := x.pub[n]
		if at == "" || at == published {
			m := message("once", fmt.Sprint(n), 2, exactlyPID)
			m.Dup = at == published
			learn(handshake{step: published, n: n})
			x.ask(c, m, exactlyPID)
			x.expect(c, packet.PUBREC)
			learn(handshake{step: received, n: n})
		}
		if at != completed {
			x.ask(c, answer(packet.PUBREL, exactlyPID), exactlyPID)
			x.expect(c, packet.PUBCOMP)
			learn(handshake{step: completed, n: n})
		}
	}
}

func (x *exactly) expect(c *client, typ packet.Type) {
	x.t.Helper()
	if a := expect[*packet.Ack](c); a.Type != typ || a.PacketID != exactlyPID || a.Reason.Failed() && a.Reason != packet.PacketIdentifierNotFound {
		x.t.Fatalf("%s: the publisher got %v %d (%v), want %v", x.at, a.Type, a.PacketID, a.Reason, typ)
	}
}

// TestExactlyOnceAtEveryStep cuts the power, and kills the broker, after every
// change that it makes to the disk between the first PUBLISH and the last
// PUBCOMP, on both sides. The clients go on from where they were.
func TestExactlyOnceAtEveryStep(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, v packet.Version) {
		for _, how := range []string{"at once", "one side after the other"} {
			t.Run(how, func(t *testing.T) { exactlyOnce(t, v, how == "at once") })
		}
	})
}

func exactlyOnce(t *testing.T, v packet.Version, atOnce bool) {
	fs := simfs.New()
	x := newExactly(t)
	begun := x.handshakes(fs, v, atOnce)
	if fmt.Sprint(x.sub.got) != "[1 2]" {
		t.Fatalf("without a crash: got %v", x.sub.got)
	}
	states, steps := 0, map[string]bool{}
	known := newExactly(t)
	for r, n := fs.Replay(), 0; r.Left() > 0; n++ {
		dirty := r.Unsynced()
		mark := r.Step()
		if h, ok := mark.(handshake); ok {
			known.learn(h)
			known.at = fmt.Sprintf("after %q of %d", h.step, h.n)
			steps[h.step] = true
		}
		if n < begun {
			continue
		}
		if mark != nil || dirty && !r.Unsynced() {
			known.resume(v, r.Crash(simfs.Lost, nil), fmt.Sprintf("power cut at change %d, %s", n, known.at))
			states++
		}
		known.resume(v, r.Kill(), fmt.Sprintf("kill at change %d, %s", n, known.at))
		states++
	}
	if len(steps) != 5 {
		t.Errorf("seen only the steps %v", steps)
	}
	t.Logf("%d states", states)
}

// handshakes runs all of them without a crash and says from which change on: the
// two sides at once, so that they share commits, or one after the other on a
// disk so slow that an answer which does not wait for it comes first.
func (x *exactly) handshakes(fs *simfs.FS, v packet.Version, atOnce bool) (begun int) {
	dam := &dam{FS: fs}
	r := &rig{t: x.t, cfg: Config{Listen: []string{"tcp://127.0.0.1:0"}}, disk: dam}
	r.up()
	defer r.stop()
	sub, _ := r.connect(v, "sub", keep)
	sub.subscribe(2, "once")
	pub, _ := r.connect(v, "pub", keep)
	replay := fs.Replay()
	begun = replay.Left()
	learn := func(h handshake) {
		fs.Mark(h)
		x.learn(h)
	}
	took := make(chan struct{})
	subscriber := newExactly(x.t)
	subscribe := func() {
		defer close(took)
		for n := 0; n < 2*exactlyMessages; n++ {
			subscriber.take(sub, subscriber.next(sub), func(h handshake) {
				fs.Mark(h)
				subscriber.learn(h)
			})
		}
	}
	if atOnce {
		go subscribe()
		x.publish(pub, learn)
	} else {
		x.dam, subscriber.dam = dam, dam
		x.publish(pub, learn)
		subscribe()
	}
	<-took
	sub.silent()
	sub.close()
	pub.close()
	x.sub = subscriber.sub
	return begun
}

// resume goes on, with the broker as the crash has left it, to the end.
func (x *exactly) resume(v packet.Version, fs *simfs.FS, at string) {
	x.t.Helper()
	y := newExactly(x.t) // what is known now is needed again
	y.at = at
	for n, step := range x.pub {
		y.pub[n] = step
	}
	y.sub.got = append(y.sub.got, x.sub.got...)
	for pid, n := range x.sub.open {
		y.sub.open[pid] = n
	}
	for n, pid := range x.sub.pids {
		y.sub.pids[n] = pid
	}
	r := &rig{t: x.t, cfg: Config{Listen: []string{"tcp://127.0.0.1:0"}}, disk: fs}
	r.up()
	defer r.stop()
	sub, ack := r.connect(v, "sub", keep)
	pub, back := r.connect(v, "pub", keep)
	if v != packet.V31 && (!ack.SessionPresent || !back.SessionPresent) {
		x.t.Fatalf("%s: sessions there: subscriber's %v, publisher's %v", at, ack.SessionPresent, back.SessionPresent)
	}
	y.publish(pub, y.learn)
	for len(y.sub.got) < exactlyMessages || len(y.sub.open) > 0 {
		y.take(sub, y.next(sub), y.learn)
	}
	sub.send(&packet.Ping{Type: packet.PINGREQ})
	for {
		p := sub.read()
		if _, done := p.(*packet.Ping); done {
			break
		}
		y.take(sub, p, y.learn)
	}
	sub.close() // else the stop waits for them to read its goodbye
	pub.close()
	if got := fmt.Sprint(y.sub.got); got != "[1 2]" {
		x.t.Errorf("%s: the subscriber's application got %v, want [1 2]", at, got)
	}
}
