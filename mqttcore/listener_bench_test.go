package mqttcore

import (
	"testing"

	"sluice/mqttcore/packet"
)

// BenchmarkListeners is one publisher and one subscriber over each kind of
// listener, at QoS 0 with 100 bytes. cpu-ns/delivery is for both ends: what
// the clients spend on TLS and WebSocket is in it.
func BenchmarkListeners(b *testing.B) {
	ca := newAuthority(b, "authority")
	trust := ca.trusting("")
	for i, scheme := range schemes {
		b.Run(scheme, func(b *testing.B) {
			cfg := everywhere(b, ca)
			cfg.SysInterval = -1
			r := start(b, cfg)
			got := make(chan int, 1024)
			sub := r.mustDial(packet.V311, i, trust)
			sub.hello("sub")
			sub.subscribe(0, "bench/x")
			go drainPublishes(sub.nc, 0, got)
			pub := r.mustDial(packet.V311, i, trust)
			pub.hello("pub")
			const batch = 100
			one := message("bench/x", string(make([]byte, 100)), 0, 0).Append(nil, packet.V311)
			var many []byte
			for range batch {
				many = append(many, one...)
			}
			sent, came := 0, 0
			before := cpu()
			for b.Loop() {
				if sent++; sent%batch == 0 {
					pub.write(many)
					for came < sent-800 {
						came += <-got
					}
				}
			}
			for came < sent/batch*batch {
				came += <-got
			}
			if came > 0 {
				b.ReportMetric(float64(cpu()-before)/float64(came), "cpu-ns/delivery")
			}
			b.ReportMetric(float64(came)/b.Elapsed().Seconds(), "deliveries/s")
			sub.close()
		})
	}
}
