package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// node is one nats-server of a cluster. It speaks MQTT 3.1.1 and nothing else.
type node struct {
	t                         testing.TB
	program, conf             string
	mqtt, route, client, http int
	p                         *process
}

// natsCluster makes and starts nodes that keep each message on all of them. The
// program is built as the benchmarks of the broker have it.
func natsCluster(t testing.TB, size int) []*node {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "nats-server")
	build := exec.Command("go", "build", "-C", "../mqttcore/bench", "-o", program, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building nats-server: %v\n%s", err, out)
	}
	var nodes []*node
	var routes []string
	for range size {
		n := &node{t: t, program: program, mqtt: freePort(t), route: freePort(t), client: freePort(t), http: freePort(t)}
		nodes = append(nodes, n)
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", n.route))
	}
	for i, n := range nodes {
		n.conf = filepath.Join(dir, fmt.Sprintf("node%d.conf", i))
		text := fmt.Sprintf(`
server_name: node%[1]d
listen: "127.0.0.1:%[2]d"
http: "127.0.0.1:%[3]d"
jetstream { store_dir: "%[4]s/node%[1]d" }
cluster { name: upstream, listen: "127.0.0.1:%[5]d", routes: [%[6]s] }
mqtt { listen: "127.0.0.1:%[7]d", ack_wait: "5s", max_ack_pending: 1000 }
`, i, n.client, n.http, dir, n.route, strings.Join(routes, ", "), n.mqtt)
		if err := os.WriteFile(n.conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n.start()
	}
	for _, n := range nodes {
		n.awaitHealth()
	}
	return nodes
}

func (n *node) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.mqtt) }

func (n *node) start() { n.p = launch(n.t, nil, n.program, "-c", n.conf) }

// awaitHealth waits until the node has what the others have.
func (n *node) awaitHealth() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", n.http), nil)
		if err != nil {
			n.t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			n.t.Fatalf("a node of the cluster does not come up: %v", err)
		}
	}
}

// restart starts the node again, after a kill.
func (n *node) restart() {
	n.t.Helper()
	n.start()
	n.awaitHealth()
}

// TestClusterLosesNothing kills nodes of a cluster upstream while the backlog
// drains into it: first one of the others, then the one that the link is with.
func TestClusterLosesNothing(t *testing.T) {
	t.Parallel() // it mostly waits
	nodes := natsCluster(t, 3)
	ours, other, receivers := nodes[0], nodes[1], nodes[2]
	l := &load{t: t}
	l.receive(nil, receivers.addr(), "upstream1", "qos1/load/#", packet.V311, 1)
	here := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	newSite(t, fmt.Sprintf(`
[broker]
listen = ["tcp://%s"]

[web]
listen = ""

[[upstream]]
name = "cloud"
url = "mqtt://%s"
version = 3
client_id = "edge1"
out = ["load/#"]
prefix = "qos1/"
qos = 1
keepalive = "2s"
`, here, ours.addr())).start("--quiet")
	l.publish(nil, here, packet.V5, 2)
	l.publish(nil, here, packet.V311, 1)
	for range long(t, 1) {
		for _, n := range []*node{other, ours} {
			l.arrive(500)
			n.p.kill()
			began := time.Now()
			if n == other {
				l.arrive(200)
				t.Logf("without one of the other nodes: messages again after %v", time.Since(began).Round(time.Millisecond))
			}
			n.restart()
			l.arrive(200)
			t.Logf("a node killed and back: messages again after %v", time.Since(began).Round(time.Millisecond))
		}
	}
	l.settle()
	for _, p := range l.publishers {
		s := l.receivers[0].of(p.id)
		longest, all := s.duplicates()
		t.Logf("%s: %d messages, %d again in %d runs of at most %d, %d late", p.id, s.highest, all, len(s.repeats), longest, s.late)
	}
}
