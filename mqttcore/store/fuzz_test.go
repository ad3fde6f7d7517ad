package store_test

import (
	"fmt"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// FuzzFrame gives the decoders records that no writer wrote, under sound
// checksums, and bytes under none: in a segment, in its footer and in a
// snapshot. Opening and reading must neither panic nor run away.
func FuzzFrame(f *testing.F) {
	fs, _ := fiveMessages(&testing.T{}, true, false)
	fs.Change(only(fs, "seg-"), func(b []byte) []byte {
		records := store.RecordsOf(b)
		f.Add(records)
		for i := 0; i < len(records); i += 7 {
			changed := append([]byte{}, records...)
			changed[i] ^= 0xff
			f.Add(changed)
		}
		f.Add(b[:9000])
		return b
	})
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for i, files := range []map[string][]byte{
			{"seg-0000000000000001.log": store.SegmentOf(b)},
			{"seg-0000000000000001.log": store.SegmentOf(b), "snap-0000000001001000.snap": store.SnapshotOf(b)},
			{"seg-0000000000000001.log": b, "snap-0000000001001000.snap": b},
		} {
			image := simfs.New()
			for name, data := range files {
				if _, err := image.Create(name, 0); err != nil {
					t.Fatal(err)
				}
				image.Change(name, func([]byte) []byte { return append([]byte{}, data...) })
			}
			s, err := store.Open(options(image))
			if err != nil {
				t.Fatal(i, err)
			}
			for m := range s.RecoveredRetained() {
				_ = fmt.Sprint(m.Topic)
			}
			for _, ses := range s.Sessions() {
				q := s.OpenQueue(ses.ID, nil)
				q.Len()
				var d store.Delivery
				for n := 0; ; n++ {
					ok, err := q.Next(&d)
					if err != nil {
						t.Fatal(i, err)
					}
					if !ok {
						break
					}
					if n > len(b) {
						t.Fatal(i, "more deliveries than bytes")
					}
					q.Ack(d.Seq)
				}
			}
			s.Stats()
			s.Close()
		}
	})
}
