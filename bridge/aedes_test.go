package bridge

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnotherServerOfVersion3 forwards to aedes, which is neither ours nor
// mosquitto, and takes commands from it.
func TestAnotherServerOfVersion3(t *testing.T) {
	peers, err := filepath.Abs("../.ci/peers/package.json")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "testdata/aedes.mjs", peers)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("node does not start: %v (make peers)", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("aedes does not start: is it installed? make peers")
	}
	var mu sync.Mutex
	var up []string
	go func() {
		for lines.Scan() {
			mu.Lock()
			up = append(up, lines.Text())
			mu.Unlock()
		}
	}()
	got := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(up)
	}
	cfg := linkIn(3, "127.0.0.1:"+strings.TrimPrefix(lines.Text(), "port "), 2)
	cfg.Availability = "sluice/pi/availability"
	g := startGateway(t, t.TempDir(), cfg)
	l := listen(t, g, "home/+/set")
	connected(t, g)
	const n = 200
	want := []string{"up site7/sluice/pi/availability online true"}
	g.publish(t, "home/x", 2, 1, n)
	for i := range n {
		want = append(want, fmt.Sprintf("up site7/home/x %06d false", i+1))
	}
	settledAll(t, g)
	eventually(t, "aedes has told all", func() bool { return len(got()) >= len(want) })
	if diff := cmp.Diff(want, got()); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
	var commands []string
	for i := range n {
		commands = append(commands, fmt.Sprint(i))
		fmt.Fprintln(in, "site7/home/a/set", i)
	}
	eventually(t, "all commands are here", func() bool { return len(l.payloads()) >= n })
	if diff := cmp.Diff(commands, l.payloads()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	g.halt()
	last := "up site7/sluice/pi/availability offline true"
	eventually(t, "the goodbye", func() bool { return got()[len(got())-1] == last })
}
