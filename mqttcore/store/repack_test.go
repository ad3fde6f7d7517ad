package store_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// trickle appends small messages, each in a commit of its own, to a session that
// does not read and to one that reads all.
func trickle(r *running, lagging, reading store.SID, from, count int) {
	q := r.OpenQueue(reading, nil)
	var d store.Delivery
	for i := range count {
		m := message(reading, fmt.Sprint(from+i))
		if i%5 == 0 {
			m.Routes = append(m.Routes, store.Route{Session: lagging, QoS: 1, SubIDs: []uint32{7, uint32(i + 1)}})
		}
		r.must(func(done func(error)) { r.Append(m, done) })
		for {
			ok, err := q.Next(&d)
			if err != nil {
				r.t.Fatal(err)
			}
			if !ok {
				break
			}
			q.Ack(d.Seq)
		}
	}
	q.Close()
}

// What a laggard waits for takes the room that it needs, not that of all that
// went by, and is read as it was published, also after a kill.
func TestRepack(t *testing.T) {
	fs := simfs.New()
	o := options(fs)
	o.MaxBytes = 64 * segment
	r := start(t, o)
	a, b := r.session("lagging"), r.session("reading")
	trickle(r, a, b, 1, 1000)
	q := r.OpenQueue(a, nil) // one that has begun to read is not led astray
	var d store.Delivery
	for range 20 {
		if ok, err := q.Next(&d); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	trickle(r, a, b, 1001, 2000)
	st := r.Stats()
	t.Logf("%d segments packed, %d left of %d", st.Repacked, st.Segments, 3000*4096/segment)
	if st.Repacked < 100 || st.Segments > 66 {
		t.Errorf("%d segments packed, %d in use", st.Repacked, st.Segments)
	}
	n, bytes := r.Backlog(a)
	if want := uint64(600*len("t") + 600*4 - 200 + 1); n != 600 || bytes > want || bytes < want-700 {
		t.Errorf("%d messages, %d bytes queued, wanted 600 and %d", n, bytes, want)
	}
	balance(t, r.Store)
	want := make([]string, 600)
	for i := range want {
		want[i] = fmt.Sprint(i+1, ":", 1+5*i)
	}
	equal(t, "the rest", drain(t, q), strings.Join(want[20:], " "))
	q.Rewind()
	equal(t, "rewound", drain(t, q), strings.Join(want, " "))
	killed := fs.Clone()
	r.stop()
	for _, image := range []*simfs.FS{fs, killed} {
		o.FS = image
		r = start(t, o)
		q = r.OpenQueue(a, nil)
		equal(t, "reopened", drain(t, q), strings.Join(want, " "))
		for seq := range uint64(300) {
			q.Ack(seq + 1)
		}
		q.Rewind()
		equal(t, "rewound after acknowledgements", drain(t, q), strings.Join(want[300:], " "))
		equal(t, "corrupt", r.Stats().CorruptFrames, 0)
		balance(t, r.Store)
		r.stop()
	}
}
