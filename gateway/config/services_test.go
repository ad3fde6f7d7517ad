package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/mqttcore"
)

func TestDataFolder(t *testing.T) {
	tests := []struct{ state, key, want string }{
		{"", "", "/etc/sluice/data"},
		{"/var/lib/sluice", "", "/var/lib/sluice"},
		{"/var/lib/sluice:/var/lib/more", "", "/var/lib/sluice"},
		{"/var/lib/sluice", `data = "log"`, "/etc/sluice/log"},
		{"", `data = "/srv/log"`, "/srv/log"},
		{"", `data = "../log"`, "/etc/log"},
	}
	for _, tt := range tests {
		t.Setenv("STATE_DIRECTORY", tt.state)
		if got := parse(t, "[gateway]\n"+tt.key).Store.Dir; got != tt.want {
			t.Errorf("with %q and %q data is in %s, want %s", tt.state, tt.key, got, tt.want)
		}
	}
}

func TestBroker(t *testing.T) {
	cfg := parse(t, `
[broker]
listen             = ["tcp://:1884", "tcp://127.0.0.1:0"]
anonymous          = true
max_connections    = 20
max_packet_size    = "4MiB"
receive_maximum    = 7
session_expiry_max = "7d"
max_inflight       = 3
max_keepalive      = "10m"
max_retained_bytes = "2MiB"
max_sessions       = 30
max_subscriptions  = 40
max_subscription_bytes = "3MiB"
max_topic_levels   = 9
queue              = { max_bytes = "64KiB", total = "1MiB", disk_max_bytes = "300MiB", disk_max_age = "7d", disk_when_full = "reject" }
durability         = "250ms"
[web]
listen = ""`)
	want := mqttcore.Config{
		Listen: []string{"tcp://:1884", "tcp://127.0.0.1:0"}, Anonymous: true, MaxConnections: 20, MaxPacketSize: 4 << 20,
		ReceiveMaximum: 7, SessionExpiryMax: 7 * day, MaxInflight: 3,
		MaxKeepAlive: 10 * time.Minute, MaxRetainedBytes: 2 << 20, MaxSessions: 30, MaxSubscriptions: 40,
		MaxSubscriptionBytes: 3 << 20, MaxTopicLevels: 9, MaxQueuedBytes: 64 << 10, MaxQueuedTotal: 1 << 20,
		SessionQueue: mqttcore.Limit{MaxBytes: 300 << 20, MaxAge: 7 * day, WhenFull: mqttcore.Reject},
	}
	if diff := cmp.Diff(want, cfg.Broker); diff != "" {
		t.Errorf("broker (-want +got):\n%s", diff)
	}
	if cfg.Web.Listen != "" {
		t.Errorf("the web page listens on %s", cfg.Web.Listen)
	}
	if cfg.Store.CommitInterval != 250*time.Millisecond || cfg.AutoCommit {
		t.Errorf("commits gather for %v", cfg.Store.CommitInterval)
	}
	// Two of the longest packets must fit into one segment.
	if cfg.Store.SegmentSize < 2*4*mib || cfg.Store.SegmentSize%4096 != 0 {
		t.Errorf("segments of %d bytes", cfg.Store.SegmentSize)
	}
}

func TestUpstreams(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("päss wörd \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse(filepath.Join(dir, "config.toml"), []byte(`
[gateway]
id = "cellar"

[[upstream]]
name = "cloud"
url  = "mqtt://mq.example.com"
out  = ["home/#"]

[[upstream]]
name           = "office"
url            = "mqtt://10.0.0.7:1884"
version        = 5
client_id      = "other"
username       = "u"
password_file  = "pw"
keepalive      = "1m"
session_expiry = "1h30m"
in             = ["home/+/+/set"]
prefix         = "site7/"
qos            = 2
queue          = { max_bytes = "2GiB", max_age = "30d", when_full = "drop-newest" }
`))
	if err != nil {
		t.Fatal(err)
	}
	cloud, office := cfg.Upstreams[0], cfg.Upstreams[1]
	if cloud.ClientID != "cellar" || cloud.QoS != 1 || cloud.KeepAlive != 30*time.Second || cloud.SessionExpiry != 7*day ||
		cloud.Queue != (mqttcore.Limit{MaxBytes: gib}) || cloud.Availability != "sluice/cellar/availability" {
		t.Errorf("defaults: %+v", cloud.Config)
	}
	if office.ClientID != "other" || office.Username != "u" || string(office.Password) != "päss wörd " || office.KeepAlive != time.Minute ||
		office.SessionExpiry != 90*time.Minute || !cmp.Equal(office.In, []string{"home/+/+/set"}) || office.Prefix != "site7/" ||
		office.QoS != 2 ||
		office.Queue != (mqttcore.Limit{MaxBytes: 2 * gib, MaxAge: 30 * day, WhenFull: mqttcore.DropNewest}) {
		t.Errorf("given: %+v", office.Config)
	}
	if cfg.Store.MaxBytes != roomFactor*(3*gib+usualDisk) {
		t.Errorf("the log may have %d bytes", cfg.Store.MaxBytes)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, shown := range []string{fmt.Sprintf(verb, cfg), fmt.Sprintf(verb, office), fmt.Sprintf(verb, cfg.Upstreams)} {
			if strings.Contains(shown, "wörd") || strings.Contains(shown, "112, 195") {
				t.Errorf("%s shows the password: %s", verb, shown)
			}
		}
	}
}

func TestSmallQueue(t *testing.T) {
	cfg := parse(t, "[[upstream]]\nname = \"a\"\nurl = \"mqtt://x\"\nout = [\"#\"]\nqueue = { max_bytes = \"1MiB\" }\n[broker]\nqueue = { disk_max_bytes = \"256KiB\" }")
	if s := cfg.Store; s.MaxBytes != roomFactor*(mib+256*kib) || s.SegmentSize != s.MaxBytes/fewestSegments {
		t.Errorf("%d bytes in segments of %d", s.MaxBytes, s.SegmentSize)
	}
}

// TestSegmentSize: segments are what the medium erases at a time, unless the
// longest message or the room there is want it otherwise.
func TestSegmentSize(t *testing.T) {
	tests := []struct {
		packet             int
		room, erase, bytes int64
	}{
		{0, gib, 0, 4 * mib},
		{0, gib, 4 * mib, 4 * mib},
		{0, gib, 8 * mib, 8 * mib},
		{0, gib, 512 * kib, 5 * 512 * kib}, // two packets of 1 MiB and some air
		{64 * kib, gib, 512 * kib, mib},
		{0, gib, 64 * mib, 16 * mib},
		{5 * mib, gib, 4 * mib, 12 * mib},
		{7 * mib, gib, 6 * mib, 12 * mib}, // 18 MiB would be too large
		{0, 4 * mib, 4 * mib, mib},
		{0, 16 * mib, 3 * mib, 3 * mib},
	}
	for _, tt := range tests {
		cfg := &Config{}
		cfg.Broker.MaxPacketSize, cfg.Store.MaxBytes = tt.packet, tt.room
		if got := cfg.SegmentSize(tt.erase); got != tt.bytes {
			t.Errorf("packets of %d, a log of %d, %d erased at a time: segments of %d, want %d", tt.packet, tt.room, tt.erase, got, tt.bytes)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("empty", "\n", 0o600)
	file("long", strings.Repeat("x", 70000), 0o600)
	file("open", "hunter2\n", 0o644)
	tests := []struct{ name, want string }{
		{"empty", "is empty: expected a password in it"},
		{"long", "expected a file with one password"},
		{".", "expected a file with one password"},
		{"open", "everyone on this machine can read the password"},
		{"none", "no such file"},
	}
	for _, tt := range tests {
		src := "[[upstream]]\nname = \"a\"\nurl = \"mqtt://x\"\nout = [\"#\"]\nusername = \"u\"\npassword_file = \"" + tt.name + "\"\n"
		cfg, err := Parse(filepath.Join(dir, "c.toml"), []byte(src))
		var said string
		if err != nil {
			said = err.Error()
		} else {
			said = cfg.Warnings.Error()
		}
		if !strings.Contains(said, tt.want) || !strings.Contains(said, "c.toml:6:17: ") || strings.Contains(said, "hunter2") {
			t.Errorf("with the file %q it says %q, want %q", tt.name, said, tt.want)
		}
	}
}
