package bridge

import (
	"testing"

	"pgregory.net/rapid"

	"sluice/mqttcore"
)

func TestPacketIDsFollowFromLaneAndSequenceNumber(t *testing.T) {
	for _, c := range []struct {
		lane int
		seq  uint64
		id   uint16
	}{
		{1, 1, 1}, {1, 2, 2}, {1, laneIDs, laneIDs}, {1, laneIDs + 1, 1}, {1, 3*laneIDs + 17, 17},
		{2, 1, laneIDs + 1}, {4, laneIDs, idSpace}, {4, 7 * laneIDs, idSpace},
	} {
		if got := newWindow(c.lane, 0, 1).id(c.seq); got != c.id || laneOf(got) != c.lane {
			t.Errorf("message %d of lane %d has identifier %d of lane %d, want %d", c.seq, c.lane, got, laneOf(got), c.id)
		}
	}
	for _, id := range []uint16{0, firstRequest, 65535} {
		if laneOf(id) != 0 {
			t.Errorf("identifier %d is of lane %d", id, laneOf(id))
		}
	}
}

// TestWindowAgainstModel drives a window with whatever a queue and a server
// may do, and compares it with the obvious bookkeeping in a map.
func TestWindowAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]uint64{0, 5, laneIDs - 3, 7*laneIDs - 1}).Draw(t, "base")
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		w := newWindow(rapid.IntRange(1, mqttcore.MaxLanes).Draw(t, "lane"), base, limit)
		model := map[uint64]stage{} // all that was handed to the window
		next := base + 1
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if w.flying == limit {
					t.Skip("closed")
				}
				seq := next + rapid.SampledFrom([]uint64{0, 0, 0, 0, 1, 4}).Draw(t, "gap")
				if !w.wants(seq) {
					t.Fatalf("the window does not want %d, which it never saw", seq)
				}
				if !w.fits(seq) {
					t.Skip("the span is full")
				}
				for ; next <= seq; next++ {
					model[next] = settled // left out, or overwritten below
				}
				if rapid.Bool().Draw(t, "released before") {
					w.restore(seq, nil)
					model[seq] = released
				} else {
					w.send(seq, byte(rapid.IntRange(1, 2).Draw(t, "qos")), nil)
					model[seq] = sent
				}
			},
			"answer": func(t *rapid.T) {
				seq, ok := pick(t, model, sent, received, released)
				if !ok {
					t.Skip("nothing in flight")
				}
				if found, ok := w.find(w.id(seq)); !ok || found != seq {
					t.Fatalf("identifier %d leads to %d (%v), want %d", w.id(seq), found, ok, seq)
				}
				switch rapid.IntRange(0, 2).Draw(t, "as") {
				case 0:
					w.settle(seq)
					model[seq] = settled
				case 1:
					w.refuse(seq)
					model[seq] = refused
				case 2:
					if model[seq] == sent {
						w.at(seq).stage = received
						model[seq] = received
					}
				}
				w.advance()
			},
			"again": func(t *rapid.T) {
				seq, ok := pick(t, model, refused)
				if !ok || w.flying == limit {
					t.Skip("nothing was refused")
				}
				if !w.wants(seq) || !w.fits(seq) {
					t.Fatalf("the window does not take %d again, which was refused", seq)
				}
				w.send(seq, 1, nil)
				model[seq] = sent
			},
			"": func(t *rapid.T) { agree(t, w, model, base, limit) },
		})
	})
}

// agree checks a window against the model of it.
func agree(t *rapid.T, w *window, model map[uint64]stage, first uint64, limit int) {
	base := first
	for model[base+1] == settled && base < w.top {
		base++
	}
	if w.base > base {
		t.Fatalf("base is %d although %d is not settled", w.base, base+1)
	}
	flying := 0
	for seq := w.base + 1; seq <= w.top; seq++ {
		if w.at(seq).stage != model[seq] {
			t.Fatalf("message %d is in stage %d, want %d", seq, w.at(seq).stage, model[seq])
		}
		if w.wants(seq) != (model[seq] == refused) {
			t.Fatalf("message %d in stage %d: wanted %v", seq, model[seq], w.wants(seq))
		}
		switch model[seq] {
		case sent, received, released:
			flying++
		}
	}
	if w.flying != flying || flying > limit {
		t.Fatalf("%d in flight, counted %d, limit %d", w.flying, flying, limit)
	}
}

func pick(t *rapid.T, model map[uint64]stage, stages ...stage) (uint64, bool) {
	var all []uint64
	for seq := range model {
		for _, s := range stages {
			if model[seq] == s {
				all = append(all, seq)
			}
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	// The order of a map is random: the smallest keeps a failure repeatable,
	// the draw below still reaches all of them.
	least, most := all[0], all[0]
	for _, s := range all {
		least, most = min(least, s), max(most, s)
	}
	if rapid.Bool().Draw(t, "newest") {
		return most, true
	}
	return least, true
}

func TestWindowIgnoresForeignIdentifiers(t *testing.T) {
	w := newWindow(1, 10, 4)
	w.send(11, 1, nil)
	for _, id := range []uint16{10, 12, laneIDs} {
		if seq, ok := w.find(id); ok {
			t.Errorf("identifier %d leads to message %d, which is not in flight", id, seq)
		}
	}
}

func TestWindowTriesAreCountedPerMessage(t *testing.T) {
	w := newWindow(1, 0, 2)
	w.send(1, 1, []byte("a"))
	for want := 1; want <= 3; want++ {
		if got := w.refuse(1); got != want {
			t.Fatalf("refusal %d is counted as %d", want, got)
		}
		w.send(1, 1, []byte("a"))
	}
	w.settle(1)
	w.advance()
	w.send(2, 1, nil)
	w.send(3, 1, []byte("b")) // the slot of 1
	if got := w.refuse(3); got != 1 {
		t.Errorf("the first refusal of another message is counted as %d", got)
	}
	if string(w.at(3).topic) != "b" {
		t.Errorf("topic of message 3 is %q", w.at(3).topic)
	}
}
