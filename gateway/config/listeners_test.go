package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// certificate writes a certificate good until then, and its key.
func certificate(t *testing.T, dir, name string, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-100 * day), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, b := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// said is all that is said about a file in a folder.
func said(dir, src string) (*Config, string) {
	cfg, err := Parse(filepath.Join(dir, "c.toml"), []byte(src))
	if err != nil {
		return nil, err.Error()
	}
	return cfg, cfg.Warnings.Error()
}

func TestListenersOfAllKinds(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "server", time.Now().Add(50*day))
	cfg, text := said(dir, `
[broker]
listen = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:9001", "unix://mqtt.sock", "unix:///run/mqtt.sock"]
cert = "server.crt"
key = "server.key"
client_ca = "server.crt"
`)
	if cfg == nil || text != "" {
		t.Fatalf("it says:\n%s", text)
	}
	want := []string{"tcp://127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:9001",
		"unix://" + filepath.Join(dir, "mqtt.sock"), "unix:///run/mqtt.sock"}
	if diff := cmp.Diff(want, cfg.Broker.Listen); diff != "" {
		t.Errorf("listen (-want +got):\n%s", diff)
	}
	crt := filepath.Join(dir, "server.crt")
	if b := cfg.Broker; b.Cert != crt || b.Key != filepath.Join(dir, "server.key") || b.ClientCA != crt {
		t.Errorf("files: %q %q %q", b.Cert, b.Key, b.ClientCA)
	}
}

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "good", time.Now().Add(50*day))
	certificate(t, dir, "other", time.Now().Add(50*day))
	certificate(t, dir, "old", time.Now().Add(-day))
	certificate(t, dir, "new", time.Now().Add(101*day))
	for name, text := range map[string]string{"text": "not PEM\n", "half.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "good.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "open.key"), key, 0o644); err != nil {
		t.Fatal(err)
	}
	const tls = `listen = ["tls://127.0.0.1:0"]`
	tests := []struct{ keys, want string }{
		{tls, `c.toml:2:11: tls://127.0.0.1:0 needs the keys "cert" and "key"`},
		{tls + "\ncert = \"good.crt\"", `c.toml:3:8: "key" is missing`},
		{tls + "\nkey = \"good.key\"", `"cert" is missing`},
		{tls + "\ncert = \"none.crt\"\nkey = \"good.key\"", "c.toml:3:8: cannot read it: "},
		{tls + "\ncert = \"good.crt\"\nkey = \"none.key\"", "c.toml:4:7: cannot read it: "},
		{tls + "\ncert = \"good.crt\"\nkey = \"other.key\"", "private key does not match public key"},
		{tls + "\ncert = \"text\"\nkey = \"good.key\"", "c.toml:3:8: "},
		{tls + "\ncert = \"half.crt\"\nkey = \"good.key\"", "half.crt"},
		{tls + "\ncert = \".\"\nkey = \"good.key\"", "is no file of certificates"},
		{tls + "\ncert = \"good.crt\"\nkey = \"good.key\"\nclient_ca = \"text\"", "c.toml:5:13: "},
		{tls + "\ncert = \"old.crt\"\nkey = \"old.key\"", "clients will not accept it"},
		{tls + "\ncert = \"new.crt\"\nkey = \"new.key\"", "clients will not accept it yet"},
		{tls + "\ncert = \"good.crt\"\nkey = \"open.key\"", "everyone on this machine can read the key"},
		{"cert = \"good.crt\"\nkey = \"good.key\"", "the certificate is not used"},
	}
	for _, tt := range tests {
		_, text := said(dir, "[broker]\n"+tt.keys+"\n")
		if !strings.Contains(text, tt.want) || strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("with\n%s\nit says %q, want %q", tt.keys, text, tt.want)
		}
	}
}
