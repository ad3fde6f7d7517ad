package mqttcore

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

func TestSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mqtt.sock")
	// One that a process left behind when it was killed.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, Config{Listen: []string{"unix://" + path}})
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if got := r.URLs(); len(got) != 1 || got[0] != "unix://"+path {
		t.Errorf("URLs are %q", got)
	}
	c := r.mustDial(packet.V5, 0, nil)
	c.hello("c")
	c.subscribe(0, "#")
	if out, err := run(t, "", "mosquitto_pub", "--unix", path, "-t", "a", "-m", "from a socket"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.expectMessage("from a socket")

	if err := listenError(t, "unix://"+path); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("beside a running broker: %v", err)
	}
	c.silent() // the other has not taken the file away
	again := r.mustDial(packet.V5, 0, nil)
	again.hello("again")
	r.stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left behind: %v", err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := listenError(t, "unix://"+file); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("on a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is %q, %v", b, err)
	}
	if err := listenError(t, "tcp://127.0.0.1:0", "unix:///nowhere/mqtt.sock"); err == nil || !strings.Contains(err.Error(), "/nowhere/mqtt.sock") {
		t.Errorf("in no folder: %v", err)
	}
}

// listenError runs a broker that cannot listen.
func listenError(t *testing.T, listen ...string) error {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(store.Options{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return New(Config{Listen: listen}, st, log).Run(ctx)
}

// TestConnectionsFitFiles: there are files left for all else.
func TestConnectionsFitFiles(t *testing.T) {
	for files, want := range map[uint64]int{1024: 824, 1 << 20: 1<<20 - 200, 201: 50, 256: 64, 4: 1, 0: 1, 1 << 63: 1 << 30} {
		if got := connectionsFor(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	low := before
	low.Cur = 1024
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	for wanted, warnings := range map[int]int{0: 0, 500: 0, 824: 0, 825: 1, 100_000: 1} {
		log := &record{}
		got := fitConnections(wanted, slog.New(slog.NewTextHandler(log, nil)))
		want := min(wanted, 824)
		if wanted == 0 {
			want = 824
		}
		if got != want || len(log.warnings()) != warnings || warnings > 0 && !strings.Contains(log.text(), "LimitNOFILE") {
			t.Errorf("%d wanted: %d, want %d; log: %s", wanted, got, want, log.text())
		}
	}
}
