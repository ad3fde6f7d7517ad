package bridge

import (
	"fmt"
	"testing"

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

// BenchmarkPut is the making of one packet of 100 bytes payload, with its
// topic and with an alias.
func BenchmarkPut(b *testing.B) {
	for name, most := range map[string]int{"topic": 0, "alias": 10} {
		b.Run(name, func(b *testing.B) {
			f := writer("site7/", limits{version: packet.V5, packet: maxPacket, aliases: most})
			local, payload := []byte("home/meter/voltage_l1"), make([]byte, 100)
			b.ReportAllocs()
			for b.Loop() {
				f.out = f.out[:0]
				out := packet.Outgoing{PacketID: 1, QoS: 1, Retain: true}
				if _, why := f.unsendable(local, payload, &out); why != "" {
					b.Fatal(why)
				}
				f.put(payload, &out)
			}
			b.SetBytes(int64(len(f.out)))
		})
	}
}
