package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/gateway/config"
	"sluice/mqttcore/store"
)

// TestDurability: the medium decides unless the configuration does, and what a
// power cut would take is said.
func TestDurability(t *testing.T) {
	memory, err := os.MkdirTemp("/dev/shm", "sluice-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	tests := []struct {
		name, durability, dir, shown string
		interval                     time.Duration
		warns                        string
	}{
		{"configured", "250ms", t.TempDir(), "commits gather for 250ms: as configured, on ", 250 * time.Millisecond, ""},
		{"strict", "strict", t.TempDir(), "commits at once: as configured, on ", 0, ""},
		{"memory", "auto", memory, "commits at once: memory (tmpfs)", 0, "survives a power cut"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := config.Parse("c.toml", []byte("[gateway]\ndata = \""+tt.dir+"\"\n[broker]\ndurability = \""+tt.durability+"\"\n"))
			if err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			o := cfg.Store
			d := settle(&o, cfg, slog.New(slog.NewTextHandler(&said, nil)))
			if o.CommitInterval != tt.interval || !strings.HasPrefix(d.String(), tt.shown) {
				t.Errorf("commits gather for %v, shown as %q", o.CommitInterval, d)
			}
			if warned := strings.Contains(said.String(), "level=WARN"); warned != (tt.warns != "") || !strings.Contains(said.String(), tt.warns) {
				t.Errorf("said %s", said.String())
			}
			if n := strings.Count(said.String(), "durable log"); n != 1 {
				t.Errorf("what was chosen is said %d times", n)
			}
		})
	}
}

// TestDurabilityByMedium: each card has its own interval and segments.
func TestDurabilityByMedium(t *testing.T) {
	cfg, err := config.Parse("c.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[store.MediumKind]time.Duration{store.SDCard: 250 * time.Millisecond, store.EMMC: 10 * time.Millisecond, store.VirtualDisk: 0} {
		o := cfg.Store
		d := fit(&o, cfg, store.Medium{Kind: kind, EraseSize: 8 << 20})
		if o.CommitInterval != want || d.interval != want || o.SegmentSize != 8<<20 {
			t.Errorf("%s: commits gather for %v, segments of %d", kind, o.CommitInterval, o.SegmentSize)
		}
	}
}
