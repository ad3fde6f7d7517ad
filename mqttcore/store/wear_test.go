package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// card is an ext4 on a loop device, which counts what reaches it. Only root can
// make one. Of its own the file system commits every so many seconds.
type card struct {
	t      testing.TB
	dir    string
	device string
}

func newCard(t testing.TB, mib int, commit string) *card {
	t.Helper()
	image := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(mib)<<20); err != nil {
		t.Fatal(err)
	}
	tool := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s: run `make peers`, as root where there are loop devices", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	tool("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
	c := &card{t: t, dir: t.TempDir()}
	c.device = filepath.Base(tool("losetup", "-f", "--show", image))
	t.Cleanup(func() { tool("losetup", "-d", "/dev/"+c.device) })
	tool("mount", "-o", "noatime,commit="+commit, "/dev/"+c.device, c.dir)
	t.Cleanup(func() {
		if err := unix.Unmount(c.dir, 0); err != nil {
			t.Error(err)
		}
	})
	return c
}

// worn is what the card was made to do.
type worn struct {
	bytes, writes, flushes uint64
}

func (c *card) worn() (w worn) {
	c.t.Helper()
	b, err := os.ReadFile("/sys/block/" + c.device + "/stat")
	if err != nil {
		c.t.Fatal(err)
	}
	// The fields are those of Documentation/block/stat.rst of the kernel.
	var n [17]uint64
	f := strings.Fields(string(b))
	if len(f) < len(n) {
		c.t.Fatalf("the kernel counts no flushes: %s", b)
	}
	for i := range n {
		if _, err := fmt.Sscan(f[i], &n[i]); err != nil {
			c.t.Fatal(err)
		}
	}
	return worn{bytes: 512 * n[6], writes: n[4], flushes: n[15]}
}

// meter counts what the store asks of its folder.
type meter struct {
	FS
	bytes, syncs atomic.Uint64
}

func (m *meter) Open(name string) (File, error) {
	f, err := m.FS.Open(name)
	return meteredFile{f, m}, err
}

func (m *meter) Create(name string, size int64) (File, error) {
	f, err := m.FS.Create(name, size)
	return meteredFile{f, m}, err
}

func (m *meter) SyncDir() error {
	m.syncs.Add(1)
	return m.FS.SyncDir()
}

type meteredFile struct {
	File
	m *meter
}

func (f meteredFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.bytes.Add(uint64(len(p)))
	return f.File.WriteAt(p, off)
}

func (f meteredFile) Datasync() error {
	f.m.syncs.Add(1)
	return f.File.Datasync()
}

// TestWear: a commit of one small message costs one page and one flush, and
// little more with all that belongs to it: snapshots, cursors, and new segments.
// Where the test is root's it asks the disk, else it counts what is asked of it.
func TestWear(t *testing.T) {
	const (
		warm, measured = 2200, 1100
		maxBytes       = 4608 // for each commit
		maxFlushes     = 1.1
	)
	dir := t.TempDir()
	flash := os.Geteuid() == 0
	var c *card
	if flash {
		c = newCard(t, 128, "300") // not on time: how long the test takes is not its matter
		dir = filepath.Join(c.dir, "data")
	}
	disk, err := Disk(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{FS: disk}
	var before, after worn // by the disk's own account
	var bytes, syncs uint64
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{FS: m, SegmentSize: 2 << 20})
		defer r.stop()
		sid := r.session("a")
		q := r.open(sid)
		var d Delivery
		for i := range warm + measured {
			if i == warm {
				bytes, syncs = m.bytes.Load(), m.syncs.Load()
				if flash {
					before = c.worn()
				}
			}
			if i%100 == 0 {
				time.Sleep(snapPause) // of the bubble's clock
			}
			r.publish("home/floor1/meter/voltage", strings.Repeat("x", 100), sid)
			if ok, err := q.Next(&d); !ok || err != nil {
				t.Fatal(ok, err)
			}
			q.Ack(d.Seq)
		}
		bytes, syncs = m.bytes.Load()-bytes, m.syncs.Load()-syncs
		if flash {
			after = c.worn()
		}
		if n := r.Stats().Snapshots; n < 3 {
			t.Errorf("%d snapshots: what is measured is not the whole", n)
		}
	})
	check := func(what string, bytes, flushes uint64) {
		perBytes, perFlushes := float64(bytes)/measured, float64(flushes)/measured
		t.Logf("%s: %.0f B and %.3f flushes for each commit", what, perBytes, perFlushes)
		if perBytes > maxBytes || perFlushes > maxFlushes {
			t.Errorf("%s: %.0f B and %.2f flushes for each commit, want at most %d B and %v", what, perBytes, perFlushes, maxBytes, maxFlushes)
		}
	}
	check("asked of the folder", bytes, syncs)
	if flash {
		check("done by the disk", after.bytes-before.bytes, after.flushes-before.flushes)
	}
}

// TestWearOfNewSpace: also where a segment is written for the first time, the
// file system is not made to write about each commit.
func TestWearOfNewSpace(t *testing.T) {
	dir := t.TempDir()
	disk, err := Disk(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{FS: disk}
	r := start(t, Options{FS: m})
	sid := r.session("a")
	const n = 3 * aheadBytes / blockSize
	bytes, syncs := m.bytes.Load(), m.syncs.Load()
	for range n {
		r.publish("t", "x", sid)
	}
	bytes, syncs = m.bytes.Load()-bytes, m.syncs.Load()-syncs
	if most := uint64(n*2*blockSize + aheadBytes); bytes > most || syncs > n*11/10 {
		t.Errorf("%d commits in new space: %d B and %d flushes, want at most %d B and %d", n, bytes, syncs, most, n*11/10)
	}
	// Commits that are large themselves are not doubled.
	before := m.bytes.Load()
	for range 8 {
		r.publish("t", strings.Repeat("x", 2*aheadUpTo), sid)
	}
	if bytes := m.bytes.Load() - before; bytes > 8*(2*aheadUpTo+2*blockSize) {
		t.Errorf("8 commits of %d B: %d B written", 2*aheadUpTo, bytes)
	}
}

// TestIdle: a store that nobody uses writes nothing, once what there was to
// write lazily is written.
func TestIdle(t *testing.T) {
	disk, err := Disk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{FS: disk}
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{FS: m})
		defer r.stop()
		sid := r.session("a")
		q := r.open(sid)
		r.publish("t", "x", sid)
		r.publish("t", "y", sid)
		var d Delivery
		if ok, err := q.Next(&d); !ok || err != nil {
			t.Fatal(ok, err)
		}
		q.Ack(d.Seq)
		time.Sleep(snapInterval + time.Minute) // of the bubble's clock
		bytes, syncs := m.bytes.Load(), m.syncs.Load()
		time.Sleep(24 * time.Hour)
		if b, s := m.bytes.Load()-bytes, m.syncs.Load()-syncs; b != 0 || s != 0 {
			t.Errorf("%d bytes and %d flushes in a day without anything to store", b, s)
		}
	})
}

// BenchmarkWear is what readings of 100 B cost a disk, ten a second one by one,
// by how long commits gather. Only root can run it: it makes a file system.
func BenchmarkWear(b *testing.B) {
	for _, interval := range []time.Duration{0, 10 * time.Millisecond, 250 * time.Millisecond, 2 * time.Second} {
		b.Run(interval.String(), func(b *testing.B) {
			c := newCard(b, 128, "5")
			r := start(b, Options{Dir: filepath.Join(c.dir, "data"), CommitInterval: interval, SegmentSize: 1 << 20})
			sid := r.session("a")
			m := Message{Topic: "home/floor1/meter/voltage", Payload: payload100, QoS: 1, Routes: []Route{{Session: sid, QoS: 1}}}
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			before, begin := c.worn(), time.Now()
			for b.Loop() {
				for range 100 {
					<-tick.C
					r.Append(&m, nil)
				}
			}
			after, seconds := c.worn(), time.Since(begin).Seconds()
			b.ReportMetric(float64(after.bytes-before.bytes)/1000/seconds, "KB/s")
			b.ReportMetric(float64(after.flushes-before.flushes)/seconds, "flushes/s")
			b.ReportMetric(float64(after.bytes-before.bytes)/1e12/seconds*365*86400, "TB/year")
		})
	}
}
