package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// relayConfig has no lines: what passes is from clients. It goes up twice, at
// QoS 1 and at QoS 2.
func relayConfig(local, upstream, data string) string {
	return fmt.Sprintf(`
[gateway]
id = "edge"
data = "%[3]s"

[broker]
listen = ["tcp://%[1]s"]

[web]
listen = ""

[[upstream]]
name = "once"
url = "mqtt://%[2]s"
client_id = "edge2"
out = ["load/#"]
prefix = "qos2/"
qos = 2
keepalive = "2s"

[[upstream]]
name = "atleast"
url = "mqtt://%[2]s"
client_id = "edge1"
out = ["load/#"]
prefix = "qos1/"
qos = 1
keepalive = "2s"
`, local, upstream, data)
}

// TestKillsLoseNothing kills the program at moments drawn by lot, while
// publishers, the upstream links and local durable subscribers are all at work.
func TestKillsLoseNothing(t *testing.T) {
	kills := long(t, 200)
	local, upstream := freePort(t), freePort(t)
	here, above := fmt.Sprintf("127.0.0.1:%d", local), fmt.Sprintf("127.0.0.1:%d", upstream)
	mosquitto(t, t.TempDir(), upstream)
	l := &load{t: t}
	l.receive(nil, above, "upstream2", "qos2/load/#", packet.V311, 2)
	l.receive(nil, above, "upstream1", "qos1/load/#", packet.V311, 2)
	s := newSite(t, relayConfig(here, above, t.TempDir()))
	g := s.start("--quiet")
	l.receive(nil, here, "local2", "load/#", packet.V5, 2)
	l.receive(nil, here, "local1", "load/#", packet.V311, 1)
	l.publish(nil, here, packet.V5, 2)
	l.publish(nil, here, packet.V311, 1)
	lot := rand.New(rand.NewPCG(11, 12))
	began := time.Now()
	for range kills {
		l.flows()
		<-time.After(time.Duration(lot.IntN(100)) * time.Millisecond)
		g.kill()
		g = s.start("--quiet")
	}
	l.settle()
	t.Logf("%d kills in %v", kills, time.Since(began).Round(time.Second))
	l.judge(allTheWay)
}
