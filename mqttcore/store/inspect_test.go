package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// content is every file below dir with a checksum of what is in it.
func content(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %x\n", path, sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func inspect(t *testing.T, dir string) *Inspection {
	t.Helper()
	i, err := Inspect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func queued(t *testing.T, i *Inspection, sid SID) (all []string) {
	t.Helper()
	err := i.Each(sid, func(d *Delivery) error {
		all = append(all, fmt.Sprintf("%d:%s=%s", d.Seq, d.Topic, d.Payload))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInspectOpenStore(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	a, b, c := r.session("a"), r.session("b"), r.session("c")
	r.do("sub", func(d func(error)) { r.PutSubscription(a, Subscription{Filter: "x/#", Options: 1}, d) })
	for n := range 5 {
		r.publish("x", fmt.Sprint(n), a, b)
	}
	q := r.open(a)
	rest(t, q)
	q.Ack(1)
	q.Ack(3)
	q.Drop(4, "unfit")
	r.do("leave", func(d func(error)) { r.LeaveSession(b, d) })
	r.publish("y", "last", c) // takes the cursor along
	r.do("delete", func(d func(error)) { r.DeleteSession(c, d) })

	before := content(t, dir)
	i := inspect(t, dir)
	v, err := i.Verify()
	if err != nil {
		t.Fatal(err)
	}
	want(t, "findings", i.Findings(), "[]")
	want(t, "counted", v.Queued, 7)
	want(t, "a", queued(t, i, a), "[2:x=1 5:x=4]")
	want(t, "b", queued(t, i, b), "[1:x=0 2:x=1 3:x=2 4:x=3 5:x=4]")
	all, err := i.Queues()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range all {
		got = append(got, fmt.Sprintln(q.Client, q.Connected, q.Appended, q.Delivered, q.Queued, q.Dropped, q.InFlight, q.Bytes > 0, q.Oldest > 0, q.Subs))
	}
	want(t, "queues", got, []string{"a true 5 2 2 1 2 true true [{x/# 1 0}]\n", "b false 5 0 5 0 0 true true []\n"})
	is, st := i.Stats(), r.Stats()
	want(t, "totals", fmt.Sprint(is.Appended, is.Delivered, is.Queued, is.Dropped), fmt.Sprint(st.Appended, st.Delivered, st.Queued, st.Dropped))
	drops := i.Drops()
	if len(drops) != 1 || drops[0].Client != "a" || drops[0].From != 4 || drops[0].To != 4 || drops[0].Count != 1 || drops[0].Reason != "unfit" || time.Since(drops[0].At) > time.Minute {
		t.Errorf("drops %+v", drops)
	}
	l, err := i.Log()
	if err != nil {
		t.Fatal(err)
	}
	want(t, "log", fmt.Sprint(l.Open, l.Clean, l.Segments, l.Snapshots, l.Free, l.Aside), "true false 1 0 2 0")
	want(t, "folder", content(t, dir), before)

	r.stop()
	l, err = inspect(t, dir).Log()
	if err != nil {
		t.Fatal(err)
	}
	want(t, "log after stop", fmt.Sprint(l.Open, l.Clean, l.Segments, l.Snapshots), "false true 1 1")
}

// sealed makes a closed store of several segments, two snapshots and two queues,
// of which one has everything.
func sealed(t *testing.T) (dir string, sid SID) {
	t.Helper()
	dir = t.TempDir()
	o := Options{Dir: dir, SegmentSize: minSegmentSize}
	r := start(t, o)
	sid = r.session("a")
	for n := range 60 {
		r.publish("x", fmt.Sprintf("message-%03d.", n)+strings.Repeat("x", 5000), sid)
	}
	r.stop()
	r = start(t, o)
	for n := range 20 {
		r.publish("x", fmt.Sprintf("message-%03d.", 60+n), sid)
	}
	r.stop()
	return dir, sid
}

func TestVerifyFindsDamage(t *testing.T) {
	files := func(dir, pattern string) []string {
		all, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(all) < 2 {
			t.Fatal(all, err)
		}
		return all
	}
	edit := func(file string, change func(b []byte) []byte) {
		b, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, change(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flipAt := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	for _, c := range []struct {
		name   string
		damage func(dir string) (file string)
		offset int64
		quick  bool // Inspect finds it, as the next start would
	}{
		{"a frame of a sealed segment", func(dir string) string {
			f := files(dir, "seg-*.log")[1]
			edit(f, flipAt(headerSize+2*blockSize+100)) // in the first of two pages
			return f
		}, headerSize + 2*blockSize, false},
		{"the header of a segment", func(dir string) string {
			f := files(dir, "seg-*.log")[1]
			edit(f, flipAt(20))
			return f
		}, -1, true},
		{"a segment cut off", func(dir string) string {
			f := files(dir, "seg-*.log")[1]
			edit(f, func(b []byte) []byte { return b[:headerSize+2*blockSize] })
			return f
		}, headerSize + 2*blockSize, true},
		{"a segment gone", func(dir string) string {
			if err := os.Remove(files(dir, "seg-*.log")[1]); err != nil {
				t.Fatal(err)
			}
			return ""
		}, -1, true},
		{"the newest snapshot", func(dir string) string {
			f := files(dir, "snap-*.snap")[1]
			edit(f, flipAt(headerSize+60))
			return f
		}, -1, true},
		{"the older snapshot", func(dir string) string {
			f := files(dir, "snap-*.snap")[0]
			edit(f, flipAt(headerSize+60))
			return f
		}, -1, false},
		{"the identity", func(dir string) string {
			f := filepath.Join(dir, idName)
			edit(f, flipAt(20))
			return f
		}, -1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, sid := sealed(t)
			i := inspect(t, dir)
			if _, err := i.Verify(); err != nil {
				t.Fatal(err)
			}
			want(t, "findings before", i.Findings(), "[]")
			want(t, "messages before", len(queued(t, i, sid)), 80)

			file := c.damage(dir)
			before := content(t, dir)
			i = inspect(t, dir)
			want(t, "found at once", len(i.Findings()) > 0, c.quick)
			if _, err := i.Verify(); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(i.Findings(), func(f Finding) bool {
				return (file == "" || f.File == filepath.Base(file)) && (c.offset < 0 || f.Offset < 0 || f.Offset == c.offset)
			}) {
				t.Errorf("%s is not among %v", file, i.Findings())
			}
			want(t, "folder", content(t, dir), before)
			// What the next start finds is the same, and it loses nothing more.
			left := queued(t, i, sid)
			r := start(t, Options{Dir: dir, SegmentSize: minSegmentSize})
			want(t, "queue", rest(t, r.open(sid)), left)
			want(t, "it is damage", r.Stats().CorruptFrames > 0, c.quick || file == files(dir, "seg-*.log")[1])
		})
	}
}

func TestInspectRefusals(t *testing.T) {
	if _, err := Inspect(t.Context(), filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	dir := t.TempDir()
	if _, err := Inspect(t.Context(), dir); !errors.Is(err, ErrNoStore) {
		t.Errorf("empty folder: %v", err)
	}
	want(t, "empty folder", content(t, dir), "")
	dir, _ = sealed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Inspect(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	segs, err := filepath.Glob(filepath.Join(dir, "seg-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(segs[0])
	if err == nil {
		err = os.WriteFile(segs[0], WithVersion(b, formatVersion+1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := content(t, dir)
	if _, err := Inspect(t.Context(), dir); !errors.Is(err, ErrVersion) {
		t.Errorf("newer version: %v", err)
	}
	want(t, "newer version", content(t, dir), before)
}

// A store that runs at full speed, recycling and dropping, is never called
// damaged.
func TestInspectWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Options{Dir: dir, SegmentSize: minSegmentSize, MaxBytes: 8 * minSegmentSize})
	kept, read := r.session("kept"), r.session("read")
	wake := make(chan struct{}, 1)
	q := r.OpenQueue(read, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for range 4 {
		work.Go(func() {
			m := Message{Topic: "x", Payload: make([]byte, 3000), QoS: 1, Routes: []Route{{Session: kept, QoS: 1}, {Session: read, QoS: 1}}}
			for ctx.Err() == nil {
				if err := r.AppendSync(ctx, &m); err != nil && ctx.Err() == nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	work.Go(func() {
		var d Delivery
		for {
			for {
				ok, err := q.Next(&d)
				if err != nil {
					t.Errorf("next: %v", err)
				}
				if !ok || err != nil {
					break
				}
				q.Ack(d.Seq)
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	})
	moved, appended := 0, uint64(0)
	for n := 0; n < 200 || r.Stats().Dropped[ReasonQuota] == 0; n++ {
		i, err := Inspect(t.Context(), dir)
		if n == 0 && errors.Is(err, ErrNoStore) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		v, err := i.Verify()
		if err != nil {
			t.Fatal(err)
		}
		if f := i.Findings(); len(f) > 0 {
			t.Fatalf("look %d: %v", n, f)
		}
		if v.Moved {
			moved++
		}
		st := i.Stats()
		if st.Appended < appended {
			t.Errorf("%d appended, and %d before", st.Appended, appended)
		}
		appended = st.Appended
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d messages, files went away under %d looks", appended, moved)
}

// still is a clock that stands.
type still struct{}

func (still) Boot() time.Duration     { return time.Hour }
func (still) Wall() (time.Time, bool) { return time.UnixMilli(0), false }
func (still) BootID() string          { return "one" }

// What a full queue turned away in one millisecond is alike in all but its
// place, and is counted one by one all the same: from the log, and once where a
// snapshot has it, too.
func TestInspectAlikeLosses(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Options{Dir: dir, Clock: still{}})
	sid := r.session("a")
	r.LimitSession(sid, Limit{MaxBytes: 1, WhenFull: DropNewest})
	for range 5 {
		r.publish("x", "turned away", sid)
	}
	onRecord := func() (n uint64) {
		for _, d := range inspect(t, dir).Drops() {
			n += d.Count
		}
		return n
	}
	want(t, "by the log", onRecord(), 5)
	r.stop()
	want(t, "by the log and the snapshot", onRecord(), 5)
}

// TestPipesInTheFolder puts a pipe, which nobody writes into, where each of the
// files was: neither who looks nor the store itself waits for it.
func TestPipesInTheFolder(t *testing.T) {
	from, _ := sealed(t)
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		pipe := filepath.Join(dir, e.Name())
		if err := errors.Join(os.RemoveAll(pipe), unix.Mkfifo(pipe, 0o600)); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if i, err := Inspect(t.Context(), dir); err == nil {
				i.Close()
			}
			if s, err := Open(Options{Dir: dir}); err == nil {
				s.Close()
			}
		}()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("%s as a pipe: still waiting", e.Name())
		}
	}
}
