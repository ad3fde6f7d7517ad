package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is a broker that can be started.
type peer struct {
	name    string
	what    string
	more    bool // not part of the default run
	bare    bool // forwards and no more: cases that need a full broker are left out
	command func(dir, addr string) (*exec.Cmd, error)
}

// peers lists all that can be compared. binary is the sluice program.
func peers(binary string) []peer {
	return []peer{
		{name: "sluice", what: "this broker, the product's own program", command: sluice(binary)},
		{name: "core", what: "its broker and store without the rest of the gateway; -profile sees into it", more: true, command: child("core")},
		{name: "mosq", what: "Debian's mosquitto as it comes", command: mosquitto()},
		{name: "mosq-tuned", what: "mosquitto without limits of its queues", command: mosquitto(tuned)},
		{name: "mosq-per", what: "tuned, and saving its database every second", more: true, command: mosquitto(tuned, persistent)},
		{name: "nats", what: "nats-server with MQTT and JetStream", command: child("nats")},
		{name: "nats-sync", what: "the same, every message synced", more: true, command: child("nats-sync")},
		{name: "mover", what: "a bare byte mover, no broker: about the least a Go program needs", bare: true, command: child("mover")},
	}
}

// sluice runs the product with a broker and nothing else.
func sluice(binary string) func(dir, addr string) (*exec.Cmd, error) {
	return func(dir, addr string) (*exec.Cmd, error) {
		file := filepath.Join(dir, "config.toml")
		text := fmt.Sprintf("[gateway]\nid = \"bench\"\ndata = \"data\"\n[broker]\nlisten = [\"tcp://%s\"]\nmax_connections = 20000\nqueue = { disk_max_bytes = \"4GiB\" }\n[web]\nlisten = \"\"\n", addr)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		return exec.Command(binary, "run", "-c", file, "--quiet"), nil
	}
}

const (
	tuned      = "max_queued_messages 0\nmax_inflight_messages 0\n"
	persistent = "persistence true\nautosave_interval 1\n"
)

func mosquitto(settings ...string) func(dir, addr string) (*exec.Cmd, error) {
	return func(dir, addr string) (*exec.Cmd, error) {
		program, err := exec.LookPath("mosquitto")
		if err != nil {
			program = "/usr/sbin/mosquitto" // where Debian puts it, beside most users' PATH
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "mosquitto.conf")
		text := fmt.Sprintf("listener %s %s\nallow_anonymous true\nuser root\nlog_dest stderr\nlog_type error\npersistence_location %s/\n%s",
			port, host, dir, strings.Join(settings, ""))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		return exec.Command(program, "-c", file), nil
	}
}

// roleKey is the environment variable that makes this program a broker.
const roleKey = "SLUICE_BENCH_ROLE"

// child runs this program as one of the brokers it contains.
func child(role string) func(dir, addr string) (*exec.Cmd, error) {
	return func(dir, addr string) (*exec.Cmd, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(self, addr, dir)
		cmd.Env = append(os.Environ(), roleKey+"="+role)
		return cmd, nil
	}
}

// playRole serves as a broker if this process was started as one. It returns
// whether it was; the end of standard input ends it.
func playRole() (bool, error) {
	role, asked := os.LookupEnv(roleKey)
	if !asked {
		return false, nil
	}
	if len(os.Args) != 3 {
		return true, errors.New("a role takes an address and a folder")
	}
	addr, dir := os.Args[1], os.Args[2]
	switch role {
	case "core":
		return true, serveCore(addr, dir)
	case "nats":
		return true, serveNATS(addr, dir, false)
	case "nats-sync":
		return true, serveNATS(addr, dir, true)
	case "mover":
		return true, serveMover(addr)
	}
	return true, fmt.Errorf("no such role: %q", role)
}
