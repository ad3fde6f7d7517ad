package mqttcore

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// run runs another program to its end, with input, and gives all it says.
func run(t *testing.T, input string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, peer(t, name), args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// portOf is the port of the i-th listener.
func (r *rig) portOf(i int) string {
	_, port, _ := net.SplitHostPort(r.Addrs()[i].String())
	return port
}

// TestTLSOfMosquitto: clients of others, with a certificate of their own and
// without.
func TestTLSOfMosquitto(t *testing.T) {
	ca := newAuthority(t, "authority")
	cfg := everywhere(t, ca)
	cfg.ClientCA = ca.file
	cfg.Users = usersOf(t, "anna", "secret")
	cfg.ACL = []Rule{{User: "panel", Write: []string{"panel/#"}}, {User: "anna", Read: []string{"#"}}}
	r := start(t, cfg)
	sub, _ := r.connect(packet.V5, "sub", as("anna", "secret"))
	sub.subscribe(1, "#")
	cert, key := ca.issue("panel", 10)
	port := r.portOf(1)
	for _, version := range []string{"mqttv311", "mqttv5"} {
		args := []string{"-h", "localhost", "-p", port, "-V", version, "-q", "1", "--cafile", ca.file, "-t", "panel/x", "-m", version}
		if out, err := run(t, "", "mosquitto_pub", append(args, "--cert", cert, "--key", key)...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		p := sub.expectMessage(version)
		sub.send(answer(packet.PUBACK, p.PacketID))
		if out, err := run(t, "", "mosquitto_pub", args...); err == nil || !strings.Contains(strings.ToLower(out), "not authori") {
			t.Errorf("without a certificate: %v: %s", err, out)
		}
		if out, err := run(t, "", "mosquitto_pub", append(args, "--cert", cert, "--key", key, "-u", "anna", "-P", "secret")...); err == nil {
			t.Errorf("as somebody else than the certificate says: %s", out)
		}
	}
	sub.silent()
}

// TestTLSVersions: what is too old is not spoken.
func TestTLSVersions(t *testing.T) {
	ca := newAuthority(t, "authority")
	r := start(t, everywhere(t, ca))
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		trust := ca.trusting("")
		trust.MinVersion, trust.MaxVersion = version, version
		c, err := r.dialURL(packet.V5, r.URLs()[1], trust)
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			c.hello("c")
			c.close()
		}
	}
	c := r.mustDial(packet.V5, 1, ca.trusting(""))
	if v := c.nc.(*tls.Conn).ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("%s is spoken with who knows 1.3", tls.VersionName(v))
	}
}

// TestClientCertificates: the authority decides whose are good.
func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t, "authority"), newAuthority(t, "other")
	for i, scheme := range []string{1: "tls", 3: "wss"} {
		if scheme == "" {
			continue
		}
		t.Run(scheme, func(t *testing.T) {
			cfg := everywhere(t, ca)
			cfg.ClientCA = ca.file
			cfg.Users = usersOf(t, "anna", "secret")
			r, log := startLogged(t, cfg)
			c := r.mustDial(packet.V5, i, ca.trusting("panel"))
			c.hello("c")
			if got := r.sessionOf("c").user; got != "panel" {
				t.Errorf("the user is %q", got)
			}
			none := r.mustDial(packet.V5, i, ca.trusting(""))
			none.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "none"})
			if ack := expect[*packet.Connack](none); ack.Reason != packet.NotAuthorized {
				t.Errorf("without a certificate: %v", ack.Reason)
			}
			both := r.mustDial(packet.V5, i, ca.trusting(""))
			both.hello("both", as("anna", "secret"))

			// Of an authority that is not asked for, and one that is over.
			trust := ca.trusting("")
			wrong := other.trusting("panel").Certificates
			trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &wrong[0], nil }
			r.refusesTLS(t, i, trust)
			cert, key := ca.issue("late", -1)
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			trust = ca.trusting("")
			trust.Certificates = []tls.Certificate{pair}
			r.refusesTLS(t, i, trust)
			log.await(t, 1, "the certificate of the client is not accepted")
			c.silent()
		})
	}
}

// refusesTLS wants a handshake to fail, or what comes right behind it: with
// TLS 1.3 a client has done its part before it is judged.
func (r *rig) refusesTLS(t *testing.T, i int, trust *tls.Config) {
	t.Helper()
	c, err := r.dialURL(packet.V5, r.URLs()[i], trust)
	if err != nil {
		return
	}
	_, _ = c.nc.Write((&packet.Connect{Version: packet.V5, ClientID: "x"}).Append(nil, packet.V5))
	if p, err := c.next(patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a client with a wrong certificate got %T, %v", p, err)
	}
}

// await waits for lines with a text in the log and wants so many of them.
func (l *record) await(t *testing.T, n int, text string) {
	t.Helper()
	await(t, text, func() bool { return strings.Contains(l.text(), text) })
	if got := strings.Count(l.text(), text); got != n {
		t.Errorf("%q stands %d times in the log, want %d:\n%s", text, got, n, l.text())
	}
}

func (r *rig) sessionOf(client string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[client]
}

// served gives the serial number of the certificate that a listener shows.
func (r *rig) served(i int, trust *tls.Config) int64 {
	r.t.Helper()
	nc, err := tls.Dial("tcp", r.Addrs()[i].String(), trust)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	return nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestNewCertificates renews the files under a running broker.
func TestNewCertificates(t *testing.T) {
	ca := newAuthority(t, "authority")
	cfg := everywhere(t, ca)
	r, log := startLogged(t, cfg)
	trust := ca.trusting("")
	c := r.mustDial(packet.V5, 1, trust)
	c.hello("c")
	first := r.served(1, trust)

	ca.issue("server", 60) // the same files
	r.keys.relook()
	second := r.served(1, trust)
	if second == first {
		t.Fatal("the former certificate is still shown")
	}
	if got := r.served(3, trust); got != second {
		t.Errorf("wss shows certificate %d, tls %d", got, second)
	}
	log.await(t, 1, "new certificate taken")
	c.silent()

	// Not by handshakes but when told to.
	ca.issue("server", 70)
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	third := r.served(1, trust)
	if third == second {
		t.Fatal("a reload has not read the certificate")
	}

	// A file that is not good changes nothing and is told once.
	whole, err := os.ReadFile(cfg.Cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{whole[:len(whole)/2], nil, []byte("x")} {
		if err := os.WriteFile(cfg.Cert, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			r.keys.relook()
			if got := r.served(1, trust); got != third {
				t.Errorf("certificate %d is shown, want %d", got, third)
			}
		}
	}
	if err := os.Remove(cfg.Cert); err != nil {
		t.Fatal(err)
	}
	r.keys.relook()
	if got := r.served(1, trust); got != third {
		t.Errorf("certificate %d is shown, want %d", got, third)
	}
	const told = "the former certificate stays in use"
	if n := strings.Count(log.text(), told); n < 1 || n > 4 {
		t.Errorf("%d lines for 7 looks at 4 broken files:\n%s", n, log.text())
	}
	if err := r.Reload(cfg); err == nil {
		t.Error("a reload with a broken file says nothing")
	}
	ca.issue("server", 80)
	r.keys.relook()
	if got := r.served(1, trust); got == third {
		t.Error("no new certificate after a broken one")
	}
	c.silent()
}

// relook lets the next handshake look at the files, as a second would.
func (k *keyring) relook() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked = time.Time{}
}

// TestCertificateIsOver: a certificate that clients will not take is warned of.
func TestCertificateIsOver(t *testing.T) {
	ca := newAuthority(t, "authority")
	for days, want := range map[int]string{-1: "the certificate is over: clients", 3: "the certificate is over soon", 200: ""} {
		cfg := everywhere(t, ca)
		cfg.Cert, cfg.Key = ca.issue("server", days)
		_, log := startLogged(t, cfg)
		if text := log.text(); !strings.Contains(text, want) || want == "" && strings.Contains(text, "level=WARN") {
			t.Errorf("%d days: %s", days, text)
		}
	}
}
