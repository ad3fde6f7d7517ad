package mqttcore

import (
	"math/rand/v2"
	"testing"
)

func TestPacketIDsCountFromOneAndSkipZero(t *testing.T) {
	for _, c := range []struct {
		seq  uint64
		want uint16
	}{{1, 1}, {2, 2}, {65535, 65535}, {65536, 1}, {131071, 1}, {131070, 65535}} {
		if got := packetID(c.seq); got != c.want {
			t.Errorf("packetID(%d) = %d, want %d", c.seq, got, c.want)
		}
	}
}

func TestWindowSettlesOutOfOrder(t *testing.T) {
	var w window
	w.start(3)
	for seq := uint64(1); seq <= 3; seq++ {
		w.sent(seq, awaitPuback)
	}
	if !w.full() {
		t.Fatal("3 of 3 in flight and not full")
	}
	seq, ok := w.find(2, awaitPuback)
	if !ok || seq != 2 {
		t.Fatalf("find(2) = %d, %v", seq, ok)
	}
	w.move(seq, settled)
	if w.full() || w.base != 0 {
		t.Fatalf("after one of three: full %v, base %d", w.full(), w.base)
	}
	w.sent(w.next(), awaitPubrec)
	if _, ok := w.find(4, awaitPuback); ok {
		t.Error("a PUBACK settles a QoS 2 message")
	}
	for _, pid := range []uint16{3, 1} {
		seq, ok := w.find(pid, awaitPuback)
		if !ok {
			t.Fatalf("%d is not in flight", pid)
		}
		w.move(seq, settled)
	}
	if w.base != 3 {
		t.Errorf("base = %d, want 3", w.base)
	}
	if _, ok := w.find(1, awaitPuback); ok {
		t.Error("an identifier that is settled is found")
	}
	if _, ok := w.find(0, awaitPuback); ok {
		t.Error("identifier 0 is found")
	}
}

func TestWindowResendsWhatIsUnsettled(t *testing.T) {
	var w window
	w.start(10)
	for seq := uint64(1); seq <= 5; seq++ {
		w.sent(seq, awaitPuback)
	}
	w.move(2, settled)
	w.start(2)
	if w.open != 0 || w.cur != 0 || w.last != 5 {
		t.Fatalf("after start: %+v", w)
	}
	w.sent(1, w.phase(1))
	w.sent(2, w.phase(2))
	if w.full() {
		t.Error("a settled number counts as in flight")
	}
	w.sent(3, w.phase(3))
	if !w.full() {
		t.Error("MQTT-4.9.0-1: what is resent does not count")
	}
	if _, ok := w.find(4, awaitPuback); ok {
		t.Error("a number that was not sent on this connection is found")
	}
}

// TestWindowAgainstModel plays random orders of sending and acknowledging
// against a plain map, far beyond one round of packet identifiers.
func TestWindowAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var w window
	w.start(64)
	model := map[uint64]phase{}
	for w.last < 3*65535 {
		if !w.full() && rng.IntN(2) == 0 {
			seq := w.next() + uint64(rng.IntN(40)/39) // now and then one expired
			p := []phase{awaitPuback, awaitPubrec}[rng.IntN(2)]
			w.sent(seq, p)
			model[seq] = p
			continue
		}
		for seq, p := range model {
			got, ok := w.find(packetID(seq), p)
			if !ok || got != seq {
				t.Fatalf("find(%d, %d) = %d, %v, want %d", packetID(seq), p, got, ok, seq)
			}
			if p == awaitPubrec {
				w.move(seq, awaitPubcomp)
				model[seq] = awaitPubcomp
			} else {
				w.move(seq, settled)
				delete(model, seq)
			}
			break
		}
		if w.open != len(model) {
			t.Fatalf("open = %d, want %d", w.open, len(model))
		}
	}
}

func TestPidSet(t *testing.T) {
	var s pidSet
	for _, pid := range []uint16{1, 64, 65535, 1} {
		s.add(pid)
	}
	if s.n != 3 || !s.has(65535) || s.has(2) {
		t.Fatalf("n = %d, has(65535) = %v, has(2) = %v", s.n, s.has(65535), s.has(2))
	}
	if !s.remove(64) || s.remove(64) || s.n != 2 {
		t.Errorf("removing 64 twice leaves %d", s.n)
	}
	if len(s.words)*8 > 8192 {
		t.Errorf("the set takes %d bytes", len(s.words)*8)
	}
}
