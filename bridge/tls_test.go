package bridge

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs certificates with openssl.
type authority struct {
	t   *testing.T
	dir string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t, t.TempDir()}
	a.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
		"-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt")
	return a
}

func (a *authority) openssl(args ...string) {
	a.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = a.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("openssl %s: %v\n%s(is it installed? make peers)", args[0], err, out)
	}
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// issue makes NAME.crt and NAME.key, which begin now and end after so many days.
func (a *authority) issue(name, san string, days int) (cert, key string) {
	a.t.Helper()
	a.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-subj", "/CN="+name, "-addext", "subjectAltName="+san, "-keyout", name+".key", "-out", name+".csr")
	a.openssl("x509", "-req", "-in", name+".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
		"-days", fmt.Sprint(days), "-copy_extensions", "copy", "-out", name+".crt")
	return a.path(name + ".crt"), a.path(name + ".key")
}

// over is a mosquitto with one more listener, of that configuration.
func over(t *testing.T, extra string, args ...any) (up *upstream, addr string) {
	t.Helper()
	port := freePort(t)
	up = newUpstream(t, fmt.Sprintf("listener %d 127.0.0.1\n", port)+fmt.Sprintf(extra, args...)).start()
	return up, fmt.Sprintf("127.0.0.1:%d", port)
}

// TestTLSErrorsNameTheRemedy connects to real servers that something is wrong
// with.
func TestTLSErrorsNameTheRemedy(t *testing.T) {
	a := newAuthority(t)
	other := newAuthority(t)
	cert, key := a.issue("server", "IP:127.0.0.1", 30)
	oldCert, oldKey := a.issue("old", "IP:127.0.0.1", -1)
	namedCert, namedKey := a.issue("named", "DNS:mq.example.com,DNS:mq2.example.com", 30)
	clientCert, clientKey := a.issue("gateway", "DNS:gateway", 30)
	strangeCert, strangeKey := other.issue("stranger", "DNS:gateway", 30)
	expiredCert, expiredKey := a.issue("was-gateway", "DNS:gateway", -1)

	const listener = "certfile %s\nkeyfile %s\n"
	good, goodAddr := over(t, listener, cert, key)
	_, oldAddr := over(t, listener, oldCert, oldKey)
	_, namedAddr := over(t, listener, namedCert, namedKey)
	_, mutual := over(t, listener+"cafile %s\nrequire_certificate true\n", cert, key, a.path("ca.crt"))
	_, mutual12 := over(t, listener+"cafile %s\nrequire_certificate true\ntls_version tlsv1.2\n", cert, key, a.path("ca.crt"))
	ca := a.path("ca.crt")
	for name, c := range map[string]struct {
		url  string
		tls  TLS
		want []string // empty: it works
	}{
		"good":                      {"mqtts://" + goodAddr, TLS{CA: ca}, nil},
		"unknown authority":         {"mqtts://" + goodAddr, TLS{}, []string{"does not know", "give its certificate in ca"}},
		"over WebSocket, too":       {"wss://" + goodAddr, TLS{}, []string{"does not know", "give its certificate in ca"}},
		"another authority":         {"mqtts://" + goodAddr, TLS{CA: other.path("ca.crt")}, []string{"is not signed by an authority in " + other.path("ca.crt")}},
		"expired":                   {"mqtts://" + oldAddr, TLS{CA: ca}, []string{"has expired on", "renewed"}},
		"another name":              {"mqtts://" + namedAddr, TLS{CA: ca}, []string{`not for "127.0.0.1" but for mq.example.com, mq2.example.com`, "server_name"}},
		"that name":                 {"mqtts://" + namedAddr, TLS{CA: ca, ServerName: "mq2.example.com"}, nil},
		"no TLS there":              {"mqtts://" + good.addr, TLS{CA: ca}, []string{"use mqtt://"}},
		"TLS there":                 {"mqtt://" + goodAddr, TLS{}, []string{"use mqtts://"}},
		"certificate demanded":      {"mqtts://" + mutual, TLS{CA: ca}, []string{"demands a certificate", "give it in cert and key"}},
		"demanded in 1.2":           {"mqtts://" + mutual12, TLS{CA: ca}, []string{"demands a certificate", "give it in cert and key"}},
		"certificate given":         {"mqtts://" + mutual, TLS{CA: ca, Cert: clientCert, Key: clientKey}, nil},
		"given in 1.2":              {"mqtts://" + mutual12, TLS{CA: ca, Cert: clientCert, Key: clientKey}, nil},
		"of a stranger":             {"mqtts://" + mutual, TLS{CA: ca, Cert: strangeCert, Key: strangeKey}, []string{"refuses our certificate in " + strangeCert}},
		"expired of ours":           {"mqtts://" + mutual, TLS{CA: ca, Cert: expiredCert, Key: expiredKey}, []string{"refuses our certificate in " + expiredCert}},
		"key of another":            {"mqtts://" + mutual, TLS{CA: ca, Cert: clientCert, Key: key}, []string{key + " is not the key of the certificate in " + clientCert}},
		"key without a certificate": {"mqtts://" + mutual, TLS{Key: key}, []string{"give that in cert"}},
		"no such file":              {"mqtts://" + mutual, TLS{CA: ca + "x"}, []string{"no such file"}},
		"no certificate in it":      {"mqtts://" + mutual, TLS{CA: key}, []string{"holds no certificate in PEM"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := linkTo("", 1)
			cfg.URL, cfg.TLS = c.url, c.tls
			g := startGateway(t, t.TempDir(), cfg)
			eventually(t, "an outcome", func() bool { s := g.link.Stats(); return s.Connected || s.LastError != "" })
			s := g.link.Stats()
			if s.Connected != (c.want == nil) {
				t.Fatalf("connected %v: %s", s.Connected, s.LastError)
			}
			for _, want := range c.want {
				one, two, _ := strings.Cut(want, "|")
				if !strings.Contains(s.LastError, one) && (two == "" || !strings.Contains(s.LastError, two)) {
					t.Errorf("it says %q, want %q", s.LastError, want)
				}
			}
		})
	}
}

// TestCertificatesAreJudgedByTheClockGiven: a machine that starts in 1970 can
// connect where something else tells it the year.
func TestCertificatesAreJudgedByTheClockGiven(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", "IP:127.0.0.1", 30)
	_, addr := over(t, "certfile %s\nkeyfile %s\n", cert, key)
	for year, want := range map[int]string{1970: "is the clock of this machine right?", 2199: "has expired on", time.Now().Year(): ""} {
		cfg := linkTo("", 1)
		cfg.URL, cfg.TLS = "mqtts://"+addr, TLS{CA: a.path("ca.crt")}
		cfg.Now = func() time.Time { return time.Now().AddDate(year-time.Now().Year(), 0, 0) }
		g := startGateway(t, t.TempDir(), cfg)
		eventually(t, "an outcome", func() bool { s := g.link.Stats(); return s.Connected || s.LastError != "" })
		if s := g.link.Stats(); s.Connected != (want == "") || !strings.Contains(s.LastError, want) {
			t.Errorf("in %d: connected %v, it says %q", year, s.Connected, s.LastError)
		}
	}
}

// TestNewCertificatesAreTakenUp: what stands in the files counts from the next
// connection on.
func TestNewCertificatesAreTakenUp(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", "IP:127.0.0.1", 30)
	goodCert, goodKey := a.issue("gateway", "DNS:gateway", 30)
	_, addr := over(t, "certfile %s\nkeyfile %s\ncafile %s\nrequire_certificate true\n", cert, key, a.path("ca.crt"))
	cfg := linkTo("", 1)
	cfg.URL = "mqtts://" + addr
	cfg.TLS = TLS{CA: a.path("ca.crt"), Cert: a.path("ours.crt"), Key: a.path("ours.key")}
	g := startGateway(t, t.TempDir(), cfg)
	eventually(t, "the missing file is named", func() bool { return strings.Contains(g.link.Stats().LastError, "no such file") })
	for from, to := range map[string]string{goodKey: cfg.TLS.Key, goodCert: cfg.TLS.Cert} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	connected(t, g)
}

// TestHandshakeAsksAsConfigured: a server sees ALPN and the server's name.
func TestHandshakeAsksAsConfigured(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", "DNS:iot.example.com", 30)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	hellos := make(chan *tls.ClientHelloInfo, 100)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, NextProtos: []string{"x-amzn-mqtt-ca"},
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { hellos <- h; return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	})
	cfg := Config{URL: "mqtts://" + l.Addr().String(), TLS: TLS{CA: a.path("ca.crt"), ServerName: "iot.example.com", ALPN: "x-amzn-mqtt-ca"}}
	c, err := dial(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if h := <-hellos; len(h.SupportedProtos) != 1 || h.SupportedProtos[0] != "x-amzn-mqtt-ca" || h.ServerName != "iot.example.com" {
		t.Errorf("asked for %q of %q", h.SupportedProtos, h.ServerName)
	}
	if got := c.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "x-amzn-mqtt-ca" {
		t.Errorf("agreed on %q", got)
	}
	cfg.TLS.ALPN = "mqtt"
	if _, err := dial(t.Context(), &cfg); err == nil || !strings.Contains(err.Error(), `does not offer the protocol "mqtt"`) {
		t.Errorf("another protocol: %v", err)
	}
}
