package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// certificate writes a certificate that signs itself, and its key. It gives
// the serial number.
func certificate(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"server.crt": {Type: "CERTIFICATE", Bytes: der}, "server.key": {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestListenersOfAllKinds runs the shipped configuration with every kind of
// listener, on ports that it finds and prints.
func TestListenersOfAllKinds(t *testing.T) {
	const limit = 20 * time.Second
	shipped, err := os.ReadFile("../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(shipped)
	for old, now := range map[string]string{
		`listen = ["tcp://127.0.0.1:1883"]`: "cert = \"server.crt\"\nkey = \"server.key\"\n" +
			`listen = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:0", "unix://mqtt.sock"]`,
		`listen = "127.0.0.1:8080"`: `listen = ""`,
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("the shipped configuration has no line %s", old)
		}
		text = strings.Replace(text, old, now, 1)
	}
	s := newSite(t, text)
	certificate(t, s.dir, 1)
	p := s.start("--log-format", "text")
	line := p.awaitLine("msg=serving", limit)
	found := regexp.MustCompile(`mqtt://127\.0\.0\.1:\d+ (mqtts://127\.0\.0\.1:\d+) ws://127\.0\.0\.1:\d+/mqtt wss://127\.0\.0\.1:\d+/mqtt unix://(\S+/mqtt\.sock)"`).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("not all addresses are in: %s", line)
	}
	u, err := url.Parse(found[1])
	if err != nil {
		t.Fatal(err)
	}
	secure := launch(t, nil, "mosquitto_sub", "-h", u.Hostname(), "-p", u.Port(), "--cafile", filepath.Join(s.dir, "server.crt"), "-t", "home/#")
	secure.awaitLine(`"quality":"good"`, limit)
	local := launch(t, nil, "mosquitto_sub", "--unix", found[2], "-t", "home/#")
	local.awaitLine(`"quality":"good"`, limit)

	shown := func() int64 {
		nc, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true}) // the test looks at the number only
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		return nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := shown(); n != 1 {
		t.Fatalf("certificate %d is shown", n)
	}
	certificate(t, s.dir, 2)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.awaitLine("configuration reloaded", limit)
	if n := shown(); n != 2 {
		t.Errorf("certificate %d is shown", n)
	}
	lines, _ := secure.output()
	secure.await("another reading on the same connection", limit, func(now []string) bool { return len(now) > len(lines)+3 })
	if code := p.terminate(limit); code != 0 {
		t.Errorf("exit status %d", code)
	}
	said, _ := p.output()
	for _, line := range said {
		if strings.Contains(line, "wait for the next start") || strings.Contains(line, "level=WARN") && strings.Contains(line, "TLS") {
			t.Error(line)
		}
	}
}
