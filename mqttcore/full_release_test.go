package mqttcore

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// fill writes until the disk, which is full, takes not even the smallest record.
func (r *rig) fill() {
	r.t.Helper()
	for _, size := range []int{200_000, 20_000, 1} {
		for n := 0; ; n++ {
			err := r.st.AppendSync(r.t.Context(), &store.Message{Topic: "fill", StoreRetained: true, Payload: make([]byte, size)})
			if errors.Is(err, store.ErrFull) {
				break
			}
			if err != nil || n > 5000 {
				r.t.Fatalf("filling the disk: %v", err)
			}
		}
	}
}

// TestReleaseOfAFullDisk refuses what records the release of a QoS 2 message, in
// either direction, for want of room. The broker is killed when there is room
// again and the clients have gone on. Nothing is lost, and nothing comes twice.
func TestReleaseOfAFullDisk(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := start(t, Config{SysInterval: -1})
		r.stop()
		fs := simfs.New()
		full := new(atomic.Bool)
		fs.SetFault(func(kind simfs.Kind, name string) error {
			// Never a snapshot, which would take in what the log has not.
			if kind == simfs.Create && (full.Load() || name == "snap.tmp") {
				return syscall.ENOSPC
			}
			return nil
		})
		r.disk = fs
		r.up()

		sub, _ := r.connect(v, "sub", keep)
		sub.subscribe(2, "q")
		pub, _ := r.connect(v, "pub", keep)
		pub.send(message("q", "one", 2, 7))
		pub.expectAck(packet.PUBREC, 7, packet.Success)
		one := sub.expectMessage("one").PacketID
		full.Store(true)
		r.fill()
		pub.send(answer(packet.PUBREL, 7))
		pub.turnedAway()
		sub.send(answer(packet.PUBREC, one))
		sub.turnedAway()
		full.Store(false)

		sub, _ = r.connect(v, "sub", keep)
		sub.expectAck(packet.PUBREL, one, packet.Success)
		pub, _ = r.connect(v, "pub", keep)
		pub.send(answer(packet.PUBREL, 7))
		pub.expectAck(packet.PUBCOMP, 7, packet.Success)

		killed := fs.Clone()
		r.stop()
		r.disk = killed
		r.up()
		sub, _ = r.connect(v, "sub", keep)
		sub.expectAck(packet.PUBREL, one, packet.Success)
		pub, _ = r.connect(v, "pub", keep)
		pub.send(message("q", "two", 2, 7))
		pub.expectAck(packet.PUBREC, 7, packet.Success)
		sub.expectMessage("two")
	})
}

// turnedAway expects the connection to end instead of an answer.
func (c *client) turnedAway() {
	c.t.Helper()
	p := c.read()
	if _, ok := p.(*packet.Disconnect); ok {
		p = c.read()
	}
	if p != nil {
		c.t.Errorf("answered with %T %+v though the disk is full", p, p)
	}
}
