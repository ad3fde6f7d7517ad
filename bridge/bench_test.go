package bridge

import (
	"fmt"
	"testing"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
)

// BenchmarkDrain empties a queue into mosquitto, as after an outage.
func BenchmarkDrain(b *testing.B) {
	for _, qos := range []byte{1, 2} {
		for _, window := range []int{20, 100, 1000} {
			b.Run(fmt.Sprintf("qos%d/window%d", qos, window), func(b *testing.B) {
				up := newUpstream(b, "max_inflight_messages 0")
				cfg := linkTo(up.addr, qos)
				cfg.Window = window
				g := startGateway(b, b.TempDir(), cfg)
				g.publish(b, "home/meter/voltage_l1", qos, 1, b.N)
				up.start()
				eventually(b, "the link is up", func() bool { return g.link.Stats().Connected })
				before := g.link.Stats().Forwarded
				b.ResetTimer()
				settledAll(b, g)
				b.StopTimer()
				s := g.link.Stats()
				if s.Forwarded != uint64(b.N) {
					b.Fatalf("figures: %+v", s)
				}
				b.ReportMetric(float64(s.Forwarded-before)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkAppendPublish is the making of one packet of 100 bytes payload.
func BenchmarkAppendPublish(b *testing.B) {
	d := mqttcore.Delivery{Seq: 1, Topic: []byte("home/meter/voltage_l1"), Payload: make([]byte, 100)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendPublish(buf[:0], packet.V5, "site7/", &d, 1, 1, false, true)
	}
	b.SetBytes(int64(len(buf)))
}
