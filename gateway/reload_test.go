package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/mqttcore"
)

// TestReload tells a running gateway by SIGHUP what has changed.
func TestReload(t *testing.T) {
	const limit = 20 * time.Second
	port := freePort(t)
	plain := fmt.Sprintf("[gateway]\nid = \"edge\"\n[broker]\nlisten = [\"tcp://127.0.0.1:%d\"]\nusers = \"users\"\n[web]\nlisten = \"\"\n", port)
	s := newSite(t, plain)
	users := filepath.Join(s.dir, "users")
	for name, password := range map[string]string{"anna": "one", "bob": "two"} {
		if _, err := mqttcore.SetUser(users, name, []byte(password)); err != nil {
			t.Fatal(err)
		}
	}
	rewrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.dir, "config.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := s.start("--log-format", "text")
	p.awaitLine("serving", limit)
	hup := func(says string) {
		t.Helper()
		count := func(lines []string) (n int) {
			for _, l := range lines {
				if strings.Contains(l, says) {
					n++
				}
			}
			return n
		}
		before, _ := p.output()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		p.await(says, limit, func(lines []string) bool { return count(lines) > count(before) })
	}
	bob := subscribe(t, port, "-u", "bob", "-P", "two", "-t", "#", "-d")
	bob.awaitLine("SUBACK", limit)
	say := func(topic string) { publish(t, port, "-u", "anna", "-P", "one", "-t", topic, "-m", "said-"+topic) }
	say("a")
	bob.awaitLine("said-a", limit)

	// Rules come: bob goes on, with what he may read still.
	rewrite(plain + "[[broker.acl]]\nuser = \"*\"\nread = [\"b\"]\nwrite = [\"#\"]\n")
	hup("configuration reloaded")
	say("a/no")
	say("b")
	bob.awaitLine("said-b", limit)
	if lines, _ := bob.output(); strings.Contains(strings.Join(lines, "\n"), "said-a/no") {
		t.Error("bob reads what he may not")
	}

	// What is wrong, or cannot be read for want of descriptors, changes nothing.
	rewrite(plain + "anonymous = maybe\n")
	hup("configuration not reloaded")
	rewrite(plain)
	var usual unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: 4096}, &usual); err != nil {
		t.Fatal(err)
	}
	hup("configuration not reloaded")
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(usual.Cur, 4096), Max: 4096}, nil); err != nil {
		t.Fatal(err)
	}
	say("a/still-no")
	say("b/2")
	say("b")
	bob.await("said-b twice", limit, func(lines []string) bool { return strings.Count(strings.Join(lines, "\n"), "said-b") >= 2 })
	if lines, _ := bob.output(); strings.Contains(strings.Join(lines, "\n"), "said-a/") {
		t.Error("bob reads what he may not")
	}

	// A user who is gone is thrown out and stays out.
	if err := mqttcore.DeleteUser(users, "bob"); err != nil {
		t.Fatal(err)
	}
	hup("configuration reloaded")
	bob.await("another CONNACK", limit, func(lines []string) bool {
		all := strings.Join(lines, "\n")
		return strings.Contains(all, "CONNACK (4)") || strings.Contains(strings.ToLower(all), "bad user name or password") || strings.Contains(all, "not authorised")
	})
	// What takes a new start is said.
	rewrite(strings.Replace(plain, `id = "edge"`, `id = "other"`, 1))
	hup("wait for the next start")
	if code := p.terminate(limit); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if lines, _ := p.output(); strings.Contains(strings.Join(lines, "\n"), "$argon2id") {
		t.Error("a hash is in the log")
	}
}

// A reload tells the warnings that are new, not those that were told.
func TestReloadTellsNewWarnings(t *testing.T) {
	t.Parallel()
	const limit = 20 * time.Second
	line := "[[line]]\nname = \"l%d\"\nkind = \"rtu\"\nport = \"/dev/ttyUSB%d\"\n"
	plain := fmt.Sprintf("[broker]\nlisten = [\"tcp://127.0.0.1:%d\"]\n[web]\nlisten = \"\"\n", freePort(t))
	s := newSite(t, plain+fmt.Sprintf(line, 7, 7))
	p := s.start("--log-format", "text", "--quiet")
	p.awaitLine("serving", limit)
	warnings := func() (n int) {
		lines, _ := p.output()
		for _, l := range lines {
			if strings.Contains(l, "level=WARN") && strings.Contains(l, "config.toml") {
				n++
			}
		}
		return n
	}
	reload := func(times int) {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		p.await("a reload", limit, func(lines []string) bool {
			return strings.Count(strings.Join(lines, "\n"), "configuration reloaded") == times
		})
	}
	told := warnings()
	if told == 0 {
		t.Fatal("there is no warning to begin with")
	}
	reload(1)
	if n := warnings(); n != told {
		t.Errorf("%d warnings after a reload of the same, %d before", n, told)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "config.toml"), []byte("\n"+plain+fmt.Sprintf(line, 7, 7)+fmt.Sprintf(line, 8, 8)), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(2)
	if n := warnings(); n <= told {
		t.Error("a new warning was not told")
	}
	p.terminate(6 * time.Second)
}
