package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"sluice/adapters/sim"
)

// BenchmarkRegisterToSubscriber measures the whole way: a register changes in
// the device, the gateway polls it as often as the line allows, and a client
// of the broker has the reading.
func BenchmarkRegisterToSubscriber(b *testing.B) {
	field := simulate(b, sim.LineConfig{Name: "plc", Kind: "tcp", Slaves: []sim.SlaveConfig{{
		Unit: 1, Points: []sim.PointConfig{{Name: "v", Table: "holding", Type: "u16", Writable: true}},
	}}})
	port := freePort(b)
	g := newSite(b, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "plc"
kind = "tcp"
port = %q
[[device]]
name = "plc"
line = "plc"
unit = 1
topic = "plc"
every = "0s"
  [device.points]
  v = { holding = 0 }
`, port, field.Path("plc"))).start("--quiet")
	defer g.kill()

	arrived := make(chan string, 4096)
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", port)).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { arrived <- string(m.Payload()) }))
	if t := client.Connect(); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	defer client.Disconnect(0)
	if t := client.Subscribe("plc/v", 1, nil); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	slave := field.Slave("plc", 1)
	var took []time.Duration
	n := uint16(0)
	for b.Loop() {
		n = n%60000 + 1
		want := fmt.Sprintf(`{"value":%d,`, n)
		began := time.Now()
		if err := slave.Set("holding", 0, n); err != nil {
			b.Fatal(err)
		}
		late := time.After(10 * time.Second)
		for found := false; !found; {
			select {
			case payload := <-arrived:
				found = strings.HasPrefix(payload, want)
			case <-late:
				b.Fatalf("no reading of %d", n)
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
