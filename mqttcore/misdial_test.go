package mqttcore

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// TestMisdials: real clients on the wrong listener; one line says what is
// wrong and what to do, however often they try.
func TestMisdials(t *testing.T) {
	ca, stranger := newAuthority(t, "authority"), newAuthority(t, "stranger")
	url := func(scheme string) func(r *rig, i int) []string {
		return func(r *rig, i int) []string {
			return []string{"-sS", "-m", "5", "--cacert", ca.file, scheme + "://localhost:" + r.portOf(i) + "/"}
		}
	}
	pub := func(args ...string) func(r *rig, i int) []string {
		return func(r *rig, i int) []string {
			return append([]string{"-h", "localhost", "-p", r.portOf(i), "-t", "a", "-m", "b"}, args...)
		}
	}
	openssl := func(args ...string) func(r *rig, i int) []string {
		return func(r *rig, i int) []string {
			return append([]string{"s_client", "-connect", "localhost:" + r.portOf(i), "-CAfile", ca.file}, args...)
		}
	}
	tests := []struct {
		name, scheme, program string
		args                  func(r *rig, i int) []string
		log                   []string
		says                  string // the client; of the broker's answer
	}{
		{"TLS on the plain port", "tcp", "mosquitto_pub", pub("--cafile", ca.file), []string{"client speaks TLS on a listener for plain MQTT", "without TLS"}, ""},
		{"openssl on the plain port", "tcp", "openssl", openssl(), []string{"client speaks TLS on a listener for plain MQTT"}, ""},
		{"plain on the TLS port", "tls", "mosquitto_pub", pub(), []string{"client speaks MQTT on a listener for MQTT over TLS", "mqtts://"}, ""},
		{"plain on the WebSocket port", "ws", "mosquitto_pub", pub(), []string{"client speaks MQTT on a listener for MQTT over WebSocket", "ws://"}, ""},
		{"plain on the WebSocket port with TLS", "wss", "mosquitto_pub", pub(), []string{"client speaks MQTT on a listener for MQTT over WebSocket and TLS", "wss://"}, ""},
		{"TLS on the WebSocket port", "ws", "openssl", openssl(), []string{"client speaks TLS on a listener for MQTT over WebSocket"}, ""},
		{"MQTT in TLS on the WebSocket port", "wss", "mosquitto_pub", pub("--cafile", ca.file), []string{"client speaks MQTT on a listener for MQTT over WebSocket and TLS"}, ""},
		{"HTTP on the MQTT port", "tcp", "curl", url("http"), []string{"client speaks HTTP on a listener for plain MQTT", "ws://"}, "This port speaks MQTT"},
		{"HTTP on the TLS port", "tls", "curl", url("http"), []string{"client speaks HTTP on a listener for MQTT over TLS", "wss://"}, "This port speaks MQTT"},
		{"HTTPS on the TLS port", "tls", "curl", url("https"), []string{"client speaks HTTP on a listener for MQTT over TLS"}, ""},
		{"HTTP on the WebSocket port", "ws", "curl", url("http"), []string{"client speaks HTTP on a listener for MQTT over WebSocket", "/mqtt"}, "WebSocket"},
		{"HTTPS on the WebSocket port", "wss", "curl", url("https"), []string{"client speaks HTTP on a listener for MQTT over WebSocket and TLS"}, "WebSocket"},
		{"an authority that is not ours", "tls", "mosquitto_pub", pub("--cafile", stranger.file), []string{"the client broke the handshake off", "unknown certificate authority", "authority that signed ours"}, ""},
		{"old TLS", "tls", "openssl", openssl("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), []string{"TLS handshake failed", "versions"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, log := startLogged(t, everywhere(t, ca))
			i := indexOf(tt.scheme)
			for range 2 {
				out, err := run(t, "", tt.program, tt.args(r, i)...)
				if err == nil && tt.program == "mosquitto_pub" || !strings.Contains(out, tt.says) {
					t.Fatalf("%s %v: %v: %s", tt.program, tt.args(r, i), err, out)
				}
			}
			await(t, "both are counted", func() bool { return r.Stats().Misdialed >= 2 })
			warnings := log.warnings()
			if len(warnings) != 1 {
				t.Fatalf("%d warnings:\n%s", len(warnings), log.text())
			}
			for _, text := range append(tt.log, "remote=127.0.0.1:", "listener="+r.URLs()[i]) {
				if !strings.Contains(warnings[0], text) {
					t.Errorf("no %q in: %s", text, warnings[0])
				}
			}
			c := r.mustDial(packet.V5, i, ca.trusting(""))
			c.hello("good")
		})
	}
}

// warnings gives the lines of that level.
func (l *record) warnings() (all []string) {
	for line := range strings.Lines(l.text()) {
		if strings.Contains(line, "level=WARN") {
			all = append(all, line)
		}
	}
	return all
}

func indexOf(scheme string) int {
	for i, s := range schemes {
		if s == scheme {
			return i
		}
	}
	return -1
}

// TestAlerts: it is told what a client says that breaks the handshake off, in
// the clear, as before, or encrypted.
func TestAlerts(t *testing.T) {
	ca, stranger := newAuthority(t, "authority"), newAuthority(t, "stranger")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r, log := startLogged(t, everywhere(t, ca))
		trust := stranger.trusting("")
		trust.MaxVersion = version
		for _, i := range []int{indexOf("tls"), indexOf("wss")} {
			if _, err := r.dialURL(packet.V5, r.URLs()[i], trust); err == nil {
				t.Fatal("the client took our certificate")
			}
		}
		await(t, "both are counted", func() bool { return r.Stats().Misdialed == 2 })
		if w := log.warnings(); len(w) != 1 || !strings.Contains(w[0], "the client broke the handshake off") || !strings.Contains(w[0], "certificate") {
			t.Errorf("%s: %q", tls.VersionName(version), w)
		}
	}
}

// TestExpiredCertificate: clients refuse it; the log says why.
func TestExpiredCertificate(t *testing.T) {
	ca := newAuthority(t, "authority")
	cfg := everywhere(t, ca)
	cfg.Cert, cfg.Key = ca.issue("server", -1)
	r, log := startLogged(t, cfg)
	out, err := run(t, "", "mosquitto_pub", "-h", "localhost", "-p", r.portOf(1), "--cafile", ca.file, "-t", "a", "-m", "b")
	if err == nil {
		t.Fatalf("mosquitto_pub took a certificate that is over: %s", out)
	}
	log.await(t, 1, "the client broke the handshake off")
	if !strings.Contains(log.text(), "expired certificate") {
		t.Errorf("the log says:\n%s", log.text())
	}
}

// TestOpenPortLooks: who only connects, or goes away in the handshake, is not
// worth a line.
func TestOpenPortLooks(t *testing.T) {
	ca := newAuthority(t, "authority")
	r, log := startLogged(t, everywhere(t, ca))
	for i := range schemes {
		for _, sent := range []string{"", "\x16\x03\x01"} {
			c := r.dialPlain(i)
			c.write([]byte(sent))
			c.close()
		}
	}
	await(t, "all are gone", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.conns) == 0
	})
	for _, line := range log.warnings() {
		if !strings.Contains(line, "client speaks TLS") {
			t.Error(line)
		}
	}
}

// TestComplaints: the table is bounded and forgets.
func TestComplaints(t *testing.T) {
	var l complaints
	addr := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", i/256, i%256)) }
	for i := range maxComplaints {
		if !l.first(addr(i), "x", 0) || l.first(addr(i), "x", quietTime-1) {
			t.Fatalf("address %d is not said once", i)
		}
	}
	if l.first(addr(maxComplaints), "x", time.Second) || len(l.said) != maxComplaints {
		t.Error("the table grows")
	}
	if !l.first(addr(maxComplaints), "x", quietTime) || len(l.said) != 1 {
		t.Errorf("%d are remembered when all is over", len(l.said))
	}
	if !l.first(addr(maxComplaints), "y", quietTime) {
		t.Error("another thing is not said")
	}
}
