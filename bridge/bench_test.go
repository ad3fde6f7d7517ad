package bridge

import (
	"fmt"
	"testing"
	"time"

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

// BenchmarkDrainAt empties a queue of messages of 1000 bytes at a rate. What
// goes a second, without what may go at once, is to be what was asked for.
func BenchmarkDrainAt(b *testing.B) {
	for _, rate := range []int64{256 << 10, 4 << 20} {
		b.Run(fmt.Sprintf("%dKiB", rate>>10), func(b *testing.B) {
			up := newUpstream(b, "max_inflight_messages 0")
			line := newProxy(b, up.addr)
			cfg := linkTo(line.addr(), 1)
			cfg.Rate = rate
			g := startGateway(b, b.TempDir(), cfg)
			m := mqttcore.Message{Topic: "home/meter/voltage_l1", QoS: 1, Payload: make([]byte, 1000)}
			for range b.N {
				if err := g.broker.Publish(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
			up.start()
			eventually(b, "the link is up", func() bool { return g.link.Stats().Connected })
			b.ResetTimer()
			for g.link.Stats().Backlog > 0 {
				time.Sleep(10 * time.Millisecond)
			}
			b.StopTimer()
			if sustained := float64(line.up.Load() - rate); sustained > 0 {
				b.ReportMetric(sustained/1024/b.Elapsed().Seconds(), "KiB/s")
			}
		})
	}
}

// BenchmarkAliases sends readings of a hundred points in turn to mosquitto,
// with as many topic aliases as it takes, and tells what a reading costs on
// the line.
func BenchmarkAliases(b *testing.B) {
	for _, most := range []int{0, 10, 100} {
		b.Run(fmt.Sprint(most), func(b *testing.B) {
			up := newUpstream(b, fmt.Sprintf("max_inflight_messages 0\nmax_topic_alias %d", most)).start()
			line := newProxy(b, up.addr)
			g := startGateway(b, b.TempDir(), linkTo(line.addr(), 1))
			eventually(b, "the link is up", func() bool { return g.link.Stats().Connected })
			before := line.up.Load()
			b.ResetTimer()
			for i := range b.N {
				for g.link.Stats().Backlog > 5000 {
					time.Sleep(time.Millisecond)
				}
				m := mqttcore.Message{Topic: fmt.Sprintf("home/floor1/meter/point_%02d", i%100), QoS: 1, Retain: true,
					Payload: []byte(`{"value":21.4,"unit":"°C","time":"2026-11-22T10:00:00.123Z","quality":"good"}`)}
				if err := g.broker.PublishAsync(m, func(error) {}); err != nil {
					b.Fatal(err)
				}
			}
			settledAll(b, g)
			b.StopTimer()
			b.ReportMetric(float64(line.up.Load()-before)/float64(b.N), "bytes/msg")
		})
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
