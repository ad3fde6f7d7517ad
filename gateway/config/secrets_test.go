package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCredential reads the password that systemd has put where only the
// service sees it.
func TestCredential(t *testing.T) {
	const src = "[[upstream]]\nname = \"a\"\nurl = \"mqtt://x\"\nout = [\"#\"]\nusername = \"u\"\ncredential = \"cloud\"\n"
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	cfg := parse(t, src)
	if said := cfg.Warnings.Error(); !strings.Contains(said, ":6:14: there are no credentials here") || !strings.Contains(said, "LoadCredential=cloud:") {
		t.Errorf("without systemd it says %q", said)
	}
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if _, err := Parse("c.toml", []byte(src)); err == nil || !strings.Contains(err.Error(), "c.toml:6:14: cannot read the password") {
		t.Errorf("without that credential it says %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cloud"), []byte("hunter2\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	cfg = parse(t, src)
	if got := string(cfg.Upstreams[0].Password); got != "hunter2" || len(cfg.Warnings) != 0 {
		t.Errorf("the password is %q, warnings %v", got, cfg.Warnings)
	}
}
