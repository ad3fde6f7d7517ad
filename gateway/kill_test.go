package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// relayConfig has no lines: what passes is from clients. It goes up twice, at
// QoS 1 and at QoS 2, in a version of MQTT.
func relayConfig(local, upstream, data string, version int) string {
	text := fmt.Sprintf(`
[gateway]
id = "edge"
data = %q

[broker]
listen = ["tcp://%s"]

[web]
listen = ""
`, data, local)
	for qos := 1; qos <= 2; qos++ {
		text += fmt.Sprintf(`
[[upstream]]
name = "cloud%[1]d"
url = "mqtt://%[2]s"
version = %[3]d
client_id = "edge%[1]d"
out = ["load/#"]
in = ["command/#"]
prefix = "qos%[1]d/"
qos = %[1]d
keepalive = "2s"
`, qos, upstream, version)
	}
	return text
}

// TestKillsLoseNothing kills the program at moments drawn by lot, while
// publishers, the upstream links and local durable subscribers are all at work.
func TestKillsLoseNothing(t *testing.T) {
	t.Run("mosquitto", func(t *testing.T) {
		port := freePort(t)
		mosquitto(t, t.TempDir(), port)
		killUnderLoad(t, port, 5, long(t, 200))
	})
	t.Run("aedes", func(t *testing.T) { killUnderLoad(t, aedes(t), 3, long(t, 20)) })
}

// aedes starts a broker of another kind and gives its port. It owns up to a
// session only where that has a subscription.
func aedes(t testing.TB) int {
	t.Helper()
	peers, err := filepath.Abs("../.ci/peers/package.json")
	if err != nil {
		t.Fatal(err)
	}
	line := launch(t, nil, "node", "../bridge/testdata/aedes.mjs", peers).awaitLine("port ", 20*time.Second)
	port, err := strconv.Atoi(strings.TrimPrefix(line, "port "))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func killUnderLoad(t *testing.T, upstream, version, kills int) {
	here, above := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", upstream)
	l := &load{t: t}
	l.receive(nil, above, "upstream2", "qos2/load/#", packet.V311, 2)
	l.receive(nil, above, "upstream1", "qos1/load/#", packet.V311, 2)
	s := newSite(t, relayConfig(here, above, t.TempDir(), version))
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
