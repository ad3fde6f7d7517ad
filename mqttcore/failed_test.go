package mqttcore

import (
	"sync/atomic"
	"syscall"
	"testing"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// brokenDisk is a disk that takes what is written and cannot say so.
type brokenDisk struct {
	store.FS
	broken *atomic.Bool
}

type brokenFile struct {
	store.File
	broken *atomic.Bool
}

func (d brokenDisk) Open(name string) (store.File, error) {
	f, err := d.FS.Open(name)
	return brokenFile{f, d.broken}, err
}

func (d brokenDisk) Create(name string, size int64) (store.File, error) {
	f, err := d.FS.Create(name, size)
	return brokenFile{f, d.broken}, err
}

func (f brokenFile) Datasync() error {
	if f.broken.Load() {
		return syscall.EIO
	}
	return f.File.Datasync()
}

// TestUnsureIsNotRefused publishes at QoS 2 to a disk whose syncs fail although
// the message is on it. The publisher is not told that it was not taken, comes
// again after the repair and the message is there once.
func TestUnsureIsNotRefused(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	r.stop()
	disk, err := store.Disk(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	broken := new(atomic.Bool)
	r.disk = brokenDisk{disk, broken}
	r.up()
	sub, _ := r.connect(packet.V5, "sub", keep)
	sub.subscribe(2, "t")
	sub.close()
	pub, _ := r.connect(packet.V5, "pub", keep)

	broken.Store(true)
	pub.send(message("t", "unsure", 2, 7))
	pub.expectClosed(packet.ImplementationSpecificError)

	r.fails = true
	r.stop()
	r.fails = false
	broken.Store(false)
	r.up()
	pub, _ = r.connect(packet.V5, "pub", keep)
	again := message("t", "unsure", 2, 7)
	again.Dup = true
	pub.send(again)
	pub.expectAck(packet.PUBREC, 7, packet.Success)
	pub.send(answer(packet.PUBREL, 7))
	pub.expectAck(packet.PUBCOMP, 7, packet.Success)
	pub.send(message("t", "next", 2, 7))
	pub.expectAck(packet.PUBREC, 7, packet.Success)

	sub, _ = r.connect(packet.V5, "sub", keep)
	sub.expectMessage("unsure")
	sub.expectMessage("next")
	sub.silent()
}
