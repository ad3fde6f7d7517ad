package mqttcore

import (
	"fmt"
	"runtime"
	"testing"

	"sluice/mqttcore/packet"
)

// manyRetained retains n messages of 50 bytes on topics like a building's and
// tells how many bytes of memory each takes.
func (r *rig) manyRetained(n int) float64 {
	r.t.Helper()
	before := liveHeap()
	m := Message{Payload: make([]byte, 50), QoS: 1, Retain: true, Live: true}
	for i := range n {
		m.Topic = fmt.Sprintf("site/%d/device/%d/value%d", i/1000, i/10%100, i%10)
		if err := r.PublishAsync(m, func(error) {}); err != nil {
			r.t.Fatal(err)
		}
	}
	return float64(int64(liveHeap()-before)) / float64(n)
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestManyRetained: 100,000 retained messages take less memory than is
// counted, and whoever asks for all of them gets all of them, at its own pace.
func TestManyRetained(t *testing.T) {
	const n = 100_000
	r := start(t, Config{SysInterval: -1, MaxQueuedBytes: 1 << 20})
	each := r.manyRetained(n)
	s := r.Stats()
	counted := float64(s.RetainedBytes) / n
	t.Logf("%.0f bytes for each retained message, counted as %.0f", each, counted)
	if s.Retained != n || s.RetainedRefused != 0 || each > counted {
		t.Errorf("%d retained, %d refused; %.0f bytes each, counted as %.0f", s.Retained, s.RetainedRefused, each, counted)
	}
	others := steady(r)
	for qos, ask := range []struct {
		filter string
		n      int
	}{{"site/#", n}, {"site/+/device/+/value1", n / 10}} {
		qos := byte(qos)
		c, _ := r.connect(packet.V5, fmt.Sprint("all", qos))
		c.subscribe(qos, ask.filter)
		others.flows(1) // while nothing of it is read
		var acks []byte
		for i := range ask.n {
			m := expect[*packet.Publish](c)
			if !m.Retain || m.QoS != qos {
				t.Fatalf("message %d: %+v", i, m)
			}
			if qos == 1 {
				acks = answer(packet.PUBACK, m.PacketID).Append(acks, c.v)
			}
			if len(acks) > 500 {
				c.write(acks)
				acks = acks[:0]
			}
		}
		c.write(acks)
		c.silent()
		c.close()
	}
	if n := r.Stats().Dropped; n != 0 {
		t.Errorf("%d dropped", n)
	}
	others.finish()
	r.idle()
}

// TestRetainedBound: the bound holds for topics of many levels that nobody
// shares, the dearest there are.
func TestRetainedBound(t *testing.T) {
	const bound = 8 << 20
	r := start(t, Config{SysInterval: -1, MaxRetainedBytes: bound})
	others := steady(r)
	pub, _ := r.connect(packet.V311, "pub")
	before := liveHeap()
	for i := 0; r.Stats().RetainedRefused < 1000; i++ {
		var b []byte
		for k := range 100 {
			p := message(fmt.Sprintf("%d-%d/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z", i, k), "x", 0, 0)
			p.Retain = true
			b = p.Append(b, pub.v)
		}
		pub.write(b)
		pub.silent()
	}
	if s, used := r.Stats(), int64(liveHeap()-before); s.RetainedBytes > bound+bound/64 || used > bound*5/4 {
		t.Errorf("%d retained take %d bytes and are counted as %d", s.Retained, used, s.RetainedBytes)
	}
	others.finish()
}

// BenchmarkRetained reports what a million retained messages take, and how
// fast a subscriber gets them.
func BenchmarkRetained(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		r := start(b, Config{SysInterval: -1, MaxRetainedBytes: 1 << 30})
		b.ReportMetric(r.manyRetained(n), "B/topic")
		c, _ := r.connect(packet.V311, "all")
		c.subscribe(0, "site/#")
		for range n {
			expect[*packet.Publish](c)
		}
		r.stop()
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "topics/s")
}
