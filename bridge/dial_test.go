package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate makes a certificate for 127.0.0.1, and writes it for mosquitto.
func certificate(t *testing.T) (certFile, keyFile string) {
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
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}

// TestEveryScheme forwards through TLS and WebSocket to mosquitto.
func TestEveryScheme(t *testing.T) {
	certFile, keyFile := certificate(t)
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
			cfg.TLS.CA = certFile
			g := startGateway(t, t.TempDir(), cfg)
			g.publish(t, "home/x", 2, 1, 100)
			eventually(t, "the witness has all", func() bool { return w.tally(100).lost == 0 })
			if got := w.tally(100); got != (tally{}) {
				t.Errorf("over %s: %+v", scheme, got)
			}
		})
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
		if _, err := dial(t.Context(), &Config{URL: scheme + "://" + addr}); !errors.Is(err, errUnreached) {
			t.Errorf("%s: the error is %v", scheme, err)
		} else if text := plain(err); !strings.Contains(text, "refused") {
			t.Errorf("%s: worded %q", scheme, text)
		}
	}
}

// TestErrorsBeforeMQTTNameTheRemedy: what is no upstream is told by what it is.
func TestErrorsBeforeMQTTNameTheRemedy(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	web := page.Listener.Addr().String()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{URL: "ws://" + web}, "it answers 404 Not Found: check the path in url"},
		{Config{URL: "mqtts://" + web}, "does not speak TLS: use mqtt://"},
		{Config{URL: "mqtt://" + web, Proxy: "http://" + nobody.Addr().String()}, "proxy " + nobody.Addr().String() + ": dial"},
	} {
		if _, err := dial(t.Context(), &c.cfg); err == nil || !strings.Contains(plain(err), c.want) {
			t.Errorf("%s is worded %v, want %q", c.cfg.URL, err, c.want)
		}
	}
	lookup := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "mq.plant", Server: "10.0.0.1:53", IsNotFound: true}}
	if text := plain(lookup); text != "the name mq.plant is not resolved: no such host: check url and the DNS of this machine" {
		t.Errorf("an unknown name is worded %q", text)
	}
}

// TestErrorsThatTakeTurns: an outage whose attempts end in two ways is logged
// twice, and once more where it is another outage.
func TestErrorsThatTakeTurns(t *testing.T) {
	var log strings.Builder
	l := &Link{log: slog.New(slog.NewTextHandler(&log, nil)), cfg: Config{Name: "cloud"}}
	outage := func() {
		for range 3 {
			l.down(errors.New("certificate required"), time.Second)
			l.down(errors.New("closed"), time.Second)
		}
	}
	outage()
	if n := strings.Count(log.String(), "upstream down"); n != 2 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
	l.connected = true
	outage()
	if n := strings.Count(log.String(), "upstream down"); n != 4 {
		t.Errorf("with the next outage logged %d times:\n%s", n, log.String())
	}
}
