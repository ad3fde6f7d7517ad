package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate makes a certificate for 127.0.0.1, and writes it for mosquitto.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), pool
}

// TestEveryScheme forwards through TLS and WebSocket to mosquitto.
func TestEveryScheme(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	secured := fmt.Sprintf("certfile %s\nkeyfile %s\n", certFile, keyFile)
	for scheme, extra := range map[string]string{
		"mqtt": "", "mqtts": secured, "ws": "protocol websockets\n", "wss": "protocol websockets\n" + secured,
	} {
		t.Run(scheme, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().(*net.TCPAddr)
			l.Close()
			up := newUpstream(t, fmt.Sprintf("listener %d 127.0.0.1\n%s", addr.Port, extra)).start()
			w := newWitness(t, up.addr, "site7/#", 2)
			cfg := linkTo(up.addr, 2)
			cfg.URL = fmt.Sprintf("%s://%s", scheme, addr)
			cfg.TLS = &tls.Config{RootCAs: pool}
			g := startGateway(t, t.TempDir(), cfg)
			g.publish(t, "home/x", 2, 1, 100)
			eventually(t, "the witness has all", func() bool { return w.tally(100).lost == 0 })
			if got := w.tally(100); got != (tally{}) {
				t.Errorf("over %s: %+v", scheme, got)
			}
		})
	}
}

func TestStrangersCertificateIsRefused(t *testing.T) {
	certFile, keyFile, _ := certificate(t)
	up := newUpstream(t, fmt.Sprintf("certfile %s\nkeyfile %s\n", certFile, keyFile)).start()
	e, err := parseURL("mqtts://" + up.addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dial(t.Context(), e, nil)
	if err == nil {
		c.Close()
		t.Fatal("a certificate that nobody vouches for is accepted")
	}
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || errors.Is(err, errUnreached) {
		t.Errorf("the error is %v", err)
	}
}

func TestNobodyThereIsToldFromRefusal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		e, err := parseURL(scheme + "://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t.Context(), e, nil); !errors.Is(err, errUnreached) {
			t.Errorf("%s: the error is %v", scheme, err)
		} else if text := plain(err); !strings.Contains(text, "refused") {
			t.Errorf("%s: worded %q", scheme, text)
		}
	}
}
