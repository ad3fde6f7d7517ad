package store_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice/mqttcore/store/simfs"
)

// crashStatesVar says how many crash states TestCrash goes through.
const crashStatesVar = "STORE_CRASH_STATES"

const crashStates = 200_000

// crashModeVar keeps TestCrash to one mode of crashes, by its number.
const crashModeVar = "STORE_CRASH_MODE"

// TestCrash goes through the states that crashes may leave. The race detector
// would see nothing new in them and make each ten times as dear: where it is on,
// a program without it is built and does the work.
func TestCrash(t *testing.T) {
	t.Parallel()
	want := crashStates
	if v := os.Getenv(crashStatesVar); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("%s: %v", crashStatesVar, err)
		}
		want = n
	}
	if out, done := plainly(t); done {
		states := 0
		for line := range strings.Lines(out) {
			if _, text, ok := strings.Cut(line, ": "); ok && strings.HasSuffix(text, " crash states\n") {
				n := 0
				fmt.Sscan(text, &n)
				states += n
			}
		}
		if states < want {
			t.Fatalf("%d crash states, wanted %d\n%s", states, want, out)
		}
		t.Logf("%d crash states", states)
		return
	}
	const shards = 4
	for shard := range shards {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			states := 0
			for seed := uint64(0); states < (want+shards-1)/shards; seed++ {
				states += crashScript(t, uint64(shard)<<32|seed)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d crash states", states)
		})
	}
}

// plainly runs a test by a program that is built without the race detector, and
// says that it is done; false where this program is one.
func plainly(t *testing.T) (out string, done bool) {
	t.Helper()
	if !raceDetector {
		return "", false
	}
	out, err := runPlain(t, nil, t.Name())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out, true
}

// edit is a change of the source.
type edit struct{ file, old, new string }

// TestCrashFindsPlantedBugs builds the store with a bug and expects TestCrash to
// find it. A bug whose place has changed is to be planted anew.
func TestCrashFindsPlantedBugs(t *testing.T) {
	t.Parallel()
	// What a bug shows in, where it shows in little else.
	modes := map[string]simfs.Mode{"checksum not seeded by the segment": simfs.Pages}
	for name, bug := range map[string][]edit{
		"checksum not seeded by the segment": {
			{"format.go", "le.PutUint64(b[16:], number)", "_ = number"},
		},
		"acknowledged before the sync": {
			{"commit.go", "\tif err := s.sync(g.file); err != nil {\n\t\treturn 0, fmt.Errorf(\"%s: fdatasync: %w\", segName(g.id), err)\n\t}\n\ts.w.prev = prev\n\ts.publish(g, frames[:n])\n",
				"\ts.w.prev = prev\n\ts.publish(g, frames[:n])\n\tif err := s.sync(g.file); err != nil {\n\t\treturn n, err\n\t}\n"},
		},
		"folder not synced after a rename": {
			{"segment.go", "return s.fs.SyncDir()", "return nil"},
		},
		"folder not synced before a recycled segment is written": {
			{"segment.go", "if s.w.renamed {", "if false {"},
		},
		"cursor counted before it is on the disk": {
			{"queue.go", "if !first && !due {", "if !ok || first && false {"},
			{"writer.go", "\tses.mu.Lock()\n\tif !ses.dirty {", "\tses.mu.Lock()\n\tses.durBase = ses.base\n\tses.unpin()\n\tif !ses.dirty {"},
			{"queue.go", "\tif first {\n\t\ts.markDirty(ses)\n\t}", "\ts.markDirty(ses)"},
		},
		"snapshot used before it is synced": {
			{"snapshot.go", "\t\terr = s.sync(file)\n", ""},
		},
		"segment written again after a failed sync": {
			{"commit.go", "\t\t\tretried = true\n\t\t\ts.poison(err)\n", "\t\t\tretried = true\n"},
		},
		"segments packed without a sync": {
			{"pack.go", "return p.file.Datasync()", "return nil"},
		},
		"segments forgotten that were packed into another": {
			{"survey.go", "s.withoutPacked(keep)", "keep"},
		},
		"recovered segment handed out without a sync": {
			{"replay.go", "\tif g.id >= r.from.seg() && s.failed == nil {\n\t\t// What was read", "\tif false {\n\t\t// What was read"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{crashStatesVar + "=400000"} // it ends with the first that is found
			if mode, ok := modes[name]; ok {
				env = append(env, fmt.Sprint(crashModeVar, "=", int(mode)))
			}
			out, err := runPlain(t, bug, "TestCrash", env...)
			if err == nil {
				t.Errorf("not found in 400000 crash states\n%s", out)
			} else if !strings.Contains(out, "crash state: ") {
				t.Errorf("%v\n%s", err, out)
			} else {
				_, first, _ := strings.Cut(out, "crash state: ")
				first, _, _ = strings.Cut(first, "\n")
				t.Log(first)
			}
		})
	}
}

// runPlain builds the tests of this package without the race detector, with
// edits made to the source, and runs one of them.
func runPlain(t *testing.T, edits []edit, test string, env ...string) (out string, err error) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	for _, e := range edits {
		if sources[e.file] == "" {
			b, err := os.ReadFile(e.file)
			if err != nil {
				t.Fatal(err)
			}
			sources[e.file] = string(b)
		}
		if strings.Count(sources[e.file], e.old) != 1 {
			t.Fatalf("%s: the place for the bug is not there once: %q", e.file, e.old)
		}
		sources[e.file] = strings.Replace(sources[e.file], e.old, e.new, 1)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, source := range sources {
		to := filepath.Join(dir, file)
		if err := os.WriteFile(to, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(here, file)] = to
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "store.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", filepath.Join(dir, "overlay"), "-o", program, ".")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, b)
	}
	run := exec.CommandContext(t.Context(), program, "-test.run=^"+test+"$", "-test.v", "-test.failfast")
	run.Env = append(os.Environ(), env...)
	b, err = run.CombinedOutput()
	return string(b), err
}
