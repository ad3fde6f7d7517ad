package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/gateway/web"
)

// TestReadingsForNobodyCostNoFlash: readings that no durable session or upstream
// wants, retained though they are, write nothing, whoever else reads them.
func TestReadingsForNobodyCostNoFlash(t *testing.T) {
	const limit = 30 * time.Second
	port, page := freePort(t), freePort(t)
	s := newSite(t, fmt.Sprintf(`
[gateway]
id = "edge"
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = "127.0.0.1:%d"
[[line]]
name = "bus"
kind = "rtu"
port = "sim"
[[device]]
name  = "relays"
line  = "bus"
unit  = 2
topic = "relays"
every = "10ms"
  [device.points]
  heater = { coil = 0, write = "verify" }
  level  = { holding = 3, type = "u16", write = "verify" }
  temp   = { input = 1, type = "i16", scale = 0.1 }
`, port, page))
	p := s.start("--log-format", "text", "--quiet")
	var subs []*process
	for _, qos := range []string{"0", "1", "2"} {
		subs = append(subs, subscribe(t, port, "-t", "relays/#", "-q", qos))
	}
	readings := func(sub *process) (n int) {
		lines, _ := sub.output()
		for _, m := range parseMessages(lines) {
			if strings.Contains(m.payload, `"good"`) {
				n++
			}
		}
		return n
	}
	for _, sub := range subs {
		sub.awaitLine("good", limit)
	}
	store := func() web.Store {
		t.Helper()
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/status", page))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var st web.Status
		if err := json.NewDecoder(answer.Body).Decode(&st); err != nil {
			t.Fatal(err)
		}
		return st.Store
	}
	before, files := store(), contents(t, filepath.Join(s.dir, "data"))
	for _, sub := range subs {
		n := readings(sub) + 120
		sub.await("120 readings more", limit, func([]string) bool { return readings(sub) >= n })
	}
	// The file system's own account of what was written.
	after := contents(t, filepath.Join(s.dir, "data"))
	for name, at := range after {
		if files[name] != at {
			t.Errorf("%s was written: %s, before %s", name, at, files[name])
		}
	}
	if st := store(); st.Commits != before.Commits || len(after) != len(files) {
		t.Errorf("%d commits and %d files, before %d and %d", st.Commits, len(after), before.Commits, len(files))
	}
	if code := p.terminate(limit); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// contents tells when each file of a folder was last written.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err == nil {
			all[path] = info.ModTime().Format(time.StampNano)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
