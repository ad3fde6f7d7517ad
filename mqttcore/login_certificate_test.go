package mqttcore

import (
	"crypto/tls"
	"testing"

	"sluice/mqttcore/packet"
)

// TestCertificateUsers: who shows a certificate is the user of its name, by
// TLS and by WebSocket over it.
func TestCertificateUsers(t *testing.T) {
	ca := newAuthority(t, "authority")
	cfg := everywhere(t, ca)
	cfg.ClientCA = ca.file
	cfg.Users = usersOf(t, "anna", "secret", "panel", "other")
	cfg.ACL = []Rule{{User: "panel", Read: []string{"for/{user}"}}}
	r := start(t, cfg)
	for _, i := range []int{1, 3} {
		t.Run(schemes[i], func(t *testing.T) {
			connect := func(name string, reason packet.Reason, mod ...func(*packet.Connect)) *client {
				t.Helper()
				c := r.mustDial(packet.V5, i, ca.trusting(name))
				p := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: schemes[i]}
				for _, m := range mod {
					m(p)
				}
				c.send(p)
				if ack := expect[*packet.Connack](c); ack.Reason != reason {
					t.Errorf("certificate %q: answered %v, want %v", name, ack.Reason, reason)
				}
				return c
			}
			c := connect("panel", packet.Success)
			c.subscribe(0, "for/panel")
			c.close()
			// The name may be said again; a password is not looked at.
			connect("panel", packet.Success, as("panel", "anything")).close()
			connect("panel", packet.NotAuthorized, as("anna", "secret"))
			connect("*", packet.NotAuthorized)
			connect("", packet.NotAuthorized)
			connect("", packet.BadUserNameOrPassword, as("panel", "anything"))
			connect("", packet.Success, as("anna", "secret")).close()
			r.forgive()
		})
	}
	t.Run("is not lost by a reload", func(t *testing.T) {
		c := r.mustDial(packet.V5, 1, ca.trusting("keeper"))
		c.hello("keeper")
		next := r.cfg
		next.Users = usersOf(t, "anna", "secret")
		if err := r.Reload(next); err != nil {
			t.Fatal(err)
		}
		c.silent()
	})
	t.Run("of another authority is no one's", func(t *testing.T) {
		cert, key := newAuthority(t, "stranger").issue("panel", 10)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		trust := ca.trusting("")
		// Sent although the server does not ask for this authority's.
		trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		c, err := r.dialURL(packet.V5, r.URLs()[1], trust)
		if err != nil {
			return
		}
		b := (&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "x"}).Append(nil, packet.V5)
		if _, err = c.nc.Write(b); err == nil {
			_, err = c.next(patience)
		}
		if err == nil {
			t.Error("let in")
		}
	})
}
