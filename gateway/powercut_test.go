package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/mqttcore/packet"
)

// card is an ext4 file system in a file, mounted in a place of its own.
type card struct {
	t     testing.TB
	at    *place
	image string
	dir   string
}

func newCard(t testing.TB) *card {
	t.Helper()
	c := &card{t: t, at: newPlace(t, unix.CLONE_NEWNS), image: filepath.Join(t.TempDir(), "card"), dir: t.TempDir()}
	f, err := os.Create(c.image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	c.at.command(t, "mkfs.ext4", "-q", "-E", "nodiscard", c.image)
	c.mount()
	return c
}

// mount mounts the card; a journal is replayed.
func (c *card) mount() {
	c.t.Helper()
	c.at.command(c.t, "mount", "-o", "loop,noatime", c.image, c.dir)
}

// The ioctl of ext4 that ends all writing: EXT4_IOC_SHUTDOWN.
const (
	ext4Shutdown   = 0x8004587d // _IOR('X', 125, __u32)
	ext4NoLogFlush = 2          // the journal's last transactions are lost as well
)

// cut takes the power away: what is not on the card now never will be.
func (c *card) cut() {
	c.t.Helper()
	err := c.at.do(func() error {
		dir, err := os.Open(c.dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		return unix.IoctlSetPointerInt(int(dir.Fd()), ext4Shutdown, ext4NoLogFlush)
	})
	if err != nil {
		c.t.Fatalf("cut of the power: %v", err)
	}
}

// TestPowerCutsLoseNothing takes away the file system under the program: what
// was not synced is gone, as after a power cut.
func TestPowerCutsLoseNothing(t *testing.T) {
	cuts := long(t, 20)
	c := newCard(t)
	local, upstream := freePort(t), freePort(t)
	here, above := fmt.Sprintf("127.0.0.1:%d", local), fmt.Sprintf("127.0.0.1:%d", upstream)
	mosquitto(t, t.TempDir(), upstream)
	l := &load{t: t}
	l.receive(nil, above, "upstream2", "qos2/load/#", packet.V311, 2)
	l.receive(nil, above, "upstream1", "qos1/load/#", packet.V311, 2)
	s := newSite(t, relayConfig(here, above, filepath.Join(c.dir, "data"), 5))
	s.at = c.at
	g := s.start("--quiet")
	l.receive(nil, here, "local2", "load/#", packet.V5, 2)
	l.receive(nil, here, "local1", "load/#", packet.V311, 1)
	l.publish(nil, here, packet.V5, 2)
	l.publish(nil, here, packet.V311, 1)
	lot := rand.New(rand.NewPCG(13, 14))
	began := time.Now()
	for range cuts {
		l.flows()
		<-time.After(time.Duration(lot.IntN(200)) * time.Millisecond)
		g.freeze() // what the kernel says while it loses its disk is no longer passed on
		c.cut()
		g.kill()
		c.at.command(t, "umount", c.dir)
		c.mount()
		g = s.start("--quiet")
	}
	l.settle()
	t.Logf("%d power cuts in %v", cuts, time.Since(began).Round(time.Second))
	l.judge(allTheWay)
}
