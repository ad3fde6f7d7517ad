package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// fiveMessages is a folder as a kill leaves it: a session with five messages,
// each in its own frame. The frames of the messages are pages 2 to 6 of the one
// segment. With snapshots two of them were written before;
// where it is clean there is the one of an orderly stop.
func fiveMessages(t *testing.T, snapshots, clean bool) (*simfs.FS, store.SID) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	if snapshots {
		for range 2 {
			r.stop()
			r = start(t, options(fs))
			r.must(func(done func(error)) { r.LeaveSession(sid, done) }) // something new
		}
	}
	for i := range 5 {
		r.publish(sid, fmt.Sprint("m", i+1))
	}
	image := fs.Clone()
	r.stop()
	if clean {
		image = fs.Clone()
	}
	return image, sid
}

func only(fs *simfs.FS, prefix string) string {
	for _, name := range slices.Backward(fs.Names()) {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	return ""
}

// framesFrom is where the frames of the five messages begin.
func frameOf(fs *simfs.FS, message string) (at int) {
	fs.Change(only(fs, "seg-"), func(b []byte) []byte {
		at = strings.Index(string(b), message) &^ 4095
		return b
	})
	return at
}

func flip(fs *simfs.FS, name string, at int) {
	fs.Change(name, func(b []byte) []byte {
		b[at] ^= 0x10
		return b
	})
}

func zero(fs *simfs.FS, name string, from, to int) {
	fs.Change(name, func(b []byte) []byte { clear(b[from:to]); return b })
}

func cut(fs *simfs.FS, name string, size int) {
	fs.Change(name, func(b []byte) []byte { return b[:size] })
}

func TestRecovery(t *testing.T) {
	const all = "1:m1 2:m2 3:m3 4:m4 5:m5"
	cases := []struct {
		name      string
		snapshots bool
		damage    func(fs *simfs.FS)
		want      string
		corrupt   uint64 // damaged places
		torn      uint64
		lost      uint64 // messages, once another one has come
		empty     bool   // the session is gone, too
		clean     bool   // the store was stopped in an orderly way
		keep      bool   // nothing is to be seen in quarantine
	}{
		{name: "nothing", damage: func(fs *simfs.FS) {}, want: all},
		{name: "a frame in the middle", damage: func(fs *simfs.FS) { flip(fs, only(fs, "seg-"), frameOf(fs, "m3")+100) },
			want: "1:m1 2:m2 4:m4 5:m5", corrupt: 1, lost: 1},
		{name: "two frames side by side", damage: func(fs *simfs.FS) {
			flip(fs, only(fs, "seg-"), frameOf(fs, "m2"))
			flip(fs, only(fs, "seg-"), frameOf(fs, "m3"))
		}, want: "1:m1 4:m4 5:m5", corrupt: 1, lost: 2},
		{name: "the last frame is torn", damage: func(fs *simfs.FS) { flip(fs, only(fs, "seg-"), frameOf(fs, "m5")+2000) },
			want: "1:m1 2:m2 3:m3 4:m4", torn: 1},
		{name: "the last frame is zero", damage: func(fs *simfs.FS) {
			at := frameOf(fs, "m5")
			zero(fs, only(fs, "seg-"), at, at+4096)
		}, want: "1:m1 2:m2 3:m3 4:m4"},
		{name: "segment header flipped", damage: func(fs *simfs.FS) { flip(fs, only(fs, "seg-"), 34) }, want: all, corrupt: 1, snapshots: true, keep: true},
		{name: "segment header zero", damage: func(fs *simfs.FS) {
			zero(fs, only(fs, "seg-"), 0, 4096)
		}, want: all, corrupt: 1, snapshots: true, keep: true},
		{name: "segment cut off", damage: func(fs *simfs.FS) {
			at := frameOf(fs, "m3")
			cut(fs, only(fs, "seg-"), at)
		}, want: "1:m1 2:m2", corrupt: 1, keep: true},
		{name: "segment cut off below a snapshot", snapshots: true, clean: true, damage: func(fs *simfs.FS) {
			at := frameOf(fs, "m3")
			cut(fs, only(fs, "seg-"), at)
		}, want: "1:m1 2:m2", corrupt: 1, lost: 3, keep: true},
		{name: "segment header flipped, no snapshot", damage: func(fs *simfs.FS) { flip(fs, only(fs, "seg-"), 20) },
			want: all, corrupt: 1, keep: true},
		{name: "segment header zero, no snapshot", damage: func(fs *simfs.FS) { zero(fs, only(fs, "seg-"), 0, 4096) },
			want: all, corrupt: 1, keep: true},
		{name: "segment header and first frame zero", snapshots: true, damage: func(fs *simfs.FS) {
			zero(fs, only(fs, "seg-"), 0, frameOf(fs, "m1")+4096)
		}, want: "2:m2 3:m3 4:m4 5:m5", corrupt: 1, lost: 1},
		{name: "segment header flipped and the identity, too", damage: func(fs *simfs.FS) {
			flip(fs, only(fs, "seg-"), 20)
			flip(fs, "store.id", 20)
		}, corrupt: 2, empty: true},
		{name: "identity missing", damage: func(fs *simfs.FS) { fs.Remove("store.id") }, want: all},
		{name: "identity flipped", damage: func(fs *simfs.FS) { flip(fs, "store.id", 20) }, want: all, corrupt: 1},
		{name: "identity of another store", damage: func(fs *simfs.FS) {
			other, _ := fiveMessages(t, false, false)
			other.Change("store.id", func(b []byte) []byte {
				fs.Change("store.id", func([]byte) []byte { return slices.Clone(b) })
				return b
			})
		}, want: all},
		{name: "the only segment is missing", damage: func(fs *simfs.FS) { fs.Remove(only(fs, "seg-")) }, corrupt: 1, empty: true, keep: true},
		{name: "the only segment is empty", damage: func(fs *simfs.FS) { cut(fs, only(fs, "seg-"), 0) }, corrupt: 1, empty: true, keep: true},
		{name: "the only segment is missing after a clean stop", clean: true, damage: func(fs *simfs.FS) { fs.Remove(only(fs, "seg-")) },
			want: "", corrupt: 1, lost: 5, keep: true},
		{name: "the only segment is empty after a clean stop", clean: true, damage: func(fs *simfs.FS) { cut(fs, only(fs, "seg-"), 0) },
			want: "", corrupt: 1, lost: 5, keep: true},
		{name: "the only segment is a folder after a clean stop", clean: true, damage: func(fs *simfs.FS) {
			name := only(fs, "seg-")
			fs.Remove(name)
			fs.Create(name, 0)
			fs.SetOdd(name)
		}, want: "", corrupt: 1, lost: 5},
		{name: "a segment with an impossible number", damage: func(fs *simfs.FS) {
			fs.Create("seg-ffffffffffffffff.log", segment)
		}, want: all, corrupt: 1, keep: true},
		{name: "quarantine cannot be made", damage: func(fs *simfs.FS) {
			fs.Create("seg-00000000000000fd.log", 5)
			flip(fs, "seg-00000000000000fd.log", 1)
			fs.SetFault(func(_ simfs.Kind, name string) error {
				if strings.HasPrefix(name, "quarantine/") {
					return syscall.ENOTDIR
				}
				return nil
			})
		}, want: all, corrupt: 1, keep: true},
		{name: "newest snapshot flipped", snapshots: true, damage: func(fs *simfs.FS) { flip(fs, only(fs, "snap-"), 4200) }, want: all, corrupt: 1},
		{name: "newest snapshot empty", snapshots: true, damage: func(fs *simfs.FS) {
			fs.Change(only(fs, "snap-"), func([]byte) []byte { return nil })
		}, want: all, corrupt: 1, keep: true},
		{name: "newest snapshot missing", snapshots: true, damage: func(fs *simfs.FS) { fs.Remove(only(fs, "snap-")) }, want: all},
		{name: "all snapshots flipped", snapshots: true, damage: func(fs *simfs.FS) {
			for _, name := range fs.Names() {
				if strings.HasPrefix(name, "snap-") {
					flip(fs, name, 4200)
				}
			}
		}, want: all, corrupt: 2},
		{name: "segment is garbage", snapshots: true, damage: func(fs *simfs.FS) {
			fs.Change(only(fs, "seg-"), func(b []byte) []byte {
				rng := rand.New(rand.NewPCG(1, 2))
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
				return b
			})
		}, want: "", corrupt: 1, lost: 5, clean: true},
		{name: "everything is garbage", snapshots: true, damage: func(fs *simfs.FS) {
			for _, name := range fs.Names() {
				fs.Change(name, func(b []byte) []byte {
					for i := range b {
						b[i] = byte(i * 31)
					}
					return b
				})
			}
		}, want: "", corrupt: 4, empty: true},
		{name: "a snapshot that was being written", damage: func(fs *simfs.FS) { fs.Create("snap.tmp", 100) }, want: all},
		{name: "files of others", damage: func(fs *simfs.FS) { fs.Create("README", 100); fs.Create("seg-1.log", 5) }, want: all},
		{name: "a segment that was being made", damage: func(fs *simfs.FS) { fs.Create("free-00000000000000ff.seg", segment) }, want: all},
		{name: "a segment of zeros", damage: func(fs *simfs.FS) { fs.Create("seg-00000000000000ff.log", segment) }, want: all, corrupt: 1, keep: true},
		{name: "a copy of a segment under another name", damage: func(fs *simfs.FS) {
			fs.Create("seg-0000000000000001.log", segment)
			var b []byte
			fs.Change(only(fs, "seg-00000000000000"), func(data []byte) []byte { b = slices.Clone(data); return data })
			fs.Change("seg-0000000000000001.log", func([]byte) []byte { return b })
		}, snapshots: true, want: all, corrupt: 1},
		{name: "an empty segment file", damage: func(fs *simfs.FS) { fs.Create("seg-00000000000000fe.log", 0) }, want: all, corrupt: 1, keep: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			fs, sid := fiveMessages(t, c.snapshots, c.clean)
			c.damage(fs)
			r := start(t, options(fs))
			if c.empty {
				equal(t, "sessions", len(r.Sessions()), 0)
			} else {
				equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), c.want)
			}
			equal(t, "damaged places", r.Stats().CorruptFrames, c.corrupt)
			equal(t, "torn tails", r.Stats().TornTails, c.torn)
			if c.corrupt > 0 && only(fs, "quarantine/") == "" && !c.keep {
				t.Errorf("nothing in quarantine: %q", fs.Names())
			}
			// It goes on from here, and what is gone is accounted for.
			if c.empty {
				sid = r.session("b")
			}
			r.publish(sid, "next")
			got := drain(t, r.OpenQueue(sid, nil))
			if !strings.HasSuffix(got, ":next") {
				t.Errorf("after it: %s", got)
			}
			if c.lost > 0 {
				equal(t, "lost", r.Stats().Dropped[store.ReasonCorrupt], c.lost)
			}
			balance(t, r.Store)
			r.stop()
			r = start(t, options(fs))
			equal(t, "reopened", drain(t, r.OpenQueue(sid, nil)), got)
			balance(t, r.Store)
		})
	}
}

// TestDamageInOneLargeCommit flips a bit in the first of many frames that were
// committed together: what shared the frame is lost, and no more, where a footer
// or a snapshot tells how far the segment went.
func TestDamageInOneLargeCommit(t *testing.T) {
	const n = 12
	for _, sealed := range []bool{true, false} {
		t.Run(fmt.Sprint("sealed ", sealed), func(t *testing.T) {
			fs := simfs.New()
			r := start(t, options(fs))
			sid := r.session("a")
			r.stop()
			s, err := store.Open(options(fs))
			if err != nil {
				t.Fatal(err)
			}
			count := n
			if sealed {
				count = 2 * n // the rest goes into another segment
			}
			want := ""
			for i := 1; i <= count; i++ {
				s.Append(message(sid, fmt.Sprintf("m%d|%s", i, strings.Repeat("x", 3000))), nil)
			}
			r = run(t, s)
			r.publish(sid, "last")
			image := fs.Clone()
			r.stop()
			if !sealed {
				image = fs.Clone() // with a snapshot
			}
			damaged := false
			for _, name := range image.Names() {
				image.Change(name, func(b []byte) []byte {
					if at := strings.Index(string(b), "m1|"); at > 0 && strings.HasPrefix(name, "seg-") {
						b[at+50] ^= 1
						damaged = true
					}
					return b
				})
			}
			if !damaged {
				t.Fatal("nothing was damaged")
			}
			r = start(t, options(image))
			got := drain(t, r.OpenQueue(sid, nil))
			for i := 6; i <= count; i++ {
				want += fmt.Sprintf(" %d:m%d", i, i)
			}
			want += fmt.Sprintf(" %d:last", count+1)
			if !strings.HasSuffix(" "+got, want) {
				t.Errorf("more is lost than one frame: %s", got)
			}
			equal(t, "damaged places", r.Stats().CorruptFrames, 1)
			balance(t, r.Store)
		})
	}
}

func TestNewerVersionIsLeftAlone(t *testing.T) {
	for _, prefix := range []string{"seg-", "snap-"} {
		fs, _ := fiveMessages(t, true, false)
		// Version 9 with a sound checksum, as a later program would write it.
		fs.Change(only(fs, prefix), func(b []byte) []byte { return store.WithVersion(b, 9) })
		fs.Create("free-00000000000000ff.seg", 100) // of another size
		before := fmt.Sprint(fs.Names())
		r := start(t, options(fs))
		if err := r.Err(); !errors.Is(err, store.ErrVersion) || !errors.Is(err, store.ErrFailed) {
			t.Fatalf("%s: %v", prefix, err)
		}
		equal(t, "sessions", len(r.Sessions()), 0)
		equal(t, "files", fmt.Sprint(fs.Names()), before)
	}
}

func TestForeignSegmentIsSetAside(t *testing.T) {
	fs, sid := fiveMessages(t, true, false)
	other, _ := fiveMessages(t, false, false)
	var foreign []byte
	other.Change(only(other, "seg-"), func(b []byte) []byte { foreign = b; return b })
	name := only(other, "seg-")
	if slices.Contains(fs.Names(), name) {
		name = "seg-00000000000000aa.log"
		foreign = store.WithID(foreign, 0xaa)
	}
	fs.Create(name, 0)
	fs.Change(name, func([]byte) []byte { return slices.Clone(foreign) })
	r := start(t, options(fs))
	equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), "1:m1 2:m2 3:m3 4:m4 5:m5")
	if !slices.Contains(fs.Names(), "quarantine/"+name) {
		t.Errorf("not in quarantine: %q", fs.Names())
	}
}

// What a torn commit leaves behind it must never come back as if it followed
// what is written over its beginning later.
func TestStaleFramesStayDead(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	r.publish(sid, "first|")
	r.stop()
	s, err := store.Open(options(fs))
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 9000) // so that each has a frame of its own
	s.Append(message(sid, "old1|"+big), nil)
	s.Append(message(sid, "tiny|"), nil) // shares it: as many records as new1 and the clock
	s.Append(message(sid, "old2|"+big), nil)
	r = run(t, s) // one commit of two frames
	r.publish(sid, "old3")
	torn := fs.Clone()
	r.stop()
	at := frameOf(torn, "old1|")
	flip(torn, only(torn, "seg-"), at+5000)
	// The third was another commit, which the crash came before.
	at = frameOf(torn, "old3")
	torn.Change(only(torn, "seg-"), func(b []byte) []byte { clear(b[at : at+4096]); return b })

	r = start(t, options(torn))
	equal(t, "torn", drain(t, r.OpenQueue(sid, nil)), "1:first")
	equal(t, "torn tails", r.Stats().TornTails, 1)
	r.publish(sid, "new1|"+big) // same place, same length, same number
	killed := torn.Clone()
	r.stop()

	r = start(t, options(killed))
	equal(t, "after", drain(t, r.OpenQueue(sid, nil)), "1:first 2:new1")
	equal(t, "damaged places", r.Stats().CorruptFrames, 0)
}

// A store of the version before is read, and what is new goes into a segment of
// its own, which that version refuses.
func TestOldVersion(t *testing.T) {
	fs := simfs.New()
	r := start(t, options(fs))
	sid := r.session("a")
	for _, p := range []string{"one", "two", "three"} {
		r.publish(sid, p) // a frame each: as it was written before
	}
	r.stop()
	old := only(fs, "seg-")
	fs.Change(old, func(b []byte) []byte { return store.WithVersion(b, 1) })
	r = start(t, options(fs))
	r.publish(sid, "four")
	equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), "1:one 2:two 3:three 4:four")
	equal(t, "segments", r.Stats().Segments, 2)
	r.stop()
	r = start(t, options(fs))
	equal(t, "reopened", drain(t, r.OpenQueue(sid, nil)), "1:one 2:two 3:three 4:four")
	equal(t, "damaged places", r.Stats().CorruptFrames, 0)
}

// A process is killed at each step, the next one goes on, and then the power
// fails: what that one promised is there, although the first had no time to sync.
func TestKillThenPowerCut(t *testing.T) {
	first := simfs.New()
	r := start(t, options(first))
	sid := r.session("a")
	for range 20 { // over into the next segments
		r.publish(sid, strings.Repeat("x", 8000))
	}
	r.stop()
	for replay := first.Replay(); replay.Left() > 0; {
		replay.Step()
		fs := replay.Kill()
		r := start(t, options(fs))
		sid := r.session("b")
		r.publish(sid, "two")
		left := fs.Replay()
		r.stop()
		for left.Left() > 0 {
			left.Step()
		}
		r = start(t, options(left.Crash(simfs.Lost, nil)))
		q := r.OpenQueue(sid, nil)
		if q == nil {
			t.Fatalf("killed %d steps before the end: the session is lost", replay.Left())
		}
		equal(t, fmt.Sprintf("killed %d steps before the end", replay.Left()), drain(t, q), "1:two")
		r.stop()
	}
}
