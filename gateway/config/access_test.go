package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/mqttcore"
)

func TestAccess(t *testing.T) {
	dir := t.TempDir()
	if _, err := mqttcore.SetUser(filepath.Join(dir, "users"), "panel", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	const src = `
[broker]
listen = ["tcp://0.0.0.0:1883"]
users  = "users"

[[broker.acl]]
user  = "panel"
read  = ["home/#", "{user}/#"]
write = ["home/+/+/set"]

[[broker.acl]]
user = "*"

[[broker.acl]]
user = "penal"
read = ["home/#"]
`
	cfg, err := Parse(filepath.Join(dir, "config.toml"), []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	want := []mqttcore.Rule{
		{User: "panel", Read: []string{"home/#", "{user}/#"}, Write: []string{"home/+/+/set"}},
		{User: "*"},
		{User: "penal", Read: []string{"home/#"}},
	}
	if diff := cmp.Diff(want, cfg.Broker.ACL); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if u := cfg.Broker.Users; u.Len() != 1 || !u.Has("panel") {
		t.Errorf("%d users", u.Len())
	}
	if len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0].Text, `"penal"`) || cfg.Warnings[0].Line != 15 {
		t.Errorf("warned of\n%v", cfg.Warnings)
	}

	if err := os.Chmod(filepath.Join(dir, "users"), 0o644); err != nil {
		t.Fatal(err)
	}
	if cfg, err = Parse(filepath.Join(dir, "config.toml"), []byte(src)); err != nil {
		t.Fatal(err)
	}
	if w := cfg.Warnings[0]; !strings.Contains(w.Text, "everyone on this machine can read") || w.Line != 4 {
		t.Errorf("warned of\n%v", cfg.Warnings)
	}
	if cfg := parse(t, ""); cfg.Broker.Users != nil || cfg.Broker.ACL != nil {
		t.Error("access is restricted by itself")
	}
}
