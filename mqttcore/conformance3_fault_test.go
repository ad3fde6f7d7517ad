package mqttcore

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// fullDisk is a disk that has no room for a while.
type fullDisk struct {
	store.FS
	full *atomic.Bool
}

func (d fullDisk) Create(name string, size int64) (store.File, error) {
	if d.full.Load() {
		return nil, syscall.ENOSPC
	}
	return d.FS.Create(name, size)
}

// TestMQTT3Faults goes through what MQTT 3.1.1 demands when the server meets
// an error of its own.
func TestMQTT3Faults(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	r.stop()
	disk, err := store.Disk(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	full := new(atomic.Bool)
	r.disk = fullDisk{disk, full}
	r.up()
	r.judge(t, []statement{
		{"MQTT-4.8.0-2", func(r *rig) {
			large := strings.Repeat("large", 100_000)
			for qos := byte(1); qos <= 2; qos++ {
				r.away("needs the disk", 2, "disk")
				pub, _ := r.connect(packet.V311, "pub")
				other, _ := r.connect(packet.V311, "other")
				full.Store(true)
				kept, before := 0, r.st.Stats().Dropped[store.ReasonQuota]
				for ; ; kept++ {
					pub.send(message("disk", large, qos, uint16(kept+1)))
					if pub.read() == nil {
						break // not acknowledged
					}
					if kept > 100 {
						r.t.Fatal("a full disk takes everything")
					}
				}
				other.silent()
				full.Store(false)
				pub, _ = r.connect(packet.V311, "pub")
				pub.send(message("disk", "again", qos, 1))
				pub.silentAfter(qos)
				c := r.back("needs the disk")
				came := 0
				for m := expect[*packet.Publish](c); string(m.Payload) != "again"; m = expect[*packet.Publish](c) {
					came++
				}
				// What was acknowledged came, or gave way to newer ones and was counted.
				if gaveWay := int(r.st.Stats().Dropped[store.ReasonQuota] - before); came+gaveWay != kept {
					r.t.Errorf("%d acknowledged, %d came and %d gave way", kept, came, gaveWay)
				}
				c.leave(0)
			}
		}},
	})
}
