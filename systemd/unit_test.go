// Package systemd holds what makes sluice a service: the unit, its user and
// the script that installs them. Its tests have systemd itself judge them.
package systemd

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exposureLimit is the highest exposure that the unit may have, in tenths, as
// systemd-analyze takes it. 10 would be no protection at all.
const exposureLimit = "20"

// need looks up a program that the tests can't do without.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v; get it with: make peers", err)
	}
	return path
}

// stage installs a program, the one that stands in for sluice, into a new
// folder and returns the folder.
func stage(t *testing.T) string {
	t.Helper()
	dest := t.TempDir()
	if out, err := install(t, dest, program(t), config(t, "first = true\n")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dest
}

// install runs the script with DESTDIR.
func install(t *testing.T, dest string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"./install"}, args...)...)
	cmd.Env = append(os.Environ(), "DESTDIR="+dest)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// program is a binary that runs until its standard input ends.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice")
	content, err := os.ReadFile(need(t, "cat"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func config(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnitIsClean has systemd read the unit as it is installed.
func TestUnitIsClean(t *testing.T) {
	analyze := need(t, "systemd-analyze")
	dest := stage(t)
	unit := read(t, dest, "usr/lib/systemd/system/sluice.service")
	// systemd checks that the program is there, and it is not on this machine.
	there := "ExecStart=" + filepath.Join(dest, "usr/bin/sluice") + " "
	here := strings.Replace(unit, "ExecStart=/usr/bin/sluice ", there, 1)
	if here == unit {
		t.Fatal("the unit doesn't start /usr/bin/sluice")
	}
	path := filepath.Join(t.TempDir(), "sluice.service")
	if err := os.WriteFile(path, []byte(here), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUnitIsSandboxed has systemd rate how much the service may do.
func TestUnitIsSandboxed(t *testing.T) {
	analyze := need(t, "systemd-analyze")
	unit := filepath.Join(stage(t), "usr/lib/systemd/system/sluice.service")
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true",
		"--no-pager", "--threshold="+exposureLimit, unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	overall := regexp.MustCompile(`Overall exposure level.*`).Find(out)
	if overall == nil {
		t.Fatalf("no verdict in\n%s", out)
	}
	t.Logf("%s", overall)
}

// settings reads a unit file: the values of each key, in order.
func settings(unit string) map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(unit) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

// TestUnitKeepsItsPromises checks what systemd can't know to be wrong.
func TestUnitKeepsItsPromises(t *testing.T) {
	content, err := os.ReadFile("sluice.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := settings(string(content))
	for key, want := range map[string]string{
		"Type":                     "notify",
		"NotifyAccess":             "main",
		"ExecStart":                "/usr/bin/sluice run -c /etc/sluice/config.toml",
		"Restart":                  "always",
		"StartLimitIntervalSec":    "0",  // never give up
		"RestartPreventExitStatus": "78", // but on a bad file
		"User":                     "sluice",
		"SupplementaryGroups":      "dialout",
		"StateDirectory":           "sluice",
		"DevicePolicy":             "closed",
		"LimitNOFILE":              "4096",
		"ProtectSystem":            "strict",
		"CapabilityBoundingSet":    "",
	} {
		if got := unit[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if len(unit["WatchdogSec"]) != 1 {
		t.Error("no watchdog")
	}
	// With these the program could not ask whether the clock was set, nor in
	// which boot of the machine it is.
	for _, key := range []string{"ProtectClock", "ProcSubset"} {
		if len(unit[key]) > 0 {
			t.Errorf("%s=%s", key, unit[key])
		}
	}
	if filters := unit["SystemCallFilter"]; !slices.Contains(strings.Fields(filters[len(filters)-1]), "adjtimex") {
		t.Errorf("SystemCallFilter=%s: the last must allow adjtimex", filters)
	}
	// A driver's name is only known while its module is loaded.
	numeric := regexp.MustCompile(`^char-\d+ rw$`)
	for _, device := range unit["DeviceAllow"] {
		if !numeric.MatchString(device) {
			t.Errorf("DeviceAllow=%s is not by number", device)
		}
	}
	if n := len(unit["DeviceAllow"]); n < 4 {
		t.Errorf("%d kinds of serial ports allowed, want at least 4", n)
	}
	for key, values := range unit {
		for _, value := range values {
			if strings.Contains(value, "/bin/sh") || key == "ExecReload" && strings.Contains(value, "/bin/kill") {
				t.Errorf("%s=%s needs a program that a small system may not have", key, value)
			}
		}
	}
}

// TestUser has systemd make the service's user in a system without it.
func TestUser(t *testing.T) {
	sysusers := need(t, "systemd-sysusers")
	dest := stage(t)
	out, err := exec.CommandContext(t.Context(), sysusers, "--root="+dest, "sluice.conf").CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-sysusers: %v\n%s", err, out)
	}
	if passwd := read(t, dest, "etc/passwd"); !regexp.MustCompile(`(?m)^sluice:.*:/var/lib/sluice:.*nologin$`).MatchString(passwd) {
		t.Errorf("no user sluice in\n%s", passwd)
	}
	if group := read(t, dest, "etc/group"); !regexp.MustCompile(`(?m)^dialout:.*[:,]sluice$`).MatchString(group) {
		t.Errorf("sluice is not in dialout:\n%s", group)
	}
}

func read(t *testing.T, dest, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dest, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// files lists what is below dest, with modes.
func files(t *testing.T, dest string) map[string]fs.FileMode {
	t.Helper()
	all := map[string]fs.FileMode{}
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dest, path)
		all[name] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInstall(t *testing.T) {
	want := map[string]fs.FileMode{
		"usr/bin/sluice":                        0o755,
		"usr/lib/systemd/system/sluice.service": 0o644,
		"usr/lib/sysusers.d/sluice.conf":        0o644,
		"usr/lib/udev/rules.d/60-sluice.rules":  0o644,
		"etc/sluice/config.toml":                0o640,
	}
	dest := stage(t)
	if got := files(t, dest); !maps.Equal(got, want) {
		t.Fatalf("installed %v, want %v", got, want)
	}

	// Once more, while the program that was installed runs, and with another
	// program and configuration.
	running := exec.CommandContext(t.Context(), filepath.Join(dest, "usr/bin/sluice"))
	stdin, err := running.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(t.TempDir(), "newer")
	if err := os.WriteFile(newer, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := install(t, dest, newer, config(t, "second = true\n")); err != nil {
		t.Errorf("installing again: %v: %s", err, out)
	}
	if got := files(t, dest); !maps.Equal(got, want) {
		t.Errorf("after installing again: %v, want %v", got, want)
	}
	if got := read(t, dest, "usr/bin/sluice"); got != "#!/bin/sh\n" {
		t.Errorf("the program was not replaced: %d bytes", len(got))
	}
	if got := read(t, dest, "etc/sluice/config.toml"); got != "first = true\n" {
		t.Errorf("the configuration of the machine became %q", got)
	}
	if err := errors.Join(stdin.Close(), running.Wait()); err != nil {
		t.Errorf("the running program: %v", err)
	}
}

// TestInstallFromElsewhere checks what the script finds by itself, in a folder
// with a space in its name and under a narrow umask.
func TestInstallFromElsewhere(t *testing.T) {
	script, err := filepath.Abs("install")
	if err != nil {
		t.Fatal(err)
	}
	from := t.TempDir()
	if err := os.Rename(program(t), filepath.Join(from, "sluice")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(config(t, "found = true\n"), filepath.Join(from, "config.toml")); err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "a folder")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `umask 077; exec sh "$0"`, script)
	cmd.Dir = from
	cmd.Env = append(os.Environ(), "DESTDIR="+dest+"/")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := read(t, dest, "etc/sluice/config.toml"); got != "found = true\n" {
		t.Errorf("configuration %q", got)
	}
	for _, dir := range []string{"usr/bin", "etc/sluice", "usr/lib/systemd/system"} {
		info, err := os.Stat(filepath.Join(dest, dir))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o755 {
			t.Errorf("%s has mode %s", dir, info.Mode())
		}
	}
}

func TestInstallRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		says string
		code int
	}{
		{"no program", []string{filepath.Join(t.TempDir(), "sluice"), config(t, "")}, "go build", 1},
		{"not executable", []string{config(t, ""), config(t, "")}, "go build", 1},
		{"no configuration", []string{program(t), filepath.Join(t.TempDir(), "none")}, "second argument", 1},
		{"too many arguments", []string{"a", "b", "c"}, "usage", 2},
	} {
		dest := t.TempDir()
		out, err := install(t, dest, c.args...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v: %s; want exit %d and %q", c.name, err, out, c.code, c.says)
		}
		if left := slices.Collect(maps.Keys(files(t, dest))); len(left) > 0 {
			t.Errorf("%s: %v was installed", c.name, left)
		}
	}
}
