package store_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// TestBitFlips flips a bit in each byte of a store: in all files, as a kill leaves
// them and as an orderly stop does. Nothing wrong may be delivered, nothing may
// be missing without being noticed, and no more than what shared a frame with it.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	if _, done := plainly(t); done {
		return
	}
	rng := rand.New(rand.NewPCG(3, 4))
	flips := 0
	for _, clean := range []bool{false, true} {
		fs, sid := fiveMessages(t, true, clean)
		for _, name := range fs.Names() {
			var whole []byte
			fs.Change(name, func(b []byte) []byte { whole = b; return b })
			for at := 0; at < len(whole); at++ {
				page := whole[at&^4095:]
				if at&4095 == 0 && strings.Trim(string(page[:min(4096, len(page))]), "\x00") == "" {
					at += 4000 // an empty page is like another
				}
				flips++
				flipOnce(t, fs.Clone(), sid, name, at, 1<<rng.IntN(8))
				if t.Failed() {
					return
				}
			}
		}
	}
	t.Logf("%d flips", flips)
}

func flipOnce(t *testing.T, fs *simfs.FS, sid store.SID, name string, at int, bit byte) {
	const all = "1:m1 2:m2 3:m3 4:m4 5:m5"
	fs.Change(name, func(b []byte) []byte { b[at] ^= bit; return b })
	s, err := store.Open(options(fs))
	if err != nil || s.Err() != nil {
		t.Fatalf("%s, byte %d: %v", name, at, err)
	}
	defer s.Close()
	q := s.OpenQueue(sid, nil)
	if q == nil {
		t.Fatalf("%s, byte %d: session is lost", name, at)
	}
	got := drain(t, q)
	st := s.Stats()
	missing := 5 - len(strings.Fields(got))
	if missing > 1 || missing == 0 && got != all {
		t.Fatalf("%s, byte %d: got %q", name, at, got)
	}
	for _, m := range strings.Fields(got) {
		if !strings.Contains(all, m) {
			t.Fatalf("%s, byte %d: got %q", name, at, got)
		}
	}
	if missing == 1 && st.CorruptFrames+st.TornTails == 0 && !strings.HasSuffix(got, "4:m4") {
		t.Fatalf("%s, byte %d: got %q, and nobody noticed: %+v", name, at, got, st)
	}
	balance(t, s)
}
