package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// refuses checks that a store takes nothing and says why, over its whole life.
func refuses(t *testing.T, r *running, why error, remedy string) {
	t.Helper()
	err := r.await(func(done func(error)) { r.Append(message(1, "x"), done) })
	if !errors.Is(err, store.ErrFailed) || !errors.Is(err, why) || !strings.Contains(err.Error(), remedy) {
		t.Errorf("append: %v", err)
	}
	if !errors.Is(r.Err(), why) {
		t.Errorf("store says: %v", r.Err())
	}
	equal(t, "session", r.CreateSession("b", "", 3600, nil), 0)
	st := r.Stats()
	if st.State != "failed" || !errors.Is(st.Err, why) {
		t.Errorf("stats say: %s, %v", st.State, st.Err)
	}
	balance(t, r.Store)
}

func TestFolderThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir    string
		why    error
		remedy string
	}{
		{file, syscall.ENOTDIR, "in the way"},
		{filepath.Join(file, "data"), syscall.ENOTDIR, "in the way"},
		{"/proc/nobody/data", fs.ErrNotExist, "dmesg"},
	} {
		t.Run(c.dir, func(t *testing.T) {
			r := start(t, store.Options{Dir: c.dir})
			refuses(t, r, c.why, c.remedy)
			equal(t, "sessions", len(r.Sessions()), 0)
		})
	}
}

// TestUnwritableStoreIsRead opens a store that can only be read: what is queued
// can be handed out, and is there again afterwards.
func TestUnwritableStoreIsRead(t *testing.T) {
	const all = "1:m1 2:m2 3:m3 4:m4 5:m5"
	for _, clean := range []bool{false, true} {
		for why, remedy := range map[error]string{syscall.EROFS: "read-only", syscall.EACCES: "user"} {
			image, sid := fiveMessages(t, true, clean)
			before := fmt.Sprint(image.Names())
			image.SetReadOnly(why)
			for range 2 {
				r := start(t, options(image))
				refuses(t, r, why, remedy)
				q := r.OpenQueue(sid, nil)
				equal(t, "queue", drain(t, q), all)
				for seq := uint64(1); seq <= 5; seq++ {
					q.Ack(seq)
				}
				if err := r.await(func(done func(error)) { q.Release(5, done) }); !errors.Is(err, store.ErrFailed) {
					t.Errorf("release: %v", err)
				}
				n, _ := q.Len()
				equal(t, "left", n, 0)
				equal(t, "damaged places", r.Stats().CorruptFrames, 0)
				r.stop()
			}
			equal(t, "files", fmt.Sprint(image.Names()), before)
			image.SetReadOnly(nil)
			r := start(t, options(image))
			equal(t, "writable again", drain(t, r.OpenQueue(sid, nil)), all)
			r.publish(sid, "next")
		}
	}
}

// TestUnreadableFolder fails what Open needs of the whole folder, for good:
// nothing is touched, and all is there when it works again.
func TestUnreadableFolder(t *testing.T) {
	for _, kind := range []simfs.Kind{simfs.Lock, simfs.List, simfs.Open, simfs.Read} {
		t.Run(string(kind), func(t *testing.T) {
			image, sid := fiveMessages(t, true, false)
			before := fmt.Sprint(image.Names())
			image.SetFault(func(k simfs.Kind, _ string) error {
				if k == kind {
					return syscall.EIO
				}
				return nil
			})
			r := start(t, options(image))
			refuses(t, r, syscall.EIO, "disk has errors")
			r.stop()
			equal(t, "files", fmt.Sprint(image.Names()), before)
			image.SetFault(nil)
			r = start(t, options(image))
			equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), "1:m1 2:m2 3:m3 4:m4 5:m5")
		})
	}
}

// TestUnreadablePages fails single pages for good, while the store is opened:
// it costs what is in them.
func TestUnreadablePages(t *testing.T) {
	t.Parallel()
	image, sid := fiveMessages(t, true, false)
	for _, name := range image.Names() {
		if strings.HasPrefix(name, "free-") {
			continue
		}
		for page := int64(0); page < int64(image.Size(name)/4096); page++ {
			fs := image.Clone()
			fs.SpoilPage(name, page)
			r := start(t, options(fs))
			if err := r.Err(); err != nil {
				t.Fatalf("%s, page %d: %v", name, page, err)
			}
			got := drain(t, r.OpenQueue(sid, nil))
			if n := len(strings.Fields(got)); n < 4 {
				t.Errorf("%s, page %d: only %q", name, page, got)
			} else if n == 4 && r.Stats().CorruptFrames == 0 {
				t.Errorf("%s, page %d: %q, and nobody noticed", name, page, got)
			}
			r.publish(sid, "next")
			if got = drain(t, r.OpenQueue(sid, nil)); !strings.HasSuffix(got, ":next") {
				t.Errorf("%s, page %d: after it %q", name, page, got)
			}
			balance(t, r.Store)
			r.stop()
		}
	}
}

// TestUnreadablePageInAQueue fails a page for good while a queue that lags is
// read: it is tried again, then given up, and the others go on.
func TestUnreadablePageInAQueue(t *testing.T) {
	image, sid := fiveMessages(t, false, false)
	tried := 0
	r := start(t, options(image)) // nothing of it is in memory
	seg := only(image, "seg-")
	image.SpoilPage(seg, int64(frameOf(image, "m3"))/4096)
	image.SetFault(func(k simfs.Kind, name string) error {
		if k == simfs.Read {
			tried++
		}
		return nil
	})
	q := r.OpenQueue(sid, nil)
	equal(t, "queue", drain(t, q), "1:m1 2:m2 4:m4 5:m5")
	if tried < 4 {
		t.Errorf("%d reads: it was not tried again", tried)
	}
	st := r.Stats()
	equal(t, "lost", st.Dropped[store.ReasonCorrupt], 1)
	equal(t, "damaged places", st.CorruptFrames, 1)
	balance(t, r.Store)
	r.publish(sid, "next")
	r.stop()
	r = start(t, options(image))
	equal(t, "reopened", drain(t, r.OpenQueue(sid, nil)), "1:m1 2:m2 4:m4 5:m5 6:next")
	equal(t, "lost", r.Stats().Dropped[store.ReasonCorrupt], 1)
}

// TestPageThatIsReadLater fails a page a few times only: nothing is lost.
func TestPageThatIsReadLater(t *testing.T) {
	image, sid := fiveMessages(t, false, false)
	r := start(t, options(image))
	left := 3
	image.SetFault(func(k simfs.Kind, name string) error {
		if k == simfs.Read && left > 0 {
			left--
			return syscall.EIO
		}
		return nil
	})
	equal(t, "queue", drain(t, r.OpenQueue(sid, nil)), "1:m1 2:m2 3:m3 4:m4 5:m5")
	equal(t, "damaged places", r.Stats().CorruptFrames, 0)
}

// TestQueueOfAFailedStore reads on after the disk has failed for good, and
// gives nothing up that it cannot read then.
func TestQueueOfAFailedStore(t *testing.T) {
	image, sid := fiveMessages(t, false, false)
	r := start(t, options(image))
	broken := syscall.EIO
	image.SetFault(func(k simfs.Kind, name string) error {
		if k == simfs.Sync || k == simfs.Write {
			return broken
		}
		return nil
	})
	refuses(t, r, syscall.EIO, "disk has errors")
	q := r.OpenQueue(sid, nil)
	var d store.Delivery
	if ok, err := q.Next(&d); !ok || err != nil {
		t.Fatalf("the log cannot be read: %v", err)
	}
	q.Ack(d.Seq)
	image.SetFault(func(simfs.Kind, string) error { return broken })
	q.Rewind()
	if ok, err := q.Next(&d); ok || !errors.Is(err, syscall.EIO) {
		t.Errorf("from a disk that is gone: %v, %v", ok, err)
	}
	image.SetFault(nil)
	equal(t, "rest", drain(t, q), "2:m2 3:m3 4:m4 5:m5")
	equal(t, "damaged places", r.Stats().CorruptFrames, 0)
}

// TestFolderRemoved takes the folder away from under a store. It takes nothing
// more when it is next to begin a segment, rather than begin a log anew unseen.
func TestFolderRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, store.Options{Dir: dir, SegmentSize: segment})
	sid := r.session("a")
	// The store makes its next segment in the background, perhaps just between
	// the removal of the files and that of the folder.
	err := os.RemoveAll(dir)
	for n := 0; errors.Is(err, syscall.ENOTEMPTY) && n < 100; n++ {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		err := r.await(func(done func(error)) { r.Append(message(sid, strings.Repeat("x", 8000)), done) })
		if errors.Is(err, store.ErrFailed) && errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil || n == 100 {
			t.Fatalf("message %d without a folder: %v", n, err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there again: %v", err)
	}
}
